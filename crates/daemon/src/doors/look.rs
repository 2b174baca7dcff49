//! Looking at a source once in the cluster: what another host saw a moment ago need not be asked of the origin again.
//!
//! Nobody depends on it. Who is not told within a second looks itself, and who was told wrong finds out by the first
//! piece and looks itself then.

use std::time::{Duration, Instant};

use control::Found;
use parking_lot::Mutex;
use types::Source;

use crate::handle::{Command, Handle, Look};

/// What the cluster knows of sources.
pub(super) struct Cluster {
    /// None without a scheduler.
    handle: Option<Handle>,
    /// The scheduler answered too late: it is left alone until then.
    quiet_until: Mutex<Option<Instant>>,
}

/// Whether this host has to look itself.
pub(super) enum Known {
    /// Another host did, so long ago.
    Told(Found),
    /// It has.
    Look(Teller),
}

/// The way to tell the cluster what this host saw.
pub(super) struct Teller(Option<(Handle, Source)>);

impl Teller {
    /// Who tells nobody.
    pub(super) const NOBODY: Self = Self(None);

    /// Tells what was found; none if the origin did not say.
    pub(super) async fn tell(self, found: Option<Found>) {
        if let Some((handle, source)) = self.0 {
            handle.tell(Command::Looked { source, found }).await;
        }
    }
}

impl Cluster {
    /// The longest that another host's look is waited for; up to a third less for some, so that not all of those who
    /// gave up come to the origin together.
    const WAIT_MAX: Duration = Duration::from_secs(1);
    /// How long a scheduler that answered too late is not asked again: each time costs the wait.
    const QUIET: Duration = Duration::from_secs(5);

    pub(super) fn new(handle: Option<Handle>) -> Self {
        Self {
            handle,
            quiet_until: Mutex::default(),
        }
    }

    /// What another host saw of `source`. Dropped early, nothing is left behind.
    pub(super) async fn known(&self, source: Source) -> Known {
        let now = Instant::now();
        let is_quiet = self.quiet_until.lock().is_some_and(|until| now < until);
        let Some(handle) = self.handle.as_ref().filter(|_| !is_quiet) else {
            return Known::Look(Teller::NOBODY);
        };
        let wait = Self::WAIT_MAX.mul_f64(1.0 - rand::random::<f64>() / 3.0);
        match tokio::time::timeout(wait, handle.look(source.clone())).await {
            // Content of no length has no piece that could prove the answer wrong.
            Ok(Look::Told(found)) if found.length.0 > 0 => Known::Told(found),
            Ok(_) => Known::Look(self.teller(source)),
            Err(_) => {
                *self.quiet_until.lock() = Some(now + wait + Self::QUIET);
                tracing::debug!(%source, ?wait, "nobody told what a source is");
                Known::Look(Teller::NOBODY)
            }
        }
    }

    /// For a host that looks although somebody may know.
    pub(super) fn teller(&self, source: Source) -> Teller {
        Teller(self.handle.clone().map(|handle| (handle, source)))
    }
}

#[cfg(test)]
mod tests;
