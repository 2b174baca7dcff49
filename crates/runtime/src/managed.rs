//! Systems that make containerd's files anew from settings of their own: there, those settings are the place.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::plan::{ALL, Engine, Found, Report, Wanted};

const RELEASE: &str = "/etc/os-release";
/// Systems by their `ID`.
const SYSTEMS: [&str; 2] = ["bottlerocket", "talos"];
/// k3s and RKE2 write hosts.toml for what stands in registries.yaml, at each start. Agents have no folder in /etc until
/// somebody makes it.
const RANCHER: [&str; 2] = ["k3s", "rke2"];

/// Whether another containerd may be on the host.
pub(crate) enum Alone {
    Yes,
    No,
}

fn folder(name: &str) -> String {
    format!("/etc/rancher/{name}")
}

fn registries(name: &str) -> String {
    format!("{}/registries.yaml", folder(name))
}

fn agent(name: &str) -> String {
    format!("/var/lib/rancher/{name}/agent")
}

pub(crate) fn looks(paths: &mut BTreeSet<String>) {
    paths.insert(RELEASE.into());
    for name in RANCHER {
        paths.extend([folder(name), registries(name), agent(name)]);
    }
}

pub(crate) fn report(found: &Found, wanted: &Wanted) -> Option<(Report, Alone)> {
    let release = found.text(RELEASE).and_then(Result::ok).unwrap_or("");
    let id = release.lines().find_map(|line| line.strip_prefix("ID="));
    let id = id.map(|id| id.trim().trim_matches(['"', '\'']));
    if let Some(id) = SYSTEMS.into_iter().find(|it| Some(*it) == id) {
        return Some((system(wanted, id), Alone::Yes));
    }
    let is_there = |name: &&str| found.has(&folder(name)) || found.has(&agent(name));
    let name = RANCHER.into_iter().find(is_there)?;
    Some((rancher(found, wanted, name), Alone::No))
}

fn star(registry: &str) -> &str {
    if registry == ALL { "*" } else { registry }
}

fn system(wanted: &Wanted, id: &str) -> Report {
    let mut report = Report::new(Engine::Containerd, format!("made by {id}"));
    let url = wanted.url();
    for registry in &wanted.registries {
        let registry = star(registry);
        report.next.push(if id == "talos" {
            format!(
                "put into the machine configuration: `machine: {{ registries: {{ mirrors: {{ \"{registry}\": {{ \
                 endpoints: [\"{url}\"] }} }} }} }}`; others that stand there for it stay after ours"
            )
        } else {
            format!(
                "put into the settings: `[[settings.container-registry.mirrors]]` with `registry = \"{registry}\"` and \
                 `endpoints = [\"{url}\"]`; others that stand there for it stay after ours"
            )
        });
    }
    report
}

/// What matters of a registries.yaml.
#[derive(Debug, Default, Deserialize)]
struct Registries {
    mirrors: Option<BTreeMap<String, Option<Mirror>>>,
}

#[derive(Debug, Deserialize)]
struct Mirror {
    endpoint: Option<Vec<String>>,
}

fn rancher(found: &Found, wanted: &Wanted, name: &str) -> Report {
    let path = registries(name);
    let mut report = Report::new(Engine::Containerd, format!("made by {name}"));
    let url = wanted.url();
    let config = found.text(&path).map(|text| {
        text.and_then(|text| {
            serde_saphyr::from_str::<Option<Registries>>(text)
                .map_err(|error| format!("{path} is not understood: {error}"))
        })
    });
    let verb = if config.is_some() { "add to" } else { "make" };
    let mirrors = match config.transpose() {
        Ok(config) => config.flatten().and_then(|it| it.mirrors),
        Err(why) => return Report::not_understood(Engine::Containerd, why),
    };
    let mirrors = mirrors.unwrap_or_default();
    let endpoints = |registry: &str| {
        let mirror = mirrors.get(registry).and_then(Option::as_ref);
        mirror.and_then(|it| it.endpoint.as_deref())
    };
    let reads = format!("{name} reads it at its next start");
    for registry in &wanted.registries {
        let registry = star(registry);
        match endpoints(registry) {
            Some([first, ..]) if first.trim_end_matches('/') == url => {
                report.is_named = true;
                report.notes.push(format!("{path} names the mirror for \"{registry}\""));
            }
            Some([first, ..]) => {
                report.conflicts.push(format!("{path} names {first} first for \"{registry}\""));
                report.next.push(format!(
                    "put \"{url}\" first into `endpoint` of \"{registry}\" in {path}; {reads}"
                ));
            }
            _ => report.next.push(format!(
                "{verb} {path}: `mirrors: {{ \"{registry}\": {{ endpoint: [\"{url}\"] }} }}`; {reads}"
            )),
        }
    }
    report
}
