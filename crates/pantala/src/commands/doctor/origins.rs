//! The origins that are listed by name: whether they answer, whether their certificates are trusted, and, since their
//! answers say what time it is there, this host's clock.

use std::time::SystemTime;

use ::http::{HeaderMap, header};
use futures_util::future::join_all;
use origin::{AllowedOrigin, AskError, Origins, PassMethod, PassRequest, Scheme};
use tokio::time::timeout;
use types::RegistryHost;

use super::{Finding, Health};
use crate::{config::Config, dial::PATIENCE, roles};

/// Origins that are asked: a person waits.
const ASKED_MAX: usize = 8;
/// A clock that differs more makes tokens and proofs come late or end early; certificates bear more.
const SKEW_MAX: i64 = 60;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let listed = config.origin.allow.iter().map(name_of);
    let mut hosts: Vec<RegistryHost> = listed.filter_map(|text| text.parse().ok()).collect();
    hosts.extend(config.mirror.registries.iter().cloned());
    hosts.sort();
    hosts.dedup();
    hosts.truncate(ASKED_MAX);
    if hosts.is_empty() {
        return vec![Finding::new(
            "origins",
            Health::Skipped,
            "none is listed by name",
        )];
    }
    let origins = match Origins::new(roles::origin(config)) {
        Ok(origins) => origins,
        Err(error) => {
            let told = format!("{:#}", anyhow::Error::from(error));
            let next = "mend what the keys of `origin` name that end in _files, _file or _config; run this as the daemon's user";
            return vec![Finding::new("origins", Health::Bad, told).next(next)];
        }
    };
    let asked = join_all(hosts.iter().map(|host| ask(&origins, host))).await;
    let (mut findings, mut skews) = (Vec::new(), Vec::new());
    for (finding, skew) in asked {
        findings.push(finding);
        skews.extend(skew);
    }
    findings.extend(clock(&mut skews));
    findings
}

/// As a registry is named: without a port that goes without saying.
fn name_of(origin: &AllowedOrigin) -> String {
    let host = match origin.host() {
        address if address.contains(':') => format!("[{address}]"),
        name => name.to_owned(),
    };
    match (origin.scheme(), origin.port()) {
        (Scheme::Http, 80) | (Scheme::Https, 443) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

/// How an origin answers, and by how many seconds our clock is ahead of its.
async fn ask(origins: &Origins, host: &RegistryHost) -> (Finding, Option<i64>) {
    let request = PassRequest::new(PassMethod::Get, "/v2/", HeaderMap::new());
    let request = request.expect("the path is below /v2/");
    let client = origins.registry(host).anonymous();
    match timeout(PATIENCE, client.pass(&request)).await {
        Ok(Ok(answer)) => {
            let told = format!("{host} answers, with {}", answer.status.as_u16());
            let skew = answer.headers.get(header::DATE).and_then(|date| {
                let there = jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok()?;
                let here = jiff::Timestamp::try_from(SystemTime::now()).ok()?;
                Some(here.as_second() - there.timestamp().as_second())
            });
            (Finding::new("origin", Health::Good, told), skew)
        }
        Ok(Err(error)) => (failed(error), None),
        Err(_) => {
            let told = format!("{host} does not answer within {} s", PATIENCE.as_secs());
            let finding = Finding::new("origin", Health::Warning, told);
            (finding.next("check its name, its port and firewalls: what other hosts hold is served meanwhile"), None)
        }
    }
}

fn failed(error: AskError) -> Finding {
    let next = match &error {
        AskError::Tls { .. } => {
            "if its certificate is of your own authority, name that authority's file in origin.ca_files, or in origin.host_ca_files for that host alone, and restart the daemon; \
             if it speaks plain text, list it as http://HOST in origin.allow; if it expired or is not valid yet, check both clocks"
        }
        AskError::Refused(_) => "list it in origin.allow if it is meant",
        AskError::Lookup(_) => "check the name, and this host's /etc/resolv.conf",
        _ => "check its name, its port and firewalls: what other hosts hold is served meanwhile",
    };
    let told = format!("{:#}", anyhow::Error::from(error));
    Finding::new("origin", Health::Warning, told).next(next)
}

/// One wrong clock elsewhere is no finding about ours: the middle one counts.
fn clock(skews: &mut [i64]) -> Option<Finding> {
    skews.sort_unstable();
    let skew = *skews.get(skews.len() / 2)?;
    let of = |health, told: String| Finding::new("clock", health, told);
    if skew.abs() <= SKEW_MAX {
        let told = format!("within {SKEW_MAX} s of that of the origins");
        return Some(of(Health::Good, told));
    }
    let way = if skew > 0 { "ahead of" } else { "behind" };
    let told = format!("{} s {way} that of the origins", skew.abs());
    Some(of(Health::Bad, told).next(
        "set it (`timedatectl set-ntp true`): certificates, tokens and proofs of rights go by it",
    ))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;
    use crate::config::Sources;

    fn config(origins: &str) -> Config {
        let sources = Sources {
            file: Some("/dev/null".into()),
            flags: vec![("origin.allow".into(), origins.into(), String::new())],
            ..Sources::default()
        };
        Config::load(&sources).expect("a configuration").0
    }

    /// A server that answers once, so.
    fn answering(answer: String) -> (std::thread::JoinHandle<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            // What is asked does not matter.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
        (server, address)
    }

    fn dated(ahead: i64) -> String {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(ahead);
        let at = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
        let at = at.expect("a date");
        format!("HTTP/1.1 200 OK\r\ndate: {at}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    async fn check(origins: &str, expected: &[(&str, Health, &str)]) {
        let found = examine(&config(origins)).await;
        let checks: Vec<_> = found.iter().map(|it| (it.check, it.health)).collect();
        let wanted: Vec<_> = expected.iter().map(|it| (it.0, it.1)).collect();
        assert_eq!(checks, wanted, "{found:?}");
        for (finding, (.., words)) in found.iter().zip(expected) {
            let text = format!("{} next: {}", finding.told, finding.next);
            assert!(text.contains(words), "{words:?} is not in {text:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_clock_that_differs_from_the_origins_is_found() {
        let (good, bad) = (Health::Good, Health::Bad);
        for (ahead, health, words) in [
            (0, good, "within 60 s"),
            (7200, bad, " s ahead of that of the origins next: set it"),
            (-7200, bad, " s behind"),
        ] {
            let (server, address) = answering(dated(ahead));
            let origin = format!("http://{address}");
            check(
                &origin,
                &[
                    ("origin", good, "answers, with 200"),
                    ("clock", health, words),
                ],
            )
            .await;
            server.join().expect("no panic");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_origin_that_fails_at_tls_or_is_not_there_has_a_next_step() {
        let (server, address) = answering("this is no TLS".into());
        check(&address, &[("origin", Health::Warning, "origin.ca_files")]).await;
        server.join().expect("no panic");
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address")
        };
        check(
            &format!("http://{closed}"),
            &[("origin", Health::Warning, "check its name")],
        )
        .await;
        check("[]", &[("origins", Health::Skipped, "none")]).await;
    }
}
