//! From what content is to what it is called: the key scheme.

use std::fmt;

use crate::{Digest, RegistryHost, Source, TaskId, source::shown};

/// Version of the rule that turns a [`ContentKey`] into a [`TaskId`] and a length into a [`crate::Layout`]. Both are
/// frozen per version; a new rule gets a new number.
pub const KEY_SCHEME: u16 = 1;

/// What the origin said of a content's version, for content that has no digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Validator {
    /// A strong entity tag, with its quotes.
    ETag(String),
    /// `Last-Modified` together with the length, for servers without strong entity tags.
    Modified {
        /// The header's value, verbatim.
        at: String,
        /// The content's length in bytes.
        length: u64,
    },
}

/// What makes two requests ask for the same content. `Debug` shows no query of a URL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ContentKey {
    /// Content that is named by its digest is the same whatever registry or URL it comes from.
    Digest(Digest),
    /// Content that one registry gives for credentials alone is that registry's, digest or not: what another registry, or
    /// anybody, says of the same digest is another content, so that nobody gets at it by naming a registry of his own.
    Private {
        /// The registry, as in an image's name.
        registry: RegistryHost,
        /// What it is called there.
        digest: Digest,
    },
    /// Other content is what one URL gave at one time.
    Url {
        /// The canonical URL: lower-case scheme and host, no fragment, signature parameters dropped by rule.
        url: String,
        /// A name the caller chose to keep contents apart; usually empty.
        tag: String,
        /// The version the origin told.
        validator: Validator,
    },
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => write!(to, "{digest}"),
            Self::Private { registry, digest } => write!(to, "{registry}@{digest}"),
            Self::Url {
                url,
                tag,
                validator,
            } => write!(to, "{} {tag:?} {validator:?}", shown(url)),
        }
    }
}

impl Digest {
    /// Whether it names the content of `task`, which is read at `source`: then nobody's word is needed for what that
    /// content is.
    pub fn names(&self, task: &TaskId, source: Option<&Source>) -> bool {
        ContentKey::Digest(*self).task_id() == *task || self.names_private(task, source)
    }

    /// Whether `task` is what the registry of `source` keeps private under this digest.
    pub fn names_private(&self, task: &TaskId, source: Option<&Source>) -> bool {
        let key = |registry: &RegistryHost| ContentKey::Private {
            registry: registry.clone(),
            digest: *self,
        };
        let registry = source.and_then(Source::registry);
        registry.is_some_and(|registry| key(registry).task_id() == *task)
    }
}

impl ContentKey {
    /// The task that distributes this content. Equal keys give equal ids on every host, for one [`KEY_SCHEME`].
    pub fn task_id(&self) -> TaskId {
        let mut hasher = blake3::Hasher::new_derive_key("pantala 2026 task id, key scheme 1");
        // Each part is preceded by its length, so that no two keys share one encoding.
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        match self {
            Self::Digest(digest) => {
                part(b"digest");
                part(digest.algorithm().name().as_bytes());
                part(digest.as_bytes());
            }
            Self::Private { registry, digest } => {
                part(b"private");
                part(registry.as_str().as_bytes());
                part(digest.algorithm().name().as_bytes());
                part(digest.as_bytes());
            }
            Self::Url {
                url,
                tag,
                validator,
            } => {
                part(b"url");
                part(url.as_bytes());
                part(tag.as_bytes());
                match validator {
                    Validator::ETag(value) => {
                        part(b"etag");
                        part(value.as_bytes());
                    }
                    Validator::Modified { at, length } => {
                        part(b"modified");
                        part(at.as_bytes());
                        part(&length.to_le_bytes());
                    }
                }
            }
        }
        TaskId::from_bytes(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str, tag: &str, etag: &str) -> TaskId {
        ContentKey::Url {
            url: url.into(),
            tag: tag.into(),
            validator: Validator::ETag(etag.into()),
        }
        .task_id()
    }

    #[test]
    fn the_scheme_is_frozen() {
        let key = ContentKey::Digest(Digest::sha256([0x5a; 32]));
        assert_eq!(
            key.task_id().to_string(),
            "0558485df08bab1ef867b8ec018f3ed943e19472941961c65233f8fd6dcb64cd"
        );
        assert_eq!(
            url("https://example.com/f", "", "\"1\"").to_string(),
            "50d99b6f090bec61dee62f9f9482693ad57e61fc5286f3553542917b3113f0e6"
        );
    }

    #[test]
    fn what_a_registry_keeps_private_is_its_own() {
        let digest = Digest::sha256([0x5a; 32]);
        let of = |registry: &str| ContentKey::Private {
            registry: registry.parse().expect("a registry"),
            digest,
        };
        let at = |registry: &str| Source::Blob {
            registry: registry.parse().expect("a registry"),
            repository: "team/app".parse().expect("a repository"),
            digest,
        };
        let private = of("r.example").task_id();
        assert_eq!(
            private.to_string(),
            "35a7a76dddec619bddf913d0a875f0b29d8b335ee315f21eb90a8905a7152a7d"
        );
        assert_ne!(private, of("evil.example").task_id());
        assert_ne!(private, ContentKey::Digest(digest).task_id());
        assert!(digest.names(&private, Some(&at("r.example"))));
        assert!(!digest.names(&private, Some(&at("evil.example"))));
        assert!(!digest.names(&private, None));
        let public = ContentKey::Digest(digest).task_id();
        assert!(digest.names(&public, Some(&at("evil.example"))));
        assert!(!digest.names_private(&public, Some(&at("r.example"))));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(url("ab", "c", ""), url("a", "bc", ""));
        assert_ne!(url("a", "", "b"), url("a", "b", ""));
        let digest = Digest::sha256([1; 32]);
        assert_ne!(
            ContentKey::Digest(digest).task_id(),
            ContentKey::Digest(Digest::blake3([1; 32])).task_id()
        );
    }
}
