//! Docker: all its settings are in one file that is the operator's, and a wrong word in it keeps Docker from starting.
//! So nothing is written: the line is told. Its mirrors are for docker.io alone.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::plan::{ALL, Engine, Found, Report, Wanted};

const HOME: &str = "/etc/docker";
const CONFIG: &str = "/etc/docker/daemon.json";
const DROP_INS: &str = "/etc/systemd/system/docker.service.d";
/// Where flags of dockerd may stand.
const FLAGS: [&str; 5] = [
    "/etc/systemd/system/docker.service",
    "/usr/lib/systemd/system/docker.service",
    "/lib/systemd/system/docker.service",
    "/etc/default/docker",
    "/etc/sysconfig/docker",
];
const HUB: &str = "docker.io";

fn drop_ins(found: &Found) -> impl Iterator<Item = String> {
    let names = found.names(DROP_INS).filter(|it| it.ends_with(".conf"));
    names.map(|name| format!("{DROP_INS}/{name}"))
}

pub(crate) fn looks(found: &Found, paths: &mut BTreeSet<String>) {
    paths.extend([HOME, CONFIG, DROP_INS].map(str::to_owned));
    paths.extend(FLAGS.map(str::to_owned));
    paths.extend(drop_ins(found));
}

/// The file that starts dockerd with `--registry-mirror`: beside `registry-mirrors` it would not start.
fn flagged(found: &Found) -> Option<String> {
    let is_flag = |word: &str| {
        word.trim_matches(['"', '\''])
            .starts_with("--registry-mirror")
    };
    let has_flag = |path: &String| {
        let text = found.text(path).and_then(Result::ok).unwrap_or_default();
        let mut lines = text.lines().filter(|it| !it.trim_start().starts_with('#'));
        lines.any(|line| line.split([' ', '\t', '=', '"']).any(is_flag))
    };
    let mut all = FLAGS.into_iter().map(str::to_owned).chain(drop_ins(found));
    all.find(has_flag)
}

pub(crate) fn report(found: &Found, wanted: &Wanted) -> Option<Report> {
    if !found.has(HOME) {
        return None;
    }
    let mut report = Report::new(Engine::Docker, "no daemon.json");
    let config = match found.text(CONFIG) {
        None => Map::new(),
        Some(text) => {
            report.config = "daemon.json".into();
            let config = text.and_then(|text| {
                // An empty file is as good as none.
                let text = if text.trim().is_empty() { "{}" } else { text };
                serde_json::from_str::<Map<String, Value>>(text)
                    .map_err(|error| format!("{CONFIG} is not a JSON object: {error}"))
            });
            match config {
                Ok(config) => config,
                Err(why) => return Some(Report::not_understood(Engine::Docker, why)),
            }
        }
    };
    if !wanted.registries.iter().any(|it| it == HUB || it == ALL) {
        report
            .notes
            .push("its mirrors are for docker.io alone, which is not asked for".into());
        return Some(report);
    }
    if wanted.digests_only {
        report.notes.push(
            "its mirrors are asked for tags too, so it is not pointed at ours: runtime.digests_only is true".into(),
        );
        return Some(report);
    }
    tell(found, wanted, &config, &mut report);
    Some(report)
}

fn tell(found: &Found, wanted: &Wanted, config: &Map<String, Value>, report: &mut Report) {
    let mirror = wanted.url();
    let mirrors = config.get("registry-mirrors").and_then(Value::as_array);
    let mirrors = mirrors.into_iter().flatten().filter_map(Value::as_str);
    let mirrors: Vec<&str> = mirrors.map(|it| it.trim_end_matches('/')).collect();
    if wanted.default.as_deref() != Some(HUB) {
        report.conflicts.push(
            "Docker names no registry, and mirror.default_registry is another one than docker.io"
                .into(),
        );
        report
            .next
            .push("set `mirror.default_registry = \"docker.io\"` and restart the daemon".into());
    }
    let reload = "then `systemctl reload docker`";
    if mirrors.first() == Some(&mirror.as_str()) {
        report.is_named = true;
        report.notes.push(format!("{CONFIG} names the mirror"));
    } else if let Some(path) = flagged(found) {
        report.conflicts.push(format!(
            "{path} starts dockerd with --registry-mirror; with registry-mirrors in {CONFIG} as well it would not start"
        ));
        report.next.push(format!(
            "put `--registry-mirror={mirror}` before the other in {path}, and restart docker when it suits"
        ));
    } else if !mirrors.is_empty() {
        let others = mirrors.join(", ");
        report
            .conflicts
            .push(format!("{CONFIG} names {others} first"));
        report.next.push(format!(
            "put \"{mirror}\" first into `registry-mirrors` of {CONFIG}, {reload}"
        ));
    } else if found.has(CONFIG) {
        report.next.push(format!(
            "add to {CONFIG}: `\"registry-mirrors\": [\"{mirror}\"]`, {reload}"
        ));
    } else {
        report.next.push(format!(
            "make {CONFIG} with `{{ \"registry-mirrors\": [\"{mirror}\"] }}`, {reload}"
        ));
    }
}
