//! Certificates, tokens and revocations: the authority's files, used from blocking threads.

use std::{num::NonZeroU32, sync::Arc, time::SystemTime};

use control::{Answer, Denied, EnrolAnswer, EnrolRequest, Joiners, MintToken, MintedToken, Token};
use identity::{ClusterCa, EnrolError, IssueError, Links, RemoteHost, Role};
use tokio::task::spawn_blocking;
use types::{HostId, Secret};

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

    pub(crate) fn mint_token(&self, wish: MintToken) -> Answer<MintedToken> {
        let ca = self.ca.clone();
        answer(move || {
            let refused = |text: String| Denied::Refused(text);
            let role: Role = (wish.role.parse())
                .map_err(|cause: identity::ParseRoleError| refused(cause.to_string()))?;
            let uses = NonZeroU32::new(wish.uses);
            let uses = uses.ok_or_else(|| refused("a token admits at least one host".into()))?;
            let minted = ca.tokens().mint(role, uses, wish.ttl);
            let minted = minted.map_err(|cause| refused(cause.to_string()))?;
            Ok(MintedToken {
                id: minted.id.to_string(),
                text: Secret::new(minted.text.expose().clone()),
            })
        })
    }

    pub(crate) fn list_tokens(&self) -> Answer<Vec<Token>> {
        let ca = self.ca.clone();
        answer(move || {
            let tokens = ca.tokens().list().map_err(failed)?;
            let shown = tokens.into_iter().map(|info| Token {
                id: info.id.to_string(),
                role: info.role.to_string(),
                uses_left: info.uses_left,
                expires_at: info
                    .expires_at
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default(),
            });
            Ok(shown.collect())
        })
    }

    pub(crate) fn revoke_token(&self, id: String) -> Answer<bool> {
        let ca = self.ca.clone();
        answer(move || match id.parse() {
            Ok(id) => ca.tokens().revoke(id).map_err(failed),
            Err(_) => Err(Denied::Refused("that is no token's id".to_owned())),
        })
    }

    /// Throws a host out; `false` if it was out. Its stream ends, and the others are told, by the wake-up that `links`
    /// gives, whether it hears of it from here or from the watch over the folder.
    pub(crate) fn revoke_host(&self, host: HostId) -> Answer<bool> {
        let office = self.clone();
        answer(move || {
            let before = office.ca.revocations().map_err(failed)?.number();
            let list = office.ca.revoke(host, SystemTime::now()).map_err(failed)?;
            let learned = office.links.learn_revocations(list.as_bytes());
            learned.map_err(failed)?;
            Ok(list.number() > before)
        })
    }
}
