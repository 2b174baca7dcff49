//! Docker: one file of its own for everything, so it is made only where there is none.

use crate::plan::{Engine, Found, Report, Wanted};

pub(crate) const CONFIG: &str = "/etc/docker/daemon.json";

pub(crate) fn report(found: &Found, wanted: &Wanted) -> Option<Report> {
    if !found.has("/etc/docker") {
        return None;
    }
    let mut report = Report::new(Engine::Docker, "no daemon.json");
    if !wanted
        .registries
        .iter()
        .any(|it| it == "docker.io" || it == "_default")
    {
        report
            .next
            .push("nothing: Docker mirrors docker.io alone, which is not asked for".into());
        return Some(report);
    }
    let mirror = format!("http://{}", wanted.mirror);
    let content = format!("{{\n  \"registry-mirrors\": [\"{mirror}\"]\n}}\n");
    let reload = "then `systemctl reload docker`";
    if !found.has(CONFIG) || found.owned.contains(CONFIG) {
        report.own(found, CONFIG.into(), content);
        report.next.push(format!(
            "`systemctl reload docker`, so that it reads {CONFIG}"
        ));
        return Some(report);
    }
    let config = found.text(CONFIG).expect("it is there").and_then(|text| {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
            .map_err(|error| format!("{CONFIG} is not a JSON object: {error}"))
    });
    match config {
        Err(why) => {
            report.config = "not understood".into();
            report.conflicts.push(why);
            report.next.push(format!("mend {CONFIG}, then try again"));
        }
        Ok(config) => {
            report.config = "the operator's daemon.json".into();
            let mirrors = config.get("registry-mirrors").and_then(|it| it.as_array());
            let mirrors: Vec<&str> = mirrors
                .into_iter()
                .flatten()
                .filter_map(|it| it.as_str())
                .collect();
            if mirrors.iter().any(|it| it.trim_end_matches('/') == mirror) {
                report
                    .next
                    .push("nothing: it names the mirror already".into());
            } else if mirrors.is_empty() {
                report.next.push(format!(
                    "add to {CONFIG}: `\"registry-mirrors\": [\"{mirror}\"]`, {reload}"
                ));
            } else {
                report.conflicts.push(format!(
                    "{CONFIG} names another mirror: {}",
                    mirrors.join(", ")
                ));
                report.next.push(format!(
                    "put \"{mirror}\" first into registry-mirrors of {CONFIG}, {reload}"
                ));
            }
        }
    }
    Some(report)
}
