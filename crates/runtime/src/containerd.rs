//! containerd: one `hosts.toml` for each registry, below the `config_path` of its CRI plugin.

use toml::{Table, Value};

use crate::plan::{Engine, Found, MARK, Report, Wanted};

pub(crate) const CONFIG: &str = "/etc/containerd/config.toml";
/// k3s and RKE2 write containerd's files anew at each start, from this.
pub(crate) const RANCHER: [(&str, &str); 2] =
    [("k3s", "/etc/rancher/k3s"), ("rke2", "/etc/rancher/rke2")];
const FOLDER: &str = "/etc/containerd/certs.d";
/// Systems that make these files from their own settings, and where those are.
const MANAGED: [(&str, &str); 2] = [
    ("bottlerocket", "settings.container-registry.mirrors"),
    (
        "talos",
        "machine.registries.mirrors of the machine configuration",
    ),
];

pub(crate) fn report(found: &Found, wanted: &Wanted) -> Option<Report> {
    if let Some((name, folder)) = RANCHER.iter().find(|(_, folder)| found.has(folder)) {
        return Some(rancher(found, wanted, name, folder));
    }
    let release = found
        .text("/etc/os-release")
        .and_then(Result::ok)
        .unwrap_or("");
    let managed = MANAGED.iter().find(|(id, _)| {
        release
            .lines()
            .any(|line| line.strip_prefix("ID=").map(|it| it.trim_matches('"')) == Some(id))
    });
    if let Some((id, setting)) = managed {
        let mut report = Report::new(Engine::Containerd, format!("made by {id}"));
        report.next.push(format!(
            "{id} makes containerd's files: put http://{} first into {setting}",
            wanted.mirror
        ));
        return Some(report);
    }
    if !found.has(CONFIG) && !found.has("/etc/containerd") {
        return None;
    }
    Some(plain(found, wanted))
}

fn rancher(found: &Found, wanted: &Wanted, name: &str, folder: &str) -> Report {
    let path = format!("{folder}/registries.yaml");
    let mut report = Report::new(Engine::Containerd, format!("made by {name}"));
    let verb = if found.has(&path) { "add to" } else { "make" };
    for registry in &wanted.registries {
        let registry = if registry == "_default" {
            "\"*\""
        } else {
            registry
        };
        report.next.push(format!(
            "{verb} {path}: `mirrors: {{ {registry}: {{ endpoint: [\"http://{}\"] }} }}`; {name} reads it at its next start",
            wanted.mirror
        ));
    }
    report
}

fn plain(found: &Found, wanted: &Wanted) -> Report {
    let config = match found.toml(CONFIG) {
        None => Table::new(),
        Some(Ok(config)) => config,
        Some(Err(why)) => {
            let mut report = Report::new(Engine::Containerd, "not understood");
            report.conflicts.push(why);
            report.next.push(format!("mend {CONFIG}, then try again"));
            return report;
        }
    };
    let version = config
        .get("version")
        .and_then(Value::as_integer)
        .unwrap_or(1);
    let mut report = Report::new(Engine::Containerd, format!("version {version}"));
    let plugin = match version {
        ..=2 => "io.containerd.grpc.v1.cri",
        _ => "io.containerd.cri.v1.images",
    };
    let settings = config.get("plugins").and_then(|it| it.get(plugin));
    let registry = settings.and_then(|it| it.get("registry"));
    if registry
        .and_then(|it| it.get("mirrors"))
        .and_then(Value::as_table)
        .is_some_and(|it| !it.is_empty())
    {
        report.conflicts.push(format!(
            "{CONFIG} has registry.mirrors, with which containerd reads no hosts.toml"
        ));
        report.next.push(format!(
            "move [plugins.\"{plugin}\".registry.mirrors] of {CONFIG} into hosts.toml files"
        ));
        return report;
    }
    if discards(&config) {
        report.conflicts.push(format!(
            "{CONFIG} has discard_unpacked_layers: images cannot be exported from containerd; the mirror keeps its own copy"
        ));
    }
    let paths = registry
        .and_then(|it| it.get("config_path"))
        .and_then(Value::as_str)
        .unwrap_or("");
    // Several folders are read in order; the first that has a registry's folder counts.
    let folder = match paths.split(':').find(|path| path.starts_with('/')) {
        Some(first) => first.trim_end_matches('/'),
        None => {
            report.config += ", without config_path";
            let imports = if config.contains_key("imports") {
                " (or in a file that it imports)"
            } else {
                ""
            };
            report.next.push(format!(
                "add to {CONFIG}{imports}, below [plugins.\"{plugin}\".registry]: `config_path = \"{FOLDER}\"`, and restart \
                 containerd when it suits; until then Kubernetes does not use the mirror, `ctr --hosts-dir` does"
            ));
            FOLDER
        }
    };
    hosts(found, wanted, (version, folder), &mut report);
    report
}

fn hosts(found: &Found, wanted: &Wanted, (version, folder): (i64, &str), report: &mut Report) {
    for registry in &wanted.registries {
        // A port is part of the folder's name as it is (containerd also knows `host_port_`).
        let path = format!("{folder}/{registry}/hosts.toml");
        let content = hosts_toml(wanted, registry, version);
        if !report.own(found, path.clone(), content) {
            report.next.push(format!(
                "put into {path}, before other hosts: `[host.\"http://{}\"]` with `capabilities = [\"pull\", \"resolve\"]`",
                wanted.mirror
            ));
        }
    }
}

fn discards(config: &Table) -> bool {
    let plugins = config.get("plugins").and_then(Value::as_table);
    let mut plugins = plugins.into_iter().flat_map(Table::values);
    plugins.any(|it| {
        let nested = it.get("containerd").unwrap_or(it);
        nested
            .get("discard_unpacked_layers")
            .and_then(Value::as_bool)
            == Some(true)
    })
}

fn hosts_toml(wanted: &Wanted, registry: &str, version: i64) -> String {
    // Without `server` containerd takes the registry itself, the one right answer for `_default` and for plain HTTP.
    let server = match registry {
        "docker.io" => "server = \"https://registry-1.docker.io\"\n".to_owned(),
        "_default" => String::new(),
        _ if registry.starts_with("localhost") || registry.starts_with("127.") => String::new(),
        _ => format!("server = \"https://{registry}\"\n"),
    };
    // Older releases do not know it; on loopback a mirror that is gone refuses at once.
    let dial = if version >= 3 {
        "  dial_timeout = \"3s\"\n"
    } else {
        ""
    };
    format!(
        "{MARK}\n{server}\n[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n{dial}",
        wanted.mirror
    )
}
