//! hosts.toml: one folder for each registry, below those of config_path.

use std::collections::BTreeSet;

use crate::plan::{ALL, File, Found, MARK, Report, Wanted};

/// Docker's way of naming certificates, which containerd follows only where there is no hosts.toml.
const CERTIFICATES: [&str; 3] = [".crt", ".cert", ".key"];

/// What a registry's folder may be called, in the order in which containerd tries.
fn names(registry: &str) -> Vec<String> {
    let mut names = vec![registry.to_owned()];
    if let Some((host, port)) = registry.rsplit_once(':') {
        names.insert(0, format!("{host}_{port}_"));
    }
    names
}

pub(crate) fn looks(
    found: &Found,
    wanted: &Wanted,
    folders: &[String],
    paths: &mut BTreeSet<String>,
) {
    for folder in folders {
        paths.insert(folder.clone());
        let wanted = wanted.registries.iter().flat_map(|it| names(it));
        let there = found.names(folder).map(str::to_owned);
        for name in there.chain(wanted) {
            let own = format!("{folder}/{name}");
            paths.extend([format!("{own}/hosts.toml"), own]);
        }
    }
}

/// The folder that containerd takes for `registry`: the first that is there.
fn standing(found: &Found, folders: &[String], registry: &str) -> Option<String> {
    let mut all = folders.iter().flat_map(|folder| {
        names(registry)
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
    });
    all.find(|path| found.has(path))
}

pub(crate) fn plan(found: &Found, wanted: &Wanted, folders: &[String], report: &mut Report) {
    let (first, last) = match folders {
        [first, .., last] => (first, last),
        [only] => (only, only),
        [] => return,
    };
    for registry in &wanted.registries {
        let there = standing(found, folders, registry);
        // A `_default` in an earlier folder would hide what the later ones have for single registries.
        let folder = if registry == ALL { last } else { first };
        let own = there.unwrap_or_else(|| format!("{folder}/{registry}"));
        let path = format!("{own}/hosts.toml");
        let line = format!(
            "`[host.\"{}\"]` with `capabilities = [\"pull\", \"resolve\"]`",
            wanted.url()
        );
        match found.files.get(&path) {
            Some(File::Bytes(bytes)) if !found.owned.contains(&path) => {
                let text = String::from_utf8_lossy(bytes);
                let hosts = text.parse::<toml::Table>().unwrap_or_default();
                let hosts = hosts.get("host").and_then(|it| it.as_table());
                if hosts.is_some_and(|it| it.contains_key(&wanted.url())) && !text.starts_with(MARK)
                {
                    report.is_named = true;
                    report.notes.push(format!("{path} names the mirror"));
                    continue;
                }
            }
            _ => {}
        }
        if !found.has(&path)
            && let Some(name) = found.names(&own).find(|name| is_certificate(name))
        {
            report.conflicts.push(format!(
                "{own} has {name}, which containerd takes only as long as there is no hosts.toml"
            ));
            report.next.push(format!(
                "make {path} with the certificates in it (`ca = ...`, `client = ...`) and {line}"
            ));
            continue;
        }
        if !report.own(found, path.clone(), hosts_toml(wanted)) {
            report
                .next
                .push(format!("put into {path}, before other hosts: {line}"));
        }
    }
    if wanted.registries.iter().any(|it| it == ALL) {
        not_reached(found, wanted, folders, report);
    }
}

/// Registries with a folder of their own, for which `_default` does not count.
fn not_reached(found: &Found, wanted: &Wanted, folders: &[String], report: &mut Report) {
    for folder in folders {
        for name in found.names(folder).filter(|name| *name != ALL) {
            let path = format!("{folder}/{name}");
            let hosts = format!("{path}/hosts.toml");
            let is_wanted = wanted
                .registries
                .iter()
                .any(|it| names(it).contains(&name.to_owned()));
            let is_folder = matches!(found.files.get(&path), Some(File::Folder(_)));
            if !is_folder || is_wanted || found.owned.contains(&hosts) {
                continue;
            }
            report.notes.push(format!(
                "{path} counts for that registry instead of {ALL}; with --registry it gets the mirror too"
            ));
        }
    }
}

fn is_certificate(name: &str) -> bool {
    CERTIFICATES.iter().any(|end| name.ends_with(end))
}

/// Without `server`, the last resort is the registry just as it would be without this file: its scheme and, for
/// `docker.io`, its real name are containerd's own. `dial_timeout` is known since 2.1; what is older takes no notice.
fn hosts_toml(wanted: &Wanted) -> String {
    format!(
        "{MARK}\n\n[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"1s\"\n",
        wanted.url()
    )
}
