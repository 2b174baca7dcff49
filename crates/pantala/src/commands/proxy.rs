//! `pantala proxy ca`, and `pantala config match`: what clients trust, and what is done with what they ask.

use std::{path::PathBuf, time::SystemTime};

use gateway::proxy::{Kind, Rule, Rules, Target};
use identity::{Interception, InterceptionCertificate};
use origin::AllowedOrigin;
use serde::Serialize;

use super::load;
use crate::{
    cli::ProxyCommand,
    config::Config,
    problem::{Exit, Problem},
    roles, show,
};

pub(super) fn run(file: Option<PathBuf>, command: ProxyCommand) -> Result<(), Problem> {
    let ProxyCommand::Ca { json, common } = command;
    let config = load(file, common.settings())?;
    let dir = roles::interception_dir(&config);
    let found = Interception::certificate_in(&dir).map_err(|error| {
        Problem::of(Exit::Failed, "reading the proxy's authority failed", error)
            .next("run it as the daemon's user or as root")
    })?;
    let Some(found) = found else {
        let told = format!("there is no authority in {}", dir.display());
        return Err(Problem::new(Exit::Failed, told).next(
            "list hosts in proxy.intercept and start the daemon, which makes it; or name its host.data_dir with --set",
        ));
    };
    if json {
        return show::print(&show::json(&Told::of(&found)));
    }
    show::print(&found.pem)?;
    if let Some((_, next)) = &found.next {
        show::print(next)?;
    }
    eprint!("{}", how_to_trust(&found));
    Ok(())
}

/// The certificate as programs read it.
#[derive(Serialize)]
struct Told<'a> {
    hosts: &'a [String],
    expires: String,
    certificate: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of(found: &'a InterceptionCertificate) -> Self {
        Self {
            hosts: &found.hosts,
            expires: moment(found.expires_at),
            certificate: &found.pem,
            next: found.next.as_ref().map(|(_, pem)| pem.as_str()),
        }
    }
}

fn moment(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| "?".to_owned(), |at| format!("{at:.0}"))
}

fn how_to_trust(found: &InterceptionCertificate) -> String {
    let next = match &found.next {
        Some((until, _)) => format!(
            "the second one takes over in the last week of the first, and is good until {}: trust both\n",
            moment(*until)
        ),
        None => String::new(),
    };
    format!(
        "good for {}, until {}\n{next}\
         to trust it, save it as a file and, on Debian: put that into /usr/local/share/ca-certificates/NAME.crt and run\n\
         update-ca-certificates; on Fedora: /etc/pki/ca-trust/source/anchors/ and update-ca-trust; for one program:\n\
         curl --cacert, SSL_CERT_FILE, REQUESTS_CA_BUNDLE, NODE_EXTRA_CA_CERTS, GIT_SSL_CAINFO\n",
        found.hosts.join(", "),
        moment(found.expires_at)
    )
}

/// What is done with a URL.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Verdict {
    url: String,
    /// `content`, `direct`, `refuse`, or `tunnel`.
    action: &'static str,
    kind: Kind,
    /// Counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    notes: Vec<String>,
}

/// Prints what the proxy does with `url`.
pub(super) fn match_url(config: &Config, url: &str, as_json: bool) -> Result<(), Problem> {
    let target = Target::of_url(url).map_err(|error| {
        Problem::of(Exit::Usage, url, error)
            .next("write it as http://HOST/PATH or https://HOST/PATH")
    })?;
    let verdict = verdict(config, url, &target);
    show::print(&if as_json {
        show::json(&verdict)
    } else {
        verdict.to_text()
    })
}

fn verdict(config: &Config, url: &str, target: &Target) -> Verdict {
    let proxy = &config.proxy;
    let rules = Rules::new(proxy.rules.clone());
    let (host, port) = (target.host(), target.port());
    let is_open = !target.is_tls() || proxy.intercept.iter().any(|own| own.matches(host, port));
    let found = rules.find(target);
    let counts = if is_open {
        found
    } else {
        rules.refusal(host, port)
    };
    let mut notes = Vec::new();
    if proxy.listen.is_none() {
        notes.push("proxy.listen is off".to_owned());
    }
    if let (false, None, Some((at, _))) = (is_open, counts, found) {
        let at = at + 1;
        notes.push(format!(
            "rule {at} does not reach into TLS: add {host} to proxy.intercept"
        ));
    }
    let action = match counts {
        Some((_, rule)) => rule.action().name(),
        None if is_open => "direct",
        None => "tunnel",
    };
    if matches!(action, "content" | "registry")
        && let Some(missing) = unlisted(config, url)
    {
        notes.push(format!(
            "not through the swarm until origin.allow has {missing}: it is plain text"
        ));
    }
    Verdict {
        url: url.to_owned(),
        action,
        kind: Kind::of(target.path()),
        rule: counts.map(|(at, _)| at + 1),
        text: counts.map(|(_, rule): (usize, &Rule)| rule.to_string()),
        notes,
    }
}

/// The origin that has to be listed before hosts read it, if its URL alone tells.
fn unlisted(config: &Config, url: &str) -> Option<String> {
    let origin = AllowedOrigin::of(&url.parse().ok()?).ok()?;
    let is_listed = config.origin.allow.contains(&origin);
    (origin.scheme() == origin::Scheme::Http && !is_listed).then(|| origin.to_string())
}

impl Verdict {
    fn to_text(&self) -> String {
        let rule = match (self.rule, &self.text) {
            (Some(at), Some(text)) => format!("{at}: {text}"),
            _ => "none matches".to_owned(),
        };
        let kind = match self.kind {
            Kind::Blob => "a registry's blob",
            Kind::Manifest => "a registry's manifest",
            Kind::File => "file",
        };
        let mut text = format!("action  {}\nrule    {rule}\nkind    {kind}\n", self.action);
        for note in &self.notes {
            text += &format!("note    {note}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(url: &str) -> Verdict {
        let rules = r#"["files.corp/m/** content", "hub.test content", "evil.test refuse", "reg.test registry"]"#;
        let config = Config::of_flags(&[
            ("proxy.rules", rules),
            ("proxy.intercept", "hub.test"),
            ("proxy.listen", "127.0.0.1:7473"),
            ("origin.allow", "http://files.corp:8080"),
        ]);
        verdict(&config, url, &Target::of_url(url).expect("a URL"))
    }

    #[test]
    fn it_says_what_is_done_and_by_which_rule() {
        for (url, action, rule, note) in [
            ("http://files.corp:8080/m/a", "content", Some(1), ""),
            (
                "http://files.corp/m/a",
                "content",
                Some(1),
                "origin.allow has http://files.corp",
            ),
            ("http://files.corp/x", "direct", None, ""),
            (
                "https://files.corp/m/a",
                "tunnel",
                None,
                "rule 1 does not reach",
            ),
            ("https://hub.test/a", "content", Some(2), ""),
            ("https://evil.test/a", "refuse", Some(3), ""),
            ("https://example.com/a", "tunnel", None, ""),
            (
                "http://reg.test/v2/a/manifests/v1",
                "registry",
                Some(4),
                "origin.allow has http://reg.test",
            ),
        ] {
            let told = told(url);
            assert_eq!((told.action, told.rule), (action, rule), "{url}");
            assert!(
                told.notes.concat().contains(note),
                "{url}: {:?}",
                told.notes
            );
            assert_eq!(
                told.notes.is_empty(),
                note.is_empty(),
                "{url}: {:?}",
                told.notes
            );
        }
    }
}
