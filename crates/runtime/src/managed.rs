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

/// Its own settings.
fn settings(found: &Found, name: &str) -> Vec<String> {
    let drop_ins = format!("{}/config.yaml.d", folder(name));
    let names = found.names(&drop_ins).filter(|it| it.ends_with(".yaml"));
    let paths = names.map(|it| format!("{drop_ins}/{it}"));
    paths
        .chain([format!("{}/config.yaml", folder(name))])
        .collect()
}

fn agent(name: &str) -> String {
    format!("/var/lib/rancher/{name}/agent")
}

pub(crate) fn looks(found: &Found, paths: &mut BTreeSet<String>) {
    paths.insert(RELEASE.into());
    for name in RANCHER {
        paths.extend([folder(name), registries(name), agent(name)]);
        paths.insert(format!("{}/config.yaml.d", folder(name)));
        paths.extend(settings(found, name));
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
    if tags_too(wanted, id, &mut report) {
        return report;
    }
    let url = wanted.url();
    for registry in &wanted.registries {
        let registry = star(registry);
        report.next.push(if id == "talos" {
            format!(
                "put into the machine configuration: `machine: {{ registries: {{ mirrors: {{ \"{registry}\": {{ \
                 endpoints: [\"{url}\"] }} }} }} }}`, or since Talos 1.12 a document `kind: RegistryMirrorConfig` with \
                 `name: \"{registry}\"` and `endpoints: [{{ url: \"{url}\" }}]`; others that stand there for it stay after \
                 ours"
            )
        } else {
            format!(
                "put into the settings: `[[settings.container-registry.mirrors]]` with `registry = \"{registry}\"` and \
                 `endpoint = [\"{url}\"]`; others that stand there for it stay after ours"
            )
        });
    }
    report
}

/// These settings cannot keep tags from a mirror.
fn tags_too(wanted: &Wanted, name: &str, report: &mut Report) -> bool {
    if wanted.digests_only {
        report.notes.push(format!(
            "mirrors in the settings of {name} are asked for tags too, so it is not pointed at ours: runtime.digests_only \
             is true"
        ));
    }
    wanted.digests_only
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
    if tags_too(wanted, name, &mut report) {
        return report;
    }
    let has_alone = |path: &String| {
        let text = found.text(path).and_then(Result::ok).unwrap_or_default();
        let mut lines = text.lines().map(str::trim_start);
        lines.any(|it| it.starts_with("disable-default-registry-endpoint: true"))
    };
    if let Some(path) = settings(found, name).into_iter().find(has_alone) {
        report.conflicts.push(format!(
            "{path} has disable-default-registry-endpoint: nothing would be pulled once the mirror is gone, so none is advised"
        ));
        return report;
    }
    let reads = format!("{name} reads it at its next start");
    let all = endpoints("*").unwrap_or_default();
    for registry in &wanted.registries {
        if registry == ALL {
            let is_ours = all.first().is_some_and(|first| is(first, &url));
            star_of_rancher(is_ours, &path, name, &mut report);
            continue;
        }
        match endpoints(registry) {
            Some([first, ..]) if is(first, &url) => {
                report.is_named = true;
                report
                    .notes
                    .push(format!("{path} names the mirror for \"{registry}\""));
            }
            Some([first, ..]) => {
                report
                    .conflicts
                    .push(format!("{path} names {first} first for \"{registry}\""));
                report.next.push(format!(
                    "put \"{url}\" first into `endpoint` of \"{registry}\" in {path}; {reads}"
                ));
            }
            _ if all.first().is_some_and(|first| is(first, &url)) => {
                report.notes.push(format!(
                    "{path} names the mirror for \"{registry}\" by \"*\""
                ));
            }
            _ => {
                // An entry of its own hides those of "*".
                let ours = std::iter::once(&url).chain(all);
                let ours: Vec<String> = ours.map(|it| format!("\"{it}\"")).collect();
                let ours = ours.join(", ");
                report.next.push(format!(
                    "{verb} {path}: `mirrors: {{ \"{registry}\": {{ endpoint: [{ours}] }} }}`; {reads}"
                ));
            }
        }
    }
    report
}

fn is(endpoint: &str, url: &str) -> bool {
    endpoint.trim_end_matches('/') == url
}

/// Nothing is advised for "*": with a mirror that is gone, many releases pull nothing then.
fn star_of_rancher(is_ours: bool, path: &str, name: &str, report: &mut Report) {
    let releases =
        "before v1.31.7 and v1.32.3, and with --disable-default-registry-endpoint in all releases";
    if is_ours {
        report.is_named = true;
        report.notes.push(format!(
            "{path} names the mirror for \"*\": {releases}, {name} pulls nothing by \"*\" once the mirror is gone; name \
             registries instead"
        ));
    } else {
        report.notes.push(format!(
            "\"*\" in {path} is not advised: {releases}, {name} pulls nothing by it once the mirror is gone; registries are \
             named, by mirror.registries or --registry"
        ));
    }
}
