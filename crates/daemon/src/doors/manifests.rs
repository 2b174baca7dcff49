//! Public manifests that were read lately, in memory: some MiB hold all that a host runs.
//!
//! A manifest is kept after its registry gave it to nobody in particular, whoever asked first; then anybody may have it.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use gateway::{HeldManifest, ManifestAsk, ManifestName, Manifests, StaleManifest};
use http::HeaderValue;
use origin::Reference;
use parking_lot::Mutex;
use types::{ByteCount, Digest, RegistryHost, RepoName};

use super::Doors;

/// The most that manifests may take.
const BYTES_MAX: ByteCount = ByteCount::mib(64);
/// What a manifest takes beside its bytes: names, nodes of two trees.
const OVERHEAD: ByteCount = ByteCount::kib(1);

type Key = (RegistryHost, RepoName, Digest);

/// The manifests that are held.
#[derive(Default)]
pub(super) struct Held(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    by_key: BTreeMap<Arc<Key>, (HeldManifest, u64)>,
    by_use: BTreeMap<u64, Arc<Key>>,
    uses: u64,
    bytes: ByteCount,
}

fn cost(manifest: &HeldManifest) -> ByteCount {
    ByteCount(manifest.bytes.len() as u64).saturating_add(OVERHEAD)
}

impl Recent {
    fn get(&mut self, key: &Key) -> Option<HeldManifest> {
        let (manifest, used) = self.by_key.get_mut(key)?;
        let key = self.by_use.remove(used)?;
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(manifest.clone())
    }

    fn insert(&mut self, key: Key, manifest: HeldManifest) {
        if self.get(&key).is_some() {
            return;
        }
        self.uses += 1;
        let key = Arc::new(key);
        self.bytes = self.bytes.saturating_add(cost(&manifest));
        self.by_use.insert(self.uses, Arc::clone(&key));
        self.by_key.insert(key, (manifest, self.uses));
        while self.bytes > BYTES_MAX
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
            self.manifests.0.lock().get(&key(ask, digest))
        }
        .boxed()
    }

    /// Nothing: an old meaning of a tag is never served.
    fn stale<'a>(&'a self, _ask: &'a ManifestAsk) -> BoxFuture<'a, Option<StaleManifest>> {
        async { None }.boxed()
    }

    fn keep<'a>(&'a self, ask: &'a ManifestAsk, manifest: &'a HeldManifest) -> BoxFuture<'a, ()> {
        async move {
            let key = key(ask, manifest.digest);
            if self.bypass.is_on() || self.manifests.0.lock().get(&key).is_some() {
                return;
            }
            // The answer may be due to the caller's credentials or to this host's: only an anonymous request tells.
            let client = self.resolver.origins.registry(&ask.registry).anonymous();
            let reference = Reference::Digest(manifest.digest);
            let Ok(accept) = HeaderValue::try_from(manifest.media_type.as_str()) else {
                return;
            };
            let accept = [accept];
            let head = client.manifest_head(&ask.repository, &reference, &accept);
            if head.await.is_ok() {
                self.manifests.0.lock().insert(key, manifest.clone());
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_least_recently_used_manifest_goes_first() {
        let key = |n: u8| -> Key {
            let registry = "r.example".parse().expect("a registry");
            let repository = "a/b".parse().expect("a repository");
            (registry, repository, Digest::sha256([n; 32]))
        };
        let manifest = |n: u8| HeldManifest {
            digest: Digest::sha256([n; 32]),
            media_type: "application/json".into(),
            bytes: Bytes::from(vec![n; 15 << 20]),
        };
        let mut recent = Recent::default();
        for n in 0..4 {
            recent.insert(key(n), manifest(n));
        }
        assert!(recent.get(&key(0)).is_some());
        recent.insert(key(4), manifest(4));
        let held = [0, 1, 2, 3, 4].map(|n| recent.get(&key(n)).is_some());
        assert_eq!(held, [true, false, true, true, true]);
        assert!(recent.bytes <= BYTES_MAX);
    }
}
