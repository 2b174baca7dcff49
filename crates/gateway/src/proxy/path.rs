//! Paths as an operator lists them: `*` for any part of a segment, `**` for anything. Pure.

use std::str::FromStr;

use super::spelling;

/// Longest pattern.
const LENGTH_MAX: usize = 256;

/// Paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathPattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This byte.
    Byte(u8),
    /// Any bytes but a slash.
    Segment,
    /// Any bytes.
    Any,
}

impl PathPattern {
    /// Whether the whole of `path` is one of these.
    pub(super) fn matches(&self, path: &str) -> bool {
        let parts = &self.0;
        // Which parts may come next; all of them at once, so that no pattern takes long.
        let mut open = vec![false; parts.len() + 1];
        open[0] = true;
        skip(parts, &mut open);
        for byte in path.bytes() {
            let mut next = vec![false; parts.len() + 1];
            for (at, part) in parts.iter().enumerate().filter(|(at, _)| open[*at]) {
                match part {
                    Part::Byte(own) => next[at + 1] |= *own == byte,
                    Part::Segment => next[at] |= byte != b'/',
                    Part::Any => next[at] = true,
                }
            }
            open = next;
            skip(parts, &mut open);
        }
        open[parts.len()]
    }
}

/// Stars may stand for nothing.
fn skip(parts: &[Part], open: &mut [bool]) {
    for at in 0..parts.len() {
        if open[at] && !matches!(parts[at], Part::Byte(_)) {
            open[at + 1] = true;
        }
    }
}

impl FromStr for PathPattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_path = |c: u8| c.is_ascii_graphic() && !matches!(c, b'?' | b'#' | b'\\');
        if !text.starts_with('/') || text.len() > LENGTH_MAX || !text.bytes().all(is_path) {
            return Err(());
        }
        let text = spelling::plain(text);
        // No clear URL comes down to these: a rule that can never hold is a mistake.
        let is_dots = |part: &str| matches!(part, "." | "..");
        if spelling::has_broken_escape(&text) || text.contains("//") || text.split('/').any(is_dots)
        {
            return Err(());
        }
        let mut parts: Vec<Part> = Vec::new();
        for byte in text.bytes() {
            match (byte, parts.last_mut()) {
                (b'*', Some(last @ Part::Segment)) => *last = Part::Any,
                (b'*', Some(Part::Any)) => return Err(()),
                (b'*', _) => parts.push(Part::Segment),
                (byte, _) => parts.push(Part::Byte(byte)),
            }
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_segments_and_for_anything() {
        for (pattern, path, wanted) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/ab", false),
            ("/*", "/a", true),
            ("/*", "/", true),
            ("/*", "/a/b", false),
            ("/**", "/a/b", true),
            ("/**/c", "/a/b/c", true),
            ("/**/c", "/c", false),
            ("/a/*.deb", "/a/b.deb", true),
            ("/a/*.deb", "/a/b/c.deb", false),
            ("/a/**.deb", "/a/b/c.deb", true),
            ("/a*b*c", "/axxbyyc", true),
            ("/a*b*c", "/axxbyy", false),
        ] {
            let parsed: PathPattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(path), wanted, "{pattern} {path}");
        }
        for text in ["", "a", "/a?b", "/a#b", "/***", "/a b", "/\\"] {
            assert!(text.parse::<PathPattern>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_hostile_path_takes_no_longer() {
        let pattern: PathPattern = "/*a*a*a*a*a*a*a*a*a*a*a*a*a*ab".parse().expect("a pattern");
        assert!(!pattern.matches(&format!("/{}", "a".repeat(8000))));
    }
}
