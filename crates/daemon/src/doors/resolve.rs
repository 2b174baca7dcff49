//! From what a consumer wants to a task, or to a read for this consumer alone.
//!
//! What an origin gives to nobody in particular is a task that anybody may read. A registry's blob that needs credentials is
//! a task of that registry alone, for callers who have shown their right to it (`private`). Whatever else needs credentials
//! is read with the caller's own and goes to this caller: it is neither kept nor shared.

use std::sync::Arc;

use gateway::{ContentAsk, OpenError, Seen, Wanted};
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
    lately::Lately,
    look::{Cluster, Known, Teller},
    private::{Caller, Rights},
    refusal,
};
use crate::{
    access::{Access, Accesses, key_of},
    task::TaskSpec,
};

/// Content that was found.
pub(super) enum Found {
    /// A task distributes it: it is public, or the caller has shown his right to it.
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
pub(super) struct BlobName<'a> {
    pub(super) registry: &'a RegistryHost,
    pub(super) repository: &'a RepoName,
    pub(super) digest: Digest,
}

/// Public content that is held here, all of it or a part.
pub(super) struct Holding {
    task: TaskId,
    layout: Layout,
    /// Whether there are pieces that show the layout to be right.
    is_sure: bool,
    /// Where it is read, if its name belongs to that registry.
    source: Option<Source>,
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
    /// Who may have what is private.
    pub(super) rights: Rights,
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
                let caller = self.caller(registry, headers);
                if word == Word::OriginsToCaller {
                    return self.blob_alone(&name, caller).await;
                }
                self.blob(&name, caller, word).await
            }
            Wanted::Url {
                url,
                digest,
                tag,
                ignored,
                seen,
            } => {
                let request = Request::new(url.expose(), headers)
                    .map_err(|error| OpenError::Unavailable(error.into()))?
                    .ignoring(ignored.clone());
                if let Some(digest) = digest.filter(|_| word == Word::Anybodys)
                    && let Some(held) = self.held(digest, None).await?
                {
                    let source = Source::Url(self.origins.canonical_url(&request));
                    return Ok(held.found(digest, source));
                }
                self.url((&request, seen.as_ref()), (*digest, tag), word)
                    .await
            }
        }
    }

    /// Public content that is held here by its digest. A part that another registry than `of` began to give proves nothing
    /// of what `of` has: anybody can claim a digest.
    async fn held(
        &self,
        digest: Digest,
        of: Option<&RegistryHost>,
    ) -> Result<Option<Holding>, OpenError> {
        let (store, of) = (self.store.clone(), of.cloned());
        let looked = tokio::task::spawn_blocking(move || holding(&store, digest, of.as_ref()))
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
        caller: Caller,
        word: Word,
    ) -> Result<Found, OpenError> {
        let client = self.origins.registry(name.registry).anonymous();
        if word == Word::Anybodys
            && let Some(held) = self.held(name.digest, Some(name.registry)).await?
        {
            if held.source.is_none() {
                let access = Arc::new(name.access(client, Some(held.layout.length())));
                self.accesses.insert(held.task, name.source(), access);
            }
            return Ok(held.found(name.digest, name.source()));
        }
        if let Some(known) = self.known_right(name, &caller) {
            return known;
        }
        let teller = match word {
            Word::Anybodys => match self.cluster.known(name.source()).await {
                Known::Told(found) => {
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
            }) => match self.made_public(name, length).await {
                Some(held) => Ok(held.found(name.digest, name.source())),
                None => self.public_blob(name, client, (length, true)),
            },
            Ok(BlobHead { length: None, .. }) => {
                let access = Arc::new(name.access(client, None));
                Ok(Found::Alone(name.alone(access, None)))
            }
            Err(error) if may_be_private(&error) => self.private_blob(name, (caller, error)).await,
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
    async fn blob_alone(&self, name: &BlobName<'_>, caller: Caller) -> Result<Found, OpenError> {
        let client = caller.at(self.origins.registry(name.registry));
        match client.blob_head(name.repository, &name.digest).await {
            Ok(head) => {
                let access = Arc::new(name.access(client, head.length));
                Ok(Found::Alone(name.alone(access, head.length)))
            }
            Err(error) => Err(self.refused(name, caller, error).await),
        }
    }

    /// The registry's refusal in its own words: with the challenge that the client answers.
    pub(super) async fn refusal(
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
        (request, seen): (&Request, Option<&Seen>),
        (digest, tag): (Option<Digest>, &str),
        word: Word,
    ) -> Result<Found, OpenError> {
        let looked = match seen {
            Some(seen) => Ok((self.seen(request, seen).await, true)),
            None => self.look(request, digest, word).await,
        };
        let (resolved, is_sure) = match looked {
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
            url: source.canonical(),
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
    /// What the origin just said of a URL to a door of this host; others need not look then.
    async fn seen(&self, request: &Request, seen: &Seen) -> Resolved {
        if let Some(name) = self.origins.shared_name(request) {
            let found = control::Found::of(seen.length, Some(seen.validator.clone()));
            self.cluster.teller(Source::Url(name)).tell(found).await;
        }
        let version = (seen.length, Some(seen.validator.clone()));
        self.origins.learnt(request, version)
    }

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
                Known::Told(found) if found.validator.is_some() || digest.is_some() => {
                    let told = (found.length, found.validator);
                    return Ok((self.origins.learnt(request, told), false));
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
    pub(super) fn source(&self) -> Source {
        Source::Blob {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            digest: self.digest,
        }
    }

    pub(super) fn access(&self, client: RegistryClient, length: Option<ByteCount>) -> Access {
        Access::Blob {
            client: Box::new(client),
            repository: self.repository.clone(),
            digest: self.digest,
            length,
        }
    }

    pub(super) fn alone(&self, access: Arc<Access>, length: Option<ByteCount>) -> Alone {
        Alone {
            task: ContentKey::Digest(self.digest).task_id(),
            length,
            digest: Some(self.digest),
            content_type: None,
            access,
        }
    }
}

/// What `store` holds of public content with this digest, by its first or its second name.
fn holding(
    store: &Store,
    digest: Digest,
    of: Option<&RegistryHost>,
) -> Result<Option<Holding>, store::DiskError> {
    let by_digest = ContentKey::Digest(digest).task_id();
    let named = store.task_of(digest).filter(|task| *task != by_digest);
    if let Some(task) = named
        && let Some(content) = store.content(task)?
        && content.is_complete()
    {
        return Ok(Some(Holding::of(task, digest, &content, store)));
    }
    let is_foreign = || {
        let source = store.info(by_digest).and_then(|info| info.source);
        let registry = source.as_ref().and_then(Source::registry);
        of.is_some() && registry.is_some() && of != registry
    };
    let content = store.content(by_digest)?;
    let content = content.filter(|content| content.is_complete() || !is_foreign());
    Ok(content.map(|content| Holding::of(by_digest, digest, &content, store)))
}

impl Holding {
    pub(super) fn of(
        task: TaskId,
        digest: Digest,
        content: &store::Content,
        store: &Store,
    ) -> Self {
        let source = store.info(task).and_then(|info| info.source);
        Self {
            task,
            layout: content.layout(),
            is_sure: !content.have().is_empty(),
            source: source.filter(|source| digest.names_private(&task, Some(source))),
        }
    }

    /// It, asked for at `source`.
    pub(super) fn found(self, digest: Digest, source: Source) -> Found {
        let source = self.source.unwrap_or(source);
        shared((self.task, self.layout, self.is_sure), Some(digest), source)
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

pub(super) fn layout_of(length: ByteCount) -> Result<Layout, OpenError> {
    Layout::of(length).map_err(|error| OpenError::Unavailable(error.into()))
}

/// Whether the same question with credentials may have another answer. Registries hide private content behind 404 too.
pub(super) fn may_be_private(error: &AskError) -> bool {
    matches!(error, AskError::Auth(_))
        || matches!(error.status().map(|s| s.as_u16()), Some(401 | 403 | 404))
}
