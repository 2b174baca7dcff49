//! From what a consumer wants to a task, or to a read for this consumer alone.
//!
//! Only what an origin gives to nobody in particular becomes a task. Whatever needs credentials is read with the
//! caller's own and goes to this caller: it is neither kept nor shared.

use std::{sync::Arc, time::Instant};

use gateway::{ContentAsk, OpenError, Wanted};
use origin::{
    AskError, BlobHead, Origins, PassMethod, PassRequest, RegistryClient, Request, ResolveError,
    Resolved, SecretHeaders,
};
use store::Store;
use types::{
    ByteCount, ContentKey, Digest, Layout, RegistryHost, RepoName, Source, TaskId, Validator,
    Visibility,
};

use super::{
    lately::{BlobKey, Lately},
    look::{Cluster, Known, Teller},
    refusal,
};
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
        /// Whether this host knows that the layout is right: the origin told it, or there are pieces.
        is_sure: bool,
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

/// Whose word on content counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// What is held here, then what another host saw, then the origin's.
    Anybodys,
    /// The origin's.
    Origins,
    /// The origin's to this caller, whose own headers are sent along: the bypass is on.
    OriginsToCaller,
}

/// Finds content.
pub(super) struct Resolver {
    pub(super) origins: Origins,
    pub(super) store: Store,
    pub(super) accesses: Accesses,
    /// Blobs that a registry refused to nobody in particular.
    pub(super) secluded: Lately<BlobKey>,
    /// Tasks that failed with a length that another host told.
    pub(super) doubted: Arc<Lately<TaskId>>,
    pub(super) cluster: Cluster,
}

impl Resolver {
    /// Finds what `ask` wants.
    pub(super) async fn find(&self, ask: &ContentAsk, word: Word) -> Result<Found, OpenError> {
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
                if word == Word::OriginsToCaller {
                    return self.blob_alone(&name, headers).await;
                }
                self.blob(&name, headers, word).await
            }
            Wanted::Url { url, digest, tag } => {
                let request = Request::new(url.expose(), headers)
                    .map_err(|error| OpenError::Unavailable(error.into()))?;
                if let Some(digest) = digest.filter(|_| word == Word::Anybodys)
                    && let Some((task, layout, is_sure)) = self.held(digest).await?
                {
                    let source = Source::Url(self.origins.canonical_url(request.url()));
                    return Ok(shared((task, layout, is_sure), Some(digest), source));
                }
                self.url(&request, (*digest, tag), word).await
            }
        }
    }

    /// The task and layout of public content that is held here by its digest, all of it or a part, and whether there are
    /// pieces that show the layout to be right.
    async fn held(&self, digest: Digest) -> Result<Option<(TaskId, Layout, bool)>, OpenError> {
        let store = self.store.clone();
        let look = move || {
            let by_digest = ContentKey::Digest(digest).task_id();
            if let Some(task) = store.task_of(digest)
                && let Some(content) = store.content(task)?
                && (content.is_complete() || task == by_digest)
            {
                return Ok(Some((task, content.layout(), !content.have().is_empty())));
            }
            let content = store.content(by_digest)?;
            Ok(content.map(|content| {
                let is_sure = !content.have().is_empty();
                (by_digest, content.layout(), is_sure)
            }))
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

    async fn blob(
        &self,
        name: &BlobName<'_>,
        headers: SecretHeaders,
        word: Word,
    ) -> Result<Found, OpenError> {
        let client = self.origins.registry(name.registry).anonymous();
        if word == Word::Anybodys
            && let Some((task, layout, is_sure)) = self.held(name.digest).await?
        {
            let access = name.access(client, Some(layout.length()));
            self.accesses.insert(task, name.source(), Arc::new(access));
            return Ok(shared(
                (task, layout, is_sure),
                Some(name.digest),
                name.source(),
            ));
        }
        if self.secluded.contains(&name.key(), Instant::now()) {
            return self.blob_alone(name, headers).await;
        }
        let teller = match word {
            Word::Anybodys => match self.cluster.known(name.source()).await {
                Known::Told(found, _) => {
                    return self.public_blob(name, client, (found.length, false));
                }
                Known::Look(teller) => teller,
            },
            _ => self.cluster.teller(name.source()),
        };
        let head = client.blob_head(name.repository, &name.digest).await;
        let length = head.as_ref().ok().and_then(|head| head.length);
        teller
            .tell(length.and_then(|length| control::Found::of(length, None)))
            .await;
        match head {
            Ok(BlobHead {
                length: Some(length),
                ..
            }) => self.public_blob(name, client, (length, true)),
            Ok(BlobHead { length: None, .. }) => {
                let access = Arc::new(name.access(client, None));
                Ok(Found::Alone(name.alone(access, None)))
            }
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

    fn public_blob(
        &self,
        name: &BlobName<'_>,
        client: RegistryClient,
        (length, is_sure): (ByteCount, bool),
    ) -> Result<Found, OpenError> {
        let task = ContentKey::Digest(name.digest).task_id();
        let access = name.access(client, Some(length));
        self.accesses.insert(task, name.source(), Arc::new(access));
        let layout = layout_of(length)?;
        Ok(shared(
            (task, layout, is_sure),
            Some(name.digest),
            name.source(),
        ))
    }

    /// With the caller's own lines; who has none gets what this host's own credentials give.
    async fn blob_alone(
        &self,
        name: &BlobName<'_>,
        headers: SecretHeaders,
    ) -> Result<Found, OpenError> {
        let client = of_caller(self.origins.registry(name.registry), &headers);
        match client.blob_head(name.repository, &name.digest).await {
            Ok(head) => {
                let access = Arc::new(name.access(client, head.length));
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
        word: Word,
    ) -> Result<Found, OpenError> {
        let (resolved, is_sure) = match self.look(request, digest, word).await {
            Ok(looked) => looked,
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
            && word != Word::OriginsToCaller
        {
            let task = key.task_id();
            self.accesses.insert(task, source.clone(), access);
            let mut found = shared((task, layout_of(length)?, is_sure), digest, source);
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

impl Resolver {
    /// What the origin says of a URL, and whether it said so to this host.
    async fn look(
        &self,
        request: &Request,
        digest: Option<Digest>,
        word: Word,
    ) -> Result<(Resolved, bool), ResolveError> {
        let name = self.origins.shared_name(request).map(Source::Url);
        let teller = match (name, word) {
            (Some(source), Word::Anybodys) => match self.cluster.known(source.clone()).await {
                Known::Told(found, age) if found.validator.is_some() || digest.is_some() => {
                    let told = (found.length, found.validator);
                    return Ok((self.origins.learnt(request, told, age), false));
                }
                Known::Told(..) => self.cluster.teller(source),
                Known::Look(teller) => teller,
            },
            (Some(source), Word::Origins) => self.cluster.teller(source),
            _ => Teller::NOBODY,
        };
        let resolved = self.origins.resolve(request).await;
        let found = resolved.as_ref().ok().and_then(|resolved| {
            let length = resolved.length?;
            control::Found::of(length, resolved.validator.clone())
        });
        teller.tell(found).await;
        Ok((resolved?, true))
    }
}

impl BlobName<'_> {
    fn key(&self) -> BlobKey {
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

    fn access(&self, client: RegistryClient, length: Option<ByteCount>) -> Access {
        Access::Blob {
            client: Box::new(client),
            repository: self.repository.clone(),
            digest: self.digest,
            length,
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

fn shared(
    (task, layout, is_sure): (TaskId, Layout, bool),
    digest: Option<Digest>,
    source: Source,
) -> Found {
    Found::Shared {
        spec: TaskSpec {
            task,
            layout,
            digest,
            source,
            visibility: Visibility::Public,
        },
        content_type: None,
        is_sure,
    }
}

fn layout_of(length: ByteCount) -> Result<Layout, OpenError> {
    Layout::of(length).map_err(|error| OpenError::Unavailable(error.into()))
}

/// The way to a registry with the caller's own lines; who has none gets what this host's own credentials give.
pub(super) fn of_caller(registry: RegistryClient, headers: &SecretHeaders) -> RegistryClient {
    if headers.identifies_somebody() {
        registry.with_headers(headers.clone())
    } else {
        registry
    }
}

/// Whether the same question with credentials may have another answer. Registries hide private content behind 404 too.
pub(super) fn may_be_private(error: &AskError) -> bool {
    matches!(error, AskError::Auth(_))
        || matches!(error.status().map(|s| s.as_u16()), Some(401 | 403 | 404))
}
