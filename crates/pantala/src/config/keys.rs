//! Every key, once. The reference page, the default file and `config explain` are made from this list; a test keeps
//! docs/configuration.md equal to it.

use super::key::{Key, Kind};

/// The sections in the order of the file, and what each is about.
pub(crate) const SECTIONS: [(&str, &str); 14] = [
    ("", "The file itself."),
    (
        "host",
        "This host: where it keeps things, where it stands, what it may be.",
    ),
    ("peer", "Exchanging pieces with other hosts."),
    (
        "control",
        "Finding and joining a cluster. Without any of it, a daemon works alone.",
    ),
    ("store", "Content on disk."),
    (
        "origin",
        "The door to the outside: which origins may be asked, and how much.",
    ),
    ("mirror", "The registry mirror for container runtimes."),
    (
        "runtime",
        "Pointing this host's container engines at the mirror: `pantala runtime`, and the daemon by itself.",
    ),
    (
        "proxy",
        "The forward proxy for clients that know no mirror, such as apt, pip and git: docs/proxy.md.",
    ),
    ("status", "Metrics and health over HTTP."),
    (
        "local",
        "The unix socket of `pantala get` and the other client commands.",
    ),
    ("memory", "Bounds on memory."),
    (
        "scheduler",
        "For `pantala scheduler` and `pantala up`; a daemon ignores it.",
    ),
    ("log", "What is logged, and how. Logs go to standard error."),
];

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        default: Some(default),
        ..unset(name, kind, "", doc)
    }
}

const fn unset(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    let default = None;
    Key {
        name,
        kind,
        default,
        example,
        doc,
    }
}

const fn list(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key {
        default: Some("[]"),
        ..unset(name, kind, example, doc)
    }
}

/// Every key, by section, in the order of the reference.
pub(crate) const KEYS: &[Key] = &[
    key(
        "version",
        Kind::Whole,
        "1",
        "The version of this format. Only 1 exists.",
    ),
    key(
        "host.data_dir",
        Kind::Path,
        "\"/var/lib/pantala\"",
        "Content, keys and certificate live here. It must belong to the daemon's user alone (mode 0700); a link is refused.",
    ),
    unset(
        "host.topology",
        Kind::Text,
        "\"eu-west/zone-a/rack-12\"",
        "Where the host stands: REGION/ZONE/RACK, later parts optional. Near hosts are preferred. Unset: all hosts count as near.",
    ),
    key(
        "host.seed",
        Kind::Flag,
        "false",
        "Whether this host takes the seed role: it is preferred for reading origins. Its certificate must allow it (a join token of role seed).",
    ),
    key(
        "host.stop_timeout",
        Kind::Duration,
        "\"20s\"",
        "How long leaving may take: say goodbye, finish what is in flight, sync. After it, or on a second signal, the process ends at once.",
    ),
    list(
        "host.names",
        Kind::Texts,
        "[\"node7.corp\", \"*.nodes.corp\"]",
        "Names by which clients may ask this host's mirror, status page and proxy for what is its own, beside its addresses and `localhost`: HOST or *.DOMAIN, with :PORT or without. Asked by any other name it answers 421: a web page could have led a name of its own here.",
    ),
    key(
        "peer.listen",
        Kind::Address,
        "\"[::]:7470\"",
        "Where other hosts reach this one, over mutual TLS.",
    ),
    unset(
        "peer.advertise",
        Kind::Address,
        "\"10.0.0.17:7470\"",
        "The address that others are told. The scheduler's `scheduler.advertised` must list it, unless it is that of `pantala up`. Unset, or not listed: the address from which this host reaches its scheduler, with the port of `peer.listen`; on the scheduler's own machine, the address at which others reach that.",
    ),
    key(
        "peer.connections_max",
        Kind::Whole,
        "256",
        "Links to other hosts at once, 8 to 4096. The idle one that was used longest ago gives way to a new one; while pieces pass over all of them, more are refused.",
    ),
    key(
        "peer.slots",
        Kind::Whole,
        "2",
        "Transfers at once in each direction, 1 to 16. Two are the measured best; more help only where a link stays idle.",
    ),
    unset(
        "peer.upload_rate",
        Kind::Rate,
        "\"100MB/s\"",
        "Bytes sent to other hosts per second at most. Unset: no limit.",
    ),
    unset(
        "peer.download_rate",
        Kind::Rate,
        "\"1Gbit\"",
        "Bytes of content fetched from other hosts per second at most, over all of them. Unset: no limit.",
    ),
    list(
        "control.schedulers",
        Kind::Texts,
        "[\"scheduler.corp:7480\", \"10.0.0.2:7480\"]",
        "The cluster's schedulers as HOST:PORT, the preferred one first.",
    ),
    unset(
        "control.join_token_file",
        Kind::Path,
        "\"/etc/pantala/join-token\"",
        "A file with the join token (`pantala token create`). Needed once, until the host has its certificate.",
    ),
    list(
        "control.peers",
        Kind::Texts,
        "[\"10.0.0.17:7470\", \"10.0.0.18:7470\"]",
        "Hosts of the cluster as HOST:PORT, to ask while no scheduler answers.",
    ),
    key(
        "control.expiry_grace",
        Kind::Duration,
        "\"0s\"",
        "How long expired certificates are still taken, for outages of the scheduler beyond 72 h; 72h at most.",
    ),
    unset(
        "store.quota",
        Kind::Size,
        "\"200GiB\"",
        "What content may take on disk. Unset: only `store.free_floor` limits it.",
    ),
    key(
        "store.free_floor",
        Kind::Size,
        "\"1GiB\"",
        "What stays free on the file system, whatever the quota says.",
    ),
    key(
        "store.scrub_rate",
        Kind::Rate,
        "\"10MB/s\"",
        "How fast stored content is checked again in the background; 0MB/s turns it off.",
    ),
    list(
        "origin.allow",
        Kind::Texts,
        "[\"registry.corp:5000\", \"http://files.corp:8080\"]",
        "Origins listed by name: HOST[:PORT] for https, http://HOST[:PORT] for plain text. Only listed origins may be private addresses or plain text.",
    ),
    key(
        "origin.listed_only",
        Kind::Flag,
        "false",
        "Whether nothing but `origin.allow` may be asked.",
    ),
    list(
        "origin.service_ranges",
        Kind::Texts,
        "[\"10.96.0.0/12\"]",
        "Where the cluster has its inner services, such as 10.96.0.0/12: an origin at such an address is refused unless the address with its port is itself in `origin.allow`.",
    ),
    list(
        "origin.ca_files",
        Kind::Paths,
        "[\"/etc/pantala/corp-ca.pem\"]",
        "PEM files with certificate authorities to trust beside the system's.",
    ),
    list(
        "origin.host_ca_files",
        Kind::Texts,
        "[\"*.corp=/etc/pantala/corp-ca.pem\"]",
        "PEM files with the authorities of some hosts, HOST[:PORT]=FILE or *.DOMAIN[:PORT]=FILE; the first that matches counts, and for its hosts no other authority does.",
    ),
    unset(
        "origin.proxy",
        Kind::Text,
        "\"http://proxy.corp:3128\"",
        "Somebody else's proxy through which origins are reached: by CONNECT for https and tunnels, with whole URLs for plain text. It looks names up itself, so only what is in `origin.allow` is asked for through it. This host itself is never reached through it. HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment are not read.",
    ),
    list(
        "origin.proxy_bypass",
        Kind::Texts,
        "[\"*.corp\", \"10.0.0.0/8\"]",
        "Origins that are reached without `origin.proxy`: HOST or *.DOMAIN, with :PORT or without, or ADDRESS/BITS for those that are named by an address.",
    ),
    unset(
        "origin.proxy_credentials_file",
        Kind::Path,
        "\"/etc/pantala/proxy-credentials\"",
        "A file with USER:PASSWORD for `origin.proxy` (Basic).",
    ),
    unset(
        "origin.docker_config",
        Kind::Path,
        "\"/etc/pantala/docker.json\"",
        "A docker config.json with registry credentials, or with credential helpers, which are run as this process is. They are used for the registries of the next two keys alone, and never leave this host.",
    ),
    list(
        "origin.lent_credentials",
        Kind::Texts,
        "[\"registry.corp:5000\"]",
        "Registries whose credentials in `origin.docker_config` everybody acts with who asks this host's mirror, proxy or socket and shows none: all of them may then have what this host may have there.",
    ),
    list(
        "origin.import_credentials",
        Kind::Texts,
        "[\"registry.corp:5000\"]",
        "Registries whose credentials in `origin.docker_config` this host reads private content with for other hosts, as a seed does. Their callers show their own rights.",
    ),
    key(
        "origin.proof_lifetime",
        Kind::Duration,
        "\"5min\"",
        "How long the origin's word counts that a caller may have private content, 0s to 5min: who loses his rights there gets nothing here after that.",
    ),
    list(
        "origin.realms",
        Kind::Texts,
        "[\"registry.corp=auth.corp\"]",
        "Hosts beside the registries themselves that their stored credentials may be sent to for a token: REGISTRY=REALM-HOST.",
    ),
    list(
        "origin.dropped_parameters",
        Kind::Texts,
        "[\"session\"]",
        "URL parameters that only prove who asks and do not tell contents apart, beside the known ones of S3, GCS and Azure.",
    ),
    key(
        "origin.concurrency",
        Kind::Whole,
        "32",
        "Requests at once towards one origin, 1 to 1024.",
    ),
    unset(
        "origin.requests_per_second",
        Kind::Whole,
        "50",
        "Requests begun per second towards one origin. Unset: no limit.",
    ),
    unset(
        "origin.rate",
        Kind::Rate,
        "\"250MB/s\"",
        "Bytes read per second from one origin. Unset: no limit.",
    ),
    key(
        "origin.connect_timeout",
        Kind::Duration,
        "\"5s\"",
        "For a name lookup, for each connection attempt, for a TLS handshake.",
    ),
    key(
        "origin.progress_timeout",
        Kind::Duration,
        "\"20s\"",
        "For a place within the limits above, for an answer to begin, and between two chunks of it. A whole transfer has no limit.",
    ),
    key(
        "mirror.listen",
        Kind::Listener,
        "\"127.0.0.1:7472\"",
        "Where container runtimes reach the mirror. Plain HTTP: keep it on loopback. `off`: no mirror.",
    ),
    list(
        "mirror.registries",
        Kind::Texts,
        "[\"registry.corp:5000\", \"quay.io\"]",
        "Registries that a path may begin with: /v2/HOST/NAME/..., for clients that cannot say `?ns=`.",
    ),
    key(
        "mirror.default_registry",
        Kind::Text,
        "\"docker.io\"",
        "The registry of clients that name none, such as Docker's registry-mirrors. `off`: such requests are refused.",
    ),
    key(
        "mirror.any_registry",
        Kind::Flag,
        "true",
        "Whether `?ns=` may name a registry that is not in `mirror.registries`. The rules of `origin` hold anyway.",
    ),
    key(
        "mirror.fill",
        Kind::Flag,
        "false",
        "Whether who reads parts of a blob, as lazy snapshotters do, has the rest of it fetched behind them. Without it only the pieces that are read come.",
    ),
    unset(
        "mirror.stale_if_error",
        Kind::Duration,
        "\"24h\"",
        "How old what a tag meant may be that is served while its registry fails (no answer, or a 5xx; never after 401, 403 or 404), and only with all that it leads to. The answer says its `Age`. Unset: a tag is the registry's own word, or an error.",
    ),
    key(
        "runtime.manage",
        Kind::Flag,
        "false",
        "Whether the daemon does what `pantala runtime apply` does once its mirror has proved itself, and `undo` before it stops. It must be allowed to write there: see docs/runtimes.md.",
    ),
    key(
        "runtime.root",
        Kind::Path,
        "\"/\"",
        "The folder that the host's files are below; in a container, where the host's root is mounted.",
    ),
    list(
        "runtime.registries",
        Kind::Texts,
        "[\"docker.io\", \"_default\"]",
        "Registries that engines are pointed at the mirror for; `_default` is all others, for engines that can say so. Empty: those that the mirror serves.",
    ),
    key(
        "runtime.digests_only",
        Kind::Flag,
        "false",
        "Whether engines ask the mirror only for what a digest names, and the registries themselves what a tag names: while no daemon runs, any user of the host may take the mirror's port. Podman then pulls what a tag names without the mirror, and Docker, k3s, RKE2, Talos and Bottlerocket are not pointed at it.",
    ),
    unset(
        "runtime.probe",
        Kind::Text,
        "\"registry.corp/base/pause:3.9\"",
        "A small image that the mirror must have served before engines are pointed at it. Unset: one of the registries by name must answer through it.",
    ),
    key(
        "proxy.listen",
        Kind::Listener,
        "\"off\"",
        "Where clients reach the proxy (HTTP_PROXY, HTTPS_PROXY), such as 127.0.0.1:7473. Plain HTTP: keep it on loopback. `off`: no proxy.",
    ),
    list(
        "proxy.rules",
        Kind::Texts,
        "[\"deb.debian.org/debian/pool/** content\", \"*.corp/private/** direct\"]",
        "What is done with which requests, the first that matches: HOST[:PORT][/PATH] ACTION [OPTION]... HOST may be *.DOMAIN or *; in PATH * is a part of a segment, ** anything. ACTION is content (through the swarm where it can be), registry (manifests and blobs as the mirror gives them), direct (as it is, like all that no rule matches) or refuse. Options: kind=blob|manifest|file, and for content ignore=NAME,NAME (query parameters that tell no contents apart), tag=NAME, application=NAME, priority=0 to 6, prefetch=true. `pantala config match URL` tries them.",
    ),
    key(
        "proxy.clients",
        Kind::Texts,
        "[\"127.0.0.0/8\", \"::1/128\"]",
        "From which addresses the proxy may be asked.",
    ),
    list(
        "proxy.ports",
        Kind::Wholes,
        "[8443]",
        "Ports beside 443 that CONNECT may lead to. Hosts in `origin.allow` are reached at their own.",
    ),
    key(
        "proxy.tunnel_idle_timeout",
        Kind::Duration,
        "\"5min\"",
        "A tunnel through which no byte comes in either direction for so long ends, 10s at least.",
    ),
    list(
        "proxy.intercept",
        Kind::Texts,
        "[\"*.hf.co\", \"files.corp:8443\"]",
        "Hosts whose TLS is opened, so that rules reach what is within: HOST or *.DOMAIN, with :PORT or without. Empty: nobody's. Clients must trust this machine's own authority: `pantala proxy ca`.",
    ),
    key(
        "status.listen",
        Kind::Listener,
        "\"127.0.0.1:7471\"",
        "Where /metrics, /healthz and /readyz are. `off`: nowhere.",
    ),
    key(
        "local.socket",
        Kind::Path,
        "\"/run/pantala/pantala.sock\"",
        "The socket. Its owner and its group may connect.",
    ),
    unset(
        "local.group",
        Kind::Text,
        "\"pantala\"",
        "The group, by name or number, that may connect. Unset: the daemon's own.",
    ),
    list(
        "local.allow_uids",
        Kind::Wholes,
        "[1000, 1001]",
        "Users that may read content. Empty: whoever can connect.",
    ),
    list(
        "local.manage_uids",
        Kind::Wholes,
        "[1000]",
        "Users beside root and the daemon's own that may remove content and change the bypass.",
    ),
    key(
        "memory.budget",
        Kind::Size,
        "\"96MiB\"",
        "What content on its way may take, 16MiB at least: a quarter for sending to other hosts, a quarter for answers of the mirror (one per 256KiB; more are told 503), a twelfth for manifests that the mirror keeps, the rest for what comes from other hosts. Reading origins and the process itself take some more.",
    ),
    key(
        "scheduler.listen",
        Kind::Address,
        "\"[::]:7480\"",
        "Where hosts reach the scheduler, over mutual TLS. Another port than `peer.listen`, so that a daemon fits beside it.",
    ),
    list(
        "scheduler.advertised",
        Kind::Texts,
        "[\"10.0.0.0/8\"]",
        "Where hosts may stand by their own word (`peer.advertise`). A host that names another address is told to others at the one it calls from: whoever has a certificate could send the cluster's hosts to dial whatever it likes.",
    ),
    key(
        "scheduler.status",
        Kind::Listener,
        "\"127.0.0.1:7481\"",
        "Where the scheduler's /metrics, /healthz and /readyz are. `off`: nowhere. `pantala up` has `status.listen` for both.",
    ),
    key(
        "scheduler.ca_dir",
        Kind::Path,
        "\"/var/lib/pantala-scheduler\"",
        "The cluster's authority: its key, token hashes and revocations. The only state of a cluster to back up.",
    ),
    key(
        "scheduler.cluster",
        Kind::Text,
        "\"pantala\"",
        "The cluster's name: 1 to 40 of a-z, 0-9 and '-'. It cannot change once the authority exists.",
    ),
    key(
        "scheduler.certificate_lifetime",
        Kind::Duration,
        "\"72h\"",
        "How long hosts' certificates are good for, 10s to 72h; each is renewed at a third of it. With less a host is out sooner that is neither revoked nor renewed, and a scheduler may be away for less.",
    ),
    key(
        "log.format",
        Kind::Text,
        "\"text\"",
        "`text` for people, `json` for programs: one object per line.",
    ),
    key(
        "log.level",
        Kind::Text,
        "\"info\"",
        "`error`, `warn`, `info`, `debug` or `trace`, or a filter such as \"info,store=debug\".",
    ),
];

/// The key called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_belongs_to_a_section_and_has_something_to_show() {
        for key in KEYS {
            let section = key.section();
            assert!(
                SECTIONS.iter().any(|(name, _)| *name == section),
                "{}",
                key.name
            );
            assert!(
                !key.shown().is_empty() && key.doc.ends_with('.'),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn no_two_keys_share_a_name_or_a_variable() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(
                KEYS[..at]
                    .iter()
                    .all(|other| other.variable() != key.variable()),
                "{}",
                key.name
            );
        }
    }
}
