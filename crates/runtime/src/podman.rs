//! Podman, Buildah, skopeo and CRI-O: a drop-in beside `/etc/containers/registries.conf`.

use std::fmt::Write;

use toml::{Table, Value};

use crate::plan::{Engine, Found, MARK, Report, Wanted};

pub(crate) const CONFIG: &str = "/etc/containers/registries.conf";
pub(crate) const FOLDER: &str = "/etc/containers/registries.conf.d";
const OURS: &str = "/etc/containers/registries.conf.d/50-pantala.conf";

pub(crate) fn report(found: &Found, wanted: &Wanted) -> Option<Report> {
    if !found.has("/etc/containers") {
        return None;
    }
    let mut report = Report::new(Engine::Containers, "registries.conf.d");
    let mut content = format!("{MARK}\n");
    let mut any = false;
    let taken = match taken(found) {
        Ok(taken) => taken,
        Err(why) => {
            report.config = "not understood".into();
            report.conflicts.push(why);
            report.next.push("mend that file, then try again".into());
            return Some(report);
        }
    };
    for registry in &wanted.registries {
        if registry == "_default" {
            report.next.push(
                "name registries with --registry: these engines have no default mirror".into(),
            );
            continue;
        }
        // Of two entries with one prefix the later file's counts, whole: ours would hide what theirs says.
        if let Some((path, _)) = taken.iter().find(|(_, prefix)| prefix == registry) {
            report.conflicts.push(format!(
                "{path} has an entry for {registry}, so ours is left out"
            ));
            report.next.push(format!(
                "add to the entry for {registry} in {path}: `[[registry.mirror]]` with `location = \"{}/{registry}\"` and \
                 `insecure = true`",
                wanted.mirror
            ));
            continue;
        }
        any = true;
        let _ = write!(
            content,
            "\n[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n\n[[registry.mirror]]\nlocation = \
             \"{}/{registry}\"\ninsecure = true\n",
            wanted.mirror
        );
    }
    if any && report.own(found, OURS.into(), content) {
        report.next.push(
            "CRI-O alone: `systemctl reload crio`; the others read it at their next start".into(),
        );
    }
    Some(report)
}

/// Whose entries are there: file and prefix.
fn taken(found: &Found) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    let drop_in = |path: &&String| {
        path.starts_with(FOLDER) && path.ends_with(".conf") && path.as_str() != OURS
    };
    let paths = found
        .files
        .keys()
        .filter(|path| path.as_str() == CONFIG || drop_in(path));
    for path in paths {
        let config = found.toml(path).expect("it is a key")?;
        let entries = config.get("registry").and_then(Value::as_array);
        for entry in entries.into_iter().flatten().filter_map(Value::as_table) {
            let text = |key| Table::get(entry, key).and_then(Value::as_str);
            if let Some(prefix) = text("prefix").or(text("location")) {
                all.push((path.clone(), prefix.to_owned()));
            }
        }
    }
    Ok(all)
}
