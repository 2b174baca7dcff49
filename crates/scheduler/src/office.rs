//! Certificates, tokens and revocations: the authority's files, used from blocking threads.

use std::{sync::Arc, time::SystemTime};

use control::{Answer, Denied, EnrolAnswer, EnrolRequest, Joiners};
use identity::{ClusterCa, EnrolError, IssueError, Links, RemoteHost};
use tokio::task::spawn_blocking;

/// The authority and the links it works for. Clones share both.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) ca: Arc<ClusterCa>,
    pub(crate) links: Links,
}

/// Runs `work` where it may block.
fn answer<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Denied> + Send + 'static,
) -> Answer<T> {
    Box::pin(async move {
        let done = spawn_blocking(work).await;
        done.map_err(|_| Denied::Failed("the work broke off".to_owned()))?
    })
}

fn failed(cause: impl std::error::Error + 'static) -> Denied {
    tracing::error!(error = &cause as &dyn std::error::Error, "authority failed");
    Denied::Failed("its authority's files cannot be used".to_owned())
}

fn refused(cause: IssueError) -> Denied {
    match cause {
        IssueError::Revoked(_) => Denied::Refused(cause.to_string()),
        IssueError::Store(cause) => failed(cause),
    }
}

impl Joiners for Office {
    fn enrol(&self, request: EnrolRequest) -> Answer<EnrolAnswer> {
        let office = self.clone();
        answer(move || {
            let request = identity::EnrolRequest {
                host: request.host,
                token: request.token,
                nonce: request.nonce,
                proof: request.proof,
            };
            match office.ca.enrol(&request, SystemTime::now()) {
                Ok(answer) => Ok(office.issued(answer)),
                Err(EnrolError::Issue(cause)) => Err(refused(cause)),
                Err(cause) => Err(Denied::Refused(cause.to_string())),
            }
        })
    }
}

impl Office {
    /// An answer on its way. Who is a seed by it, or is none any more, is known from now on: a stream that lives long shows
    /// its certificate once.
    fn issued(&self, answer: identity::EnrolAnswer) -> EnrolAnswer {
        if let Err(cause) = self.links.learn_certificate(&answer.certificate) {
            tracing::warn!(
                error = &cause as &dyn std::error::Error,
                "a new certificate is not believed"
            );
        }
        EnrolAnswer {
            certificate: answer.certificate,
            authority: answer.authority,
            revocations: answer.revocations,
        }
    }

    pub(crate) fn renew(&self, remote: RemoteHost) -> Answer<EnrolAnswer> {
        let office = self.clone();
        answer(move || {
            let renewed = office.ca.renew(remote, SystemTime::now());
            renewed.map(|answer| office.issued(answer)).map_err(refused)
        })
    }
}
