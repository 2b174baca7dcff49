//! `pantala doctor`: looks at this host the way its daemon would, and says what to do about each finding. A running daemon
//! is asked what it was started with.
//!
//! It changes nothing: ports are tried and let go, folders are looked at, nothing is created.

mod bundle;
mod engines;
mod names;
mod origins;
mod outside;

use std::{
    borrow::Cow,
    io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use gateway::local::StatusReport;
use identity::{Identity, LoadError, LoadFault};
use serde::Serialize;
use types::ByteCount;

use super::{block_on, load, running::Running};
use crate::{
    cli::{DoctorFlags, RoleArgs},
    config::{Config, Place, Stated},
    dial::try_reach,
    problem::{Exit, Problem},
    roles, show,
};

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Good,
    Warning,
    Bad,
    Skipped,
}

/// What was found about one thing.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    health: Health,
    told: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    next: Cow<'static, str>,
}

impl Finding {
    fn new(check: &'static str, health: Health, told: impl Into<String>) -> Self {
        Self {
            check,
            health,
            told: told.into(),
            next: "".into(),
        }
    }

    fn next(mut self, step: impl Into<Cow<'static, str>>) -> Self {
        self.next = step.into();
        self
    }
}

pub(super) fn run(file: Option<PathBuf>, args: RoleArgs<DoctorFlags>) -> Result<(), Problem> {
    let config = load(file, args.common.settings())?;
    let findings = block_on(async { Ok(examine(&config).await) })?;
    show::list(&findings, args.own.json, text)?;
    if let Some(path) = &args.own.bundle {
        // The report is of what is bad too: that is no reason to give none.
        let written = bundle::write(path, &config, &findings);
        eprint!("{}", block_on(written)?);
    }
    let bad = findings
        .iter()
        .filter(|finding| finding.health == Health::Bad)
        .count();
    if bad == 0 {
        return Ok(());
    }
    let thing = if bad == 1 {
        "thing needs"
    } else {
        "things need"
    };
    let message = format!("{bad} {thing} attention");
    Err(Problem::new(Exit::Failed, message).next("do what stands beside each that is bad"))
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding {
        check,
        health,
        told,
        next,
    } in findings
    {
        let mark = match health {
            Health::Good => "good",
            Health::Warning => "warn",
            Health::Bad => "BAD ",
            Health::Skipped => "skip",
        };
        text += &format!("{mark}  {check:<14}  {told}\n");
        if !next.is_empty() {
            text += &format!("{:22}next: {next}\n", "");
        }
    }
    text
}

async fn examine(own: &Config) -> Vec<Finding> {
    let running = Running::find(&own.local.socket).await;
    let theirs = running.as_ref().and_then(Running::config);
    let status = running.as_ref().map(|running| &running.status);
    let mut findings = vec![socket(own, status)];
    if running.is_some() {
        findings.push(configuration(&own.stated, theirs.as_ref()));
    }
    let config = theirs.as_ref().unwrap_or(own);
    findings.push(data_dir(&config.host.data_dir));
    findings.push(space(config));
    findings.push(certificate(config));
    let is_up = running.as_ref().is_some_and(Running::is_up);
    let mut listeners = vec![
        ("peer port", Some(config.peer.listen)),
        ("mirror port", config.mirror.listen),
        ("proxy port", config.proxy.listen),
        ("status port", config.status),
    ];
    if is_up {
        listeners.push(("scheduler port", Some(config.scheduler.listen)));
    }
    for (check, address) in listeners {
        findings.push(port(check, address, status.is_some()));
    }
    findings.extend(engines::examine(config, status.is_some()).await);
    findings.extend(outside::proxy(config).await);
    findings.extend(origins::examine(config).await);
    findings.push(if is_up {
        let at = config.scheduler.listen;
        let told = format!("none is needed: `pantala up` is one itself, at {at}");
        Finding::new("scheduler", Health::Good, told)
    } else {
        schedulers(config).await
    });
    for problem in status.iter().flat_map(|status| &status.problems) {
        findings.push(Finding::new("daemon", Health::Warning, problem));
    }
    findings
}

/// What the daemon was started with, beside what this command would have it started with.
fn configuration(own: &[Stated], theirs: Option<&Config>) -> Finding {
    let Some(theirs) = theirs else {
        return Finding::new(
            "settings",
            Health::Warning,
            "the daemon does not tell what it was started with: what follows goes by this command's configuration",
        )
        .next("use the command and the daemon of one release");
    };
    let value = |of: &[Stated], key| {
        let found = of.iter().find(|stated| stated.key == key);
        found.map(|stated| stated.value.clone())
    };
    let (mut told, mut is_of_file) = (Vec::new(), false);
    for stated in &theirs.stated {
        if value(own, stated.key).as_ref() != Some(&stated.value) {
            told.push(format!(
                "{} = {} ({})",
                stated.key, stated.value, stated.place
            ));
        }
    }
    for stated in own {
        let other = value(&theirs.stated, stated.key);
        if other.as_ref() != Some(&stated.value) {
            is_of_file |= matches!(stated.place, Place::File(..));
            if other.is_none() {
                told.push(format!("{} at its default", stated.key));
            }
        }
    }
    let settings = |health, told: String| Finding::new("settings", health, told);
    match told.is_empty() {
        true => settings(Health::Good, "the daemon runs with this configuration".into()),
        false if is_of_file => settings(
            Health::Warning,
            format!("the daemon runs with other values than the file: {}", told.join(", ")),
        )
        .next("restart the daemon if the file was changed since it started; what follows goes by its own values"),
        false => settings(
            Health::Good,
            format!("the daemon was started with {}", told.join(", ")),
        ),
    }
}

fn socket(config: &Config, status: Option<&StatusReport>) -> Finding {
    let path = config.local.socket.display();
    match status {
        Some(status) if status.bypass.is_on => Finding::new(
            "socket",
            Health::Warning,
            "the daemon answers, and the bypass is on",
        )
        .next("`pantala bypass off` when consumers are to be served again"),
        Some(status) => {
            let StatusReport { version, host, .. } = status;
            Finding::new(
                "socket",
                Health::Good,
                format!("daemon {version} of host {host} answers at {path}"),
            )
        }
        None => Finding::new(
            "socket",
            Health::Bad,
            format!("no daemon answers at {path}"),
        )
        .next("start it (`systemctl start pantala`, or `pantala daemon`) and look at its log"),
    }
}

fn data_dir(path: &Path) -> Finding {
    let shown = path.display();
    let bad = |told: String| Finding::new("data folder", Health::Bad, told);
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::new(
                "data folder",
                Health::Warning,
                format!("{shown} is not there yet"),
            )
            .next("the daemon makes it at its first start, if it may write above it");
        }
        Err(error) => {
            return bad(format!("{shown}: {error}")).next("run this as the daemon's user");
        }
        Ok(found) => found,
    };
    if !found.is_dir() {
        bad(format!(
            "{shown} is not a folder itself; a link is not followed"
        ))
        .next("name the real folder in host.data_dir")
    } else if found.mode() & 0o022 != 0 {
        bad(format!(
            "{shown} has mode {:03o}: others may write into it",
            found.mode() & 0o777
        ))
        .next("chmod it to 700")
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        Finding::new(
            "data folder",
            Health::Warning,
            format!(
                "{shown} belongs to user {}, and this is not run by it",
                found.uid()
            ),
        )
        .next("if the daemon runs as another user than that, chown the folder")
    } else {
        Finding::new(
            "data folder",
            Health::Good,
            format!("{shown} is ours alone"),
        )
    }
}

fn space(config: &Config) -> Finding {
    let there = config.host.data_dir.ancestors().find(|path| path.exists());
    let Some(stat) = there.and_then(|path| rustix::fs::statvfs(path).ok()) else {
        return Finding::new(
            "disk",
            Health::Skipped,
            "the file system of the data folder does not tell its space",
        );
    };
    let free = ByteCount(stat.f_bavail.saturating_mul(stat.f_frsize));
    let floor = config.store.free_floor;
    if free <= floor {
        Finding::new(
            "disk",
            Health::Bad,
            format!(
                "{free} are free, and store.free_floor keeps {floor} free: nothing can be stored"
            ),
        )
        .next("free some space, or lower store.free_floor; content passes through meanwhile")
    } else {
        Finding::new(
            "disk",
            Health::Good,
            format!("{free} are free, {floor} of them stay so"),
        )
    }
}

fn certificate(config: &Config) -> Finding {
    let dir = roles::identity_dir(config);
    // Loading would make the folder; a doctor makes nothing.
    if !dir.exists() {
        let told = format!("this host has none yet in {}", dir.display());
        return Finding::new("certificate", Health::Skipped, told);
    }
    let bad = |told: String| Finding::new("certificate", Health::Bad, told);
    match Identity::load(&dir) {
        Ok(None) => Finding::new("certificate", Health::Skipped, "this host has none yet"),
        Err(LoadError {
            fault: LoadFault::CertificateMissing,
            ..
        }) => Finding::new(
            "certificate",
            Health::Skipped,
            "none is kept: `pantala up` makes one at each start, a daemon gets one when it joins",
        ),
        Err(error) => {
            let chain = anyhow::Error::from(error);
            bad(format!("{chain:#}")).next(
                "run this as the daemon's user; the message says what is wrong with which file",
            )
        }
        Ok(Some(identity)) => {
            let (now, until) = (SystemTime::now(), identity.expires_at());
            let at = |time| {
                jiff::Timestamp::try_from(time)
                    .map_or_else(|_| "?".to_owned(), |at: jiff::Timestamp| format!("{at:.0}"))
            };
            if until <= now {
                bad(format!(
                    "it expired at {}, and the clock says {}",
                    at(until),
                    at(now)
                ))
                .next("check the clock; else make a token on the scheduler's host and join again")
            } else if identity.renew_at() <= now {
                Finding::new(
                    "certificate",
                    Health::Warning,
                    format!(
                        "it is good until {}, and should have been renewed",
                        at(until)
                    ),
                )
                .next("see whether the scheduler can be reached")
            } else {
                Finding::new(
                    "certificate",
                    Health::Good,
                    format!(
                        "of host {} in cluster {}, good until {}",
                        identity.host(),
                        identity.cluster(),
                        at(until)
                    ),
                )
            }
        }
    }
}

fn port(check: &'static str, address: Option<SocketAddr>, is_running: bool) -> Finding {
    let Some(address) = address else {
        return Finding::new(check, Health::Skipped, "off");
    };
    match TcpListener::bind(address) {
        Ok(_) if is_running && address.port() != 0 => Finding::new(
            check,
            Health::Warning,
            format!("nobody listens at {address}, though a daemon runs"),
        )
        .next("the daemon has another configuration: restart it"),
        Ok(_) => Finding::new(check, Health::Good, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_running => Finding::new(
            check,
            Health::Good,
            format!("{address} is taken, and a daemon runs"),
        ),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::new(
            check,
            Health::Bad,
            format!("{address} is taken by another process"),
        )
        .next("see who: `ss -ltnp`; stop it, or choose another port"),
        Err(error) => Finding::new(check, Health::Bad, format!("{address}: {error}"))
            .next("choose an address of this host"),
    }
}

async fn schedulers(config: &Config) -> Finding {
    if config.control.schedulers.is_empty() {
        return Finding::new(
            "scheduler",
            Health::Skipped,
            "none is configured: this host works alone",
        );
    }
    let mut silent = Vec::new();
    for end in &config.control.schedulers {
        match try_reach(&end.host, end.port).await {
            Ok(_) => {
                return Finding::new("scheduler", Health::Good, format!("{end} can be reached"));
            }
            Err(error) => silent.push(format!("{end}: {error}")),
        }
    }
    Finding::new("scheduler", Health::Bad, silent.join("; "))
        .next("check the name, the port and firewalls; downloads go on without a scheduler, from known peers and the origin")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    /// What is found when this command reads `file`, and the daemon was started with `set`.
    fn check(file: &str, set: &[(&str, &str)]) -> (Health, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c.toml");
        std::fs::write(&path, file).expect("written");
        let load = |sources: &Sources| Config::load(sources).expect("a configuration").0;
        let own = load(&Sources {
            file: Some(path),
            ..Sources::default()
        });
        let set = set.iter().map(|(key, value)| {
            (
                (*key).to_owned(),
                (*value).to_owned(),
                "flag --set".to_owned(),
            )
        });
        let theirs = load(&Sources {
            file: Some("/dev/null".into()),
            told: set.collect(),
            ..Sources::default()
        });
        let found = configuration(&own.stated, Some(&theirs));
        (found.health, found.told)
    }

    #[test]
    fn a_file_that_the_daemon_does_not_run_with_is_worth_a_warning() {
        let file = "[peer]\nslots = 3\n";
        let (health, told) = check(file, &[("peer.slots", "3")]);
        assert_eq!(health, Health::Good, "{told}");
        let (health, told) = check("", &[("peer.slots", "4")]);
        assert_eq!(health, Health::Good);
        assert!(told.contains("peer.slots = 4 (flag --set)"), "{told}");
        let (health, told) = check(file, &[("peer.slots", "4")]);
        assert_eq!(health, Health::Warning);
        assert!(told.contains("peer.slots = 4"), "{told}");
        let (health, told) = check(file, &[]);
        assert_eq!(health, Health::Warning);
        assert!(told.contains("peer.slots at its default"), "{told}");
        assert_eq!(configuration(&[], None).health, Health::Warning);
    }
}
