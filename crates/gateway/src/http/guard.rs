//! Refuses requests whose meaning two parsers could disagree on, and those that a web page makes. Pure.
//!
//! [`super::heads`] and hyper already refuse bare line feeds, obsolete line folding, spaces before colons, broken, doubled
//! and contradicting lengths. What is left: the proxy alone takes a body and a proxy's request line, and nobody a second
//! `Host`, or one that names another host than the request line.
//!
//! A page in a browser of this host can have a name of its own lead to any address and port here, and would read the answer
//! as its own site's. So the own resources are there for who asks by an address, by `localhost`, or by a name that an
//! operator listed: nobody else can own those.

use std::{net::IpAddr, sync::Arc};

use ::http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header, uri::Authority,
};
use types::HostPattern;

/// The names of this host beside its addresses and `localhost`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<[HostPattern]>);

impl FromIterator<HostPattern> for Names {
    fn from_iter<I: IntoIterator<Item = HostPattern>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

impl Names {
    /// Whether `host` is an address or a name that nobody but this host's operator can have.
    fn hold(&self, host: &Authority) -> bool {
        let name = host.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let port = host.port_u16().unwrap_or(80);
        name == "localhost"
            || address.parse::<IpAddr>().is_ok()
            || self.0.iter().any(|own| own.matches(name, port))
    }
}

/// Why a request is refused.
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
    /// A name that may be anybody's.
    #[error("this host is asked by an address, as localhost, or by a name in its host.names")]
    Misdirected,
    /// A page of another site, in a browser.
    #[error("pages of other sites may not ask here")]
    Page,
}

impl Ambiguous {
    /// The status of the refusal.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Page => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// What a door is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Its own resources, by path.
    Own,
    /// Others', by URL or by host and port.
    Proxy,
}

/// Checks the head of a request to a door of this form, on a host of these names.
pub(crate) fn check<B>(form: Form, names: &Names, request: &Request<B>) -> Result<(), Ambiguous> {
    match form {
        Form::Own => check_own(names, request),
        Form::Proxy => check_proxy(names, request),
    }
}

/// Whether the own resources are asked for by `host`, and by no page that this host did not give.
fn check_asker(
    names: &Names,
    host: Option<&Authority>,
    headers: &HeaderMap,
) -> Result<(), Ambiguous> {
    if host.is_some_and(|host| !names.hold(host)) {
        return Err(Ambiguous::Misdirected);
    }
    let is_from = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
        let origin = origin.and_then(|(_, origin)| Authority::try_from(origin).ok());
        origin.as_ref() == host
    };
    // What a browser says of the page that asks (Fetch Metadata); a link that a person follows gives no page the answer.
    let says = |name: &str, word: &str| headers.get(name).is_some_and(|value| value == word);
    let is_elsewhere = says("sec-fetch-site", "cross-site") || says("sec-fetch-site", "same-site");
    let is_link = says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document");
    if headers.get_all(header::ORIGIN).iter().all(is_from) && (!is_elsewhere || is_link) {
        Ok(())
    } else {
        Err(Ambiguous::Page)
    }
}

fn authority(host: &HeaderValue) -> Result<Authority, Ambiguous> {
    Authority::try_from(host.as_bytes()).map_err(|_| Ambiguous::Misdirected)
}

fn check_proxy<B>(names: &Names, request: &Request<B>) -> Result<(), Ambiguous> {
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
        let host = host.map(authority).transpose()?;
        return check_asker(names, host.as_ref(), request.headers());
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

fn check_own<B>(names: &Names, request: &Request<B>) -> Result<(), Ambiguous> {
    let (headers, uri) = (request.headers(), request.uri());
    if has_body(request) {
        return Err(Ambiguous::Body);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Ambiguous::Host);
    }
    // HTTP/2 names the host in the request line, and needs no other name.
    let is_line_based = matches!(request.version(), Version::HTTP_10 | Version::HTTP_11);
    if request.method() == Method::CONNECT || (is_line_based && uri.authority().is_some()) {
        return Err(Ambiguous::Form);
    }
    let host = match (uri.authority(), host) {
        (Some(named), Some(host)) if !is_same(host, named, uri) => {
            return Err(Ambiguous::OtherHost);
        }
        (Some(named), _) => Some(named.clone()),
        (None, Some(host)) => Some(authority(host)?),
        // No browser speaks HTTP/1.0.
        (None, None) if request.version() == Version::HTTP_10 => None,
        (None, None) => return Err(Ambiguous::Host),
    };
    check_asker(names, host.as_ref(), headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let names = ["a", "*.nodes.corp", "b:81"];
        let names = names.map(|name| name.parse::<HostPattern>().expect(name));
        names.into_iter().collect()
    }

    fn verdict(uri: &str, headers: &[(&str, &str)]) -> Result<(), Ambiguous> {
        let version = match uri.starts_with("http://h2") {
            true => Version::HTTP_2,
            false => Version::HTTP_11,
        };
        let mut request = Request::get(uri.replace("h2.", "")).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(Form::Own, &names(), &request.body(()).expect("a request"))
    }

    #[test]
    fn a_host_answers_to_names_that_nobody_else_can_have() {
        for host in [
            "127.0.0.1:7472",
            "10.0.0.7",
            "[::1]:7472",
            "localhost",
            "LOCALHOST.:7472",
            "a",
            "A.:7472",
            "x.nodes.corp:7472",
            "b:81",
        ] {
            assert_eq!(verdict("/v2/", &[("host", host)]), Ok(()), "{host}");
            let h2 = format!("http://h2.{host}/v2/");
            assert_eq!(verdict(&h2, &[]), Ok(()), "{h2}");
            assert_eq!(verdict(&h2, &[("host", host)]), Ok(()), "{h2}");
        }
        for host in [
            "evil.example",
            "evil.example:7472",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "nodes.corp",
            "b",
            "b:82",
        ] {
            let line = [("host", host)];
            assert_eq!(
                verdict("/v2/", &line),
                Err(Ambiguous::Misdirected),
                "{host}"
            );
            let h2 = format!("http://h2.{host}/v2/");
            assert_eq!(verdict(&h2, &[]), Err(Ambiguous::Misdirected), "{h2}");
            let told = verdict(&h2, &[("host", "localhost")]);
            assert_eq!(told, Err(Ambiguous::OtherHost), "{h2}");
        }
        for host in ["", "u@"] {
            let told = verdict("/v2/", &[("host", host)]);
            assert_eq!(told, Err(Ambiguous::Misdirected), "{host:?}");
        }
        assert_eq!(Ambiguous::Misdirected.status(), 421);
    }

    #[test]
    fn a_page_of_another_site_asks_in_vain() {
        let of = |lines: &[(&'static str, &'static str)]| {
            verdict("/v2/", &[&[("host", "localhost:7472")], lines].concat())
        };
        for lines in [
            &[("origin", "http://localhost:7472")][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
        ] {
            assert_eq!(of(lines), Ok(()), "{lines:?}");
        }
        for lines in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://localhost:3000")],
            &[("origin", "http://localhost:7472"), ("origin", "null")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "iframe"),
            ],
        ] {
            assert_eq!(of(lines), Err(Ambiguous::Page), "{lines:?}");
        }
        assert_eq!(Ambiguous::Page.status(), 403);
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
        check(Form::Proxy, &names(), &request.body(()).expect("a request"))
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
            ("GET", "/v2/", "evil.example:7473", Ambiguous::Misdirected),
            (
                "GET",
                "/v2/",
                "localhost.evil.example",
                Ambiguous::Misdirected,
            ),
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
