//! Takes names and secrets out of text that leaves this host in a bug report. Pure.
//!
//! What is known to say nothing stays: plain words, numbers, digests, ids, addresses, our own keys and usual places. All
//! else becomes `name-N`, the same for the same text. A secret that nobody thought of is no plain word, and goes too; a
//! name that is one is learnt first, from where users write names.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::Value;

use crate::config::find;

/// Names of the public, and places where everybody has the same.
const PUBLIC: [&str; 34] = [
    "docker.io",
    "registry-1.docker.io",
    "auth.docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "registry.k8s.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "huggingface.co",
    "/v2/",
    "/etc/pantala/pantala.toml",
    "/var/lib/pantala",
    "/run/pantala/pantala.sock",
    "/etc/containerd/config.toml",
    "/etc/containerd/certs.d",
    "/etc/docker/daemon.json",
    "/etc/containers/registries.conf",
    "e.g",
    "DNS",
    "URL",
    "GET",
    "HEAD",
    "UTC",
    "B",
    "KiB",
    "MiB",
    "GiB",
    "TiB",
    "TLS",
    "HTTP",
    "CA",
    "OK",
    "SHA-256",
];

/// What may stand after `=` beside numbers and ids.
const VALUES: [&str; 24] = [
    "true",
    "false",
    "none",
    "None",
    "off",
    "on",
    "text",
    "json",
    "error",
    "warn",
    "info",
    "debug",
    "trace",
    "Daemon",
    "Scheduler",
    "Up",
    "Seed",
    "peer",
    "origin",
    "store",
    "local",
    "daemon",
    "scheduler",
    "default",
];

/// Fields whose value is a sentence of ours.
const SENTENCES: [&str; 5] = ["error", "cause", "reason", "why", "message"];

/// Parts of names that say nothing about whose they are.
const COMMON: [&str; 44] = [
    "http",
    "https",
    "com",
    "org",
    "net",
    "www",
    "registry",
    "registries",
    "docker",
    "library",
    "latest",
    "files",
    "file",
    "data",
    "var",
    "lib",
    "etc",
    "run",
    "tmp",
    "home",
    "srv",
    "opt",
    "usr",
    "pantala",
    "socket",
    "sock",
    "toml",
    "config",
    "token",
    "tokens",
    "join",
    "key",
    "keys",
    "crt",
    "pem",
    "certs",
    "cache",
    "host",
    "scheduler",
    "store",
    "images",
    "image",
    "default",
    "listen",
];

/// What was hidden so far.
#[derive(Default)]
pub(super) struct Names {
    numbers: BTreeMap<String, usize>,
    /// Plain words that are somebody's.
    learnt: std::collections::BTreeSet<String>,
}

impl Names {
    /// The parts of `text`, which a user chose, are hidden wherever they stand.
    pub(super) fn learn(&mut self, text: &str) {
        let parts = text.split(|c: char| !c.is_alphanumeric());
        let is_telling = |part: &&str| {
            let is_word = part.len() >= 3 && part.chars().any(char::is_alphabetic);
            let lower = part.to_ascii_lowercase();
            is_word && !COMMON.contains(&lower.as_str()) && !VALUES.contains(&lower.as_str())
        };
        if PUBLIC.contains(&text) {
            return;
        }
        let parts = parts.filter(is_telling).map(str::to_ascii_lowercase);
        self.learnt.extend(parts);
    }

    /// All texts in `value`, hidden; the names of fields are ours.
    pub(super) fn hide_in(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.hide(&text)),
            Value::Array(all) => all.into_iter().map(|one| self.hide_in(one)).collect(),
            Value::Object(fields) => {
                let fields = fields.into_iter();
                fields
                    .map(|(name, one)| (name, self.hide_in(one)))
                    .collect()
            }
            plain => plain,
        }
    }

    /// `text` without names and secrets.
    pub(super) fn hide(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        // Within quotes stand names; what follows `=` is a value.
        let (mut is_quoted, mut is_value) = (false, false);
        let mut word = String::new();
        let mut last = String::new();
        for c in text.chars().chain(['\n']) {
            // Of a URL and a path nothing is told: neither what follows a comma in them.
            let ends = match word.contains('/') {
                false => c.is_whitespace() || "\"`',;=(){}[]<>".contains(c),
                true => c.is_whitespace() || "\"`<>]".contains(c),
            };
            if !ends {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                // What stands before `=` is a field of ours.
                let is_small = |c: char| c.is_ascii_lowercase() || c == '_';
                let is_field =
                    c == '=' && word.chars().all(is_small) && !self.learnt.contains(&word);
                match is_field {
                    true => out.push_str(&word),
                    false => out.push_str(&self.word(&word, is_quoted || is_value)),
                }
                last = std::mem::take(&mut word);
                is_value = false;
            }
            match c {
                '"' => is_quoted = !is_quoted,
                '=' => is_value = !SENTENCES.contains(&last.rsplit('.').next().unwrap_or("")),
                ' ' => is_value = false,
                _ => {}
            }
            out.push(c);
        }
        out.pop();
        out
    }

    /// A line of a log, as text or as JSON.
    pub(super) fn hide_line(&mut self, line: &str) -> String {
        match serde_json::from_str(line) {
            Ok(value @ Value::Object(_)) => self.hide_in(value).to_string(),
            _ => self.hide(line),
        }
    }

    /// `text`, which holds no names but perhaps those that were learnt.
    pub(super) fn hide_learnt(&mut self, text: &str) -> String {
        let parts = text.split_inclusive(|c: char| !c.is_alphanumeric());
        let hide = |part: &str| {
            let bare = part.trim_end_matches(|c: char| !c.is_alphanumeric());
            let is_learnt = self.learnt.contains(&bare.to_ascii_lowercase());
            match is_learnt {
                true => format!("hidden{}", &part[bare.len()..]),
                false => part.to_owned(),
            }
        };
        parts.map(hide).collect()
    }

    fn word(&mut self, word: &str, is_strict: bool) -> String {
        let bare = word.trim_end_matches(['.', ':', '!', '?', ',', ';', ')']);
        let end = &word[bare.len()..];
        if bare.is_empty() || self.is_told(bare, is_strict) {
            return word.to_owned();
        }
        if let Some(short) = abbreviated(bare) {
            return format!("{short}{end}");
        }
        let next = self.numbers.len() + 1;
        let number = self.numbers.entry(bare.to_owned()).or_insert(next);
        match bare.split_once("://") {
            Some((scheme @ ("http" | "https"), _)) => format!("{scheme}://name-{number}{end}"),
            _ => format!("name-{number}{end}"),
        }
    }

    fn is_told(&self, word: &str, is_strict: bool) -> bool {
        if self.learnt.contains(&word.to_ascii_lowercase()) {
            return false;
        }
        if PUBLIC.contains(&word) || is_number(word) || is_id(word) || is_address(word) {
            return true;
        }
        if is_strict {
            return VALUES.contains(&word);
        }
        is_plain(word)
            || is_module(word)
            || is_variable(word)
            || find(word).is_some()
            || VALUES.contains(&word)
    }
}

/// A word of a sentence: letters, at most the first one large, perhaps with hyphens.
fn is_plain(word: &str) -> bool {
    // A flag is one, too.
    let word = word.strip_prefix("--").unwrap_or(word);
    let rest = word.strip_prefix(|c: char| c.is_ascii_alphabetic());
    let is_small = |c: char| c.is_ascii_lowercase() || c == '-';
    let is_level = ["INFO", "WARN", "ERROR", "DEBUG", "TRACE"].contains(&word);
    is_level || word.len() <= 24 && rest.is_some_and(|rest| rest.chars().all(is_small))
}

/// A variable of the environment that sets a key.
fn is_variable(word: &str) -> bool {
    let rest = word.strip_prefix("PANTALA_").unwrap_or_default();
    let name = rest.to_ascii_lowercase().replacen('_', ".", 1);
    find(&name).is_some()
}

/// Where a log line comes from.
fn is_module(word: &str) -> bool {
    let is_part = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    word.contains("::") && word.split("::").all(is_part)
}

/// A number with a short unit, a time, a percentage, a version.
fn is_number(word: &str) -> bool {
    let digits = word.trim_start_matches(['-', '+', '~', 'v', ':']);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let unit = digits.trim_start_matches(|c: char| c.is_ascii_digit() || ".:_-".contains(c));
    let is_time = digits.len() >= 19 && digits.contains('T') && digits.ends_with('Z');
    let is_short = digits.len() <= 24 && unit.chars().filter(|c| c.is_ascii_digit()).count() == 0;
    let units = [
        "", "ms", "s", "min", "h", "d", "%", "B", "KiB", "MiB", "GiB", "TiB", "µs", "ns", "MB/s",
        "KiB/s", "MiB/s",
    ];
    (is_short && units.contains(&unit)) || (is_time && digits.len() <= 32)
}

/// A digest or a task, as far as it tells them apart: a key may look the same.
fn abbreviated(word: &str) -> Option<String> {
    let (prefix, hex) = parted(word);
    let is_hex = hex.len() == 64 && hex.chars().all(is_digit);
    is_hex.then(|| format!("{prefix}{}", &hex[..10]))
}

/// A short digest or task, a host.
fn is_id(word: &str) -> bool {
    let (_, hex) = parted(word);
    (hex.len() == 10 && hex.chars().all(is_digit)) || word.parse::<types::HostId>().is_ok()
}

fn parted(word: &str) -> (&str, &str) {
    let prefixes = ["sha256:", "blake3:"].into_iter();
    let length = prefixes
        .filter(|it| word.starts_with(it))
        .map(str::len)
        .sum();
    word.split_at(length)
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || ('a'..='f').contains(&c)
}

fn is_address(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok() || word.parse::<std::net::SocketAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &mut Names, text: &str, hidden: &str) {
        assert_eq!(names.hide(text), hidden);
    }

    #[test]
    fn sentences_numbers_ids_and_addresses_stay() {
        for text in [
            "512MiB are free, 1.0GiB of them stay so",
            "2026-11-25T14:20:57.123456Z  INFO daemon::core::hear: an import ended early took=1.5s pieces=12",
            "10.0.0.1:7470 can be reached, [::1]:7472 too",
            "no value is set for origin.ca_files or store.quota; docker.io is public",
            "piece 7 of sha256:ababababab; 15.4 MiB (flag --data-dir), retry_at=5s",
        ] {
            check(&mut Names::default(), text, text);
        }
        let digest = format!("sha256:{}: gone", "ab".repeat(32));
        check(&mut Names::default(), &digest, "sha256:ababababab: gone");
    }

    #[test]
    fn what_is_no_plain_word_goes_and_is_the_same_again() {
        let names = &mut Names::default();
        check(
            names,
            "asking https://u:p@reg.corp/a?sig=1: refused",
            "asking https://name-1: refused",
        );
        check(
            names,
            "reading /srv/falcon/x failed",
            "reading name-2 failed",
        );
        check(
            names,
            "token=ghp_16C7e42F292c69 cluster=falcon",
            "token=name-3 cluster=name-4",
        );
        check(
            names,
            "again /srv/falcon/x, and Bearer eyJhbGci.OiJ",
            "again name-2, and Bearer name-5",
        );
        check(
            names,
            "error=connecting to reg.corp",
            "error=connecting to name-6",
        );
        check(
            names,
            "the registry \"falcon\" said no",
            "the registry \"name-4\" said no",
        );
        check(names, "AKIAIOSFODNN7EXAMPLE hunter2", "name-7 name-8");
    }

    #[test]
    fn a_name_that_is_a_plain_word_is_hidden_once_it_was_learnt() {
        let names = &mut Names::default();
        names.learn("https://registry.falcon.corp/secret-team/app");
        check(
            names,
            "Falcon and team and registry",
            "name-1 and name-2 and registry",
        );
        names.learn("docker.io");
        names.learn("debug");
        check(names, "falcon=7", "name-3=7");
        check(names, "DEBUG gateway::local: x", "DEBUG gateway::local: x");
        check(names, "docker.io", "docker.io");
    }

    #[test]
    fn texts_in_json_are_hidden_and_numbers_stay() {
        let value = serde_json::json!({ "told": ["a.corp", 3], "held": true });
        let hidden = Names::default().hide_in(value);
        assert_eq!(
            hidden,
            serde_json::json!({ "told": ["name-1", 3], "held": true })
        );
    }
}
