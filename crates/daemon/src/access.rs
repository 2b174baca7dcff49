//! How this host reads the content of tasks at their origins.
//!
//! What is private is read with the credentials of callers who proved their right to it here (`ways`), or with this host's own where
//! an operator lets it import with them. They stay in here: neither the source of a task nor any message holds them.

mod ways;

use std::{sync::Arc, time::SystemTime};

use origin::{
    AskError, Body, BodyStream, Origins, ReadError, RegistryClient, Request, ResolveError,
    Resolved, SecretHeaders,
};
use parking_lot::Mutex;
use types::{
    ByteCount, ByteRange, CallerId, ContentKey, Digest, Layout, LayoutError, Moment, RepoName,
    Source, TaskId, Visibility,
};

use self::ways::{Recent, Way};
use crate::{clock::Clock, task::TaskSpec};

/// A way to the bytes of one content at its origin.
#[derive(Clone)]
pub enum Access {
    /// Content behind a URL, as it was looked at.
    Web {
        /// The door outside.
        origins: Origins,
        /// What the origin said.
        resolved: Box<Resolved>,
    },
    /// A registry's blob.
    Blob {
        /// Whom to ask, on whose behalf.
        client: Box<RegistryClient>,
        /// Within the registry.
        repository: RepoName,
        /// Which blob.
        digest: Digest,
        /// Its length, if it was told: a registry that tells another one is not believed.
        length: Option<ByteCount>,
    },
}

impl Access {
    /// Opens `range` at the origin. [`Body::Whole`] is a stream from the first byte on: the origin can't give parts, or
    /// nothing pins the content's version between two requests. Dropped early, the request is cancelled.
    pub async fn read(&self, range: ByteRange) -> Result<Body, ReadError> {
        match self {
            Self::Web { origins, resolved } => {
                let is_whole = Some(range.length()) == resolved.length;
                if resolved.validator.is_none() && !is_whole && !range.is_empty() {
                    return Ok(Body::Whole(origins.spool(resolved).await?));
                }
                origins.read(resolved, range).await
            }
            Self::Blob {
                client,
                repository,
                digest,
                length,
            } => {
                let part = (Some(range), *length);
                client.blob(repository, digest, part).await
            }
        }
    }

    /// Reads everything, whatever its length. Dropped early, the request is cancelled.
    pub(crate) async fn all(&self) -> Result<BodyStream, ReadError> {
        match self {
            Self::Web { origins, resolved } => origins.spool(resolved).await,
            Self::Blob {
                client,
                repository,
                digest,
                length,
            } => match client.blob(repository, digest, (None, *length)).await? {
                Body::Range(stream) | Body::Whole(stream) => Ok(stream),
            },
        }
    }
}

/// An access without what a caller shows, its names included.
const WEIGHT: usize = 1 << 10;

impl Access {
    fn way(self: Arc<Self>) -> Way<Self> {
        let shown = match &*self {
            Self::Web { .. } => None,
            Self::Blob { client, .. } => Some(client),
        };
        let is_ours = shown.is_some_and(|client| client.is_for_somebody());
        let (by, lines) = match shown.and_then(|client| client.caller()) {
            Some((lines, by)) => (by, Some(lines)),
            None if is_ours => (CallerId::Host, None),
            None => (CallerId::Anonymous, None),
        };
        let weight = lines.map_or(0, |lines| {
            let lines = lines.expose().iter();
            let weights = lines.map(|(name, value)| name.as_str().len() + value.len());
            weights.sum()
        });
        Way {
            by,
            until: lines.and_then(|lines| lines.token_end()),
            weight: WEIGHT + weight,
            access: self,
        }
    }
}

/// Why a source can't be read by this host.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The origin gave no usable answer.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A registry gave no usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The URL is none that can be asked.
    #[error("the source is no URL of an origin")]
    Url(#[source] origin::RequestError),
    /// The content can't be distributed.
    #[error("the origin tells neither length nor version of {source_name}")]
    Unversioned {
        /// Where it was to be read.
        source_name: String,
    },
    /// The content is too long.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The origin has another version now, or whoever named the source was wrong.
    #[error("{source_name} is not the content of task {asked}")]
    Other {
        /// Where it was to be read.
        source_name: String,
        /// What it was to be.
        asked: TaskId,
    },
}

impl AccessError {
    /// Whether looking again would fare the same.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Resolve(cause) => cause.is_permanent(),
            Self::Ask(cause) => cause.is_permanent(),
            Self::Url(_) | Self::Unversioned { .. } | Self::Layout(_) | Self::Other { .. } => true,
        }
    }
}

/// Whether the registry gives it, but not for what it was shown.
fn is_denied(error: &ReadError) -> bool {
    match error {
        ReadError::Ask(AskError::Auth(_)) => true,
        ReadError::Ask(error) => {
            matches!(error.status().map(|s| s.as_u16()), Some(401 | 403 | 404))
        }
        _ => false,
    }
}

/// The accesses of recent tasks, by where each was read. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Accesses {
    origins: Origins,
    recent: Arc<Mutex<Recent<Access>>>,
    clock: Clock,
}

impl Accesses {
    /// None yet; new ones go through `origins`.
    pub fn new(origins: Origins) -> Self {
        Self {
            origins,
            recent: Arc::default(),
            clock: Clock::start(),
        }
    }

    /// The clock by which refusals are told.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// How the content of `spec` is read at its source: as it was before, or after a look there.
    pub async fn of(&self, spec: &TaskSpec) -> Result<Arc<Access>, AccessError> {
        if let Some(access) = self.known(spec) {
            return Ok(access);
        }
        let found = self.for_source(spec.task, &spec.source, spec.digest);
        Ok(found.await?.1)
    }

    /// Opens `range` of `spec` at its source. Who showed what is worth nothing any more is forgotten, and the next one's is
    /// tried. Dropped early, the request is cancelled.
    pub(crate) async fn read(
        &self,
        spec: &TaskSpec,
        range: ByteRange,
    ) -> Result<Result<Body, ReadError>, AccessError> {
        loop {
            let access = self.of(spec).await?;
            let read = access.read(range).await;
            if spec.visibility == Visibility::Public || !read.as_ref().is_err_and(is_denied) {
                return Ok(read);
            }
            self.forget(spec, &access);
            if self.known(spec).is_none() {
                return Ok(read);
            }
        }
    }

    /// How `spec` is read at its source, if that is remembered.
    pub(crate) fn known(&self, spec: &TaskSpec) -> Option<Arc<Access>> {
        let place = (spec.task, spec.source.clone());
        self.recent.lock().get(&place, SystemTime::now())
    }

    /// The origin refused `access`: it is not tried again. Other callers' stay.
    pub(crate) fn forget(&self, spec: &TaskSpec, access: &Arc<Access>) {
        let place = (spec.task, spec.source.clone());
        (self.recent.lock()).deny(&place, access, self.clock.now());
    }

    /// When the origin last refused credentials for `task` at `source` that it had accepted before.
    pub(crate) fn denied_at(&self, task: TaskId, source: Source) -> Option<Moment> {
        self.recent.lock().denied_at(&(task, source))
    }

    /// Whether this host can read `spec` at its origin, as far as it knows.
    pub(crate) fn opens(&self, spec: &TaskSpec) -> bool {
        let imports = || match &spec.source {
            Source::Blob { registry, .. } => {
                (self.origins.registry(registry).importing()).is_for_somebody()
            }
            Source::Url(_) => false,
        };
        spec.visibility == Visibility::Public || self.known(spec).is_some() || imports()
    }

    /// Remembers how `task` is read at `source`.
    pub fn insert(&self, task: TaskId, source: Source, access: Arc<Access>) {
        let way = access.way();
        self.recent.lock().insert((task, source), way);
    }

    /// Whether it is remembered how `task` is read anywhere.
    #[cfg(test)]
    pub(crate) fn knows(&self, task: &TaskId) -> bool {
        let recent = self.recent.lock();
        recent.places().any(|(known, _)| known == task)
    }

    /// Looks at `source` itself, for a host that was told of `asked` by others: nobody's word but the origin's decides
    /// that this is the content of that task. Remembers the access.
    /// What is private is asked for with this host's own credentials, if it imports with them.
    ///
    /// A URL under a tag can't be found this way: the tag is part of its name and not of its source.
    pub async fn for_source(
        &self,
        asked: TaskId,
        source: &Source,
        digest: Option<Digest>,
    ) -> Result<(TaskSpec, Arc<Access>), AccessError> {
        let (key, length, access) = match source {
            Source::Url(url) => self.for_url(url, digest).await?,
            Source::Blob {
                registry,
                repository,
                digest,
            } => {
                let is_private = digest.names_private(&asked, Some(source));
                let client = self.origins.registry(registry);
                let client = Box::new(match is_private {
                    true => client.importing(),
                    false => client.anonymous(),
                });
                let key = match is_private {
                    true => ContentKey::Private {
                        registry: registry.clone(),
                        digest: *digest,
                    },
                    false => ContentKey::Digest(*digest),
                };
                let head = client.blob_head(repository, digest).await?;
                let access = Access::Blob {
                    client,
                    repository: repository.clone(),
                    digest: *digest,
                    length: head.length,
                };
                (Some(key), head.length, access)
            }
        };
        let source_name = || source.to_string();
        let (Some(key), Some(length)) = (key, length) else {
            let source_name = source_name();
            return Err(AccessError::Unversioned { source_name });
        };
        let task = key.task_id();
        if task != asked {
            let source_name = source_name();
            return Err(AccessError::Other { source_name, asked });
        }
        let spec = TaskSpec {
            task,
            layout: Layout::of(length)?,
            visibility: match key {
                ContentKey::Private { .. } => Visibility::Private,
                ContentKey::Digest(_) | ContentKey::Url { .. } => Visibility::Public,
            },
            digest: match key {
                ContentKey::Digest(digest) | ContentKey::Private { digest, .. } => Some(digest),
                ContentKey::Url { .. } => None,
            },
            source: source.clone(),
        };
        let access = Arc::new(access);
        self.insert(task, source.clone(), Arc::clone(&access));
        Ok((spec, access))
    }

    async fn for_url(
        &self,
        url: &str,
        digest: Option<Digest>,
    ) -> Result<(Option<ContentKey>, Option<ByteCount>, Access), AccessError> {
        let request = Request::new(url, SecretHeaders::default()).map_err(AccessError::Url)?;
        let resolved = self.origins.resolve(&request).await?;
        let key = key_of(&resolved, digest, "");
        let length = resolved.length;
        let access = Access::Web {
            origins: self.origins.clone(),
            resolved: Box::new(resolved),
        };
        Ok((key, length, access))
    }
}

/// The name of content behind a URL: its digest, or what the URL gives now. None if nothing tells one version from
/// another.
pub(crate) fn key_of(resolved: &Resolved, digest: Option<Digest>, tag: &str) -> Option<ContentKey> {
    match (digest, &resolved.validator) {
        (Some(digest), _) => Some(ContentKey::Digest(digest)),
        (None, Some(validator)) => Some(ContentKey::Url {
            url: resolved.canonical_url.clone(),
            tag: tag.to_owned(),
            validator: validator.clone(),
        }),
        (None, None) => None,
    }
}
