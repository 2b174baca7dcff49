//! Leaving: the first SIGTERM or SIGINT asks for it, with a time limit; the second ends the process at once.

use std::{future::Future, io, time::Duration};

use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

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
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::pin!(work);
    select! {
        end = &mut work => return Ok(Ended::InOrder(end)),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping; a second signal ends it at once");
    stop.cancel();
    let cut = select! {
        end = &mut work => return Ok(Ended::InOrder(end)),
        _ = terminate.recv() => "a second signal",
        _ = interrupt.recv() => "a second signal",
        () = sleep(limit) => "the time limit",
    };
    warn!(by = cut, "stopped before all was finished");
    Ok(Ended::CutOff)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

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
