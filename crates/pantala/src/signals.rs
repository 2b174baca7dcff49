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
