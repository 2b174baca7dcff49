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

/// Where hosts.toml files are looked for.
pub(crate) struct Places {
    /// The folders of config_path, or the one that it is to name.
    pub(crate) folders: Vec<String>,
    /// A folder that some releases look into as well as long as there is no config_path.
    pub(crate) beside: Option<&'static str>,
}

pub(crate) fn looks(found: &Found, wanted: &Wanted, places: &Places, paths: &mut BTreeSet<String>) {
    let beside = places.beside.map(str::to_owned);
    for folder in places.folders.iter().cloned().chain(beside) {
        let wanted = wanted.registries.iter().flat_map(|it| names(it));
        let there = found.names(&folder).map(str::to_owned);
        for name in there.chain(wanted).chain([ALL.to_owned()]) {
            let own = format!("{folder}/{name}");
            paths.extend([format!("{own}/hosts.toml"), own]);
        }
        paths.insert(folder);
    }
}

/// The first folder of `registry` that is there.
fn standing(found: &Found, folders: &[String], registry: &str) -> Option<String> {
    let mut all = folders.iter().flat_map(|folder| {
        names(registry)
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
    });
    all.find(|path| found.has(path))
}

/// The folder for all registries that is somebody else's and says something: a folder for one registry hides it.
fn hidden(found: &Found, folders: &[String]) -> Option<String> {
    let mut all = folders.iter().map(|folder| format!("{folder}/{ALL}"));
    all.find(|own| {
        let path = format!("{own}/hosts.toml");
        match found.files.get(&path) {
            Some(File::Bytes(bytes)) => {
                !found.owned.contains(&path) && !bytes.starts_with(MARK.as_bytes())
            }
            Some(_) => true,
            None => found.names(own).any(is_certificate),
        }
    })
}

/// Whether somebody else's file names the mirror.
fn is_named(found: &Found, path: &str, wanted: &Wanted) -> bool {
    let Some(File::Bytes(bytes)) = found.files.get(path) else {
        return false;
    };
    let text = String::from_utf8_lossy(bytes);
    let hosts = text.parse::<toml::Table>().unwrap_or_default();
    let hosts = hosts.get("host").and_then(|it| it.as_table());
    !found.owned.contains(path)
        && !text.starts_with(MARK)
        && hosts.is_some_and(|it| it.contains_key(&wanted.url()))
}

pub(crate) fn plan(found: &Found, wanted: &Wanted, places: &Places, report: &mut Report) {
    let (first, last) = match &places.folders[..] {
        [first, .., last] => (first, last),
        [only] => (only, only),
        [] => return,
    };
    for registry in &wanted.registries {
        if let Some(path) = is_beside(found, places, registry) {
            report.conflicts.push(format!(
                "{path} is there, which containerd 2.2 and newer follows as long as there is no config_path; ours would hide it"
            ));
            continue;
        }
        // A `_default` in an earlier folder would hide what the later ones have for single registries.
        let folder = if registry == ALL { last } else { first };
        let there = standing(found, &places.folders, registry);
        let own = match there {
            Some(own) => own,
            None if registry != ALL
                && let Some(all) = hidden(found, &places.folders) =>
            {
                let path = format!("{all}/hosts.toml");
                if is_named(found, &path, wanted) {
                    report.is_named = true;
                    report
                        .notes
                        .push(format!("{path} names the mirror, for {registry} too"));
                    continue;
                }
                report.conflicts.push(format!(
                    "{all} is not ours and counts for {registry}: a folder of its own would hide it"
                ));
                let line = line(wanted);
                report.ask_for(format!("put into {path}, before other hosts: {line}"));
                continue;
            }
            None => format!("{folder}/{registry}"),
        };
        for_one(found, wanted, &own, report);
    }
    if wanted.registries.iter().any(|it| it == ALL) {
        not_reached(found, wanted, &places.folders, report);
    }
}

/// What stands for `registry` in the folder beside those that are planned for.
fn is_beside(found: &Found, places: &Places, registry: &str) -> Option<String> {
    let beside = places.beside?;
    let mut names: Vec<String> = names(registry);
    if registry == ALL {
        names.extend(found.names(beside).map(str::to_owned));
    }
    names.push(ALL.to_owned());
    let mut paths = names.into_iter().map(|name| format!("{beside}/{name}"));
    paths.find(|path| matches!(found.files.get(path), Some(File::Folder(_))))
}

fn line(wanted: &Wanted) -> String {
    format!(
        "`[host.\"{}\"]` with `capabilities = {}`",
        wanted.url(),
        capabilities(wanted)
    )
}

/// Without `resolve` the registry itself says what a tag names.
fn capabilities(wanted: &Wanted) -> &'static str {
    if wanted.digests_only {
        "[\"pull\"]"
    } else {
        "[\"pull\", \"resolve\"]"
    }
}

/// The folder `own` of one registry, or of all.
fn for_one(found: &Found, wanted: &Wanted, own: &str, report: &mut Report) {
    let path = format!("{own}/hosts.toml");
    let line = line(wanted);
    if is_named(found, &path, wanted) {
        report.is_named = true;
        report.notes.push(format!("{path} names the mirror"));
        return;
    }
    if !found.has(&path)
        && let Some(name) = found.names(own).find(|name| is_certificate(name))
    {
        report.conflicts.push(format!(
            "{own} has {name}, which containerd takes only as long as there is no hosts.toml"
        ));
        report.ask_for(format!(
            "make {path} with the certificates in it (`ca = ...`, `client = ...`) and {line}"
        ));
        return;
    }
    if !report.own(found, path.clone(), hosts_toml(wanted)) {
        report.ask_for(format!("put into {path}, before other hosts: {line}"));
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
        "{MARK}\n\n[host.\"{}\"]\n  capabilities = {}\n  dial_timeout = \"1s\"\n",
        wanted.url(),
        capabilities(wanted)
    )
}
