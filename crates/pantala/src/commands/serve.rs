//! `pantala daemon`, `scheduler` and `up`: logs, runtime, signals around the parts that `roles` starts.

use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::Config,
    logs,
    problem::{Exit, Problem},
    roles,
    signals::{Ended, run_until_stopped},
};

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A daemon.
    Daemon,
    /// A scheduler.
    Scheduler,
    /// Both.
    Up,
}

/// Runs `role` until it is told to stop.
pub(super) fn run(role: Role, config: &Config) -> Result<(), Problem> {
    logs::begin(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Problem::of(Exit::Failed, "starting the runtime", error))?;
    info!(role = ?role, version = env!("CARGO_PKG_VERSION"), "starting");
    let stop = CancellationToken::new();
    let work = async {
        match role {
            Role::Daemon => roles::daemon(config, stop.clone()).await,
            Role::Scheduler => roles::scheduler(config, stop.clone()).await,
            Role::Up => roles::up(config, stop.clone()).await,
        }
    };
    let limit = config.host.stop_timeout;
    let ended = runtime.block_on(run_until_stopped(work, stop.clone(), limit));
    runtime.shutdown_background();
    match ended.map_err(|error| Problem::of(Exit::Failed, "listening to signals", error))? {
        Ended::InOrder(result) => result,
        Ended::CutOff => Err(
            Problem::new(Exit::Failed, "stopped before all was finished")
                .next("nothing is lost: the store repairs itself at the next start"),
        ),
    }
}
