//! A path in every spelling that a server may read it in. Pure.
//!
//! Servers disagree on what a path means: some decode `%2F` before they look at slashes, some make one slash of two, some
//! cut off what follows a semicolon. A rule that refuses has to hold for all of them.

/// Deeper escapes of escapes have no honest meaning.
const DECODED_MAX: usize = 4;

/// One path, as different servers read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spellings {
    /// With escapes of letters that need none undone, and all others in capitals (RFC 3986, 6.2.2).
    plain: String,
    /// Where some servers see another path: that.
    others: Vec<String>,
    /// Whether nobody can tell what servers make of it.
    is_unclear: bool,
}

impl Spellings {
    /// Of the path of a URL, whose dot segments are resolved.
    pub(super) fn of(path: &str) -> Self {
        let plain = plain(path);
        let mut others = Vec::new();
        let mut is_unclear = has_broken_escape(&plain);
        let mut add = |bytes: &[u8], is_cut: bool| {
            let other = resolved(bytes, is_cut);
            if other != plain && !others.contains(&other) {
                others.push(other);
            }
        };
        let mut bytes = plain.clone().into_bytes();
        add(&bytes, false);
        for _ in 0..DECODED_MAX {
            add(&bytes, true);
            let next = decoded(&bytes);
            if next == bytes {
                break;
            }
            bytes = next;
            add(&bytes, false);
            is_unclear |= is_deceitful(&bytes);
        }
        is_unclear |= decoded(&bytes) != bytes;
        Self {
            plain,
            others,
            is_unclear,
        }
    }

    /// The spelling of whoever has nothing to hide.
    pub(super) fn plain(&self) -> &str {
        &self.plain
    }

    /// All of them, that one first.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        let others = self.others.iter().map(String::as_str);
        std::iter::once(&*self.plain).chain(others)
    }

    /// Whether nobody can tell what servers make of it.
    pub(super) fn is_unclear(&self) -> bool {
        self.is_unclear
    }
}

/// The byte that an escape at `at` stands for.
fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|c| char::from(*c).to_digit(16));
    if bytes.get(at) != Some(&b'%') {
        return None;
    }
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

/// `bytes` with each escape as `change` wants it, which gets its byte and its text.
fn with_escapes(bytes: &[u8], change: impl Fn(u8, &[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut made = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if let Some(byte) = escape(bytes, at) {
            change(byte, &bytes[at..at + 3], &mut made);
            at += 3;
        } else {
            made.push(bytes[at]);
            at += 1;
        }
    }
    made
}

/// `path` without escapes of letters that need none, and with the others in capitals.
pub(super) fn plain(path: &str) -> String {
    let made = with_escapes(path.as_bytes(), |byte, text, made| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            made.push(byte);
        } else {
            made.extend(text.to_ascii_uppercase());
        }
    });
    String::from_utf8_lossy(&made).into_owned()
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    with_escapes(bytes, |byte, _, made| made.push(byte))
}

pub(super) fn has_broken_escape(path: &str) -> bool {
    let bytes = path.as_bytes();
    (0..bytes.len()).any(|at| bytes[at] == b'%' && escape(bytes, at).is_none())
}

/// Whether it holds what ends a text for some, or letters in more bytes than they need (RFC 3629, 10).
fn is_deceitful(bytes: &[u8]) -> bool {
    let is_longer = |pair: &[u8]| matches!(pair, [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]);
    let is_odd = |c: &u8| *c < b' ' || matches!(c, 0x7f | 0xc0 | 0xc1);
    bytes.iter().any(is_odd) || bytes.windows(2).any(is_longer)
}

/// A path with one slash where there are several, without dot segments and, if it `is_cut`, without what semicolons begin.
fn resolved(bytes: &[u8], is_cut: bool) -> String {
    let mut segments: Vec<&[u8]> = Vec::new();
    let parts: Vec<&[u8]> = bytes.split(|c| matches!(c, b'/' | b'\\')).collect();
    let last = parts.len() - 1;
    let mut ends_in_slash = false;
    for (at, part) in parts.into_iter().enumerate() {
        let end = part.iter().position(|c| is_cut && *c == b';');
        let part = &part[..end.unwrap_or(part.len())];
        let is_segment = !matches!(part, b"" | b"." | b"..");
        if is_segment {
            segments.push(part);
        } else if part == b".." {
            segments.pop();
        }
        ends_in_slash = at == last && !is_segment;
    }
    let mut path = String::new();
    for segment in &segments {
        path.push('/');
        for byte in *segment {
            match byte {
                b'!'..=b'~' => path.push(char::from(*byte)),
                other => path.push_str(&format!("%{other:02X}")),
            }
        }
    }
    if ends_in_slash || segments.is_empty() {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_every_server_would() {
        for (path, others) in [
            ("/a/b.deb", &[][..]),
            ("/", &[]),
            ("/a/", &[]),
            ("/%61", &[]),
            ("//a///b", &["/a/b"]),
            ("/a%2Fb", &["/a/b"]),
            ("/a%5cb", &["/a/b"]),
            ("/x/..%2fa", &["/a"]),
            ("/x/%252e%252E/a", &["/x/%2e%2E/a", "/a"]),
            ("/a%252Fb", &["/a%2Fb", "/a/b"]),
            ("/x/..;/a;b=1", &["/a"]),
            ("/a;b/c", &["/a/c"]),
            ("/%20", &[]),
        ] {
            let spellings = Spellings::of(path);
            assert_eq!(spellings.others, others, "{path}");
            assert!(!spellings.is_unclear(), "{path}");
        }
    }

    #[test]
    fn what_nobody_can_tell_is_unclear() {
        for path in [
            "/a%00.jpg",
            "/a%0a",
            "/%2500",
            "/%c0%af",
            "/%e0%80%af",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%25252525252541",
        ] {
            assert!(Spellings::of(path).is_unclear(), "{path}");
        }
        assert!(!Spellings::of("/%C3%A9/%E2%82%AC").is_unclear());
    }
}
