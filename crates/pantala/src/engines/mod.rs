//! Pointing the container engines of this host at the mirror: what is wanted by the configuration, the proof that the
//! mirror serves, and the daemon's own care for it.

mod listener;
mod manage;
mod probe;

use std::net::{Ipv4Addr, SocketAddr};

use runtime::{ApplyError, RecordError, Wanted};

pub(crate) use self::{
    listener::is_of,
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
        digests_only: config.runtime.digests_only,
    })
}

/// Whether engines can be pointed at that.
pub(crate) fn is_registry(name: &str) -> bool {
    name == ALL || name.parse::<types::RegistryHost>().is_ok()
}

/// `address` as this host reaches it over loopback; none if it cannot. All addresses of IPv6 are those of IPv4 as well, and
/// not every engine takes one of IPv6.
pub(crate) fn local(mut address: SocketAddr) -> Option<SocketAddr> {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address.ip().is_loopback().then_some(address)
}

/// What to do about it.
pub(crate) fn remedy(error: &ApplyError) -> &'static str {
    match error {
        ApplyError::Changed(_) => {
            "look at the file; --force gives up what it holds, `undo --forget PATH` leaves it to you"
        }
        ApplyError::Unmarked(_) | ApplyError::Unrecorded(_) => {
            "look at the file; --force gives up what it holds"
        }
        ApplyError::Obstacle(..) => "see what is there, and put the folder back",
        ApplyError::Marked(_) => "take its first line out, then try again",
        ApplyError::Stranger(_) => "`pantala runtime status` lists ours",
        ApplyError::OtherMirror(_) => "undo without --mirror, if that one is gone",
        ApplyError::Busy => "try again; see who has it: `fuser -v` on that file",
        ApplyError::Record(RecordError::Version(_)) => "use the release that wrote it",
        ApplyError::Record(_) => {
            "look at it; with it out of the way, `pantala runtime undo` lists the files that have our mark"
        }
        ApplyError::Io { .. } => "run it as root; see that the folder can be written to",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where engines are pointed, and for what: `mirror: registries`, or why not.
    fn check(set: &[(&str, &str)], registries: &[&str], expected: &str) {
        let registries: Vec<String> = registries.iter().map(ToString::to_string).collect();
        let told = match wanted(&Config::of_flags(set), None, &registries) {
            Ok(wanted) => format!("{}: {}", wanted.mirror, wanted.registries.join(" ")),
            Err(problem) => format!("{problem:?}"),
        };
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn engines_are_pointed_at_the_mirror_for_what_it_serves() {
        check(&[], &[], "127.0.0.1:7472: _default docker.io");
        let served = [
            ("mirror.registries", "quay.io"),
            ("mirror.any_registry", "false"),
        ];
        check(&served, &[], ": docker.io quay.io");
        check(
            &[("runtime.registries", "ghcr.io,_default")],
            &[],
            ": _default ghcr.io",
        );
        check(
            &[("runtime.registries", "ghcr.io")],
            &["a.corp:5000", "a.corp:5000"],
            ": a.corp:5000",
        );
        check(&[], &["https://a.corp"], "is no registry");
    }

    #[test]
    fn the_mirror_is_reached_over_loopback_or_not_at_all() {
        check(&[("mirror.listen", "0.0.0.0:80")], &[], "127.0.0.1:80: ");
        check(&[("mirror.listen", "[::]:80")], &[], "127.0.0.1:80: ");
        check(&[("mirror.listen", "[::1]:80")], &[], "[::1]:80: ");
        check(
            &[("mirror.listen", "10.0.0.1:80")],
            &[],
            "is not on loopback",
        );
        check(&[("mirror.listen", "off")], &[], "mirror.listen is off");
    }
}
