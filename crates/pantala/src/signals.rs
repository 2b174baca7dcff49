//! Leaving: SIGTERM or SIGINT asks for it. A role has a time limit, and a second signal ends it at once; a command ends with
//! what it had begun cleared away. What whoever started the process had it ignore stays ignored: `nohup` and a script's `&`
//! mean it.

use std::{
    future::{Future, pending},
    io,
    time::Duration,
};

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::problem::{Exit, Problem};

/// The signals that ask to leave, unless they were ignored when the process began.
struct Leave {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Leave {
    fn listen() -> io::Result<Self> {
        let ignored = ignored();
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored & (1 << (kind.as_raw_value() - 1)) != 0;
            (!is_ignored).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: unless_ignored(SignalKind::terminate())?,
        })
    }

    /// Waits for one, and gives what a process ends with then. Cancel-safe.
    async fn asked(&mut self) -> Exit {
        async fn comes(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => pending().await,
            }
        }
        select! {
            () = comes(&mut self.interrupt) => Exit::Interrupted,
            () = comes(&mut self.terminate) => Exit::Terminated,
        }
    }
}

/// The mask of the signals that this process ignores. None where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

/// Runs a command's `work` until it ends or a signal asks to leave; then it is dropped.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let leave = Leave::listen();
    let mut leave =
        leave.map_err(|error| Problem::of(Exit::Failed, "listening to signals", error))?;
    select! {
        end = work => end,
        exit = leave.asked() => Err(Problem::new(exit, "interrupted")),
    }
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended<T> {
    /// By itself, or in order after the first signal.
    InOrder(T),
    /// The time limit or a second signal cut it off.
    CutOff,
}

/// Runs `work` until it ends; on the first signal cancels `stop` and gives it `limit` to end.
///
/// Errors: the signals cannot be listened to.
pub(crate) async fn run_until_stopped<T>(
    work: impl Future<Output = T>,
    stop: CancellationToken,
    limit: Duration,
) -> io::Result<Ended<T>> {
    let mut leave = Leave::listen()?;
    tokio::pin!(work);
    select! {
        end = &mut work => return Ok(Ended::InOrder(end)),
        _ = leave.asked() => {}
    }
    info!("stopping; a second signal ends it at once");
    stop.cancel();
    let cut = select! {
        end = &mut work => return Ok(Ended::InOrder(end)),
        _ = leave.asked() => "a second signal",
        () = sleep(limit) => "the time limit",
    };
    warn!(by = cut, "stopped before all was finished");
    Ok(Ended::CutOff)
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn send() {
        kill_process(getpid(), Signal::TERM).expect("sent to ourselves");
    }

    /// One test: signals reach everybody in the process.
    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_or_the_limit_cuts_off() {
        let stop = CancellationToken::new();
        let work = async { 7 };
        let ended = run_until_stopped(work, stop.clone(), LONG).await;
        assert_eq!(
            (ended.ok(), stop.is_cancelled()),
            (Some(Ended::InOrder(7)), false)
        );

        let work = async {
            send();
            stop.cancelled().await;
        };
        let ended = run_until_stopped(work, stop.clone(), LONG).await;
        assert_eq!(ended.ok(), Some(Ended::InOrder(())));

        let stop = CancellationToken::new();
        let work = async {
            send();
            stop.cancelled().await;
            send();
            pending::<()>().await;
        };
        let ended = run_until_stopped(work, stop.clone(), LONG).await;
        assert_eq!(ended.ok(), Some(Ended::CutOff));

        let stop = CancellationToken::new();
        let work = async {
            send();
            pending::<()>().await;
        };
        let ended = run_until_stopped(work, stop.clone(), Duration::ZERO).await;
        assert_eq!(ended.ok(), Some(Ended::CutOff));
    }
}
