//! The daemon's own care for engines: armed last, once its mirror has proved itself, and disarmed first, before its doors
//! close. A daemon that dies leaves its files behind: its port refuses, and engines go to the registries themselves.

use std::{error::Error, path::PathBuf, time::Duration};

use gateway::ImageName;
use runtime::{ApplyError, Host, Wanted};
use tokio::{select, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{ProbeError, prove, remedy, wanted};
use crate::{config::Config, problem::Problem};

/// Between two tries.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Points engines at the mirror while the daemon serves.
pub(crate) struct EngineKeeper {
    host: Host,
    root: PathBuf,
    wanted: Wanted,
    image: Option<ImageName>,
}

/// Why engines are not pointed at the mirror.
#[derive(Debug, thiserror::Error)]
enum ArmError {
    #[error("the mirror did not prove itself")]
    Probe(#[from] ProbeError),
    #[error("writing the files of container engines")]
    Apply(#[from] ApplyError),
}

impl ArmError {
    fn next_step(&self) -> &'static str {
        match self {
            Self::Probe(error) => error.next_step(),
            Self::Apply(error) => remedy(error),
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
        Ok(Some(Self {
            host: Host::new(&root),
            root,
            wanted: wanted(config, None, &[])?,
            image: config.runtime.probe.clone(),
        }))
    }

    /// Arms as soon as that can be done, and disarms at `stop`. Dropped early, files stay.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let (mut pause, mut told) = (PAUSE_MIN, String::new());
        loop {
            let proved = select! {
                () = stop.cancelled() => break,
                proved = prove(&self.wanted, self.image.as_ref()) => proved,
            };
            // To its end, whatever is asked meanwhile: what is written after it is taken back would stay.
            let armed = match proved {
                Ok(()) => self.arm().await.map_err(ArmError::from),
                Err(error) => Err(error.into()),
            };
            let Err(error) = armed else {
                stop.cancelled().await;
                break;
            };
            let text = format!("{error:?}");
            if text != told {
                warn!(
                    error = &error as &dyn Error,
                    next = error.next_step(),
                    "container engines are not pointed at the mirror yet"
                );
            }
            told = text;
            select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.disarm().await;
    }

    async fn arm(&self) -> Result<(), ApplyError> {
        let (host, wanted) = (self.host.clone(), self.wanted.clone());
        let applied = spawn_blocking(move || {
            let plan = host.plan(&wanted)?;
            let changed = host.apply(&plan, false)?;
            Ok::<_, ApplyError>((plan, changed))
        });
        let (plan, changed) = applied.await.expect("nothing in it panics")?;
        let files = plan.files().count();
        info!(files, changed = changed.len(), root = %self.root.display(), "container engines are pointed at the mirror");
        for report in &plan.engines {
            for next in &report.next {
                warn!(engine = report.engine.name(), next, "left to the operator");
            }
            for told in report.conflicts.iter().chain(&report.notes) {
                debug!(engine = report.engine.name(), told, "engine");
            }
        }
        Ok(())
    }

    async fn disarm(&self) {
        let host = self.host.clone();
        let undone = spawn_blocking(move || host.undo(false)).await;
        match undone.expect("nothing in it panics") {
            Ok(removed) => info!(
                files = removed.len(),
                "container engines are on their own again"
            ),
            Err(error) => warn!(
                error = &error as &dyn Error,
                next = remedy(&error),
                "the files of container engines stay"
            ),
        }
    }
}
