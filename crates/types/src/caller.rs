//! Who asks an origin, told apart without keeping what was shown.

use std::fmt;

use crate::{Secret, hex};

/// The key that callers are told apart by. It is drawn anew by each process, and nothing made of it outlives that: neither
/// is it on any disk, nor does it help to guess what a caller showed.
#[derive(Clone, Debug)]
pub struct CallerKey(Secret<[u8; 32]>);

/// Whose credentials an origin is shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallerId {
    /// Nobody's.
    Anonymous,
    /// This host's own, which an operator lends to all callers.
    Host,
    /// The caller's, by a keyed hash of them.
    Shown(ShownId),
}

/// A keyed hash of what a caller showed: who does not have the key cannot even try guesses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShownId([u8; 16]);

impl CallerKey {
    /// A key made of random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(Secret::new(random))
    }

    /// The caller who shows these lines; the order of lines of different names does not matter.
    pub fn caller<'a>(&self, lines: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> CallerId {
        let mut lines: Vec<_> = lines.into_iter().collect();
        if lines.is_empty() {
            return CallerId::Anonymous;
        }
        lines.sort_by_key(|(name, _)| *name);
        let mut hasher = blake3::Hasher::new_keyed(self.0.expose());
        for part in lines
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value])
        {
            // Each part is preceded by its length, so that no two callers share one encoding.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize();
        let (id, _) = (hash.as_bytes().split_first_chunk()).expect("a hash has 32 bytes");
        CallerId::Shown(ShownId(*id))
    }
}

/// A label to tell callers apart in a log, too short to be used for anything else.
impl fmt::Debug for CallerId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => to.write_str("anonymous"),
            Self::Host => to.write_str("host"),
            Self::Shown(ShownId(id)) => write!(to, "caller-{}", hex::encode(&id[..3])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(key: u8, lines: &[(&str, &str)]) -> CallerId {
        let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
        CallerKey::new([key; 32]).caller(lines)
    }

    #[test]
    fn callers_are_told_apart_by_what_they_show() {
        let ann = caller(1, &[("authorization", "Basic ann"), ("cookie", "a")]);
        let same = caller(1, &[("cookie", "a"), ("authorization", "Basic ann")]);
        assert_eq!(ann, same);
        for other in [
            caller(2, &[("authorization", "Basic ann"), ("cookie", "a")]),
            caller(1, &[("authorization", "Basic ann")]),
            caller(1, &[("authorization", "Basic anncookie"), ("", "a")]),
            caller(1, &[]),
            CallerId::Host,
        ] {
            assert_ne!(ann, other);
        }
        assert_eq!(caller(1, &[]), CallerId::Anonymous);
    }

    #[test]
    fn a_caller_shows_a_short_label_and_nothing_of_its_secret() {
        let key = CallerKey::new([0x5a; 32]);
        let ann = key.caller([("authorization", &b"Bearer canary"[..])]);
        let shown = format!("{ann:?} {key:?}");
        assert!(
            !shown.contains("canary") && !shown.contains("5a5a"),
            "{shown}"
        );
        let label = format!("{ann:?}");
        assert_eq!(label.len(), "caller-".len() + 6);
    }
}
