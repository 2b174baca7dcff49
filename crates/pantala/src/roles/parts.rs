//! From the checked configuration to what a daemon takes.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use daemon::{
    Metrics, ProofPolicy,
    config::{Config as DaemonConfig, Limits, Local, Memory, Mirror, Proxy, Started},
};
use gateway::{
    local::{Access, Allowed, SettingReport},
    mirror::Registries,
    proxy::Rules,
};
use identity::Identity;
use origin::{Budget, OriginConfig, Patience};
use scheduler::MayAdvertise;
use store::StoreConfig;
use swarm::{download::DownloadPolicy, upload::UploadPolicy};

use super::identity_dir;
use crate::config::Config;

/// Which addresses the hosts of a cluster may name; `own` is that of a daemon in the scheduler's own process.
pub(super) fn may_advertise(config: &Config, own: Option<SocketAddr>) -> MayAdvertise {
    let advertised = config.scheduler.advertised.clone();
    Arc::new(move |address| {
        own.is_some_and(|own| own.ip() == address)
            || advertised.iter().any(|network| network.contains(address))
    })
}

/// A daemon that is `identity`.
pub(super) fn daemon(config: &Config, identity: Identity) -> DaemonConfig {
    DaemonConfig {
        identity,
        identity_dir: identity_dir(config),
        expiry_grace: config.control.expiry_grace,
        is_seed: config.host.seed,
        topology: config.host.topology.clone(),
        peer: config.peer.listen,
        schedulers: config
            .control
            .schedulers
            .iter()
            .map(ToString::to_string)
            .collect(),
        peers: config
            .control
            .peers
            .iter()
            .map(ToString::to_string)
            .collect(),
        store: store(config),
        scrub_rate: config.store.scrub_rate,
        origin: origin(config),
        mirror: mirror(config),
        proxy: proxy(config),
        status: config.status,
        local: Some(local(config)),
        limits: limits(config),
        advertise: config.peer.advertise.into_iter().collect(),
        metrics: Metrics::default(),
        name: name(),
        names: config.host.names.iter().cloned().collect(),
        started: started(config),
    }
}

fn started(config: &Config) -> Started {
    let settings = config.stated.iter().map(|stated| SettingReport {
        key: stated.key.to_owned(),
        value: stated.value.clone(),
        from: stated.place.to_string(),
    });
    Started {
        command: "daemon".into(),
        settings: settings.collect(),
        log: Some(crate::logs::kept),
    }
}

fn limits(config: &Config) -> Limits {
    let slots = config.peer.slots;
    Limits {
        upload: UploadPolicy {
            slots,
            ..UploadPolicy::default()
        },
        download: DownloadPolicy {
            slots,
            ..DownloadPolicy::default()
        },
        upload_rate: config.peer.upload_rate,
        download_rate: config.peer.download_rate,
        memory: Memory::within(config.memory_budget),
        connections: config.peer.connections_max,
        proofs: ProofPolicy::of(config.origin.proof_lifetime),
    }
}

/// The door to the outside, as the daemon has it.
pub(crate) fn origin(config: &Config) -> OriginConfig {
    let limits = &config.origin;
    OriginConfig {
        origins: limits.allow.clone(),
        listed_only: limits.listed_only,
        service_ranges: limits.service_ranges.clone(),
        ca_files: limits.ca_files.clone(),
        host_cas: limits.host_cas.clone(),
        proxy: limits.proxy.clone(),
        patience: Patience {
            connect: limits.connect_timeout,
            progress: limits.progress_timeout,
        },
        budget: Budget {
            concurrency: limits.concurrency,
            requests_per_second: limits.requests_per_second,
            bytes_per_second: limits.bytes_per_second,
            wait_max: limits.progress_timeout,
            ..Budget::default()
        },
        dropped_parameters: limits.dropped_parameters.clone(),
        docker_config: limits.docker_config.clone(),
        lent: limits.lent.clone(),
        imports: limits.imports.clone(),
        realms: limits.realms.clone(),
        ..OriginConfig::default()
    }
}

fn store(config: &Config) -> StoreConfig {
    StoreConfig {
        quota: config.store.quota,
        free_floor: config.store.free_floor,
        ..StoreConfig::new(config.host.data_dir.join("store"))
    }
}

fn mirror(config: &Config) -> Option<Mirror> {
    let mirror = &config.mirror;
    Some(Mirror {
        listen: mirror.listen?,
        registries: Registries {
            known: mirror.registries.clone(),
            default: mirror.default_registry.clone(),
            any: mirror.any_registry,
        },
        fill: mirror.fill,
        stale_if_error: mirror.stale_if_error,
    })
}

fn proxy(config: &Config) -> Option<Proxy> {
    let proxy = &config.proxy;
    let clients = proxy.clients.clone();
    Some(Proxy {
        listen: proxy.listen?,
        rules: Rules::new(proxy.rules.clone()),
        admits: Arc::new(move |address| clients.iter().any(|network| network.contains(address))),
        ports: proxy.ports.clone(),
        tunnel_idle: proxy.tunnel_idle,
        intercepted: proxy.intercept.clone(),
        interception_dir: interception_dir(config),
    })
}

/// Where the authority is kept in whose name the proxy speaks for others.
pub(crate) fn interception_dir(config: &Config) -> PathBuf {
    config.host.data_dir.join("interception")
}

fn local(config: &Config) -> Local {
    Local {
        path: config.local.socket.clone(),
        group: config.local.group,
        access: access(config),
    }
}

/// Who may do what over the local socket.
fn access(config: &Config) -> Access {
    let mut access = Access::default();
    if let Allowed::Users(users) = &mut access.manage {
        users.extend(&config.local.manage_uids);
    }
    if !config.local.allow_uids.is_empty() {
        // Who may manage may read as well.
        let mut users = config.local.allow_uids.iter().copied().collect();
        if let Allowed::Users(managers) = &access.manage {
            users = &users | managers;
        }
        access.read = Allowed::Users(users);
    }
    access
}

/// What people call this machine.
fn name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_name_what_is_listed_and_up_its_own_address() {
        let config = Config::of_flags(&[
            ("scheduler.advertised", "10.0.0.0/8"),
            ("peer.advertise", "192.168.1.2:7470"),
        ]);
        let may =
            |own, address: &str| may_advertise(&config, own)(address.parse().expect("an address"));
        assert!(may(None, "10.1.2.3"));
        assert!(!may(None, "192.168.1.2"));
        assert!(may(config.peer.advertise, "192.168.1.2"));
        assert!(!may(config.peer.advertise, "192.168.1.3"));
    }
}
