//! What may go through the swarm: nothing that is one caller's, and nothing that its origin wants kept nowhere. Pure.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::outside::OutsideAnswer;
use crate::{AskedRange, Seen};

/// Whether a request may be answered with what anybody gets. Nobody can list all the names that tokens travel under: what
/// is not known to identify nobody is taken for one.
pub(super) fn may_ask(method: &Method, headers: &HeaderMap) -> bool {
    let is_somebodys = headers.keys().any(|name| !is_nobodys(name));
    let has_body = headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    method == Method::GET && !is_somebodys && !has_body && !says(headers, "no-store")
}

/// Whether a line says nothing of who asks.
fn is_nobodys(name: &HeaderName) -> bool {
    let known = [
        header::ACCEPT,
        header::ACCEPT_CHARSET,
        header::ACCEPT_ENCODING,
        header::ACCEPT_LANGUAGE,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::DNT,
        header::HOST,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::PRAGMA,
        header::RANGE,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE_INSECURE_REQUESTS,
        header::USER_AGENT,
        header::VIA,
    ];
    // What npm says of itself and of the package; `npm-otp` and `npm-session` are somebody's.
    let of_npm = [
        "npm-auth-type",
        "npm-command",
        "npm-in-ci",
        "npm-scope",
        "pacote-integrity",
        "pacote-pkg-id",
        "pacote-req-type",
        "pacote-version",
    ];
    // What is for a proxy alone goes no further.
    let is_ours = name == header::PROXY_AUTHORIZATION || name == "proxy-connection";
    let text = name.as_str();
    known.contains(name)
        || is_ours
        || of_npm.contains(&text)
        || text == "keep-alive"
        || ["sec-fetch-", "sec-ch-ua", "x-dragonfly-"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
}

/// The version of content that an origin's answer to `HEAD` speaks of, if everybody may have it.
pub(super) fn everybodys(asked: &HeaderMap, answer: &OutsideAnswer) -> Option<Seen> {
    let headers = &answer.headers;
    let is_kept = ["no-store", "private"]
        .iter()
        .all(|word| !says(headers, word));
    let fits = answer.status == StatusCode::OK
        && is_kept
        && !headers.contains_key(header::SET_COOKIE)
        && !varies(asked, headers);
    let seen = answer.seen.clone().filter(|_| fits)?;
    // An empty page is what broken servers say; there is nothing to spare in it.
    (seen.length.0 > 0).then_some(seen)
}

/// Whether another client may get something else for what this one said.
fn varies(asked: &HeaderMap, headers: &HeaderMap) -> bool {
    words(headers, &header::VARY).any(|word| {
        // What is encoded has no version here, and is passed on.
        !word.eq_ignore_ascii_case("accept-encoding")
            && (word == "*"
                || HeaderName::try_from(word).map_or(true, |name| asked.contains_key(name)))
    })
}

fn says(headers: &HeaderMap, directive: &str) -> bool {
    words(headers, &header::CACHE_CONTROL).any(|word| {
        let name = word.split('=').next().unwrap_or(word);
        name.trim().eq_ignore_ascii_case(directive)
    })
}

fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// The range that is asked for of a version with these headers.
pub(super) fn range(asked: &HeaderMap, headers: &HeaderMap) -> Option<AskedRange> {
    let is_strong = |value: &&HeaderValue| !value.as_bytes().starts_with(b"W/");
    let etag = headers.get(header::ETAG).filter(is_strong);
    let nothing = HeaderValue::from_static("");
    let unconditional = (!asked.contains_key(header::IF_RANGE)).then_some(&nothing);
    [etag, headers.get(header::LAST_MODIFIED), unconditional]
        .into_iter()
        .flatten()
        .find_map(|validator| AskedRange::of_request(asked, validator))
}

#[cfg(test)]
mod tests {
    use types::{ByteCount, Validator};

    use super::*;
    use crate::http::empty;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_one_callers_is_not_asked_for_everybody() {
        let may = |method: &Method, lines: &[_]| may_ask(method, &map(lines));
        assert!(may(
            &Method::GET,
            &[
                ("cache-control", "no-cache, max-age=0"),
                ("range", "bytes=0-1"),
                ("npm-command", "pack"),
                ("pacote-req-type", "tarball"),
            ]
        ));
        for method in [Method::HEAD, Method::POST, Method::PUT, Method::DELETE] {
            assert!(!may(&method, &[]));
        }
        for line in [
            ("authorization", "Basic a"),
            ("cookie", "a=b"),
            ("private-token", "t"),
            ("x-jfrog-art-api", "t"),
            ("npm-otp", "123456"),
            ("npm-session", "1f2e"),
            ("x-amz-security-token", "t"),
            ("cache-control", "max-age=0, No-Store"),
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
        ] {
            assert!(!may(&Method::GET, &[line]), "{line:?}");
        }
    }

    fn shared(status: u16, length: u64, lines: &[(&'static str, &'static str)]) -> bool {
        let answer = OutsideAnswer {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: map(lines),
            body: empty(),
            seen: Some(Seen {
                length: ByteCount(length),
                validator: Validator::ETag("\"a\"".into()),
            }),
        };
        everybodys(&map(&[("accept", "x"), ("user-agent", "y")]), &answer).is_some()
    }

    #[test]
    fn what_an_origin_keeps_for_one_is_not_shared() {
        assert!(shared(
            200,
            1,
            &[
                ("vary", "Accept-Encoding, Origin"),
                ("cache-control", "max-age=1")
            ]
        ));
        assert!(!shared(200, 0, &[]));
        assert!(!shared(206, 1, &[]));
        for line in [
            ("cache-control", "private"),
            ("cache-control", "no-store"),
            ("cache-control", "private=\"x\""),
            ("set-cookie", "a=b"),
            ("vary", "*"),
            ("vary", "accept-encoding, User-Agent"),
        ] {
            assert!(!shared(200, 1, &[line]), "{line:?}");
        }
    }

    #[test]
    fn a_range_needs_a_strong_validator() {
        let of = |condition: &'static str| {
            let asked = map(&[("range", "bytes=1-"), ("if-range", condition)]);
            let headers = map(&[
                ("etag", "\"a\""),
                ("last-modified", "Wed, 21 Oct 2026 07:28:00 GMT"),
            ]);
            range(&asked, &headers).is_some()
        };
        assert!(of("\"a\"") && of("Wed, 21 Oct 2026 07:28:00 GMT"));
        assert!(!of("\"b\"") && !of(""));
        let weak = map(&[("etag", "W/\"a\"")]);
        let asked = map(&[("range", "bytes=1-"), ("if-range", "W/\"a\"")]);
        assert!(range(&asked, &weak).is_none());
        assert!(range(&map(&[("range", "bytes=1-")]), &HeaderMap::new()).is_some());
    }
}
