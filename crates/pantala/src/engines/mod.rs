//! Pointing the container engines of this host at the mirror: what is wanted by the configuration, the proof that the
//! mirror serves, and the daemon's own care for it.

mod manage;
mod probe;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use runtime::{ApplyError, Wanted};

pub(crate) use self::{
    manage::EngineKeeper,
    probe::{ProbeError, prove, sign},
};
use crate::{
    config::Config,
    problem::{Exit, Problem},
};

/// All registries that have no entry of their own.
pub(crate) const ALL: &str = "_default";

/// What the configuration wants; `mirror` and `registries` go before it.
pub(crate) fn wanted(
    config: &Config,
    mirror: Option<SocketAddr>,
    registries: &[String],
) -> Result<Wanted, Problem> {
    let section = &config.mirror;
    let default = section.default_registry.as_ref().map(ToString::to_string);
    let in_paths: Vec<String> = section.registries.iter().map(ToString::to_string).collect();
    let mut all: Vec<String> = match registries {
        [] => config.runtime.registries.clone(),
        some => some.to_vec(),
    };
    if all.is_empty() {
        all.extend(in_paths.iter().chain(&default).cloned());
        if section.any_registry {
            all.push(ALL.to_owned());
        }
    }
    all.sort();
    all.dedup();
    if let Some(wrong) = all.iter().find(|it| !is_registry(it)) {
        return Err(
            Problem::new(Exit::Usage, format!("{wrong:?} is no registry"))
                .next("name a HOST, HOST:PORT or _default"),
        );
    }
    let mirror = mirror.or(section.listen).ok_or_else(|| {
        Problem::new(Exit::Configuration, "mirror.listen is off")
            .next("set mirror.listen, or give --mirror")
    })?;
    Ok(Wanted {
        mirror: local(mirror).ok_or_else(|| {
            // Elsewhere a mirror that is gone may be silent instead of refusing, and every pull would wait for it.
            Problem::new(
                Exit::Usage,
                format!("the mirror {mirror} is not on loopback"),
            )
            .next("set mirror.listen to 127.0.0.1:PORT, or give --mirror")
        })?,
        registries: all,
        default,
        in_paths,
    })
}

/// Whether engines can be pointed at that.
pub(crate) fn is_registry(name: &str) -> bool {
    name == ALL || name.parse::<types::RegistryHost>().is_ok()
}

/// `address` as this host reaches it over loopback; none if it cannot.
pub(crate) fn local(mut address: SocketAddr) -> Option<SocketAddr> {
    match address.ip() {
        ip if ip.is_loopback() => {}
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => return None,
    }
    Some(address)
}

/// What to do about it.
pub(crate) fn remedy(error: &ApplyError) -> &'static str {
    match error {
        ApplyError::Changed(_) | ApplyError::Unmarked(_) => {
            "look at the file; --force gives up what it holds"
        }
        ApplyError::Record(_) => "use the release that wrote it",
        ApplyError::Io { .. } => "run it as root; see that the folder can be written to",
    }
}
