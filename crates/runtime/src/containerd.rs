//! containerd's own configuration: whether and where its CRI plugin looks for hosts.toml.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::{
    hosts,
    plan::{Engine, Found, Report, Wanted},
};

const CONFIG: &str = "/etc/containerd/config.toml";
const HOME: &str = "/etc/containerd";
/// Where people put hosts.toml, and where nerdctl looks without being told.
const FOLDER: &str = "/etc/containerd/certs.d";

/// What matters of the configuration and of what it imports.
#[derive(Debug, Default)]
struct Settings {
    version: i64,
    /// The name of the plugin that pulls.
    plugin: &'static str,
    /// The folders of config_path.
    folders: Vec<String>,
    /// Where the plugin's settings were taken from.
    file: String,
    /// A section that containerd does not take together with config_path.
    legacy: Option<&'static str>,
    discards: bool,
    /// Whether images are pulled by the plugin itself rather than by the transfer service of 2.1 and newer.
    is_local: bool,
}

/// The plugin that pulls, in a configuration of that version. Without one it is version 1, with short names.
fn plugin(version: i64) -> &'static str {
    match version {
        ..=1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => "io.containerd.cri.v1.images",
    }
}

impl Settings {
    /// Errors: a file that is not understood.
    fn read(found: &Found) -> Result<Self, String> {
        let main = found.toml(CONFIG).transpose()?.unwrap_or_default();
        let version = main.get("version").and_then(Value::as_integer).unwrap_or(1);
        // Without a file containerd has its defaults, those of its own newest version: the line to add says version 2.
        let version = if found.has(CONFIG) { version } else { 2 };
        let mut settings = Self {
            version,
            plugin: plugin(version),
            file: CONFIG.into(),
            ..Self::default()
        };
        settings.take(&main, CONFIG);
        for path in imported(found, &main) {
            let config = found.toml(&path).transpose()?.unwrap_or_default();
            settings.take(&config, &path);
        }
        Ok(settings)
    }

    /// A plugin's section of a later file replaces that of an earlier one.
    fn take(&mut self, config: &Table, file: &str) {
        let version = config.get("version").and_then(Value::as_integer);
        let plugin = version.map_or(self.plugin, plugin);
        let Some(section) = config.get("plugins").and_then(|it| it.get(plugin)) else {
            return;
        };
        let registry = section.get("registry");
        let paths = registry.and_then(|it| it.get("config_path"));
        let paths = paths.and_then(Value::as_str).unwrap_or_default();
        let folders = paths.split(':').filter(|path| path.starts_with('/'));
        self.folders = folders
            .map(|path| path.trim_end_matches('/').to_owned())
            .collect();
        let has = |key: &str| {
            let table = registry
                .and_then(|it| it.get(key))
                .and_then(Value::as_table);
            table.is_some_and(|it| match key {
                "configs" => it.values().any(|one| one.get("tls").is_some()),
                _ => !it.is_empty(),
            })
        };
        self.legacy = match () {
            () if has("mirrors") => Some("registry.mirrors"),
            () if has("configs") => Some("registry.configs with tls"),
            () => None,
        };
        let is_on = |of: Option<&Value>, key: &str| {
            of.and_then(|it| it.get(key)).and_then(Value::as_bool) == Some(true)
        };
        self.discards = is_on(Some(section), "discard_unpacked_layers")
            || is_on(section.get("containerd"), "discard_unpacked_layers");
        self.is_local = self.discards || is_on(Some(section), "use_local_image_pull");
        file.clone_into(&mut self.file);
    }

    fn section(&self) -> String {
        let name = self.plugin;
        let name = if self.version < 2 {
            name.to_owned()
        } else {
            format!("\"{name}\"")
        };
        format!("[plugins.{name}.registry]")
    }
}

/// The files that `imports` names and that are there, in the order in which they count.
fn imported(found: &Found, main: &Table) -> Vec<String> {
    let patterns = main.get("imports").and_then(Value::as_array);
    let mut paths = Vec::new();
    for pattern in patterns.into_iter().flatten().filter_map(Value::as_str) {
        let (folder, pattern) = pattern_of(pattern);
        let names = found.names(&folder).filter(|name| fits(name, &pattern));
        paths.extend(names.map(|name| format!("{folder}/{name}")));
    }
    paths
}

/// The folder of a pattern, which is relative to that of the configuration, and the pattern of names in it.
fn pattern_of(pattern: &str) -> (String, String) {
    let (folder, name) = pattern.rsplit_once('/').unwrap_or((HOME, pattern));
    let folder = if folder.starts_with('/') {
        folder.to_owned()
    } else {
        format!("{HOME}/{folder}")
    };
    (folder, name.to_owned())
}

/// Whether `name` fits a shell pattern of `*` and `?`.
fn fits(name: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = rest.as_str();
            let mut tails = name.char_indices().map(|(at, _)| &name[at..]);
            tails.any(|tail| fits(tail, rest)) || fits("", rest)
        }
        Some(one) => {
            let mut tail = name.chars();
            let first = tail.next();
            first.is_some_and(|it| one == '?' || one == it) && fits(tail.as_str(), rest.as_str())
        }
    }
}

pub(crate) fn looks(found: &Found, wanted: &Wanted, paths: &mut BTreeSet<String>) {
    paths.extend([CONFIG.to_owned(), HOME.to_owned()]);
    if let Some(Ok(main)) = found.toml(CONFIG) {
        let patterns = main.get("imports").and_then(Value::as_array);
        for pattern in patterns.into_iter().flatten().filter_map(Value::as_str) {
            paths.insert(pattern_of(pattern).0);
        }
        paths.extend(imported(found, &main));
    }
    if let Ok(settings) = Settings::read(found) {
        let folders = match &settings.folders[..] {
            [] => &[FOLDER.to_owned()][..],
            some => some,
        };
        hosts::looks(found, wanted, folders, paths);
    }
}

pub(crate) fn report(found: &Found, wanted: &Wanted) -> Option<Report> {
    if !found.has(HOME) {
        return None;
    }
    let settings = match Settings::read(found) {
        Ok(settings) => settings,
        Err(why) => return Some(Report::not_understood(Engine::Containerd, why)),
    };
    let file = &settings.file;
    let shown = match found.has(CONFIG) {
        true => format!("configuration version {}", settings.version),
        false => "no config.toml".to_owned(),
    };
    let mut report = Report::new(Engine::Containerd, shown);
    if let Some(legacy) = settings.legacy {
        report.conflicts.push(format!(
            "{file} has {legacy}, with which containerd takes no config_path"
        ));
        report.next.push(format!(
            "move {legacy} of {file} into hosts.toml files, then try again"
        ));
        return Some(report);
    }
    if settings.discards {
        report.notes.push(format!(
            "{file} has discard_unpacked_layers: containerd keeps no layers; the mirror keeps its own copy"
        ));
    }
    let mut folders = settings.folders.clone();
    if folders.is_empty() {
        report.config += ", without config_path";
        let section = settings.section();
        let version = match found.has(CONFIG) {
            true => "",
            false => "`version = 2` and ",
        };
        report.next.push(format!(
            "add to {file}: {version}`config_path = \"{FOLDER}\"` below `{section}`, and restart containerd when it \
             suits; until then Kubernetes does not use the mirror, `ctr --hosts-dir {FOLDER}` and nerdctl do"
        ));
        folders.push(FOLDER.into());
    } else if folders.len() > 1 && settings.version < 3 {
        // Tried with 2.1: what keeps version 3 from it is lost on the way from version 2.
        report.notes.push(format!(
            "config_path of {file} names several folders: containerd 2.1 and newer looks into none of them"
        ));
    } else if folders.len() > 1 && !settings.is_local {
        report.next.push(format!(
            "name one folder alone in config_path of {file}, or set `use_local_image_pull = true` below \
             `[plugins.\"{}\"]`: else containerd 2.1 and newer looks into none of them",
            settings.plugin
        ));
    }
    hosts::plan(found, wanted, &folders, &mut report);
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_names_that_a_shell_would_take() {
        let check = |pattern, name, is| assert_eq!(fits(name, pattern), is, "{pattern} {name}");
        check("*.toml", "a.toml", true);
        check("*.toml", ".toml", true);
        check("*.toml", "a.tom", false);
        check("*.toml", "a.toml.bak", false);
        check("a?.toml", "ab.toml", true);
        check("a?.toml", "a.toml", false);
        check("*", "", true);
        check("a*b*c", "axxbyyc", true);
        check("a*b*c", "axxc", false);
    }
}
