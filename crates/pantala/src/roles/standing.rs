//! Who this process is, before anything else starts: a member of a cluster, on its way into one, or alone.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use identity::{ClusterCa, Identity, JoinToken, LoadError, LoadFault, NodeKey, Role, Roles};
use types::{ClusterId, Secret};

use super::data_dir::{self, DataDirError};
use crate::config::Config;

/// The cluster of a host that belongs to none. Its authority is the host's own, so nobody else can join it.
const ALONE: &str = "alone";

/// Who a daemon is.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It has a certificate.
    Member(Identity),
    /// It has a token, and asks a scheduler for a certificate.
    Joining(JoinToken),
}

/// Why nobody can say who this process is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StandingError {
    /// Keys or certificates.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The authority gives it no certificate.
    #[error("making this host's certificate")]
    Issue(#[from] identity::IssueError),
    /// Schedulers, but no way in.
    #[error("this host has no certificate yet, and control.join_token_file names no token")]
    NoToken,
    /// The token's file.
    #[error("reading the join token in {path}")]
    ReadToken {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    /// What is in it.
    #[error("{path} holds no join token")]
    BadToken {
        path: PathBuf,
        #[source]
        cause: identity::ParseTokenError,
    },
    /// Its certificate is over, and there is no way to another one.
    #[error(
        "this host's certificate expired {} ago, and control.join_token_file names no token", whole(.0)
    )]
    Expired(Duration),
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl StandingError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> &'static str {
        match self {
            Self::Load(_) => {
                "the message says what is wrong with which file; `pantala doctor` looks closer"
            }
            Self::Issue(_) => "look at the authority's folder, scheduler.ca_dir",
            Self::NoToken => {
                "run `pantala token create` on the scheduler's host and name the file with it in control.join_token_file"
            }
            Self::ReadToken { .. } | Self::BadToken { .. } => {
                "put what `pantala token create` printed into that file, readable by the daemon's user"
            }
            Self::Expired(_) => {
                "check the clock; else run `pantala token create` on the scheduler's host and name the file with it in control.join_token_file: the host joins again under its key"
            }
            Self::DataDir(error) => error.next_step(),
        }
    }
}

/// A time for people.
fn whole(time: &Duration) -> String {
    jiff::SignedDuration::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)).to_string()
}

/// Where this host's key and certificate are.
pub(crate) fn identity_dir(config: &Config) -> PathBuf {
    config.host.data_dir.join("identity")
}

/// Who a daemon is. Without schedulers and without a certificate it founds a cluster of its own, and is alone in it.
pub(crate) fn of_daemon(config: &Config) -> Result<Standing, StandingError> {
    data_dir::claim(&config.host.data_dir)?;
    let dir = identity_dir(config);
    match Identity::load(&dir) {
        Ok(Some(identity)) => return of_certified(config, identity),
        Ok(None) => {}
        // It was on its way in when it was stopped.
        Err(LoadError {
            fault: LoadFault::CertificateMissing,
            ..
        }) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(path) = &config.control.join_token_file {
        return Ok(Standing::Joining(token(path)?));
    }
    if !config.control.schedulers.is_empty() {
        return Err(StandingError::NoToken);
    }
    let cluster: ClusterId = ALONE.parse().expect("a cluster's name");
    let authority = ClusterCa::load_or_create(&config.host.data_dir.join(ALONE), &cluster)?;
    let roles = Roles::default().with(Role::Daemon).with(Role::Seed);
    // Not saved: the host joins a cluster as soon as it is configured to.
    Ok(Standing::Member(certified(&authority, &dir, roles)?))
}

/// A host with a certificate is a member for as long as others take it. After that it joins again, under the same key.
fn of_certified(config: &Config, identity: Identity) -> Result<Standing, StandingError> {
    let since = SystemTime::now().duration_since(identity.expires_at());
    match (since, &config.control.join_token_file) {
        (Err(_), _) => Ok(Standing::Member(identity)),
        (Ok(since), _) if since < config.control.expiry_grace.length() => {
            Ok(Standing::Member(identity))
        }
        (Ok(_), Some(path)) => Ok(Standing::Joining(token(path)?)),
        (Ok(since), None) => Err(StandingError::Expired(since)),
    }
}

/// A host that is a member because it runs the authority itself.
pub(crate) fn of_member(
    config: &Config,
    (authority, roles): (&ClusterCa, Roles),
) -> Result<Identity, StandingError> {
    data_dir::claim(&config.host.data_dir)?;
    certified(authority, &identity_dir(config), roles)
}

fn certified(authority: &ClusterCa, dir: &Path, roles: Roles) -> Result<Identity, StandingError> {
    let key = NodeKey::load_or_create(dir)?;
    Ok(authority.identity_for(&key, roles, SystemTime::now())?)
}

fn token(path: &Path) -> Result<JoinToken, StandingError> {
    let text = fs::read_to_string(path).map(Secret::new).map_err(|cause| {
        let path = path.to_owned();
        StandingError::ReadToken { path, cause }
    })?;
    text.expose().trim().parse().map_err(|cause| {
        let path = path.to_owned();
        StandingError::BadToken { path, cause }
    })
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::*;

    fn config(folder: &Path, set: &[(&str, &str)]) -> Config {
        let path = |name: &str| folder.join(name).display().to_string();
        let (data, authority) = (path("data"), path("ca"));
        let places = [
            ("host.data_dir", data.as_str()),
            ("scheduler.ca_dir", authority.as_str()),
        ];
        Config::of_flags(&[&places, set].concat())
    }

    #[test]
    fn a_host_alone_is_the_same_host_at_its_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path(), &[]);
        let host = || match of_daemon(&config).expect("a standing") {
            Standing::Member(identity) => identity.host(),
            Standing::Joining(_) => panic!("nobody invited it"),
        };
        assert_eq!(host(), host());
    }

    #[test]
    fn a_host_whose_certificate_is_over_joins_again_or_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let token_file = folder.path().join("token").display().to_string();
        let scheduled = ("control.schedulers", "a:1");
        let bare = config(folder.path(), &[scheduled]);
        let section = &bare.scheduler;
        let authority =
            ClusterCa::load_or_create(&section.ca_dir, &section.cluster).expect("founded");
        data_dir::claim(&bare.host.data_dir).expect("a folder");
        let key = NodeKey::load_or_create(&identity_dir(&bare)).expect("a key");
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        let long_ago = SystemTime::now() - 3 * day - hour;
        let expired = authority.identity_for(&key, Role::Daemon.into(), long_ago);
        let expired = expired.expect("a certificate");
        expired.save(&identity_dir(&bare)).expect("saved");
        assert!(matches!(of_daemon(&bare), Err(StandingError::Expired(_))));

        let graced = config(folder.path(), &[scheduled, ("control.expiry_grace", "2h")]);
        assert!(matches!(of_daemon(&graced), Ok(Standing::Member(_))));

        let minted = authority.tokens().mint(Role::Daemon, NonZeroU32::MIN, day);
        let text = minted.expect("minted").text;
        fs::write(&token_file, text.expose()).expect("written");
        let invited = [scheduled, ("control.join_token_file", &token_file)];
        let invited = config(folder.path(), &invited);
        assert!(matches!(of_daemon(&invited), Ok(Standing::Joining(_))));
    }

    #[test]
    fn a_host_with_schedulers_needs_a_good_token_to_join() {
        let folder = tempfile::tempdir().expect("a folder");
        let alone = config(folder.path(), &[("control.schedulers", "a:1")]);
        assert!(matches!(of_daemon(&alone), Err(StandingError::NoToken)));

        let file = folder.path().join("token");
        let joining = config(
            folder.path(),
            &[
                ("control.schedulers", "a:1"),
                ("control.join_token_file", &file.display().to_string()),
            ],
        );
        assert!(matches!(
            of_daemon(&joining),
            Err(StandingError::ReadToken { .. })
        ));
        fs::write(&file, "hunter2\n").expect("written");
        let error = of_daemon(&joining).expect_err("no token");
        assert!(!format!("{:#}", anyhow::Error::from(error)).contains("hunter2"));

        let section = &joining.scheduler;
        let authority =
            ClusterCa::load_or_create(&section.ca_dir, &section.cluster).expect("founded");
        let day = Duration::from_secs(86_400);
        let minted = authority
            .tokens()
            .mint(Role::Daemon, NonZeroU32::MIN, day)
            .expect("minted");
        fs::write(&file, format!("{}\n", minted.text.expose())).expect("written");
        for _ in 0..2 {
            assert!(matches!(of_daemon(&joining), Ok(Standing::Joining(_))));
            // Stopped on its way in, it has a key and no certificate.
            NodeKey::load_or_create(&identity_dir(&joining)).expect("a key");
        }
    }
}
