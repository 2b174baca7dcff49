//! containerd's own configuration: whether and where its CRI plugin looks for hosts.toml.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::{
    hosts::{self, Places},
    plan::{Engine, Found, Report, Wanted},
};

const CONFIG: &str = "/etc/containerd/config.toml";
const HOME: &str = "/etc/containerd";
/// Where people put hosts.toml, and where nerdctl looks without being told.
const FOLDER: &str = "/etc/containerd/certs.d";

/// What containerd 2.2 and newer imports without being told.
const DROP_INS: &str = "/etc/containerd/conf.d/*.toml";
/// Where Docker has certificates: since 2.2 a part of the default.
const BESIDE: &str = "/etc/docker/certs.d";

/// What matters of the configuration and of what it imports. containerd 2 merges a plugin's sections of all files, value by
/// value, while containerd 1 takes that of the last file alone; which of them reads it is not known here, so that what
/// either would see counts.
#[derive(Debug, Default)]
struct Settings {
    version: i64,
    /// The name of the plugin that pulls.
    plugin: &'static str,
    /// The folders of config_path.
    folders: Vec<String>,
    /// The last file with that plugin's section, and whether it has a config_path, be it empty.
    file: String,
    has_path: bool,
    /// The file that has config_path, be it empty.
    stated: Option<String>,
    /// A section that containerd does not take together with config_path, and its file.
    legacy: Option<(&'static str, String)>,
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
        for path in files(found) {
            let config = found.toml(&path).transpose()?.unwrap_or_default();
            settings.take(&config, &path);
        }
        Ok(settings)
    }

    fn take(&mut self, config: &Table, file: &str) {
        let version = config.get("version").and_then(Value::as_integer);
        let plugin = version.map_or(self.plugin, plugin);
        let Some(section) = config.get("plugins").and_then(|it| it.get(plugin)) else {
            return;
        };
        let registry = section.get("registry");
        let paths = registry.and_then(|it| it.get("config_path"));
        self.has_path = paths.is_some();
        if let Some(paths) = paths.and_then(Value::as_str) {
            let folders = paths.split(':').filter(|path| path.starts_with('/'));
            let folders: Vec<String> = folders
                .map(|path| path.trim_end_matches('/').to_owned())
                .collect();
            // An empty one takes nothing back where files are merged.
            if !folders.is_empty() || self.folders.is_empty() {
                self.folders = folders;
                self.stated = Some(file.to_owned());
            }
        }
        let has = |key: &str| {
            let table = registry
                .and_then(|it| it.get(key))
                .and_then(Value::as_table);
            table.is_some_and(|it| match key {
                "configs" => it.values().any(|one| one.get("tls").is_some()),
                _ => !it.is_empty(),
            })
        };
        if has("mirrors") {
            self.legacy = Some(("registry.mirrors", file.to_owned()));
        } else if has("configs") {
            self.legacy = Some(("registry.configs with tls", file.to_owned()));
        }
        let is_on = |of: Option<&Value>, key: &str| {
            of.and_then(|it| it.get(key)).and_then(Value::as_bool) == Some(true)
        };
        self.discards |= is_on(Some(section), "discard_unpacked_layers")
            || is_on(section.get("containerd"), "discard_unpacked_layers");
        self.is_local |= self.discards || is_on(Some(section), "use_local_image_pull");
        file.clone_into(&mut self.file);
    }

    fn places(&self) -> Places {
        match (&self.folders[..], &self.stated) {
            ([], stated) => Places {
                folders: vec![FOLDER.to_owned()],
                beside: stated.is_none().then_some(BESIDE),
            },
            (some, _) => Places {
                folders: some.to_vec(),
                beside: None,
            },
        }
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

/// The configuration and what it and its imports import, as far as it is there, in the order in which it counts.
fn files(found: &Found) -> Vec<String> {
    let mut all = told(found);
    let drop_ins = expand(found, DROP_INS).into_iter();
    let drop_ins: Vec<String> = drop_ins.filter(|it| !all.contains(it)).collect();
    all.extend(drop_ins);
    all
}

/// Those that every release reads.
fn told(found: &Found) -> Vec<String> {
    let (mut all, mut next) = (vec![CONFIG.to_owned()], 0);
    while let Some(file) = all.get(next) {
        for path in imports(found, file)
            .into_iter()
            .flat_map(|it| expand(found, &it))
        {
            if found.has(&path) && !all.contains(&path) {
                all.push(path);
            }
        }
        next += 1;
    }
    all
}

/// What `file` imports; relative to its folder.
fn imports(found: &Found, file: &str) -> Vec<String> {
    let config = found.toml(file).and_then(Result::ok).unwrap_or_default();
    let patterns = config.get("imports").and_then(Value::as_array);
    let patterns = patterns.into_iter().flatten().filter_map(Value::as_str);
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let absolute = patterns.map(|pattern| match pattern.starts_with('/') {
        true => pattern.to_owned(),
        false => format!("{folder}/{pattern}"),
    });
    absolute.collect()
}

/// The paths that fit a pattern, whose folders may be patterns too, as far as folders were found.
fn expand(found: &Found, pattern: &str) -> Vec<String> {
    let mut paths = vec![String::new()];
    for part in clean(pattern) {
        // What has no `*` is taken as it is.
        if !pattern.contains('*') || !part.contains(['*', '?']) {
            paths
                .iter_mut()
                .for_each(|path| *path += &format!("/{part}"));
            continue;
        }
        let of = |folder: &String| -> Vec<String> {
            let names = found.names(folder).filter(|name| fits(name, part));
            names.map(|name| format!("{folder}/{name}")).collect()
        };
        paths = paths.iter().flat_map(of).collect();
    }
    paths
}

/// The folders that must be known to expand a pattern, as far as the ones before them are.
fn folders_of(found: &Found, pattern: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut before = String::new();
    for part in clean(pattern) {
        if part.contains(['*', '?']) {
            all.extend(expand(found, &before));
        }
        before += &format!("/{part}");
    }
    all
}

/// The parts of a path, without detours.
fn clean(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
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
    let patterns = files(found).into_iter().flat_map(|it| imports(found, &it));
    for pattern in patterns.chain([DROP_INS.to_owned()]) {
        paths.extend(folders_of(found, &pattern));
        paths.extend(expand(found, &pattern));
    }
    let settings = Settings::read(found).unwrap_or_default();
    hosts::looks(found, wanted, &settings.places(), paths);
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
    if let Some((legacy, file)) = &settings.legacy {
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
    config_path(found, &settings, &mut report);
    hosts::plan(found, wanted, &settings.places(), &mut report);
    Some(report)
}

/// What config_path lacks.
fn config_path(found: &Found, settings: &Settings, report: &mut Report) {
    let (file, section) = (&settings.file, settings.section());
    let stated = settings.stated.as_ref();
    let verb = match settings.has_path {
        true => "set in",
        false => "add to",
    };
    if settings.folders.is_empty() {
        report.config += ", without config_path";
        let version = match found.has(CONFIG) {
            true => "",
            false => "`version = 2` and ",
        };
        report.next.push(format!(
            "{verb} {file}: {version}`config_path = \"{FOLDER}\"` below `{section}`, and restart containerd when it suits; \
             until then Kubernetes does not use the mirror, `ctr --hosts-dir {FOLDER}` and nerdctl do"
        ));
        return;
    }
    let stated = stated.unwrap_or(file);
    if !told(found).contains(stated) {
        report.next.push(format!(
            "add to {CONFIG}: `imports = [\"{DROP_INS}\"]`: containerd before 2.2 does not read {stated} by itself"
        ));
    }
    if settings.version < 3 && stated != file {
        report.next.push(format!(
            "{verb} {file}: `config_path = \"{}\"` below `{section}`: containerd before 2.0 takes this section from the last \
             file alone, not from {stated}",
            settings.folders.join(":"),
        ));
    }
    if settings.folders.len() < 2 {
        return;
    }
    if settings.version < 3 {
        // Tried with 2.1: what keeps version 3 from it is lost on the way from version 2.
        report.notes.push(format!(
            "config_path of {stated} names several folders: containerd 2.1 and newer looks into none of them"
        ));
    } else if !settings.is_local {
        report.next.push(format!(
            "name one folder alone in config_path of {stated}, or set `use_local_image_pull = true` below \
             `[plugins.\"{}\"]`: else containerd 2.1 and newer looks into none of them",
            settings.plugin
        ));
    }
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
