//! Reads response headers, strictly: what does not parse does not count. Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use types::{ByteRange, Validator};

/// A `Content-Range` of a 206.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) range: ByteRange,
    /// The whole content's length, unless the origin does not know it.
    pub(crate) total: Option<u64>,
}

/// Reads `bytes FIRST-LAST/TOTAL`.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (range, total) = single(headers, &header::CONTENT_RANGE)?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" {
        None
    } else {
        Some(number(total)?)
    };
    if first > last || total.is_some_and(|total| last >= total) {
        return None;
    }
    Some(ContentRange {
        range: ByteRange::new(first, last.checked_add(1)?)?,
        total,
    })
}

/// Reads `bytes */TOTAL`, what a 416 says.
pub(crate) fn unsatisfied_total(headers: &HeaderMap) -> Option<u64> {
    number(single(headers, &header::CONTENT_RANGE)?.strip_prefix("bytes */")?)
}

/// The body's length as the origin tells it.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(single(headers, &header::CONTENT_LENGTH)?)
}

/// The strong validator: a strong entity tag, else `Last-Modified` with the whole content's length.
pub(crate) fn validator(headers: &HeaderMap, length: Option<u64>) -> Option<Validator> {
    if let Some(tag) = single(headers, &header::ETAG).filter(|tag| is_strong_tag(tag)) {
        return Some(Validator::ETag(tag.to_owned()));
    }
    let at = single(headers, &header::LAST_MODIFIED)?;
    DateTimeParser::new().parse_timestamp(at).ok()?;
    Some(Validator::Modified {
        at: at.to_owned(),
        length: length?,
    })
}

/// Whether the body is something other than the bytes themselves.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// How long to stay away: seconds, or a date compared to `now`.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = single(headers, &header::RETRY_AFTER)?;
    if let Some(seconds) = number(value) {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// The value of a header that comes exactly once. Two lines that disagree are an attack or a bug.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values
        .all(|other| other == value)
        .then(|| value.to_str().ok())?
        .map(str::trim)
}

/// Digits only: no sign, no blank, no wrap.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// RFC 9110, 8.8.3: quoted, and not marked weak.
fn is_strong_tag(tag: &str) -> bool {
    tag.len() >= 2
        && tag.len() <= 1024
        && tag.starts_with('"')
        && tag.ends_with('"')
        && !tag[1..tag.len() - 1].contains('"')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn with(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_exact_content_ranges_count() {
        let read = |value| content_range(&with(&[(header::CONTENT_RANGE, value)]));
        let good = ContentRange {
            range: ByteRange::new(0, 10).unwrap(),
            total: Some(20),
        };
        assert_eq!(read("bytes 0-9/20"), Some(good));
        assert_eq!(read("bytes 0-9/*").map(|read| read.total), Some(None));
        for bad in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes 9-0/20",
            "bytes 0-20/20",
            "bytes -9/20",
            "bytes 0-/20",
            "bytes +0-9/20",
            "bytes 0 - 9/20",
            "bytes=0-9/20",
            "octets 0-9/20",
            "bytes */20",
            "bytes 0-9/",
            "bytes 0-99999999999999999999/*",
            "bytes 0-18446744073709551615/*",
            "bytes bbef02",
            "bytes 0-9/20, bytes 0-9/20",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn headers_that_disagree_with_themselves_do_not_count() {
        let lines = with(&[(header::CONTENT_LENGTH, "5"), (header::CONTENT_LENGTH, "6")]);
        assert_eq!(content_length(&lines), None);
        assert_eq!(
            content_length(&with(&[(header::CONTENT_LENGTH, "-5")])),
            None
        );
        assert_eq!(
            content_length(&with(&[(header::CONTENT_LENGTH, "5")])),
            Some(5)
        );
    }

    #[test]
    fn only_strong_validators_count() {
        let tag = |tag| validator(&with(&[(header::ETAG, tag)]), Some(1));
        assert_eq!(tag("\"a\""), Some(Validator::ETag("\"a\"".into())));
        for weak in ["W/\"a\"", "a", "\"", "\"a", "\"a\"b\"", ""] {
            assert_eq!(tag(weak), None, "{weak}");
        }
        let date = with(&[
            (header::ETAG, "W/\"a\""),
            (header::LAST_MODIFIED, "Wed, 21 Oct 2015 07:28:00 GMT"),
        ]);
        assert!(matches!(
            validator(&date, Some(7)),
            Some(Validator::Modified { length: 7, .. })
        ));
        assert_eq!(validator(&date, None), None);
        assert_eq!(
            validator(&with(&[(header::LAST_MODIFIED, "yesterday")]), Some(7)),
            None
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2015-10-21T07:27:00Z".parse().unwrap();
        let read = |value| retry_after(&with(&[(header::RETRY_AFTER, value)]), now);
        assert_eq!(read("3"), Some(Duration::from_secs(3)));
        assert_eq!(
            read("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(read("Wed, 21 Oct 2015 07:26:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("-1"), None);
        assert_eq!(read("soon"), None);
    }

    proptest! {
        #[test]
        fn every_true_content_range_is_read(first: u32, more: u32, rest: u32) {
            let last = u64::from(first) + u64::from(more);
            let total = last + 1 + u64::from(rest);
            let headers = with(&[(header::CONTENT_RANGE, &format!("bytes {first}-{last}/{total}"))]);
            let read = content_range(&headers).unwrap();
            prop_assert_eq!(read.range, ByteRange::new(u64::from(first), last + 1).unwrap());
            prop_assert_eq!(read.total, Some(total));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "[ -~]{0,40}") {
            for name in [header::CONTENT_RANGE, header::ETAG, header::RETRY_AFTER, header::LAST_MODIFIED] {
                let headers = with(&[(name, &text)]);
                let _read = (content_range(&headers), validator(&headers, None));
                let _delay = retry_after(&headers, Timestamp::UNIX_EPOCH);
            }
        }
    }
}
