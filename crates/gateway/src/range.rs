//! `Range` and `If-Range` of RFC 9110, for byte ranges. Pure.
//!
//! What is no range by the grammar is ignored, as section 14.2 says: the answer is then the whole. So is a request for
//! several ranges: a multipart answer is allowed, never required, and no container client asks for one.

use ::http::{HeaderMap, HeaderValue, header};
use types::{ByteCount, ByteRange};

/// The one range that a consumer asked for. It becomes a [`ByteRange`] once the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedRange {
    /// From an offset to the end, or to and including `last`.
    From {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte, not below `first`.
        last: Option<u64>,
    },
    /// So many bytes at the end.
    Suffix(u64),
}

impl AskedRange {
    /// The range of a `Range` header's value; `None` if it is to be ignored.
    ///
    /// A number beyond `u64` is taken for the largest one: it lies beyond any content either way.
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, set) = value.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        // A list may have empty elements (section 5.6.1.2).
        let mut ranges = set.split(',').map(trim).filter(|range| !range.is_empty());
        let (first, last) = ranges.next()?.split_once('-')?;
        if ranges.next().is_some() {
            return None;
        }
        match (first, last) {
            ("", count) => Some(Self::Suffix(number(count)?)),
            (first, "") => Some(Self::From {
                first: number(first)?,
                last: None,
            }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From {
                    first,
                    last: Some(last),
                })
            }
        }
    }

    /// The range of a `GET` for the representation named by `etag` (with its quotes): honours `If-Range`.
    pub(crate) fn of_request(headers: &HeaderMap, etag: &HeaderValue) -> Option<Self> {
        let range = single(headers, &header::RANGE)?;
        if headers.contains_key(header::IF_RANGE)
            && single(headers, &header::IF_RANGE).map(str::as_bytes) != Some(etag.as_bytes())
        {
            // Another version, a weak tag or a date (we send no Last-Modified): the whole.
            return None;
        }
        Self::parse(range)
    }

    /// The bytes of a content of `length` that it covers; `None` if there are none (416).
    pub fn within(self, length: ByteCount) -> Option<ByteRange> {
        let (start, end) = match self {
            Self::From { first, last } => (
                first,
                last.map_or(length.0, |last| last.saturating_add(1).min(length.0)),
            ),
            Self::Suffix(count) => (length.0.saturating_sub(count), length.0),
        };
        ByteRange::new(start, end).filter(|range| !range.is_empty())
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    match lines.next() {
        None => line.to_str().ok().map(trim),
        Some(_) => None,
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `value` against a content of 1000 bytes: `None` ignored, `Some("416")`, or `Some("a..b")`.
    fn asked(value: &str) -> Option<String> {
        AskedRange::parse(value).map(|range| {
            range
                .within(ByteCount(1000))
                .map_or("416".into(), |range| range.to_string())
        })
    }

    #[test]
    fn ranges_mean_what_the_rfc_says() {
        for (value, meaning) in [
            ("bytes=0-499", "0..500"),
            ("bytes=500-", "500..1000"),
            ("bytes=-500", "500..1000"),
            ("bytes=-5000", "0..1000"),
            ("bytes=0-0", "0..1"),
            ("bytes=999-999", "999..1000"),
            ("bytes=999-5000", "999..1000"),
            ("BYTES=1-2", "1..3"),
            ("bytes= 1-2 ", "1..3"),
            ("bytes=,1-2,", "1..3"),
            ("bytes=1000-", "416"),
            ("bytes=1000-1000", "416"),
            ("bytes=-0", "416"),
            ("bytes=18446744073709551615-", "416"),
            ("bytes=99999999999999999999999-", "416"),
            ("bytes=0-99999999999999999999999", "0..1000"),
        ] {
            assert_eq!(asked(value).as_deref(), Some(meaning), "{value}");
        }
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=,",
            "bytes=bbef02",
            "bytes=5-2",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=0x1-2",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes =1-2",
            "items=0-1",
            "0-1",
            "bytes=0-1,5-6",
            "bytes=0-1, -1",
            "bytes=١-٢",
        ] {
            assert_eq!(asked(value), None, "{value}");
        }
    }

    #[test]
    fn if_range_needs_the_very_tag() {
        let etag = HeaderValue::from_static("\"sha256:aa\"");
        let of = |condition: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-"));
            for line in condition {
                headers.append(header::IF_RANGE, HeaderValue::from_static(line));
            }
            AskedRange::of_request(&headers, &etag).is_some()
        };
        assert!(of(&[]));
        assert!(of(&["\"sha256:aa\""]));
        assert!(!of(&["\"sha256:bb\""]));
        assert!(!of(&["W/\"sha256:aa\""]));
        assert!(!of(&["Wed, 21 Oct 2026 07:28:00 GMT"]));
        assert!(!of(&["\"sha256:aa\"", "\"sha256:aa\""]));
    }

    proptest! {
        #[test]
        fn a_satisfied_range_lies_within_the_content(text in "(bytes=)?[0-9, -]{0,24}", length in any::<u64>()) {
            if let Some(range) = AskedRange::parse(&text).and_then(|range| range.within(ByteCount(length))) {
                prop_assert!(range.start() < range.end() && range.end() <= length);
            }
        }

        #[test]
        fn any_text_is_safe_to_parse(text in ".{0,64}") {
            let _ = AskedRange::parse(&text);
        }
    }
}
