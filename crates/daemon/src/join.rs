//! Becoming a host of a cluster: the key is made here, the certificate comes for a join token.

use std::{path::Path, time::SystemTime};

use control::{CallError, ControlClient};
use identity::{
    AnswerError, Bootstrap, EnrolAnswer, Identity, JoinToken, LinkError, LinkLimits, LoadError,
    NodeKey,
};

use crate::scheduler::{SchedulerLinkError, dial_scheduler};

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

/// Joins the cluster of the token at the first of `schedulers` that answers, and keeps the identity in `dir`, beside its
/// key.
pub async fn join(
    dir: &Path,
    token: JoinToken,
    schedulers: &[String],
) -> Result<Identity, JoinError> {
    let key = tokio::task::block_in_place(|| NodeKey::load_or_create(dir))?;
    let bootstrap = Bootstrap::new(token, key);
    let mut last = JoinError::NoScheduler;
    for scheduler in schedulers {
        match join_at(&bootstrap, scheduler).await {
            Ok(identity) => {
                tokio::task::block_in_place(|| identity.save(dir))?;
                return Ok(identity);
            }
            Err(cause) => last = cause,
        }
    }
    Err(last)
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
