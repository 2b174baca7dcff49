//! Public manifests that were read lately, in memory, within their part of `memory.budget`.
//!
//! A manifest is kept after its registry gave it to nobody in particular, whoever asked first; then anybody may have it.
//! That is looked up beside: nobody's answer waits for it. While the registry cannot be reached, only a manifest that leads
//! to nothing but what is held here is given: a client with another mirror, or luck, must not be led half way.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{HeldManifest, ManifestAsk, ManifestName, Manifests, OpenError, StaleManifest};
use http::HeaderValue;
use origin::{Manifest, ManifestError, ManifestHead, Reference, SecretHeaders};
use parking_lot::Mutex;
use store::Store;
use tokio::{task::JoinSet, time::timeout};
use types::{ByteCount, Digest, RegistryHost, RepoName};

use super::{
    Doors,
    closure::{self, Holds},
    refusal,
    resolve::may_be_private,
    tags,
};

/// What a manifest takes beside its bytes: names, nodes of two trees.
const OVERHEAD: ByteCount = ByteCount::kib(1);

type Key = (RegistryHost, RepoName, Digest);

/// Manifests at once of which it is looked up whether anybody may have them; more are not kept.
const LOOKS_MAX: usize = 32;
/// The longest that one such look takes, tokens and retries included.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// The manifests that are held.
pub(super) struct Held {
    recent: Arc<Mutex<Recent>>,
    looks: Mutex<JoinSet<()>>,
}

impl Held {
    /// None yet; at most `bytes_max` of them, names included.
    pub(super) fn new(bytes_max: ByteCount) -> Self {
        Self {
            recent: Arc::new(Mutex::new(Recent::new(bytes_max))),
            looks: Mutex::default(),
        }
    }

    fn get(&self, key: &Key) -> Option<HeldManifest> {
        self.recent.lock().get(key)
    }

    /// Keeps `manifest` if `look` says that anybody may have it.
    fn keep_after(
        &self,
        (key, manifest): (Key, HeldManifest),
        look: impl Future<Output = bool> + Send + 'static,
    ) {
        let mut looks = self.looks.lock();
        while looks.try_join_next().is_some() {}
        if looks.len() >= LOOKS_MAX {
            tracing::debug!(digest = %manifest.digest, "a manifest is not kept: too many are being looked at");
            return;
        }
        let recent = Arc::clone(&self.recent);
        looks.spawn(async move {
            if timeout(LOOK_TIMEOUT, look).await == Ok(true) {
                recent.lock().insert(key, manifest);
            }
        });
    }

    /// Waits until every look has ended.
    #[cfg(test)]
    pub(super) async fn settled(&self) {
        let mut looks = std::mem::take(&mut *self.looks.lock());
        while looks.join_next().await.is_some() {}
    }
}

/// What is held of one repository.
struct Repository {
    recent: Arc<Mutex<Recent>>,
    store: Store,
    name: (RegistryHost, RepoName),
}

impl Holds for Repository {
    fn manifest(&self, digest: Digest) -> Option<Bytes> {
        let (registry, repository) = self.name.clone();
        let manifest = self.recent.lock().get(&(registry, repository, digest));
        Some(manifest?.bytes)
    }

    fn blob(&self, digest: Digest) -> bool {
        closure::is_stored(&self.store, digest)
    }
}

struct Recent {
    by_key: BTreeMap<Arc<Key>, (HeldManifest, u64)>,
    by_use: BTreeMap<u64, Arc<Key>>,
    uses: u64,
    bytes: ByteCount,
    bytes_max: ByteCount,
}

fn cost(manifest: &HeldManifest) -> ByteCount {
    ByteCount(manifest.bytes.len() as u64).saturating_add(OVERHEAD)
}

impl Recent {
    const fn new(bytes_max: ByteCount) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            bytes: ByteCount::ZERO,
            bytes_max,
        }
    }

    fn get(&mut self, key: &Key) -> Option<HeldManifest> {
        let (manifest, used) = self.by_key.get_mut(key)?;
        let key = self.by_use.remove(used)?;
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(manifest.clone())
    }

    fn insert(&mut self, key: Key, manifest: HeldManifest) {
        if self.get(&key).is_some() || cost(&manifest) > self.bytes_max {
            return;
        }
        self.uses += 1;
        let key = Arc::new(key);
        self.bytes = self.bytes.saturating_add(cost(&manifest));
        self.by_use.insert(self.uses, Arc::clone(&key));
        self.by_key.insert(key, (manifest, self.uses));
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            if let Some((manifest, _)) = self.by_key.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(cost(&manifest));
            }
        }
    }
}

fn key(ask: &ManifestAsk, digest: Digest) -> Key {
    (ask.registry.clone(), ask.repository.clone(), digest)
}

impl Manifests for Doors {
    fn held<'a>(&'a self, ask: &'a ManifestAsk) -> BoxFuture<'a, Option<HeldManifest>> {
        async move {
            let ManifestName::Digest(digest) = ask.name else {
                return None;
            };
            if self.bypass.is_on() {
                return None;
            }
            let manifest = self.manifests.get(&key(ask, digest))?;
            let registry = self.resolver.origins.registry(&ask.registry);
            let is_sure = !registry.is_away() || self.leads_here(ask, &manifest).await;
            is_sure.then_some(manifest)
        }
        .boxed()
    }

    /// Only with all that it leads to: a client must not be led half way.
    fn stale<'a>(&'a self, ask: &'a ManifestAsk) -> BoxFuture<'a, Option<StaleManifest>> {
        async move {
            if self.bypass.is_on() {
                return None;
            }
            let (name, now) = (tag(ask)?, self.resolver.accesses.clock().now());
            let (digest, age) = self.tags.lock().meaning(&name, now)?;
            let manifest = self.manifests.get(&key(ask, digest))?;
            if !self.leads_here(ask, &manifest).await {
                return None;
            }
            let (registry, repository, tag) = name;
            self.metrics.stale();
            tracing::warn!(%registry, %repository, %tag, %digest, ?age, "the registry fails: an old meaning of a tag is given");
            Some(StaleManifest { manifest, age })
        }
        .boxed()
    }

    fn said(&self, ask: &ManifestAsk, meaning: Option<Digest>) {
        if let Some(name) = tag(ask) {
            let now = self.resolver.accesses.clock().now();
            self.tags.lock().note(name, meaning, now);
        }
    }

    fn keep(&self, ask: &ManifestAsk, manifest: &HeldManifest) {
        self.said(ask, Some(manifest.digest));
        let key = key(ask, manifest.digest);
        let Ok(accept) = HeaderValue::try_from(manifest.media_type.as_str()) else {
            return;
        };
        if self.bypass.is_on() || self.manifests.get(&key).is_some() {
            return;
        }
        // The answer may be due to the caller's credentials or to this host's: only an anonymous request tells.
        let client = self.resolver.origins.registry(&ask.registry).anonymous();
        let (repository, reference) = (ask.repository.clone(), Reference::Digest(manifest.digest));
        let kept = manifest.clone();
        let look = async move {
            let accept = [accept];
            let head = client.manifest_head(&repository, &reference, &accept);
            head.await.is_ok_and(|head| is_told_of(&kept, &head))
        };
        self.manifests.keep_after((key, manifest.clone()), look);
    }
}

/// The tag that is asked for.
fn tag(ask: &ManifestAsk) -> Option<tags::Name> {
    match &ask.name {
        ManifestName::Tag(tag) => Some((ask.registry.clone(), ask.repository.clone(), tag.clone())),
        ManifestName::Digest(_) => None,
    }
}

/// Whether `head` is the registry's word on `manifest`, and no page of its front that everybody gets for anything.
fn is_told_of(manifest: &HeldManifest, head: &ManifestHead) -> bool {
    match head.digest {
        Some(digest) => digest == manifest.digest,
        None => {
            head.length == Some(ByteCount(manifest.bytes.len() as u64))
                && head.media_type.as_ref() == Some(&manifest.media_type)
        }
    }
}

/// What may be behind an image's name: an image for one platform, or an index of several.
const KINDS: [HeaderValue; 4] = [
    HeaderValue::from_static("application/vnd.oci.image.index.v1+json"),
    HeaderValue::from_static("application/vnd.oci.image.manifest.v1+json"),
    HeaderValue::from_static("application/vnd.docker.distribution.manifest.list.v2+json"),
    HeaderValue::from_static("application/vnd.docker.distribution.manifest.v2+json"),
];

impl Doors {
    /// Whether all that `manifest` leads to is held.
    async fn leads_here(&self, ask: &ManifestAsk, manifest: &HeldManifest) -> bool {
        let repository = Repository {
            recent: Arc::clone(&self.manifests.recent),
            store: self.resolver.store.clone(),
            name: (ask.registry.clone(), ask.repository.clone()),
        };
        let bytes = manifest.bytes.clone();
        let is_held = move || closure::is_held(&bytes, &repository);
        // A check that fails is a no: the registry is asked once more.
        tokio::task::spawn_blocking(is_held).await.unwrap_or(false)
    }

    /// A manifest for a command of this host. Who gets private ones: docs/decisions.md.
    pub(super) async fn manifest_of(&self, ask: &ManifestAsk) -> Result<HeldManifest, OpenError> {
        if let Some(held) = self.held(ask).await {
            return Ok(held);
        }
        let reference = match &ask.name {
            ManifestName::Tag(tag) => Reference::Tag(tag.clone()),
            ManifestName::Digest(digest) => Reference::Digest(*digest),
        };
        let registry = self.resolver.origins.registry(&ask.registry);
        if !self.bypass.is_on() {
            let public = registry.anonymous();
            match public.manifest(&ask.repository, &reference, &KINDS).await {
                Ok(read) => {
                    let (key, read) = (key(ask, read.digest), told(read));
                    self.manifests.recent.lock().insert(key, read.clone());
                    return Ok(read);
                }
                Err(ManifestError::Ask(error)) if may_be_private(&error) => {}
                Err(error) => return Err(refusal::of_manifest(error)),
            }
        }
        let headers = SecretHeaders::new(ask.headers.to_map());
        let client = self.resolver.caller(&ask.registry, headers).at(registry);
        let read = client.manifest(&ask.repository, &reference, &KINDS).await;
        read.map(told).map_err(refusal::of_manifest)
    }
}

fn told(manifest: Manifest) -> HeldManifest {
    HeldManifest {
        digest: manifest.digest,
        media_type: manifest.media_type.unwrap_or_default(),
        bytes: manifest.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_manifest_goes_first() {
        let key = |n: u8| -> Key {
            let registry = "r.example".parse().expect("a registry");
            let repository = "a/b".parse().expect("a repository");
            (registry, repository, Digest::sha256([n; 32]))
        };
        let of_length = |n: u8, length| HeldManifest {
            digest: Digest::sha256([n; 32]),
            media_type: "application/json".into(),
            bytes: Bytes::from(vec![n; length]),
        };
        let manifest = |n| of_length(n, (2 << 20) - 2048);
        let mut recent = Recent::new(ByteCount::mib(8));
        for n in 0..4 {
            recent.insert(key(n), manifest(n));
        }
        assert!(recent.get(&key(0)).is_some());
        recent.insert(key(4), manifest(4));
        let held = [0, 1, 2, 3, 4].map(|n| recent.get(&key(n)).is_some());
        assert_eq!(held, [true, false, true, true, true]);
        assert!(recent.bytes <= recent.bytes_max);
        recent.insert(key(5), of_length(5, 8 << 20));
        assert!(recent.get(&key(5)).is_none() && recent.get(&key(4)).is_some());
    }
}
