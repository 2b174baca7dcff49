//! Blobs that their registry gives for credentials alone.
//!
//! They are kept, and shared in the cluster, as tasks of that registry. A caller gets one after the registry has told this
//! very caller that he may have it, in this repository, a short while ago. Until then nothing that is held here or elsewhere
//! plays a part: the same questions go to the registry, and its own answer goes back.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use gateway::{ContentAsk, OpenError, OriginAnswer, Wanted};
use origin::{AskError, BlobHead, RegistryClient, SecretHeaders};
use parking_lot::Mutex;
use types::{ByteCount, CallerId, CallerKey, ContentKey, RegistryHost, Visibility};

use super::{
    proofs::{Claim, ProofPolicy, Proofs, Verdict},
    refusal,
    resolve::{BlobName, Found, Holding, Resolver, layout_of},
};
use crate::{access::Access, task::TaskSpec};

/// The most that a refusal may take to be remembered.
const REFUSAL_MAX: usize = 1 << 10;

/// What callers have shown.
pub(super) struct Rights {
    key: CallerKey,
    proofs: Mutex<Proofs<Refusal>>,
}

/// A caller, with what he shows the registry.
pub(super) struct Caller {
    id: CallerId,
    headers: SecretHeaders,
}

/// A registry's no.
#[derive(Clone, Debug)]
enum Refusal {
    Denied(Arc<OriginAnswer>),
    NotFound(AskError),
}

impl Caller {
    /// How long the token is good that the caller shows, if it says so.
    fn lasts(&self) -> Option<Duration> {
        let end = self.headers.token_end()?;
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// The way to a registry with the caller's own lines; who has none gets what this host's credentials give that are lent.
    pub(super) fn at(&self, registry: RegistryClient) -> RegistryClient {
        match self.id {
            CallerId::Shown(_) => registry.with_headers(self.headers.clone(), self.id),
            CallerId::Anonymous | CallerId::Host => registry,
        }
    }
}

impl Rights {
    /// Nobody has shown anything yet. Callers are told apart by a key of this process.
    pub(super) fn new(policy: ProofPolicy) -> Self {
        Self {
            key: CallerKey::new(rand::random()),
            proofs: Mutex::new(Proofs::new(policy)),
        }
    }
}

impl Refusal {
    /// What of `error` may be remembered.
    fn of(error: &OpenError) -> Option<Self> {
        match error {
            OpenError::Denied(answer) => {
                let lines = answer.headers.iter();
                let lines = lines.map(|(name, value)| name.as_str().len() + value.len());
                let length = lines.sum::<usize>() + answer.body.len();
                (length <= REFUSAL_MAX).then(|| Self::Denied(Arc::new((**answer).clone())))
            }
            OpenError::NotFound(cause) => {
                let cause = cause.downcast_ref::<AskError>()?;
                Some(Self::NotFound(cause.clone()))
            }
            _ => None,
        }
    }

    fn told(self) -> OpenError {
        match self {
            Self::Denied(answer) => OpenError::Denied(Box::new((*answer).clone())),
            Self::NotFound(cause) => OpenError::NotFound(cause.into()),
        }
    }
}

impl BlobName<'_> {
    fn claim(&self, caller: CallerId) -> Claim {
        Claim {
            caller,
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            digest: self.digest,
        }
    }

    fn private_key(&self) -> ContentKey {
        ContentKey::Private {
            registry: self.registry.clone(),
            digest: self.digest,
        }
    }
}

impl Resolver {
    /// Who asks `registry`, showing `headers`.
    pub(super) fn caller(&self, registry: &RegistryHost, headers: SecretHeaders) -> Caller {
        let lines = headers.identifying();
        let shown =
            (self.rights.key).caller(lines.map(|(name, value)| (name.as_str(), value.as_bytes())));
        let id = match shown {
            CallerId::Anonymous if self.origins.registry(registry).is_for_somebody() => {
                CallerId::Host
            }
            shown => shown,
        };
        Caller { id, headers }
    }

    /// What the registry told this caller of `name` lately.
    pub(super) fn known_right(
        &self,
        name: &BlobName<'_>,
        caller: &Caller,
    ) -> Option<Result<Found, OpenError>> {
        let claim = name.claim(caller.id);
        let task = name.private_key().task_id();
        let verdict = {
            let mut proofs = self.rights.proofs.lock();
            if let Some(denied) = self.accesses.denied_at(task, name.source()) {
                proofs.doubt(&claim, denied);
            }
            proofs.verdict(&claim, self.accesses.clock().now())?
        };
        Some(match verdict {
            Verdict::Granted(length) => {
                let client = caller.at(self.origins.registry(name.registry));
                self.private_task(name, client, length)
            }
            Verdict::Refused(refusal) => Err(refusal.told()),
        })
    }

    /// Asks the registry on the caller's behalf. Nobody in particular was `refused` before.
    pub(super) async fn private_blob(
        &self,
        name: &BlobName<'_>,
        (caller, refused): (Caller, AskError),
    ) -> Result<Found, OpenError> {
        if caller.id == CallerId::Anonymous {
            return Err(self.refused(name, caller, refused).await);
        }
        let claim = name.claim(caller.id);
        let asked = (self.accesses.clock().now(), caller.lasts());
        let client = caller.at(self.origins.registry(name.registry));
        match client.blob_head(name.repository, &name.digest).await {
            Ok(BlobHead {
                length: Some(length),
                ..
            }) => {
                tracing::debug!(caller = ?caller.id, digest = %name.digest, "the registry lets a caller have a private blob");
                let verdict = Verdict::Granted(length);
                self.rights.proofs.lock().note(claim, verdict, asked);
                self.private_task(name, client, length)
            }
            Ok(BlobHead { length: None, .. }) => {
                let access = Arc::new(name.access(client, None));
                Ok(Found::Alone(name.alone(access, None)))
            }
            Err(error) => {
                let error = self.refused(name, caller, error).await;
                if let Some(refusal) = Refusal::of(&error) {
                    let verdict = Verdict::Refused(refusal);
                    self.rights.proofs.lock().note(claim, verdict, asked);
                }
                Err(error)
            }
        }
    }

    /// What a caller is told to whom the registry, or its token server, says no: the registry's own words.
    pub(super) async fn refused(
        &self,
        name: &BlobName<'_>,
        caller: Caller,
        error: AskError,
    ) -> OpenError {
        let status = error.status().map(|status| status.as_u16());
        if matches!(status, Some(401 | 403)) || matches!(error, AskError::Auth(_)) {
            return self.refusal(name, caller.headers, error).await;
        }
        refusal::of_ask(error)
    }

    /// The task of a blob that its caller may have, read at the origin on his behalf.
    fn private_task(
        &self,
        name: &BlobName<'_>,
        client: RegistryClient,
        length: ByteCount,
    ) -> Result<Found, OpenError> {
        let (task, source) = (name.private_key().task_id(), name.source());
        let layout = layout_of(length)?;
        let access = Arc::new(name.access(client, Some(length)));
        self.accesses.insert(task, source.clone(), access);
        Ok(Found::Shared {
            spec: TaskSpec {
                task,
                layout,
                digest: Some(name.digest),
                source,
                visibility: Visibility::Private,
            },
            content_type: None,
            is_sure: true,
        })
    }

    /// How this very caller reads `spec` at its registry, if it is private.
    pub(super) fn own_access(&self, ask: &ContentAsk, spec: &TaskSpec) -> Option<Arc<Access>> {
        let Wanted::Blob {
            registry,
            repository,
            digest,
        } = &ask.wanted
        else {
            return None;
        };
        if spec.visibility == Visibility::Public {
            return None;
        }
        let caller = self.caller(registry, SecretHeaders::new(ask.headers.to_map()));
        let name = BlobName {
            registry,
            repository,
            digest: *digest,
        };
        let client = caller.at(self.origins.registry(registry));
        Some(Arc::new(name.access(client, Some(spec.layout.length()))))
    }

    /// The registry has just given `name`, so long, to nobody in particular: all of it that is held as private is public from
    /// now on. Another length is none of it: a page of the registry's front, say, that everybody gets for anything.
    pub(super) async fn made_public(
        &self,
        name: &BlobName<'_>,
        length: ByteCount,
    ) -> Option<Holding> {
        let (task, digest) = (name.private_key().task_id(), name.digest);
        let held = self.store.info(task)?;
        if !held.complete || held.layout.length() != length {
            return None;
        }
        let store = self.store.clone();
        let publish = move || {
            let content = store.content(task).ok()??;
            content.set_visibility(Visibility::Public);
            tracing::info!(%digest, "private content is public by now");
            Some(Holding::of(task, digest, &content, &store))
        };
        tokio::task::spawn_blocking(publish).await.ok()?
    }
}

#[cfg(test)]
mod tests;
