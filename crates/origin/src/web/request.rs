//! What a caller wants of an origin, with the caller's own credentials.

use http::{HeaderMap, HeaderValue, Method, header};
use types::Visibility;
use url::Url;

use crate::{
    allowed::{AllowedOrigin, ParseOriginError},
    ask::Ask,
    base64,
    canonical::{canonical_url, carries_credentials},
    shown::{SecretHeaders, SecretUrl},
};

/// A URL and the header lines that the caller sends along, both perhaps secret.
#[derive(Clone, Debug)]
pub struct Request {
    url: SecretUrl,
    headers: SecretHeaders,
    /// Parameters that tell no contents apart.
    ignored: Vec<String>,
}

/// Why a text is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a URL.
    #[error("the URL cannot be read: {0}")]
    Url(#[from] url::ParseError),
    /// Not a URL of ours.
    #[error(transparent)]
    Origin(#[from] ParseOriginError),
}

impl Request {
    /// A request for `url` with `headers`. A user in the URL becomes an `Authorization` line.
    pub fn new(url: &str, headers: SecretHeaders) -> Result<Self, RequestError> {
        let url = Url::parse(url)?;
        AllowedOrigin::of(&url)?;
        Ok(Self {
            url: SecretUrl::new(url),
            headers,
            ignored: Vec::new(),
        })
    }

    /// The same, with parameters that the caller knows to tell no contents apart (case ignored): they are sent, and no
    /// part of the content's name.
    #[must_use]
    pub fn ignoring(self, ignored: Vec<String>) -> Self {
        Self { ignored, ..self }
    }

    /// The canonical URL of what is asked, by the rules of a door.
    pub(crate) fn canonical_url(&self, dropped: &[String]) -> String {
        if self.ignored.is_empty() {
            return canonical_url(self.url(), dropped);
        }
        canonical_url(self.url(), &[dropped, &self.ignored].concat())
    }

    /// What is asked, with its secrets.
    pub fn url(&self) -> &Url {
        self.url.expose()
    }

    /// Public if it carries nothing that identifies somebody, so that whoever asks may have the answer.
    pub(crate) fn visibility(&self) -> Visibility {
        if self.headers.identifies_somebody() || carries_credentials(self.url()) {
            Visibility::Private
        } else {
            Visibility::Public
        }
    }

    /// Whether everybody who knows the canonical URL asks the very same: one answer then serves all.
    pub(crate) fn is_everybodys(&self, canonical: &str) -> bool {
        let is_bare = self.headers.expose().is_empty();
        is_bare && self.visibility() == Visibility::Public && self.url().as_str() == canonical
    }

    /// Everything that may change the answer, for telling requests apart.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self
            .headers
            .expose()
            .iter()
            .flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        std::iter::once(self.url().as_str().as_bytes()).chain(lines)
    }

    /// The request as it is sent: the bytes themselves, no compressed variant of them. Conditions and ranges are ours
    /// to set.
    pub(crate) fn ask(&self, method: Method) -> Ask {
        let mut headers: HeaderMap = types::end_to_end(self.headers.expose());
        for ours in [
            header::HOST,
            header::CONTENT_LENGTH,
            header::RANGE,
            header::IF_RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
        ] {
            headers.remove(ours);
        }
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        let url = self.url();
        if (!url.username().is_empty() || url.password().is_some())
            && !headers.contains_key(header::AUTHORIZATION)
        {
            let decode = |text| percent_decoded(text);
            let user = decode(url.username());
            let password = decode(url.password().unwrap_or_default());
            headers.insert(header::AUTHORIZATION, base64::basic(&user, &password));
        }
        Ask::new(method, url.clone(), headers)
    }
}

/// The bytes behind `%41`: a form decoder would also turn '+' into a blank, so it is hidden from it.
fn percent_decoded(text: &str) -> String {
    url::form_urlencoded::parse(
        text.replace('+', "%2B")
            .replace('&', "%26")
            .replace('=', "%3D")
            .as_bytes(),
    )
    .next()
    .map(|(name, _)| name.into_owned())
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> Request {
        Request::new(url, SecretHeaders::default()).expect(url)
    }

    #[test]
    fn a_user_in_the_url_becomes_an_authorization_line() {
        let ask = request("https://ann:p%40ss+1@h/").ask(Method::GET);
        assert_eq!(ask.headers[header::AUTHORIZATION], "Basic YW5uOnBAc3MrMQ==");
        assert_eq!(request("https://ann@h/").visibility(), Visibility::Private);
        assert_eq!(request("https://h/").visibility(), Visibility::Public);
    }

    #[test]
    fn an_ignored_parameter_is_sent_and_names_nothing() {
        let request = request("https://h/f?a=1&Once=2&x=3").ignoring(vec!["once".into()]);
        assert_eq!(request.canonical_url(&["x".into()]), "https://h/f?a=1");
        let ask = request.ask(Method::GET);
        assert_eq!(ask.url.query(), Some("a=1&Once=2&x=3"));
    }

    #[test]
    fn requests_that_cannot_be_sent_are_refused() {
        for bad in ["", "h", "ftp://h/", "https://", "file:///etc", "data:,x"] {
            assert!(
                Request::new(bad, SecretHeaders::default()).is_err(),
                "{bad}"
            );
        }
    }
}
