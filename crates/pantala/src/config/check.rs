//! From settings to a [`Config`], or to all that is wrong with them.
//!
//! Within a section every value is read before the first `?`, so that one fault does not hide the next.

use std::{fs, net::SocketAddr, time::Duration};

use daemon::ProofPolicy;
use identity::ExpiryGrace;
use origin::UpstreamProxy;
use types::{ByteCount, HostPattern, RegistryHost, Topology};

use super::{
    Config, ControlConfig, HostConfig, LocalConfig, LogConfig, LogFormat, MirrorConfig,
    OriginLimits, PeerConfig, ProxyConfig, RuntimeConfig, SchedulerConfig, StoreLimits,
    fault::Faults,
    layers::Settings,
    read::{Reader, absolute},
    units,
};
use crate::engines;

/// Shorter, a host would do little else than renew.
const LIFETIME_MIN: Duration = Duration::from_secs(10);
const LIFETIME_MAX: Duration = Duration::from_secs(72 * 3600);

/// Shorter, a client that thinks between two requests would lose its tunnel.
const TUNNEL_IDLE_MIN: Duration = Duration::from_secs(10);

/// The checked configuration.
pub(super) fn check(mut settings: Settings) -> Result<Config, Faults> {
    let faults = std::mem::take(&mut settings.faults);
    let mut reader = Reader { settings, faults };
    let config = config(&mut reader);
    if let Some(config) = &config {
        together(&mut reader, config);
    }
    match config {
        Some(config) if reader.faults.is_empty() => Ok(config),
        _ => Err(Faults(reader.faults)),
    }
}

fn config(from: &mut Reader) -> Option<Config> {
    let version = from.whole("version", 1_u32, 1);
    let host = host(from);
    let peer = peer(from);
    let control = control(from);
    let store = store(from);
    let origin = origin(from);
    let mirror = mirror(from);
    let runtime = runtime(from);
    let proxy = proxy(from);
    let status = from.listener("status.listen");
    let local = local(from);
    let memory_budget = from.must("memory.budget", |text| match text.parse::<ByteCount>() {
        Ok(size) if size < ByteCount::mib(16) => Err("it is 16MiB at least".to_owned()),
        other => other.map_err(|error| error.to_string()),
    });
    let scheduler = scheduler(from);
    let log = log(from);
    let stated = from.settings.stated();
    version?;
    Some(Config {
        host: host?,
        peer: peer?,
        control: control?,
        store: store?,
        origin: origin?,
        mirror: mirror?,
        runtime: runtime?,
        proxy: proxy?,
        status: status?,
        local: local?,
        memory_budget: memory_budget?,
        scheduler: scheduler?,
        log: log?,
        stated,
    })
}

fn host(from: &mut Reader) -> Option<HostConfig> {
    let data_dir = from.path("host.data_dir");
    let topology = from.maybe("host.topology", str::parse::<Topology>);
    let seed = from.flag("host.seed");
    let names = from.list("host.names", |text| {
        listed(text, "every name would be any web page's: list them")
    });
    let stop_timeout = from.duration("host.stop_timeout", Duration::from_secs(1));
    Some(HostConfig {
        data_dir: data_dir?,
        topology: topology?.unwrap_or_default(),
        seed: seed?,
        names: names?,
        stop_timeout: stop_timeout?,
    })
}

fn peer(from: &mut Reader) -> Option<PeerConfig> {
    let listen = from.address("peer.listen");
    let advertise = from.maybe("peer.advertise", str::parse::<SocketAddr>);
    let connections_max = from.whole("peer.connections_max", 8_usize, 4096);
    let slots = from.whole("peer.slots", 1_u8, 16);
    let upload_rate = from.limit("peer.upload_rate");
    let download_rate = from.limit("peer.download_rate");
    Some(PeerConfig {
        listen: listen?,
        advertise: advertise?,
        connections_max: connections_max?,
        slots: slots?,
        upload_rate: upload_rate?,
        download_rate: download_rate?,
    })
}

fn control(from: &mut Reader) -> Option<ControlConfig> {
    let schedulers = from.list("control.schedulers", str::parse);
    let join_token_file = from.maybe("control.join_token_file", absolute);
    let peers = from.list("control.peers", str::parse);
    let expiry_grace = from.must("control.expiry_grace", |text| {
        let time = units::duration(text).map_err(str::to_owned)?;
        ExpiryGrace::new(time).map_err(|error| error.to_string())
    });
    Some(ControlConfig {
        schedulers: schedulers?,
        join_token_file: join_token_file?,
        peers: peers?,
        expiry_grace: expiry_grace?,
    })
}

fn store(from: &mut Reader) -> Option<StoreLimits> {
    let quota = from.maybe("store.quota", |text| match text.parse::<ByteCount>() {
        Ok(size) if size < ByteCount::mib(64) => Err("a quota is 64MiB at least".to_owned()),
        other => other.map_err(|error| error.to_string()),
    });
    let free_floor = from.must("store.free_floor", str::parse);
    let scrub_rate = from.rate("store.scrub_rate");
    Some(StoreLimits {
        quota: quota?,
        free_floor: free_floor?,
        scrub_rate: scrub_rate?.filter(|rate| *rate != ByteCount::ZERO),
    })
}

fn origin(from: &mut Reader) -> Option<OriginLimits> {
    let allow = from.list("origin.allow", str::parse);
    let listed_only = from.flag("origin.listed_only");
    let service_ranges = from.list("origin.service_ranges", str::parse);
    let ca_files = from.list("origin.ca_files", absolute);
    let host_cas = from.list("origin.host_ca_files", str::parse);
    let proxy = upstream_proxy(from);
    let docker_config = from.maybe("origin.docker_config", absolute);
    let lent = from.list("origin.lent_credentials", str::parse);
    let imports = from.list("origin.import_credentials", str::parse);
    let proof_lifetime = from.must("origin.proof_lifetime", |text| {
        match units::duration(text) {
            Ok(long) if long > ProofPolicy::GRANTED_MAX => Err("5min at most"),
            other => other,
        }
    });
    let realms = from.list("origin.realms", str::parse);
    let dropped_parameters = from.list("origin.dropped_parameters", |text| match text {
        "" => Err("a parameter has a name"),
        text => Ok(text.to_owned()),
    });
    let concurrency = from.whole("origin.concurrency", 1_usize, 1024);
    let requests_per_second = from.maybe("origin.requests_per_second", |text| {
        let number = text.parse::<u64>().ok().filter(|number| *number > 0);
        number.ok_or("a whole number from 1 on; unset for no limit")
    });
    let bytes_per_second = from.limit("origin.rate");
    let connect_timeout = from.duration("origin.connect_timeout", Duration::from_secs(1));
    let progress_timeout = from.duration("origin.progress_timeout", Duration::from_secs(1));
    Some(OriginLimits {
        allow: allow?,
        listed_only: listed_only?,
        service_ranges: service_ranges?,
        ca_files: ca_files?,
        host_cas: host_cas?,
        proxy: proxy?,
        docker_config: docker_config?,
        lent: lent?,
        imports: imports?,
        proof_lifetime: proof_lifetime?,
        realms: realms?,
        dropped_parameters: dropped_parameters?,
        concurrency: concurrency?,
        requests_per_second: requests_per_second?,
        bytes_per_second: bytes_per_second?,
        connect_timeout: connect_timeout?,
        progress_timeout: progress_timeout?,
    })
}

fn upstream_proxy(from: &mut Reader) -> Option<Option<UpstreamProxy>> {
    let at = from.maybe("origin.proxy", UpstreamProxy::parse_place);
    let bypass = from.list("origin.proxy_bypass", str::parse);
    let credentials_file = from.maybe("origin.proxy_credentials_file", absolute);
    let (at, bypass, credentials_file) = (at?, bypass?, credentials_file?);
    Some(at.map(|at| UpstreamProxy {
        at,
        bypass,
        credentials_file,
    }))
}

fn mirror(from: &mut Reader) -> Option<MirrorConfig> {
    let listen = from.listener("mirror.listen");
    let registries = from.list("mirror.registries", str::parse);
    let default_registry = from.must("mirror.default_registry", |text| match text {
        "off" => Ok(None),
        text => text.parse::<RegistryHost>().map(Some),
    });
    let any_registry = from.flag("mirror.any_registry");
    let fill = from.flag("mirror.fill");
    let stale_if_error = from.maybe("mirror.stale_if_error", units::duration);
    Some(MirrorConfig {
        listen: listen?,
        registries: registries?,
        default_registry: default_registry?,
        any_registry: any_registry?,
        fill: fill?,
        stale_if_error: stale_if_error?,
    })
}

fn runtime(from: &mut Reader) -> Option<RuntimeConfig> {
    let manage = from.flag("runtime.manage");
    let root = from.path("runtime.root");
    let registries = from.list("runtime.registries", |text| {
        let is_one = engines::is_registry(text);
        is_one
            .then(|| text.to_owned())
            .ok_or("a registry is HOST, HOST:PORT or _default")
    });
    let digests_only = from.flag("runtime.digests_only");
    let probe = from.maybe("runtime.probe", str::parse);
    Some(RuntimeConfig {
        manage: manage?,
        root: root?,
        registries: registries?,
        digests_only: digests_only?,
        probe: probe?,
    })
}

fn proxy(from: &mut Reader) -> Option<ProxyConfig> {
    let listen = from.listener("proxy.listen");
    let rules = from.list("proxy.rules", str::parse);
    let clients = from.list("proxy.clients", str::parse);
    let ports = from.list("proxy.ports", |text| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err("a port is a number from 1 to 65535"),
        Ok(port) => Ok(port),
    });
    let tunnel_idle = from.must("proxy.tunnel_idle_timeout", |text| {
        match units::duration(text) {
            Ok(time) if time < TUNNEL_IDLE_MIN => Err("10s at least"),
            other => other,
        }
    });
    let intercept = from.list("proxy.intercept", |text| {
        listed(text, "nobody may speak for every host: list them")
    });
    Some(ProxyConfig {
        listen: listen?,
        rules: rules?,
        clients: clients?,
        ports: ports?,
        tunnel_idle: tunnel_idle?,
        intercept: intercept?,
    })
}

fn local(from: &mut Reader) -> Option<LocalConfig> {
    let uid = |text: &str| text.parse::<u32>().map_err(|_| "a user's number");
    let socket = from.path("local.socket");
    let group = from.maybe("local.group", group_number);
    let allow_uids = from.list("local.allow_uids", uid);
    let manage_uids = from.list("local.manage_uids", uid);
    Some(LocalConfig {
        socket: socket?,
        group: group?,
        allow_uids: allow_uids?,
        manage_uids: manage_uids?,
    })
}

fn scheduler(from: &mut Reader) -> Option<SchedulerConfig> {
    let listen = from.address("scheduler.listen");
    let advertised = from.list("scheduler.advertised", str::parse);
    let status = from.listener("scheduler.status");
    let ca_dir = from.path("scheduler.ca_dir");
    let cluster = from.must("scheduler.cluster", str::parse);
    let certificate_lifetime =
        from.must(
            "scheduler.certificate_lifetime",
            |text| match units::duration(text).map_err(str::to_owned)? {
                time if time < LIFETIME_MIN => Err("certificates live for 10s at least".to_owned()),
                time if time > LIFETIME_MAX => Err("certificates live for 72h at most".to_owned()),
                time => Ok(time),
            },
        );
    Some(SchedulerConfig {
        listen: listen?,
        advertised: advertised?,
        status: status?,
        ca_dir: ca_dir?,
        cluster: cluster?,
        certificate_lifetime: certificate_lifetime?,
    })
}

fn log(from: &mut Reader) -> Option<LogConfig> {
    let format = from.must("log.format", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("a format is text or json"),
    });
    let level = from.must("log.level", |text| {
        let filter = tracing_subscriber::EnvFilter::builder().parse(text);
        filter
            .map(|_| text.to_owned())
            .map_err(|_| "a level is error, warn, info, debug or trace, or a filter such as info,store=debug")
    });
    Some(LogConfig {
        format: format?,
        level: level?,
    })
}

/// What single values cannot know of each other.
fn together(from: &mut Reader, config: &Config) {
    let listeners = [
        ("peer.listen", Some(config.peer.listen)),
        ("status.listen", config.status),
        ("mirror.listen", config.mirror.listen),
        ("proxy.listen", config.proxy.listen),
    ];
    for (at, (key, address)) in listeners.iter().enumerate() {
        let Some(address) = address else { continue };
        let taken = listeners[..at]
            .iter()
            .find(|(_, other)| other.is_some_and(|other| collide(other, *address)));
        if let Some((other, _)) = taken {
            from.fault(key, format!("{address} is the port of {other} too"));
        }
    }
    if let Some(status) = config.scheduler.status
        && collide(config.scheduler.listen, status)
    {
        from.fault(
            "scheduler.status",
            format!("{status} is the port of scheduler.listen too"),
        );
    }
    if config.runtime.manage && config.mirror.listen.and_then(engines::local).is_none() {
        from.fault(
            "runtime.manage",
            "engines are pointed only at a mirror on loopback, and mirror.listen is none",
        );
    }
    if config.origin.listed_only && config.origin.allow.is_empty() {
        from.fault(
            "origin.listed_only",
            "no origin is listed in origin.allow: nothing could ever be read",
        );
    }
}

/// Whether nobody could listen at both. Port 0 is another one each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let anywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (anywhere || one.ip() == other.ip())
}

/// Hosts by name or domain; `no` is why they may not be all.
fn listed(text: &str, no: &str) -> Result<HostPattern, String> {
    let hosts: HostPattern = text.parse().map_err(|error| format!("{error}"))?;
    match hosts.domain() {
        Some(_) => Ok(hosts),
        None => Err(no.to_owned()),
    }
}

/// The number of a group that is given by name or number, from /etc/group.
fn group_number(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(text)).then(|| fields.nth(1)?.parse().ok())?
    });
    named
        .ok_or_else(|| "there is no such group in /etc/group; a number is taken as well".to_owned())
}
