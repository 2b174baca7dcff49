//! The daemon's own care for engines: armed last, once its mirror has proved itself, and disarmed first, before its doors
//! close. A daemon that dies leaves its files behind: its port refuses, and engines go to the registries themselves.

use std::{error::Error, net::SocketAddr, path::PathBuf, time::Duration};

use gateway::ImageName;
use runtime::{Applied, ApplyError, Host, Plan, Undo, Wanted};
use tokio::{select, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{ProbeError, is_of, prove, remedy, sign, wanted};
use crate::{
    config::Config,
    problem::{Exit, Problem},
};

/// Between two tries.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Between two looks at what engines have and what they should have: no event tells of either.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Points engines at the mirror while the daemon serves.
pub(crate) struct EngineKeeper {
    host: Host,
    root: PathBuf,
    wanted: Wanted,
    image: Option<ImageName>,
}

/// What was done so far.
#[derive(Default)]
struct Armed {
    /// The plan that was carried out last.
    plan: Option<Plan>,
    /// What is wrong, as it was told last.
    told: String,
}

/// Why engines are not pointed at the mirror.
#[derive(Debug, thiserror::Error)]
enum ArmError {
    #[error("the mirror did not prove itself")]
    Probe(#[from] ProbeError),
    #[error("writing the files of container engines")]
    Apply(#[from] ApplyError),
    #[error("engines are pointed at {0}, where another mirror runs")]
    Another(SocketAddr),
    #[error("somebody has taken the files back")]
    TakenBack,
}

impl ArmError {
    fn next_step(&self) -> &'static str {
        match self {
            Self::Probe(error) => error.next_step(),
            Self::Apply(error) => remedy(error),
            Self::Another(_) => "set runtime.manage of one daemon alone",
            Self::TakenBack => {
                "set runtime.manage = false, or start the daemon again to have engines pointed at it"
            }
        }
    }
}

impl EngineKeeper {
    /// None if the configuration wants none.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, Problem> {
        if !config.runtime.manage {
            return Ok(None);
        }
        let root = config.runtime.root.clone();
        // In a container with the host's /etc alone the record would be gone at its end, and the files stay for good.
        let state = root.join("var/lib");
        if !state.is_dir() {
            let told = format!("runtime.manage: {} is not there", state.display());
            return Err(Problem::new(Exit::Configuration, told)
                .next("mount the host's /var/lib below runtime.root, beside /etc"));
        }
        Ok(Some(Self {
            host: Host::new(&root),
            root,
            wanted: wanted(config, None, &[])?,
            image: config.runtime.probe.clone(),
        }))
    }

    /// Arms as soon as that can be done, looks after it, and disarms at `stop`. Dropped early, files stay.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let (mut pause, mut armed) = (PAUSE_MIN, Armed::default());
        loop {
            let proved = select! {
                () = stop.cancelled() => break,
                proved = self.prove(&armed) => proved,
            };
            // To its end, whatever is asked meanwhile: what is written after it is taken back would stay.
            let rest = match proved {
                Ok(()) => self.arm(&mut armed).await,
                Err(error) => Err(error),
            };
            let rest = match rest {
                Ok(()) => {
                    pause = PAUSE_MIN;
                    LOOK_EVERY
                }
                Err(error) => {
                    armed.tell(&error, error.next_step());
                    let now = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                    now
                }
            };
            select! {
                () = stop.cancelled() => break,
                () = sleep(rest) => {}
            }
        }
        self.disarm().await;
    }

    /// A mirror that served once is this daemon's, for as long as it lives.
    async fn prove(&self, armed: &Armed) -> Result<(), ArmError> {
        let me = rustix::process::geteuid().as_raw();
        if armed.plan.is_none() {
            is_of(self.wanted.mirror, me)?;
            prove(&self.wanted, self.image.as_ref()).await?;
        }
        let other = self.host.mirror()?;
        match other.filter(|it| *it != self.wanted.mirror) {
            // Not for a stranger on the port that a daemon had before: engines are to leave him.
            Some(other) if is_of(other, me).is_ok() && sign(other).await.is_ok() => {
                Err(ArmError::Another(other))
            }
            _ => Ok(()),
        }
    }

    async fn arm(&self, armed: &mut Armed) -> Result<(), ArmError> {
        let had_files = (armed.plan.as_ref()).is_some_and(|it| it.files().next().is_some());
        if had_files && self.host.mirror()?.is_none() {
            return Err(ArmError::TakenBack);
        }
        let (host, wanted) = (self.host.clone(), self.wanted.clone());
        let applied = spawn_blocking(move || host.apply(&wanted, false)).await;
        let Applied {
            plan,
            changed,
            left,
        } = applied.expect("nothing in it panics")?;
        let is_first = armed.plan.is_none();
        if is_first || !changed.is_empty() {
            let (files, changed) = (plan.files().count(), changed.len());
            info!(files, changed, root = %self.root.display(), "container engines are pointed at the mirror");
        }
        if armed.plan.as_ref() != Some(&plan) {
            for report in &plan.engines {
                for next in &report.next {
                    warn!(engine = report.engine.name(), next, "left to the operator");
                }
                for told in report.conflicts.iter().chain(&report.notes) {
                    debug!(engine = report.engine.name(), told, "engine");
                }
            }
        }
        armed.plan = Some(plan);
        match left.into_iter().next() {
            Some(error) => Err(error.into()),
            None => {
                armed.told.clear();
                Ok(())
            }
        }
    }

    async fn disarm(&self) {
        let host = self.host.clone();
        let own = Undo {
            of: Some(self.wanted.mirror),
            ..Undo::default()
        };
        let undone = spawn_blocking(move || host.undo(&own)).await;
        let stays = |error: &ApplyError| {
            warn!(
                error = error as &dyn Error,
                next = remedy(error),
                "a file of container engines stays"
            );
        };
        match undone.expect("nothing in it panics") {
            Ok(undone) => {
                undone.left.iter().for_each(stays);
                for next in undone.next {
                    warn!(next, "left to the operator");
                }
                info!(
                    files = undone.removed.len(),
                    "container engines are on their own again"
                );
            }
            Err(error) => stays(&error),
        }
    }
}

impl Armed {
    /// Says what is wrong, once.
    fn tell(&mut self, error: &ArmError, next: &'static str) {
        let text = format!("{error:?}");
        if text != self.told {
            warn!(
                error = error as &dyn Error,
                next, "container engines are not pointed at the mirror yet"
            );
        }
        self.told = text;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener};

    use super::*;
    use crate::config::Sources;

    const CONTAINERD: &str = "etc/containerd";
    const ALL: &str = "etc/containerd/certs.d/_default/hosts.toml";

    fn config(root: &std::path::Path, mirror: SocketAddr) -> Config {
        let set = [
            ("runtime.manage", "true".to_owned()),
            ("runtime.root", root.display().to_string()),
            ("mirror.listen", mirror.to_string()),
        ];
        let flags = set.map(|(key, value)| (key.to_owned(), value, String::new()));
        let sources = Sources {
            file: Some("/dev/null".into()),
            flags: flags.to_vec(),
            ..Sources::default()
        };
        Config::load(&sources).expect("a configuration").0
    }

    fn keeper(root: &std::path::Path, mirror: SocketAddr) -> EngineKeeper {
        fs::create_dir_all(root.join("var/lib")).expect("folders");
        let keeper = EngineKeeper::of(&config(root, mirror));
        keeper.expect("a keeper").expect("it is wanted")
    }

    #[test]
    fn without_a_place_for_the_record_nothing_is_managed() {
        let root = tempfile::tempdir().expect("a folder");
        let mirror = "127.0.0.1:7472".parse().expect("an address");
        let refused = EngineKeeper::of(&config(root.path(), mirror)).err();
        let told = format!("{:?}", refused.expect("refused"));
        assert!(told.contains("var/lib is not there"), "{told}");
    }

    #[tokio::test]
    async fn what_comes_later_is_armed_and_what_was_taken_back_is_not() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let keeper = keeper(root, "127.0.0.1:7472".parse().expect("an address"));
        let mut armed = Armed::default();
        keeper.arm(&mut armed).await.expect("nothing to do");
        fs::create_dir_all(root.join(CONTAINERD)).expect("folders");
        keeper.arm(&mut armed).await.expect("armed");
        assert!(root.join(ALL).exists());
        fs::remove_file(root.join(ALL)).expect("removed");
        keeper.arm(&mut armed).await.expect("armed");
        assert!(root.join(ALL).exists());
        keeper.host.undo(&Undo::default()).expect("undone");
        let again = keeper.arm(&mut armed).await;
        assert!(matches!(again, Err(ArmError::TakenBack)), "{again:?}");
        assert!(!root.join(ALL).exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_daemons_do_not_take_engines_from_each_other() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let first = listener.local_addr().expect("an address");
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        fs::create_dir_all(root.join(CONTAINERD)).expect("folders");
        let mut armed = Armed::default();
        keeper(root, first).arm(&mut armed).await.expect("armed");
        let text = fs::read_to_string(root.join(ALL)).expect("there");
        // The other is not to be asked for a proof of its own, but for what is armed.
        let other = keeper(root, "127.0.0.1:1".parse().expect("an address"));
        let server = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 1024]);
            let answer = "HTTP/1.1 200 OK\r\npantala-mirror: 0\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).expect("answered");
        });
        let proved = other.prove(&armed).await;
        assert!(
            matches!(proved, Err(ArmError::Another(it)) if it == first),
            "{proved:?}"
        );
        server.join().expect("no panic");
        other.disarm().await;
        assert_eq!(fs::read_to_string(root.join(ALL)).expect("there"), text);
        // That one is gone by now.
        other.prove(&armed).await.expect("nobody else's");
        other.arm(&mut armed).await.expect("armed");
        assert_ne!(fs::read_to_string(root.join(ALL)).expect("there"), text);
        other.disarm().await;
        assert!(!root.join(ALL).exists());
    }
}
