//! From what a consumer wants to a task, or to a read for this consumer alone.
//!
//! Only what an origin gives to nobody in particular becomes a task. Whatever needs credentials is read with the
//! caller's own and goes to this caller: it is neither kept nor shared.

use std::{sync::Arc, time::Instant};

use gateway::{ContentAsk, OpenError, Wanted};
use origin::{
    AskError, BlobHead, Origins, PassMethod, PassRequest, RegistryClient, Request, ResolveError,
    SecretHeaders,
};
use store::Store;
use types::{
    ByteCount, ContentKey, Digest, Layout, RegistryHost, RepoName, Source, TaskId, Validator,
    Visibility,
};

use super::{refusal, secluded::Secluded};
use crate::{
    access::{Access, Accesses, key_of},
    task::TaskSpec,
};

/// Content that was found.
pub(super) enum Found {
    /// Public: a task distributes it.
    Shared {
        /// The task.
        spec: TaskSpec,
        /// The media type, if the origin was asked.
        content_type: Option<String>,
    },
    /// For this caller alone.
    Alone(Alone),
}

/// Content that is read past store and swarm.
pub(super) struct Alone {
    /// What it would be called as a task.
    pub(super) task: TaskId,
    /// Its length, if the origin tells.
    pub(super) length: Option<ByteCount>,
    /// What it must hash to, if somebody knows.
    pub(super) digest: Option<Digest>,
    /// The media type, if the origin tells.
    pub(super) content_type: Option<String>,
    /// How it is read, with the caller's credentials.
    pub(super) access: Arc<Access>,
}

/// A blob as it is named.
struct BlobName<'a> {
    registry: &'a RegistryHost,
    repository: &'a RepoName,
    digest: Digest,
}

/// Finds content.
pub(super) struct Resolver {
    pub(super) origins: Origins,
    pub(super) store: Store,
    pub(super) accesses: Accesses,
    pub(super) secluded: Secluded,
}

impl Resolver {
    /// Finds what `ask` wants. With `is_bypass`, the origin is asked with the caller's own headers and nothing else is.
    pub(super) async fn find(&self, ask: &ContentAsk, is_bypass: bool) -> Result<Found, OpenError> {
        let headers = SecretHeaders::new(ask.headers.to_map());
        match &ask.wanted {
            Wanted::Blob {
                registry,
                repository,
                digest,
            } => {
                let name = BlobName {
                    registry,
                    repository,
                    digest: *digest,
                };
                if is_bypass {
                    return self.blob_alone(&name, headers).await;
                }
                self.blob(&name, headers).await
            }
            Wanted::Url { url, digest, tag } => {
                let request = Request::new(url.expose(), headers)
                    .map_err(|error| OpenError::Unavailable(error.into()))?;
                if let Some(digest) = digest.filter(|_| !is_bypass)
                    && let Some((task, layout)) = self.held(digest).await?
                {
                    let source = Source::Url(self.origins.canonical_url(request.url()));
                    return Ok(shared((task, layout), Some(digest), source));
                }
                self.url(&request, (*digest, tag), is_bypass).await
            }
        }
    }

    /// The task and layout of public content that is held here by its digest, all of it or a part.
    async fn held(&self, digest: Digest) -> Result<Option<(TaskId, Layout)>, OpenError> {
        let store = self.store.clone();
        let look = move || {
            let by_digest = ContentKey::Digest(digest).task_id();
            if let Some(task) = store.task_of(digest)
                && let Some(content) = store.content(task)?
                && (content.is_complete() || task == by_digest)
            {
                return Ok(Some((task, content.layout())));
            }
            let content = store.content(by_digest)?;
            Ok(content.map(|content| (by_digest, content.layout())))
        };
        let looked: Result<_, store::DiskError> = tokio::task::spawn_blocking(look)
            .await
            .map_err(|error| OpenError::Unavailable(error.into()))?;
        looked.or_else(|error| {
            // A store that fails is no reason to fail the consumer: the origin has it too.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the store was not asked"
            );
            Ok(None)
        })
    }

    async fn blob(&self, name: &BlobName<'_>, headers: SecretHeaders) -> Result<Found, OpenError> {
        let client = self.origins.registry(name.registry).anonymous();
        let access = Arc::new(name.access(client.clone()));
        if let Some((task, layout)) = self.held(name.digest).await? {
            self.accesses.insert(task, access);
            return Ok(shared((task, layout), Some(name.digest), name.source()));
        }
        if self.secluded.contains(&name.key(), Instant::now()) {
            return self.blob_alone(name, headers).await;
        }
        match client.blob_head(name.repository, &name.digest).await {
            Ok(BlobHead {
                length: Some(length),
                ..
            }) => {
                let task = ContentKey::Digest(name.digest).task_id();
                self.accesses.insert(task, access);
                let layout = layout_of(length)?;
                Ok(shared((task, layout), Some(name.digest), name.source()))
            }
            Ok(BlobHead { length: None, .. }) => Ok(Found::Alone(name.alone(access, None))),
            Err(error) if may_be_private(&error) => {
                let found = self.blob_alone(name, headers).await;
                if found.is_ok() {
                    self.secluded.note(name.key(), Instant::now());
                }
                found
            }
            Err(error) => Err(refusal::of_ask(error)),
        }
    }

    /// With the caller's own lines; who has none gets what this host's own credentials give.
    async fn blob_alone(
        &self,
        name: &BlobName<'_>,
        headers: SecretHeaders,
    ) -> Result<Found, OpenError> {
        let registry = self.origins.registry(name.registry);
        let client = if headers.identifies_somebody() {
            registry.with_headers(headers.clone())
        } else {
            registry
        };
        match client.blob_head(name.repository, &name.digest).await {
            Ok(head) => {
                let access = Arc::new(name.access(client));
                Ok(Found::Alone(name.alone(access, head.length)))
            }
            Err(error) if matches!(error.status().map(|s| s.as_u16()), Some(401 | 403)) => {
                Err(self.refusal(name, headers, error).await)
            }
            Err(error) => Err(refusal::of_ask(error)),
        }
    }

    /// The registry's refusal in its own words: with the challenge that the client answers.
    async fn refusal(
        &self,
        name: &BlobName<'_>,
        headers: SecretHeaders,
        error: AskError,
    ) -> OpenError {
        let path = format!("/v2/{}/blobs/{}", name.repository, name.digest);
        let client = self.origins.registry(name.registry).anonymous();
        let request = PassRequest::new(PassMethod::Get, &path, headers.expose().clone());
        if let Ok(request) = request
            && let Ok(answer) = client.pass(&request).await
            && let Some(answer) = refusal::relayed(answer).await
        {
            return OpenError::Denied(Box::new(answer));
        }
        refusal::of_ask(error)
    }

    async fn url(
        &self,
        request: &Request,
        (digest, tag): (Option<Digest>, &str),
        is_bypass: bool,
    ) -> Result<Found, OpenError> {
        let resolved = match self.origins.resolve(request).await {
            Ok(resolved) => resolved,
            Err(ResolveError::Ask(error)) => return Err(refusal::of_ask(error)),
            Err(error) => return Err(OpenError::Unavailable(error.into())),
        };
        let key = key_of(&resolved, digest, tag);
        let is_public = resolved.visibility == Visibility::Public;
        let source = Source::Url(resolved.canonical_url.clone());
        let content_type = resolved.content_type.clone();
        let length = resolved.length;
        let access = Arc::new(Access::Web {
            origins: self.origins.clone(),
            resolved: Box::new(resolved),
        });
        if let (Some(key), Some(length)) = (&key, length)
            && is_public
            && !is_bypass
        {
            let task = key.task_id();
            self.accesses.insert(task, access);
            let mut found = shared((task, layout_of(length)?), digest, source);
            if let Found::Shared {
                content_type: told, ..
            } = &mut found
            {
                *told = content_type;
            }
            return Ok(found);
        }
        let key = key.unwrap_or_else(|| ContentKey::Url {
            url: source.to_string(),
            tag: tag.to_owned(),
            validator: Validator::ETag(String::new()),
        });
        Ok(Found::Alone(Alone {
            task: key.task_id(),
            length,
            digest,
            content_type,
            access,
        }))
    }
}

impl BlobName<'_> {
    fn key(&self) -> (RegistryHost, RepoName, Digest) {
        let (registry, repository) = (self.registry.clone(), self.repository.clone());
        (registry, repository, self.digest)
    }

    fn source(&self) -> Source {
        Source::Blob {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            digest: self.digest,
        }
    }

    fn access(&self, client: RegistryClient) -> Access {
        Access::Blob {
            client: Box::new(client),
            repository: self.repository.clone(),
            digest: self.digest,
        }
    }

    fn alone(&self, access: Arc<Access>, length: Option<ByteCount>) -> Alone {
        Alone {
            task: ContentKey::Digest(self.digest).task_id(),
            length,
            digest: Some(self.digest),
            content_type: None,
            access,
        }
    }
}

fn shared((task, layout): (TaskId, Layout), digest: Option<Digest>, source: Source) -> Found {
    Found::Shared {
        spec: TaskSpec {
            task,
            layout,
            digest,
            source,
            visibility: Visibility::Public,
        },
        content_type: None,
    }
}

fn layout_of(length: ByteCount) -> Result<Layout, OpenError> {
    Layout::of(length).map_err(|error| OpenError::Unavailable(error.into()))
}

/// Whether the same question with credentials may have another answer. Registries hide private content behind 404 too.
fn may_be_private(error: &AskError) -> bool {
    matches!(error, AskError::Auth(_))
        || matches!(error.status().map(|s| s.as_u16()), Some(401 | 403 | 404))
}
