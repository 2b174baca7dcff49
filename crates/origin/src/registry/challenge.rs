//! Reads `WWW-Authenticate` (RFC 9110, 11.6.1), strictly and bounded: it decides where credentials go. Pure.

use http::{HeaderMap, header};
use url::Url;

/// Longer challenges are refused: real ones have a few hundred bytes.
const LENGTH_MAX: usize = 4096;

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from `realm`. Its `scope` is not kept: which scope we ask for is ours to say.
    Bearer { realm: Url, service: Option<String> },
    /// User and password.
    Basic,
}

/// The first challenge that we can answer, bearer before basic. Lines that do not parse do not count.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut found: Vec<Challenge> = headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|text| text.len() <= LENGTH_MAX)
        .filter_map(|text| Reader { rest: text }.challenges())
        .flatten()
        .filter_map(answerable)
        .collect();
    found.sort_by_key(|challenge| matches!(challenge, Challenge::Basic));
    found.into_iter().next()
}

fn answerable(raw: Raw) -> Option<Challenge> {
    let parameter = |name: &str| {
        raw.parameters
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value.clone())
    };
    match raw.scheme.as_str() {
        "bearer" => {
            let realm: Url = parameter("realm")?.parse().ok()?;
            let is_plain = realm.username().is_empty()
                && realm.password().is_none()
                && realm.fragment().is_none()
                && matches!(realm.scheme(), "http" | "https");
            is_plain.then(|| Challenge::Bearer {
                realm,
                service: parameter("service"),
            })
        }
        "basic" => Some(Challenge::Basic),
        _ => None,
    }
}

/// A challenge as it is written, names in lower case.
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// All challenges of one line; none if any of it does not parse.
    fn challenges(mut self) -> Option<Vec<Raw>> {
        let mut challenges = Vec::new();
        self.skip_commas();
        while !self.rest.is_empty() {
            let scheme = self.token()?.to_ascii_lowercase();
            let mut parameters = Vec::new();
            if self.rest.starts_with(' ') {
                self.skip_blanks();
                self.parameters(&mut parameters)?;
            }
            challenges.push(Raw { scheme, parameters });
            if !self.rest.is_empty() && !self.skip_commas() {
                return None;
            }
        }
        Some(challenges)
    }

    /// Reads parameters until the line ends or the next challenge begins; leaves the comma before that one.
    fn parameters(&mut self, into: &mut Vec<(String, String)>) -> Option<()> {
        loop {
            let before = self.rest;
            self.skip_commas();
            match self.parameter() {
                Some((name, value)) => {
                    if into.iter().any(|(one, _)| *one == name) {
                        return None;
                    }
                    into.push((name, value));
                }
                None => {
                    self.rest = before;
                    if into.is_empty() {
                        self.skip_token68();
                    }
                    return Some(());
                }
            }
            self.skip_blanks();
            if !self.rest.is_empty() && !self.rest.starts_with(',') {
                return None;
            }
        }
    }

    fn parameter(&mut self) -> Option<(String, String)> {
        let name = self.token()?.to_ascii_lowercase();
        self.skip_blanks();
        self.rest = self.rest.strip_prefix('=')?;
        self.skip_blanks();
        let value = if self.rest.starts_with('"') {
            self.quoted()?
        } else {
            self.token()?.to_owned()
        };
        Some((name, value))
    }

    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut letters = self.rest.strip_prefix('"')?.char_indices();
        let inside = &self.rest[1..];
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &inside[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(letters.next()?.1),
                letter if letter.is_control() => return None,
                letter => value.push(letter),
            }
        }
        None
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// What schemes of other kinds put in place of parameters.
    fn skip_token68(&mut self) {
        let end = self.rest.find([',', ' ']).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
        self.skip_blanks();
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn skip_commas(&mut self) -> bool {
        let after = self.rest.trim_start_matches([' ', '\t', ',']);
        let has_comma = self.rest[..self.rest.len() - after.len()].contains(',');
        self.rest = after;
        has_comma
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_str(line).unwrap(),
            );
        }
        challenge(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.parse().unwrap(),
            service: service.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#;
        assert_eq!(
            read(&[docker]),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(
            read(&[r#"bearer  realm = "https://a/\"t" , error="x, y""#]),
            bearer("https://a/\"t", None)
        );
        assert_eq!(read(&["Basic realm=\"r\""]), Some(Challenge::Basic));
        assert_eq!(read(&["Basic"]), Some(Challenge::Basic));
        assert_eq!(
            read(&["Negotiate YII=, Basic realm=x, Bearer realm=\"https://a/\""]),
            bearer("https://a/", None)
        );
        assert_eq!(
            read(&["Basic realm=x", "Bearer realm=\"https://a/\""]),
            bearer("https://a/", None)
        );
    }

    #[test]
    fn hostile_challenges_are_not_answered() {
        let long = format!("Bearer realm=\"https://a/{}\"", "x".repeat(5000));
        for line in [
            "",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"https://a/",
            "Bearer realm=\"file:///etc/passwd\"",
            "Bearer realm=\"https://u:p@a/\"",
            "Bearer realm=\"https://a/\",realm=\"https://b/\"",
            "Bearer realm=\"https://a/\" realm2=x",
            "Bearer realm=\"/token\"",
            "Bearer realm=\"https://a/\"junk",
            "Digest realm=x",
            &long,
        ] {
            assert_eq!(read(&[line]), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic_or_hang(line in "[ -~\t]{0,60}") {
            let _read = read(&[&line]);
        }

        #[test]
        fn quoted_values_are_read_back(service in "[ -~]{0,30}") {
            let quoted = service.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("Bearer realm=\"https://a/\",service=\"{quoted}\"");
            prop_assert_eq!(read(&[&line]), bearer("https://a/", Some(&service)));
        }
    }
}
