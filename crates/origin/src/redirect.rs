//! Where a redirect may lead, and what may travel along. Pure.

use http::{HeaderMap, StatusCode, header};
use url::Url;

use crate::{
    allowed::{AllowedOrigin, Scheme},
    shown::is_harmless,
};

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectProblem {
    /// More hops than anybody needs: a loop.
    #[error("it was redirected more than {limit} times")]
    TooMany {
        /// So many are followed.
        limit: u8,
    },
    /// From https to http: whoever listens could read and change everything.
    #[error("it was redirected from https to http")]
    Downgrade,
    /// The place it points at is no http or https URL.
    #[error("it was redirected to something that is no http or https URL")]
    Nowhere,
}

/// Whether this status with a `Location` asks to go elsewhere.
pub(crate) fn is_redirect(status: StatusCode, headers: &HeaderMap) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) && headers.contains_key(header::LOCATION)
}

/// The next URL.
pub(crate) fn next_url(from: &Url, headers: &HeaderMap) -> Result<Url, RedirectProblem> {
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or(RedirectProblem::Nowhere)?;
    let mut to = from.join(location).map_err(|_| RedirectProblem::Nowhere)?;
    let (was, is) = (AllowedOrigin::of(from), AllowedOrigin::of(&to));
    let (Ok(was), Ok(is)) = (was, is) else {
        return Err(RedirectProblem::Nowhere);
    };
    if was.scheme() == Scheme::Https && is.scheme() == Scheme::Http {
        return Err(RedirectProblem::Downgrade);
    }
    to.set_fragment(None);
    // A user in a Location would be a credential of the origin's choosing.
    let _no_user = to.set_username("");
    let _no_password = to.set_password(None);
    Ok(to)
}

/// Takes away what must not reach another host, port or scheme: every header that may be a credential.
pub(crate) fn strip_for(from: &Url, to: &Url, headers: &mut HeaderMap) {
    let is_same = matches!(
        (AllowedOrigin::of(from), AllowedOrigin::of(to)),
        (Ok(from), Ok(to)) if from == to
    );
    if !is_same {
        *headers = headers
            .iter()
            .filter(|(name, _)| is_harmless(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn hop(from: &str, location: &str) -> Result<String, RedirectProblem> {
        let headers = HeaderMap::from_iter([(
            header::LOCATION,
            HeaderValue::from_bytes(location.as_bytes()).unwrap(),
        )]);
        next_url(&from.parse().unwrap(), &headers).map(|url| url.to_string())
    }

    #[test]
    fn a_location_is_relative_or_another_place() {
        assert_eq!(
            hop("https://a/x/y", "../z?q=1#f").as_deref(),
            Ok("https://a/z?q=1")
        );
        assert_eq!(hop("https://a/x", "//b:1/").as_deref(), Ok("https://b:1/"));
        assert_eq!(
            hop("http://a/", "https://u:p@b/").as_deref(),
            Ok("https://b/")
        );
    }

    #[test]
    fn a_location_that_is_worse_is_refused() {
        assert_eq!(
            hop("https://a/", "http://a/"),
            Err(RedirectProblem::Downgrade)
        );
        for bad in [
            "file:///etc/passwd",
            "gopher://a/",
            "https://",
            "javascript:1",
            "http://[::1",
        ] {
            assert_eq!(
                hop("http://a/", bad),
                Err(RedirectProblem::Nowhere),
                "{bad}"
            );
        }
    }

    #[test]
    fn credentials_stay_at_home() {
        let kept = |from: &str, to: &str| {
            let mut headers = HeaderMap::new();
            for name in ["authorization", "cookie", "x-api-key", "accept", "range"] {
                headers.append(name, HeaderValue::from_static("canary"));
            }
            headers.append("accept", HeaderValue::from_static("again"));
            strip_for(&from.parse().unwrap(), &to.parse().unwrap(), &mut headers);
            headers.len()
        };
        assert_eq!(kept("https://a/", "https://a:443/b"), 6);
        for to in ["https://b/", "https://a:444/", "http://a/", "https://a.b/"] {
            assert_eq!(kept("https://a/", to), 3, "{to}");
        }
    }
}
