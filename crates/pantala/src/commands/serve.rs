//! `pantala daemon`, `scheduler` and `up`: logs, runtime, signals around the parts that `roles` starts.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::select;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Config,
    logs,
    problem::{Exit, Problem},
    roles::{self, reach},
    signals::{Ended, run_until_stopped},
    watchdog::{Pulse, Watchdog},
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

/// Lets the process have as many descriptors as it may: the usual soft limit of 1024 is there for programs that use
/// `select`, and full doors need more.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, ?limit, "the limit of open files stays");
    }
}

/// Runs `role` until it is told to stop.
pub(super) fn run(role: Role, config: &Config) -> Result<(), Problem> {
    logs::begin(&config.log);
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Problem::of(Exit::Failed, "starting the runtime", error))?;
    info!(role = ?role, version = env!("CARGO_PKG_VERSION"), "starting");
    tell_doors(role, config);
    if role == Role::Up {
        let unused = ["control.schedulers", "control.join_token_file"];
        for stated in unused.iter().filter_map(|key| config.stated(key)) {
            warn!(key = stated.key, from = %stated.place, "not used: `pantala up` is its own scheduler");
        }
    }
    let stop = CancellationToken::new();
    let pulse = Pulse::default();
    let work = async {
        let role = async {
            match role {
                Role::Daemon => roles::daemon(config, &pulse, stop.clone()).await,
                Role::Scheduler => roles::scheduler(config, stop.clone()).await,
                Role::Up => roles::up(config, &pulse, stop.clone()).await,
            }
        };
        match Watchdog::of_process() {
            None => role.await,
            Some(watchdog) => select! {
                ended = role => ended,
                () = watchdog.run(pulse.clone()) => unreachable!("it never ends"),
            },
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

/// Among the first lines: who can reach what of it.
fn tell_doors(role: Role, config: &Config) {
    let (mut doors, is_up) = (Vec::new(), role == Role::Up);
    if role != Role::Daemon {
        doors.extend(reach::of_scheduler(config, !is_up));
    }
    if role != Role::Scheduler {
        doors.extend(reach::of_daemon(config));
    }
    for reach::Door {
        name,
        at,
        from,
        is_wide,
    } in doors
    {
        if is_wide {
            warn!(door = name, %at, reached_from = from, "listens, and more than need to can reach it");
        } else {
            info!(door = name, %at, reached_from = from, "listens");
        }
    }
}
