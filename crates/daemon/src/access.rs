//! How this host reads the content of tasks at their origins.
//!
//! What is private is read with the credentials of whoever last proved his right to it here, or with this host's own where
//! an operator lets it import with them. They stay in here: neither the source of a task nor any message holds them.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use origin::{
    AskError, Body, BodyStream, Origins, ReadError, RegistryClient, Request, ResolveError,
    Resolved, SecretHeaders,
};
use parking_lot::Mutex;
use types::{
    ByteCount, ByteRange, ContentKey, Digest, Layout, LayoutError, RepoName, Source, TaskId,
    Visibility,
};

use crate::task::TaskSpec;

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

/// The accesses of recent tasks, by where each was read. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Accesses {
    origins: Origins,
    recent: Arc<Mutex<Recent>>,
}

/// Accesses that are remembered; an older one is resolved again from its source.
const RECENT_MAX: usize = 4096;

/// What is read, and where: how one URL of a content was read says nothing of another.
type Place = (TaskId, Source);

#[derive(Default)]
struct Recent {
    by_place: BTreeMap<Place, (Arc<Access>, u64)>,
    by_use: BTreeMap<u64, Place>,
    uses: u64,
    /// When an origin refused last what it had given before. Bounded; what is forgotten is only asked for once more.
    denied: BTreeMap<Place, Instant>,
}

impl Recent {
    fn insert(&mut self, place: Place, access: Arc<Access>) {
        self.uses += 1;
        let known = self.by_place.insert(place.clone(), (access, self.uses));
        if let Some((_, old)) = known {
            self.by_use.remove(&old);
        }
        self.by_use.insert(self.uses, place);
        while self.by_place.len() > RECENT_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_place.remove(&oldest);
        }
    }

    fn remove(&mut self, place: &Place, access: &Arc<Access>) {
        let is_same = |(known, _): &(Arc<Access>, u64)| Arc::ptr_eq(known, access);
        if self.by_place.get(place).is_some_and(is_same)
            && let Some((_, used)) = self.by_place.remove(place)
        {
            self.by_use.remove(&used);
            if self.denied.len() >= RECENT_MAX {
                self.denied.clear();
            }
            self.denied.insert(place.clone(), Instant::now());
        }
    }

    fn get(&mut self, place: &Place) -> Option<Arc<Access>> {
        let access = Arc::clone(&self.by_place.get(place)?.0);
        self.insert(place.clone(), Arc::clone(&access));
        Some(access)
    }
}

impl Accesses {
    /// None yet; new ones go through `origins`.
    pub fn new(origins: Origins) -> Self {
        Self {
            origins,
            recent: Arc::default(),
        }
    }

    /// How the content of `spec` is read at its source: as it was before, or after a look there.
    pub async fn of(&self, spec: &TaskSpec) -> Result<Arc<Access>, AccessError> {
        if let Some(access) = self.known(spec) {
            return Ok(access);
        }
        let found = self.for_source(spec.task, &spec.source, spec.digest);
        Ok(found.await?.1)
    }

    /// How `spec` is read at its source, if that is remembered.
    pub(crate) fn known(&self, spec: &TaskSpec) -> Option<Arc<Access>> {
        self.recent.lock().get(&(spec.task, spec.source.clone()))
    }

    /// The origin refused `access`: it is not tried again. Another's, which took its place meanwhile, stays.
    pub(crate) fn forget(&self, spec: &TaskSpec, access: &Arc<Access>) {
        (self.recent.lock()).remove(&(spec.task, spec.source.clone()), access);
    }

    /// When the origin last refused credentials for `task` at `source` that it had accepted before.
    pub(crate) fn denied_at(&self, task: TaskId, source: Source) -> Option<Instant> {
        self.recent.lock().denied.get(&(task, source)).copied()
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
        self.recent.lock().insert((task, source), access);
    }

    /// Whether it is remembered how `task` is read anywhere.
    #[cfg(test)]
    pub(crate) fn knows(&self, task: &TaskId) -> bool {
        let recent = self.recent.lock();
        recent.by_place.keys().any(|(known, _)| known == task)
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
