//! Becoming a host of a cluster: the key is made here, the certificate comes for a join token.
//!
//! Nothing needs to be started before anything else: while no scheduler is there, the host keeps trying.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use control::{CallError, ControlClient};
use identity::{
    AnswerError, Bootstrap, EnrolAnswer, Identity, JoinToken, LinkError, LinkLimits, LoadError,
    NodeKey,
};
use tokio::time::{error::Elapsed, sleep, timeout};
use types::Chance;

use crate::{
    doors::{Health, Severity},
    scheduler::{SchedulerLinkError, dial_scheduler},
};

/// How long one scheduler may take, from the first packet to the certificate.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause after the first round over all schedulers; each further one is twice as long, and up to half is cut by chance.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// What complaints about it are kept under.
const PART: &str = "joining";

/// Why a host could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Key or certificate on disk.
    #[error("keeping this host's key and certificate")]
    Save(#[from] LoadError),
    /// No scheduler answered; the last one's reason.
    #[error("reaching the scheduler")]
    Unreachable(#[from] SchedulerLinkError),
    /// Whoever answered is not the token's cluster.
    #[error("proving that the scheduler belongs to the token's cluster")]
    Link(#[from] LinkError),
    /// It took too long.
    #[error("waiting for the scheduler's answer")]
    TimedOut(#[from] Elapsed),
    /// The scheduler refused.
    #[error("joining the cluster")]
    Call(#[from] CallError),
    /// Its answer is no certificate for this host.
    #[error("checking the certificate")]
    Answer(#[from] AnswerError),
    /// No scheduler is configured.
    #[error("no scheduler is configured to join at")]
    NoScheduler,
}

impl JoinError {
    /// Whether the same token may succeed later: a scheduler that is not there may come, one that said no has said it.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) => true,
            Self::Call(cause) => cause.is_passing(),
            // Whatever else is wrong with a handshake, clocks included, mends itself; who is there does not.
            Self::Link(cause) => !matches!(
                cause,
                LinkError::ForeignCertificate
                    | LinkError::WrongHost
                    | LinkError::WrongRole { .. }
                    | LinkError::UnfitCertificate(_)
                    | LinkError::BadCertificate(_)
            ),
            Self::Save(_) | Self::Answer(_) | Self::NoScheduler => false,
        }
    }
}

/// A host on its way into a cluster.
pub struct Joining {
    /// Where key and identity are kept.
    pub dir: PathBuf,
    /// What lets it in.
    pub token: JoinToken,
    /// Where to ask, as `host:port`, the preferred one first.
    pub schedulers: Vec<String>,
    /// Where it says that it waits.
    pub health: Health,
    /// For the chance in its pauses: another one on every host.
    pub seed: u64,
}

impl Joining {
    /// Joins the token's cluster at the first scheduler that answers, however long that takes, and keeps the identity
    /// beside its key. Dropped early, the host may join later with the same key.
    ///
    /// Errors: those that no waiting mends.
    pub async fn join(self) -> Result<Identity, JoinError> {
        let key = tokio::task::block_in_place(|| NodeKey::load_or_create(&self.dir))?;
        let bootstrap = Bootstrap::new(self.token.clone(), key);
        let mut chance = Chance::seeded(self.seed);
        let mut pause = PAUSE_MIN;
        loop {
            let cause = match self.round(&bootstrap).await {
                Ok(identity) => {
                    tokio::task::block_in_place(|| identity.save(&self.dir))?;
                    self.health.all_well(PART);
                    return Ok(identity);
                }
                Err(cause) if !cause.is_passing() => return Err(cause),
                Err(cause) => cause,
            };
            let wait = pause.mul_f64(1.0 - chance.fraction() / 2.0);
            let error = &cause as &dyn std::error::Error;
            tracing::warn!(error, ?wait, "no scheduler lets this host join yet");
            let line = format!("no scheduler lets this host join yet: {}", chain(error));
            self.health.complain(Severity::NotReady, PART, line);
            sleep(wait).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks every scheduler once. Of several reasons one that may pass is told, since then there is something to wait for;
    /// a token that was refused is refused.
    async fn round(&self, bootstrap: &Bootstrap) -> Result<Identity, JoinError> {
        let mut last = JoinError::NoScheduler;
        for scheduler in &self.schedulers {
            let asked = timeout(ANSWER_TIMEOUT, join_at(bootstrap, scheduler)).await;
            match asked.unwrap_or_else(|late| Err(late.into())) {
                Ok(identity) => return Ok(identity),
                Err(cause @ JoinError::Call(_)) if !cause.is_passing() => return Err(cause),
                Err(cause) if cause.is_passing() || !last.is_passing() => last = cause,
                Err(_) => {}
            }
        }
        Err(last)
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line = format!("{line}: {cause}");
        next = cause.source();
    }
    line
}

async fn join_at(bootstrap: &Bootstrap, scheduler: &str) -> Result<Identity, JoinError> {
    let tcp = dial_scheduler(scheduler).await?;
    let link = bootstrap.connect(tcp, &LinkLimits::default()).await?;
    let request = bootstrap.request();
    let request = control::EnrolRequest {
        host: request.host,
        token: request.token,
        nonce: request.nonce,
        proof: request.proof,
    };
    let answer = ControlClient::connect(link).await?.enrol(request).await?;
    let answer = EnrolAnswer {
        certificate: answer.certificate,
        authority: answer.authority,
        revocations: answer.revocations,
    };
    Ok(bootstrap.accept(&answer, SystemTime::now())?)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use identity::{Role, testing::Cluster};
    use tokio::net::TcpListener;

    use super::*;

    fn joining(cluster: &Cluster, schedulers: Vec<String>) -> Joining {
        let hour = Duration::from_secs(3600);
        let minted = cluster
            .ca
            .tokens()
            .mint(Role::Daemon, NonZeroU32::MIN, hour)
            .expect("a token");
        Joining {
            dir: cluster.place().join("joiner"),
            token: minted.text.expose().parse().expect("a token"),
            schedulers,
            health: Health::default(),
            seed: 7,
        }
    }

    /// A port where nobody listens until somebody does.
    async fn free_port() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("bound").to_string()
    }

    async fn scheduler(cluster: &Cluster, at: &str) -> scheduler::Scheduler {
        let name = cluster.ca.authority().cluster().clone();
        let config = scheduler::SchedulerConfig::new(
            cluster.place().join("ca"),
            name,
            at.parse().expect("an address"),
        );
        scheduler::Scheduler::start(config)
            .await
            .expect("a scheduler")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_host_waits_for_its_scheduler_and_says_so() {
        let cluster = Cluster::new("patience");
        let at = free_port().await;
        let joining = joining(&cluster, vec![at.clone()]);
        let health = joining.health.clone();
        let mut joined = Box::pin(joining.join());
        // The scheduler comes once somebody has missed it.
        let missed = async {
            while health.complaints(Severity::NotReady).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = &mut joined => panic!("nobody is there"),
            () = missed => {}
        }
        let scheduler = scheduler(&cluster, &at).await;
        let identity = joined.await.expect("a certificate");
        assert_eq!(identity.cluster(), cluster.ca.authority().cluster());
        assert!(health.complaints(Severity::NotReady).is_empty());
        scheduler.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_token_is_final_at_once() {
        let cluster = Cluster::new("refused");
        let scheduler = scheduler(&cluster, "127.0.0.1:0").await;
        let at = scheduler.address().to_string();
        let joining = joining(&cluster, vec![at, free_port().await]);
        let id = joining.token.id();
        assert!(cluster.ca.tokens().revoke(id).expect("revoked"));
        let refused = joining.join().await.expect_err("it was revoked");
        assert!(matches!(refused, JoinError::Call(_)), "{refused:?}");
        scheduler.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_cluster_of_the_same_name_is_refused_at_once() {
        let (cluster, forged) = (Cluster::new("twin"), Cluster::new("twin"));
        let scheduler = scheduler(&forged, "127.0.0.1:0").await;
        let joining = joining(&cluster, vec![scheduler.address().to_string()]);
        let refused = joining.join().await.expect_err("it is another cluster");
        assert!(
            matches!(refused, JoinError::Link(LinkError::ForeignCertificate)),
            "{refused:?}"
        );
        scheduler.stop().await;
    }
}
