//! Keeps this host's identity: gets its next certificate in time, again and again, and puts what it hears of revocations
//! and of seeds on disk, so that a restart forgets nobody.

use std::{
    error::Error,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use control::{CallError, ControlClient};
use identity::{EnrolAnswer, Identity, Links, Renewals};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{error::Elapsed, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use types::Chance;

use crate::{
    core::{Event, Events},
    doors::{Health, Severity},
    metrics::Metrics,
};

/// How long a scheduler may take to make a certificate.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What complaints about the identity are kept under.
const PART: &str = "identity";

/// The keeper of one host's identity.
pub(crate) struct Keeper {
    pub(crate) links: Links,
    /// Where the identity is kept.
    pub(crate) dir: PathBuf,
    /// The way to the scheduler, while there is one.
    pub(crate) clients: watch::Receiver<Option<ControlClient>>,
    pub(crate) events: Events,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) seed: u64,
}

/// How asking for a certificate ended.
type Asked = Result<Result<control::EnrolAnswer, CallError>, Elapsed>;

impl Keeper {
    /// Keeps the identity until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut renewals = Renewals::new(Chance::seeded(self.seed));
        let mut revocations = self.links.revocations();
        let mut seeds = self.links.seeds();
        let mut asks: JoinSet<Asked> = JoinSet::new();
        loop {
            let identity = self.links.identity();
            self.metrics.certificate(identity.expires_at());
            let (renew_at, now) = (identity.renew_at(), SystemTime::now());
            let wait = renewals.wait(renew_at, now);
            let client = self.clients.borrow().clone();
            let client = client.filter(|_| asks.is_empty());
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = revocations.changed() => self.heard().await,
                Ok(()) = seeds.changed() => {
                    self.save(&self.links.identity());
                    self.events.tell(Event::Seeds).await;
                }
                Ok(()) = self.clients.changed() => {}
                Some(asked) = asks.join_next() => self.answered(&mut renewals, asked),
                () = sleep(wait), if client.is_some() => {
                    if let Some(client) = client.filter(|_| wait.is_zero()) {
                        asks.spawn(timeout(ANSWER_TIMEOUT, async move { client.renew().await }));
                    }
                }
            }
        }
    }

    /// Somebody was thrown out: the list is kept, then the links to it end.
    async fn heard(&self) {
        self.save(&self.links.identity());
        self.events.tell(Event::Revoked).await;
        let me = self.links.identity().host();
        if self.links.is_revoked(me) {
            error!(host = %me, "this host was revoked: no other host deals with it any more");
            let line = "this host was revoked; it may join again under a new key";
            self.health.complain(Severity::Degraded, PART, line);
        }
    }

    fn answered(&self, renewals: &mut Renewals, asked: Result<Asked, JoinError>) {
        let now = SystemTime::now();
        match self.adopt(asked, now) {
            Ok(()) => {
                let identity = self.links.identity();
                info!(until = ?identity.expires_at(), "the certificate is renewed");
                renewals.succeeded(identity.renew_at(), now);
            }
            Err(cause) => {
                renewals.failed(now);
                let next = renewals.wait(self.links.identity().renew_at(), now);
                warn!(
                    error = &*cause as &dyn Error,
                    ?next,
                    "renewing the certificate failed"
                );
            }
        }
    }

    /// Takes the next certificate. Live links go on; new handshakes show the new one.
    fn adopt(
        &self,
        asked: Result<Asked, JoinError>,
        now: SystemTime,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let answer = asked???;
        let answer = EnrolAnswer {
            certificate: answer.certificate,
            authority: answer.authority,
            revocations: answer.revocations,
        };
        let identity = self.links.identity().renewed(&answer, now)?;
        // Before anybody is shown it: others must not know a newer certificate of this host than it has after a crash.
        self.save(&identity);
        if self.links.adopt(identity) {
            Ok(())
        } else {
            Err("the certificate is for another host or cluster".into())
        }
    }

    /// Puts `identity` on disk. What could not be saved is used all the same.
    fn save(&self, identity: &Identity) {
        let saved = tokio::task::block_in_place(|| identity.save(&self.dir));
        if let Err(cause) = saved {
            warn!(
                error = &cause as &dyn Error,
                "the certificate and the revocations were not saved"
            );
        }
    }
}

#[cfg(test)]
mod tests;
