//! Whether all that a manifest leads to is held here: what it promises can then be served without its registry.

use serde::Deserialize;
use store::Store;
use types::{ContentKey, Digest};

/// Indexes in indexes: deeper than any that is made.
const DEPTH_MAX: u8 = 3;
/// Entries that are looked at: a hostile index could name itself without end.
const LOOKS_MAX: u32 = 10_000;

/// What a manifest or an index leads to. Whatever else stands in it is no concern of this check.
#[derive(Deserialize)]
struct Leads {
    manifests: Option<Vec<Entry>>,
    config: Option<Entry>,
    layers: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Platform {
    /// Whether it is this host's, in Go's words.
    fn is_ours(&self) -> bool {
        let ours = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        self.os == std::env::consts::OS && self.architecture == ours
    }
}

/// What is held, as the check asks it.
pub(super) trait Holds {
    /// The bytes of a manifest of the same repository.
    fn manifest(&self, digest: Digest) -> Option<bytes::Bytes>;
    /// Whether all of a blob is held.
    fn blob(&self, digest: Digest) -> bool;
}

/// Whether `manifest` can be served with all that it leads to; of an index, for this host's platform, or for one at least if that
/// is not in it.
pub(super) fn is_held(manifest: &[u8], held: &impl Holds) -> bool {
    let mut left = LOOKS_MAX;
    is_held_within(manifest, held, (DEPTH_MAX, &mut left))
}

fn is_held_within(manifest: &[u8], held: &impl Holds, (depth, left): (u8, &mut u32)) -> bool {
    let Ok(leads) = serde_json::from_slice::<Leads>(manifest) else {
        return false;
    };
    match leads {
        Leads {
            manifests: Some(entries),
            ..
        } => {
            let is_ours = |entry: &&Entry| entry.platform.as_ref().is_some_and(Platform::is_ours);
            let has_ours = entries.iter().any(|entry| is_ours(&entry));
            let mut looked_at = entries.iter().filter(|entry| !has_ours || is_ours(entry));
            depth > 0
                && looked_at.any(|entry| {
                    let child = look(entry, left).and_then(|digest| held.manifest(digest));
                    child.is_some_and(|child| is_held_within(&child, held, (depth - 1, left)))
                })
        }
        Leads {
            config: Some(config),
            layers: Some(layers),
            ..
        } => {
            let mut is_held =
                |entry: &Entry| look(entry, left).is_some_and(|digest| held.blob(digest));
            is_held(&config) && layers.iter().all(is_held)
        }
        _ => false,
    }
}

/// The digest of `entry`, if it may still be looked at.
fn look(entry: &Entry, left: &mut u32) -> Option<Digest> {
    *left = left.checked_sub(1)?;
    entry.digest.parse().ok()
}

/// Whether all of `digest` is in `store`, by its first or its second name. Touches the disk.
pub(super) fn is_stored(store: &Store, digest: Digest) -> bool {
    let names = [
        store.task_of(digest),
        Some(ContentKey::Digest(digest).task_id()),
    ];
    names.into_iter().flatten().any(|task| {
        let content = store.content(task);
        content.is_ok_and(|content| content.is_some_and(|content| content.is_complete()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Blobs by number, manifests with their bytes.
    #[derive(Default)]
    struct Shelf {
        blobs: Vec<u8>,
        manifests: BTreeMap<Digest, String>,
    }

    impl Holds for Shelf {
        fn manifest(&self, digest: Digest) -> Option<bytes::Bytes> {
            let text = self.manifests.get(&digest)?;
            Some(text.clone().into())
        }

        fn blob(&self, digest: Digest) -> bool {
            self.blobs
                .iter()
                .any(|n| Digest::sha256([*n; 32]) == digest)
        }
    }

    fn entry(n: u8) -> String {
        format!(r#"{{"digest":"{}"}}"#, Digest::sha256([n; 32]))
    }

    fn image(config: u8, layers: &[u8]) -> String {
        let layers: Vec<String> = layers.iter().map(|n| entry(*n)).collect();
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            entry(config),
            layers.join(",")
        )
    }

    #[test]
    fn an_image_needs_its_configuration_and_every_layer() {
        let shelf = |blobs: &[u8]| Shelf {
            blobs: blobs.to_vec(),
            ..Shelf::default()
        };
        let image = image(1, &[2, 3]);
        assert!(is_held(image.as_bytes(), &shelf(&[1, 2, 3])));
        for lacking in [&[1, 2][..], &[2, 3], &[]] {
            assert!(!is_held(image.as_bytes(), &shelf(lacking)), "{lacking:?}");
        }
    }

    #[test]
    fn an_index_needs_one_platform() {
        let index = format!(r#"{{"manifests":[{},{}]}}"#, entry(10), entry(11));
        let mut shelf = Shelf {
            blobs: vec![1, 2],
            ..Shelf::default()
        };
        assert!(!is_held(index.as_bytes(), &shelf));
        shelf
            .manifests
            .insert(Digest::sha256([10; 32]), image(1, &[9]));
        assert!(!is_held(index.as_bytes(), &shelf));
        shelf
            .manifests
            .insert(Digest::sha256([11; 32]), image(1, &[2]));
        assert!(is_held(index.as_bytes(), &shelf));
    }

    #[test]
    fn an_index_with_this_hosts_platform_needs_that_one() {
        let of = |n: u8, architecture: &str| {
            let platform =
                format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}}}"#);
            entry(n).replace('}', &platform)
        };
        let ours = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let index = format!(r#"{{"manifests":[{},{}]}}"#, of(10, "s390x"), of(11, ours));
        let mut shelf = Shelf {
            blobs: vec![1, 2],
            ..Shelf::default()
        };
        (shelf.manifests).insert(Digest::sha256([10; 32]), image(1, &[2]));
        assert!(!is_held(index.as_bytes(), &shelf));
        (shelf.manifests).insert(Digest::sha256([11; 32]), image(1, &[2]));
        assert!(is_held(index.as_bytes(), &shelf));
    }

    #[test]
    fn what_leads_nowhere_or_in_circles_is_not_held() {
        let index = format!(r#"{{"manifests":[{}]}}"#, entry(10));
        let mut shelf = Shelf::default();
        shelf
            .manifests
            .insert(Digest::sha256([10; 32]), index.clone());
        for text in [
            &index[..],
            "",
            "{}",
            "[]",
            r#"{"config":{"digest":"x"},"layers":[]}"#,
        ] {
            assert!(!is_held(text.as_bytes(), &shelf), "{text}");
        }
    }
}
