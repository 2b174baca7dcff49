//! Podman, Buildah, skopeo and CRI-O: a drop-in beside `/etc/containers/registries.conf`.

use std::{collections::BTreeSet, fmt::Write};

use toml::{Table, Value};

use crate::plan::{ALL, Engine, Found, MARK, Report, Wanted};

const HOME: &str = "/etc/containers";
const CONFIG: &str = "/etc/containers/registries.conf";
const FOLDER: &str = "/etc/containers/registries.conf.d";
pub(crate) const OURS: &str = "/etc/containers/registries.conf.d/50-pantala.conf";

/// The files of others, in the order in which they count.
fn files(found: &Found) -> impl Iterator<Item = String> {
    let names = found.names(FOLDER).filter(|name| name.ends_with(".conf"));
    let paths = names.map(|name| format!("{FOLDER}/{name}"));
    let paths = std::iter::once(CONFIG.to_owned()).chain(paths);
    paths.filter(|path| path != OURS)
}

pub(crate) fn looks(found: &Found, paths: &mut BTreeSet<String>) {
    paths.extend([HOME, CONFIG, FOLDER, OURS].map(str::to_owned));
    paths.extend(files(found));
}

/// An entry of others.
struct Entry {
    file: String,
    prefix: String,
    mirrors: Vec<String>,
    form: Form,
}

/// How an entry is written.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// As a `[[registry]]`.
    Table,
    /// Whatever the form: nothing is to be pulled.
    Block,
    /// As a name in a list of the first version, which has no mirrors.
    Name,
}

pub(crate) fn report(found: &Found, wanted: &Wanted) -> Option<Report> {
    if !found.has(HOME) {
        return None;
    }
    let entries = match entries(found) {
        Ok(entries) => entries,
        Err(why) => return Some(Report::not_understood(Engine::Containers, why)),
    };
    let mut report = Report::new(Engine::Containers, "registries.conf.d");
    if wanted.mirror.is_ipv6() {
        report
            .conflicts
            .push("these engines take no mirror by its IPv6 address".into());
        report
            .next
            .push("set mirror.listen to 127.0.0.1:PORT, then try again".into());
        return Some(report);
    }
    let mut content = format!("{MARK}\n");
    let mut any = false;
    for registry in &wanted.registries {
        if registry == ALL {
            report.notes.push(
                "these engines have no mirror for all registries: each is named, by mirror.registries or --registry"
                    .into(),
            );
        } else if let Some(location) = location(wanted, registry, &mut report)
            && is_free(&entries, registry, &location, &mut report)
        {
            any = true;
            let _ = write!(
                content,
                "\n[[registry]]\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n\n[[registry.mirror]]\nlocation = \
                 \"{location}\"\ninsecure = true\n"
            );
            if wanted.digests_only {
                content.push_str("pull-from-mirror = \"digest-only\"\n");
            }
        }
    }
    if any && report.own(found, OURS.into(), content) {
        report.notes.push(
            "CRI-O reads it after `systemctl reload crio`, the others at their next start".into(),
        );
    }
    Some(report)
}

/// Where the mirror has `registry`. These engines cannot say `?ns=`: the path names it, or nothing does. A place that they
/// do not understand fails every pull, without a try at the registry itself.
fn location(wanted: &Wanted, registry: &str, report: &mut Report) -> Option<String> {
    if wanted.default.as_deref() == Some(registry) {
        return Some(wanted.mirror.to_string());
    }
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if !registry.chars().all(is_plain) {
        report.notes.push(format!(
            "{registry} is left out: no path of an image may hold a port, an IPv6 address or capitals, so only \
             mirror.default_registry could be it"
        ));
        return None;
    }
    if !wanted.in_paths.iter().any(|it| it == registry) {
        report.conflicts.push(format!(
            "the mirror takes no path that begins with {registry}"
        ));
        report.next.push(format!(
            "add \"{registry}\" to mirror.registries, restart the daemon, then try again"
        ));
        return None;
    }
    Some(format!("{}/{registry}", wanted.mirror))
}

/// Whether ours would hide no entry of others.
fn is_free(entries: &[Entry], registry: &str, location: &str, report: &mut Report) -> bool {
    // Of two entries with one prefix the later file's counts, whole; of those that fit, the longest.
    let is_taken = |it: &&Entry| match it.prefix.strip_prefix('*') {
        Some(domain) => registry.ends_with(domain),
        None => it.prefix == registry,
    };
    let longer = entries.iter().filter(|it| {
        let rest = it.prefix.strip_prefix(registry);
        rest.is_some_and(|rest| rest.starts_with('/'))
    });
    for entry in longer {
        report.notes.push(format!(
            "images of {} go by its own entry in {}",
            entry.prefix, entry.file
        ));
    }
    let Some(Entry {
        file,
        mirrors,
        form,
        ..
    }) = entries.iter().rfind(is_taken)
    else {
        return true;
    };
    if mirrors.iter().any(|it| it == location) {
        report.is_named = true;
        report
            .notes
            .push(format!("{file} names the mirror for {registry}"));
        return false;
    }
    if *form == Form::Block {
        report
            .conflicts
            .push(format!("{file} blocks {registry}, so ours is left out"));
        return false;
    }
    report.conflicts.push(format!(
        "{file} has an entry for {registry}, so ours is left out"
    ));
    report.ask_for(match form {
        Form::Name => format!(
            "write {file} in version 2, with `[[registry]]` for {registry}, then try again"
        ),
        _ => format!(
            "add to the entry for {registry} in {file}, before its other mirrors: `[[registry.mirror]]` with `location = \
             \"{location}\"` and `insecure = true`"
        ),
    });
    false
}

/// What others say.
fn entries(found: &Found) -> Result<Vec<Entry>, String> {
    let mut all = Vec::new();
    for file in files(found) {
        let config = found.toml(&file).transpose()?.unwrap_or_default();
        for (list, form) in [("insecure", Form::Name), ("block", Form::Block)] {
            let names = config.get("registries").and_then(|it| it.get(list));
            let names = names.and_then(|it| it.get("registries"));
            let names = names.and_then(Value::as_array).into_iter().flatten();
            all.extend(names.filter_map(Value::as_str).map(|name| Entry {
                file: file.clone(),
                prefix: name.to_owned(),
                mirrors: Vec::new(),
                form,
            }));
        }
        let tables = |of: &Table, key: &str| -> Vec<Table> {
            let tables = of.get(key).and_then(Value::as_array);
            let tables = tables.into_iter().flatten().filter_map(Value::as_table);
            tables.cloned().collect()
        };
        for entry in tables(&config, "registry") {
            // An empty prefix is as good as none: the location counts.
            let text = |of: &Table, key: &str| {
                let text = of.get(key).and_then(Value::as_str);
                text.filter(|it| !it.is_empty()).map(str::to_owned)
            };
            let mirrors = tables(&entry, "mirror");
            let mirrors = mirrors.iter().filter_map(|it| text(it, "location"));
            let is_blocked = entry.get("blocked").and_then(Value::as_bool) == Some(true);
            if let Some(prefix) = text(&entry, "prefix").or_else(|| text(&entry, "location")) {
                all.push(Entry {
                    file: file.clone(),
                    prefix,
                    mirrors: mirrors.collect(),
                    form: if is_blocked { Form::Block } else { Form::Table },
                });
            }
        }
    }
    Ok(all)
}
