//! Refuses requests whose meaning two parsers could disagree on. Pure.
//!
//! [`super::heads`] and hyper already refuse bare line feeds, obsolete line folding, spaces before colons, broken, doubled
//! and contradicting lengths. What is left: the proxy alone takes a body and a proxy's request line, and nobody a second
//! `Host`, or one that names another host than the request line.

use std::net::IpAddr;

use ::http::{HeaderValue, Method, Request, Uri, Version, header, uri::Authority};

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
    /// One host in the request line, another in `Host`.
    #[error("the request line and Host name different hosts")]
    OtherHost,
    /// A user or a password where only a host and a port are.
    #[error("a request line holds no user and no password")]
    User,
    /// What a proxy is not asked for: another protocol version, scheme or form.
    #[error("a proxy is asked by HTTP/1.1 for http://HOST/PATH, or to CONNECT to HOST:PORT")]
    Target,
}

/// What a door is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Its own resources, by path.
    Own,
    /// Others', by URL or by host and port.
    Proxy,
}

/// Checks the head of a request to a door of this form.
pub(crate) fn check<B>(form: Form, request: &Request<B>) -> Result<(), Ambiguous> {
    match form {
        Form::Own => check_own(request),
        Form::Proxy => check_proxy(request),
    }
}

fn check_proxy<B>(request: &Request<B>) -> Result<(), Ambiguous> {
    if !matches!(request.version(), Version::HTTP_10 | Version::HTTP_11) {
        return Err(Ambiguous::Target);
    }
    let uri = request.uri();
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        return Err(Ambiguous::Host);
    }
    let Some(authority) = uri.authority() else {
        // Our own resources, such as they are: none, but for who names a registry in a header.
        if request.method() == Method::CONNECT || !uri.path().starts_with('/') {
            return Err(Ambiguous::Target);
        }
        // A page in a browser of this host can have its own name lead here, and would read the answer.
        return host
            .is_none_or(is_this_host)
            .then_some(())
            .ok_or(Ambiguous::Host);
    };
    if authority.as_str().contains('@') {
        return Err(Ambiguous::User);
    }
    let is_connect = request.method() == Method::CONNECT;
    let fits = if is_connect {
        uri.scheme().is_none() && uri.path_and_query().is_none() && authority.port_u16().is_some()
    } else {
        matches!(uri.scheme_str(), Some("http" | "https"))
    };
    if !fits || authority.host().is_empty() {
        return Err(Ambiguous::Target);
    }
    if is_connect && has_body(request) {
        return Err(Ambiguous::Body);
    }
    match host {
        Some(host) if !is_same(host, authority, uri) => Err(Ambiguous::OtherHost),
        _ => Ok(()),
    }
}

/// Whether a client means this host by an address or by the one name that nobody else can own.
fn is_this_host(host: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// Whether `host` says what the request line says; the scheme's own port may be left out.
fn is_same(host: &HeaderValue, authority: &Authority, uri: &Uri) -> bool {
    let Ok(host) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let port = |authority: &Authority| match (authority.port_u16(), uri.scheme_str()) {
        (None, Some("http")) => Some(80),
        // A CONNECT has no scheme; some clients leave 443 out of its Host.
        (None, _) => Some(443),
        (port, _) => port,
    };
    !host.as_str().contains('@')
        && host.host().eq_ignore_ascii_case(authority.host())
        && port(&host) == port(authority)
}

fn has_body<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    headers.contains_key(header::TRANSFER_ENCODING) || lengths.any(|value| value != "0")
}

fn check_own<B>(request: &Request<B>) -> Result<(), Ambiguous> {
    let headers = request.headers();
    if has_body(request) {
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
        check(Form::Own, &request.body(()).expect("a request"))
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

    fn asked_of_proxy(method: &str, target: &str, hosts: &[&str]) -> Result<(), Ambiguous> {
        let mut request = Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        check(Form::Proxy, &request.body(()).expect("a request"))
    }

    #[test]
    fn a_proxy_is_asked_for_what_both_names_say() {
        for (method, target, host) in [
            ("GET", "http://a/b?c", "a"),
            ("GET", "http://a/b", "A:80"),
            ("GET", "http://a:80/b", "a"),
            ("GET", "http://a:81/b", "a:81"),
            ("GET", "https://a/b", "a:443"),
            ("POST", "http://[::1]:81/b", "[::1]:81"),
            ("CONNECT", "a:443", "a:443"),
            ("CONNECT", "a:443", "a"),
            ("GET", "/v2/", "127.0.0.1:7473"),
            ("GET", "/v2/", "[::1]:7473"),
            ("GET", "/v2/", "localhost"),
        ] {
            assert_eq!(asked_of_proxy(method, target, &[host]), Ok(()), "{target}");
        }
        for (method, target, host, why) in [
            ("GET", "http://a/b", "b", Ambiguous::OtherHost),
            ("GET", "http://a/b", "a:81", Ambiguous::OtherHost),
            ("GET", "http://a:81/b", "a", Ambiguous::OtherHost),
            ("GET", "http://a/b", "", Ambiguous::OtherHost),
            ("GET", "http://a/b", "u@a", Ambiguous::OtherHost),
            ("CONNECT", "a:443", "b:443", Ambiguous::OtherHost),
            ("CONNECT", "a:444", "a", Ambiguous::OtherHost),
            ("GET", "http://u:p@a/b", "a", Ambiguous::User),
            ("GET", "http://u@a/b", "a", Ambiguous::User),
            ("CONNECT", "u@a:443", "a:443", Ambiguous::User),
            ("GET", "ftp://a/b", "a", Ambiguous::Target),
            ("GET", "a:80", "a:80", Ambiguous::Target),
            ("OPTIONS", "*", "a", Ambiguous::Target),
            ("GET", "/v2/", "evil.example:7473", Ambiguous::Host),
            ("GET", "/v2/", "localhost.evil.example", Ambiguous::Host),
            ("CONNECT", "a", "a", Ambiguous::Target),
            ("CONNECT", "http://a:443/", "a:443", Ambiguous::Target),
            ("CONNECT", "/", "a", Ambiguous::Target),
        ] {
            let verdict = asked_of_proxy(method, target, &[host]);
            assert_eq!(verdict, Err(why), "{method} {target} {host}");
        }
        assert_eq!(
            asked_of_proxy("GET", "http://a/", &["a", "a"]),
            Err(Ambiguous::Host)
        );
        assert_eq!(
            asked_of_proxy("GET", "http://a/", &[]),
            Err(Ambiguous::Host)
        );
    }
}
