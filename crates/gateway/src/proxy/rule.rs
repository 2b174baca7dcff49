//! What an operator wants done with which requests: `HOST[/PATH] ACTION [OPTION]...`. Pure.
//!
//! The first rule that matches counts; what none matches goes on as it is.

use std::{fmt, str::FromStr};

use types::HostPattern;

use super::{path::PathPattern, target::Target};
use crate::{Class, mirror};

/// What a request is for, as far as its path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A blob of a registry.
    Blob,
    /// A manifest of a registry.
    Manifest,
    /// All else.
    File,
}

impl Kind {
    /// Of the path of a URL.
    pub fn of(path: &str) -> Self {
        if mirror::blob_at(path).is_some() {
            Self::Blob
        } else if path.starts_with("/v2/") && path.contains("/manifests/") {
            Self::Manifest
        } else {
            Self::File
        }
    }
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is answered through the swarm where it can be, and goes on as it is where not.
    Content(Traits),
    /// It is answered as the registry mirror does where it asks for a manifest or a blob, and goes on as it is where not.
    Registry,
    /// It goes on as it is.
    Direct,
    /// It is refused.
    Refuse,
}

impl Action {
    /// As it stands in a rule.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Content(_) => "content",
            Self::Registry => "registry",
            Self::Direct => "direct",
            Self::Refuse => "refuse",
        }
    }
}

/// How content is named and fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Query parameters that tell no contents apart, in lower case.
    pub ignored: Vec<String>,
    /// Whether a client named them: content that it names by less than others do is not theirs.
    pub(super) is_ignored_by_client: bool,
    /// Keeps contents of one URL apart.
    pub tag: String,
    /// Likewise, as Dragonfly has it.
    pub application: String,
    /// How urgent it is.
    pub class: Class,
    /// Whether a request for a part brings the whole.
    pub prefetch: bool,
}

impl Traits {
    /// The tag of the content's name.
    pub(super) fn name(&self) -> String {
        // No tag holds this character, so no two of them become one.
        match (self.is_ignored_by_client, self.application.as_str()) {
            (false, "") => self.tag.clone(),
            (false, application) => format!("{application}\u{1f}{}", self.tag),
            (true, application) => {
                let ignored = blake3::hash(self.ignored.join("&").as_bytes());
                let ignored = &ignored.to_hex()[..32];
                format!("{application}\u{1f}{}\u{1f}{ignored}", self.tag)
            }
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    text: String,
    is_tls: Option<bool>,
    hosts: HostPattern,
    path: Option<PathPattern>,
    kind: Option<Kind>,
    action: Action,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRuleError {
    /// Too little, or too much.
    #[error(
        "a rule is HOST[/PATH] ACTION [OPTION]..., such as \"*.files.corp/models/** content ignore=token\""
    )]
    Shape,
    /// The hosts.
    #[error(transparent)]
    Hosts(#[from] types::ParseHostPatternError),
    /// The path.
    #[error(
        "{0:?} is no path: it starts with /, has * for a part of a segment, ** for anything, no dot segment, no // and at most 256 letters"
    )]
    Path(String),
    /// The action.
    #[error("{0:?} is no action: there are content, registry, direct and refuse")]
    Action(String),
    /// An option.
    #[error(
        "{0:?} is no option: there are kind=blob|manifest|file, and for content ignore=NAME,NAME, tag=NAME, application=NAME, priority=0 to 6, prefetch=true|false"
    )]
    Option(String),
}

impl Rule {
    fn matches(&self, target: &Target, path: &str) -> bool {
        let own = self.path.as_ref();
        self.is_of(target)
            && self.kind.is_none_or(|kind| kind == Kind::of(path))
            && own.is_none_or(|own| own.matches(path))
    }

    /// Whether it speaks of the target's origin, or of a part of it.
    fn is_of(&self, target: &Target) -> bool {
        self.is_host(target.host(), target.port)
            && self.is_tls.is_none_or(|is_tls| is_tls == target.is_tls())
    }

    fn is_host(&self, host: &str, port: u16) -> bool {
        self.hosts.matches(host, port)
    }

    /// What it does.
    pub fn action(&self) -> &Action {
        &self.action
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text)
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_ascii_whitespace();
        let (place, action) = words
            .next()
            .zip(words.next())
            .ok_or(ParseRuleError::Shape)?;
        let (is_tls, place) = match (
            place.strip_prefix("https://"),
            place.strip_prefix("http://"),
        ) {
            (Some(place), _) => (Some(true), place),
            (_, Some(place)) => (Some(false), place),
            _ => (None, place),
        };
        let (hosts, path) = match place.find('/') {
            Some(at) => (&place[..at], Some(&place[at..])),
            None => (place, None),
        };
        let path = path.map(|path| path.parse().map_err(|()| ParseRuleError::Path(path.into())));
        let mut action = match action {
            "content" => Action::Content(Traits::default()),
            "registry" => Action::Registry,
            "direct" => Action::Direct,
            "refuse" => Action::Refuse,
            other => return Err(ParseRuleError::Action(other.into())),
        };
        let mut kind = None;
        for option in words {
            let fault = || ParseRuleError::Option(option.to_owned());
            let (name, value) = option.split_once('=').ok_or_else(fault)?;
            match (name, &mut action) {
                ("kind", _) => kind = Some(kind_named(value).ok_or_else(fault)?),
                (name, Action::Content(traits)) => traits.set(name, value).ok_or_else(fault)?,
                _ => return Err(fault()),
            }
        }
        Ok(Self {
            text: text.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
            is_tls,
            hosts: hosts.parse()?,
            path: path.transpose()?,
            kind,
            action,
        })
    }
}

fn kind_named(text: &str) -> Option<Kind> {
    match text {
        "blob" => Some(Kind::Blob),
        "manifest" => Some(Kind::Manifest),
        "file" => Some(Kind::File),
        _ => None,
    }
}

impl Traits {
    /// Sets one by its name; none if it is unknown or its value means nothing.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let is_name = !value.is_empty() && value.bytes().all(|c| c.is_ascii_graphic());
        match name {
            "ignore" => {
                let names = value.split(',').map(str::trim);
                let names: Vec<String> = names.map(str::to_ascii_lowercase).collect();
                if names.iter().any(String::is_empty) {
                    return None;
                }
                self.ignored = names;
            }
            "tag" if is_name => self.tag = value.to_owned(),
            "application" if is_name => self.application = value.to_owned(),
            // Dragonfly's: 6 is what somebody waits for, 3 what is fetched ahead.
            "priority" => {
                self.class = match value.parse::<u8>().ok()? {
                    0..=3 => Class::Ahead,
                    4..=6 => Class::Waiting,
                    _ => return None,
                }
            }
            "prefetch" => self.prefetch = value.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

/// All rules, in their order.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// The first one first.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The first that matches, with its place from 0 on. Where some server would see a path that is refused, that rule; where
    /// nobody can tell what servers see, the first that refuses anything there.
    pub fn find(&self, target: &Target) -> Option<(usize, &Rule)> {
        let rules = || self.0.iter().enumerate();
        let of = |path: &str| rules().find(|(_, rule)| rule.matches(target, path));
        let refuses = |rule: &Rule| rule.action == Action::Refuse;
        let found = of(target.path());
        let refused = target.path.all().filter_map(of);
        let refused = refused.into_iter().find(|(_, rule)| refuses(rule));
        let unclear = || {
            let is_unclear = target.path.is_unclear();
            rules().find(|(_, rule)| is_unclear && refuses(rule) && rule.is_of(target))
        };
        refused.or_else(unclear).or(found)
    }

    /// The rule that refuses every request to a host, if that is the first for all of it.
    pub fn refusal(&self, host: &str, port: u16) -> Option<(usize, &Rule)> {
        let is_whole =
            |rule: &Rule| rule.path.is_none() && rule.kind.is_none() && rule.is_tls != Some(false);
        let mut rules = self.0.iter().enumerate();
        let first = rules.find(|(_, rule)| is_whole(rule) && rule.is_host(host, port))?;
        (first.1.action == Action::Refuse).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Rules {
        Rules(texts.iter().map(|text| text.parse().expect(text)).collect())
    }

    fn found(rules: &Rules, url: &str) -> String {
        let target = Target::of_url(url).expect(url);
        rules.find(&target).map_or_else(String::new, |(at, rule)| {
            format!("{at} {}", rule.action().name())
        })
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let hex = "ab".repeat(32);
        let rules = rules(&[
            "deb.test/debian/pool/** content",
            "http://plain.test content",
            "*.hub.test/**/resolve/** content ignore=Token,x tag=t application=a priority=3",
            "registry.test:5000 content kind=blob",
            "*.evil.test refuse",
            "files.test/secret/** refuse",
            "files.test/*.bin content",
            "files.test direct",
        ]);
        for (url, wanted) in [
            ("http://deb.test/debian/pool/a/b.deb", "0 content"),
            ("http://deb.test/%64ebian/pool/b.deb", "0 content"),
            ("http://deb.test/debian/dists/x", ""),
            ("http://deb.test:81/debian/pool/b.deb", "0 content"),
            ("http://plain.test/a", "1 content"),
            ("https://plain.test/a", ""),
            ("https://a.hub.test/m/resolve/main/f?token=1", "2 content"),
            ("https://hub.test/m/resolve/main/f", ""),
            (
                &format!("https://registry.test:5000/v2/a/b/blobs/sha256:{hex}"),
                "3 content",
            ),
            ("https://registry.test:5000/v2/a/manifests/v1", ""),
            ("http://a.evil.test/", "4 refuse"),
            ("http://files.test/secret/a.bin", "5 refuse"),
            ("http://files.test/x/../secret/a", "5 refuse"),
            ("http://files.test/%73ecret/a", "5 refuse"),
            ("http://files.test/x/%2e%2e/secret/a", "5 refuse"),
            ("http://files.test/a.bin", "6 content"),
            ("http://files.test/x/a.bin", "7 direct"),
        ] {
            assert_eq!(found(&rules, url), wanted, "{url}");
        }
        assert!(rules.refusal("a.evil.test", 443).is_some());
        assert!(rules.refusal("files.test", 443).is_none());
        let rule = &rules.0[2];
        let Action::Content(traits) = rule.action() else {
            panic!("{rule}")
        };
        assert_eq!(traits.ignored, ["token", "x"]);
        assert_eq!(
            (traits.name().as_str(), traits.class),
            ("a\u{1f}t", Class::Ahead)
        );
    }

    #[test]
    fn what_is_refused_is_refused_in_every_spelling() {
        let rules = rules(&[
            "files.test/secret/** refuse",
            "files.test/*.bin content",
            "npm.test/@** content",
            "npm.test/caf%C3%A9/** refuse",
            "10.0.0.7 refuse",
            "[::ffff:10.0.0.8] refuse",
        ]);
        for (url, wanted) in [
            ("http://files.test//secret/a", "0 refuse"),
            ("http://files.test/secret//a.bin", "0 refuse"),
            ("http://files.test/./secret/a", "0 refuse"),
            ("http://files.test/secret%2Fa", "0 refuse"),
            ("http://files.test/secret%2fa.bin", "0 refuse"),
            ("http://files.test\\secret\\a", "0 refuse"),
            ("http://files.test/secret%5Ca", "0 refuse"),
            ("http://files.test/x%2f..%2fsecret/a", "0 refuse"),
            ("http://files.test/x/..%2Fsecret%2fa", "0 refuse"),
            ("http://files.test/x/%252e%252e/secret/a", "0 refuse"),
            ("http://files.test/x/..;/secret/a", "0 refuse"),
            ("http://files.test/secret;v=1/a", "0 refuse"),
            ("http://files.test/%2573ecret/a", "0 refuse"),
            ("http://FILES.test./secret/a", "0 refuse"),
            ("http://files.test/a%00.bin", "0 refuse"),
            ("http://files.test/%c0%afsecret/a", "0 refuse"),
            ("http://files.test/a%2Fb.bin", "1 content"),
            ("http://npm.test/@scope%2fname", "2 content"),
            ("http://npm.test/caf%c3%a9/x", "3 refuse"),
            ("http://npm.test/caf\u{e9}/x", "3 refuse"),
            ("http://npm.test/caf%25C3%25A9/x", "3 refuse"),
            ("http://10.0.0.7/", "4 refuse"),
            ("http://10.0.0.7./", "4 refuse"),
            ("http://0x0a000007/", "4 refuse"),
            ("http://167772167/", "4 refuse"),
            ("http://012.0.0.7/", "4 refuse"),
            ("http://10.7/", "4 refuse"),
            ("http://[::ffff:10.0.0.7]/", "4 refuse"),
            ("http://[::ffff:a00:7]/", "4 refuse"),
            ("http://[::ffff:a00:8]/", "5 refuse"),
        ] {
            assert_eq!(found(&rules, url), wanted, "{url}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_is_wrong() {
        let long = format!("a/{} content", "b".repeat(300));
        for (text, part) in [
            ("", "a rule is"),
            ("a", "a rule is"),
            ("a.*.b content", "hosts are"),
            ("/path content", "hosts are"),
            ("ftp://a content", "hosts are"),
            ("a cache", "no action"),
            ("a content foo=1", "no option"),
            ("a content priority=7", "no option"),
            ("a content ignore=", "no option"),
            ("a content ignore=a,,b", "no option"),
            ("a content kind=image", "no option"),
            ("a refuse tag=x", "no option"),
            ("a content prefetch=yes", "no option"),
            (&long, "no path"),
            ("a/b?c content", "no path"),
            ("a/b/../c refuse", "no path"),
            ("a//b refuse", "no path"),
            ("a/b%2 refuse", "no path"),
            ("0x7f.1 refuse", "hosts are"),
            ("127.1 refuse", "hosts are"),
            ("2130706433 refuse", "hosts are"),
        ] {
            let error = text.parse::<Rule>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
