//! Refuses requests whose meaning two parsers could disagree on. Pure.
//!
//! hyper already refuses obsolete line folding, spaces before colons, broken and contradicting lengths. What is left: no
//! door here takes a body, a proxy's request line, or a second `Host`.

use ::http::{Method, Request, Version, header};

/// Why a request is refused with 400.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ambiguous {
    /// A body where none can be, or two ways of saying how long it is.
    #[error("requests here have no body")]
    Body,
    /// An absolute or authority form: this is no proxy.
    #[error("this is no proxy")]
    Form,
    /// Not exactly one name of the server.
    #[error("a request names its host once")]
    Host,
}

/// Checks the head of a request.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), Ambiguous> {
    let headers = request.headers();
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if headers.contains_key(header::TRANSFER_ENCODING)
        || lengths
            .map(|value| value.as_bytes())
            .any(|value| value != b"0")
    {
        return Err(Ambiguous::Body);
    }
    let hosts = headers.get_all(header::HOST).iter().count();
    match request.version() {
        Version::HTTP_10 | Version::HTTP_11 => {
            if request.method() == Method::CONNECT || request.uri().authority().is_some() {
                return Err(Ambiguous::Form);
            }
            let enough = usize::from(request.version() == Version::HTTP_11);
            if !(enough..=1).contains(&hosts) {
                return Err(Ambiguous::Host);
            }
        }
        _ => {
            if request.method() == Method::CONNECT {
                return Err(Ambiguous::Form);
            }
            if hosts > 1 {
                return Err(Ambiguous::Host);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(uri: &str, headers: &[(&str, &str)]) -> Result<(), Ambiguous> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).expect("a request"))
    }

    #[test]
    fn only_plain_requests_pass() {
        assert_eq!(verdict("/v2/", &[("host", "a")]), Ok(()));
        assert_eq!(
            verdict("/v2/", &[("host", "a"), ("content-length", "0")]),
            Ok(())
        );
        assert_eq!(verdict("/v2/", &[]), Err(Ambiguous::Host));
        assert_eq!(
            verdict("/v2/", &[("host", "a"), ("host", "a")]),
            Err(Ambiguous::Host)
        );
        assert_eq!(
            verdict("http://a/v2/", &[("host", "a")]),
            Err(Ambiguous::Form)
        );
        for body in [
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "identity"),
        ] {
            assert_eq!(
                verdict("/v2/", &[("host", "a"), body]),
                Err(Ambiguous::Body)
            );
        }
    }
}
