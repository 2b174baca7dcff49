//! `pantala doctor --bundle FILE`: what a bug report needs, without secrets and without the names that users chose.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use flate2::{Compression, write::GzEncoder};
use gateway::local::client::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{Finding, names::Names};
use crate::{
    commands::{get::tar, running::Running},
    config::{Config, Stated, find},
    dial::{PATIENCE, try_reach},
    problem::{Exit, Problem},
    show,
};

/// Rows of a list that are told.
const ROWS_MAX: usize = 200;
/// Bytes of metrics.
const METRICS_MAX: u64 = 1 << 20;
/// Where all of it lies in the archive.
const FOLDER: &str = "pantala-bundle";

/// A file in the bundle, and what it is about.
struct Part {
    name: &'static str,
    about: &'static str,
    text: String,
}

/// Writes the bundle, which must not be there yet, and says what is in it.
pub(super) async fn write(
    path: &Path,
    config: &Config,
    findings: &[Finding],
) -> Result<String, Problem> {
    let parts = gather(config, findings).await;
    let failed = |error: std::io::Error| {
        let doing = format!("writing {} failed", path.display());
        Problem::of(Exit::Failed, &doing, error).next(
            "name a new file, such as pantala-bundle.tar.gz, in a folder that you may write to",
        )
    };
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(failed)?;
    let bytes = packed(&parts).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    let lines = parts
        .iter()
        .map(|part| format!("  {:<14} {}\n", part.name, part.about));
    let lines: String = lines.collect();
    Ok(format!(
        "{} holds:\n{lines}Names, paths, URLs and whatever looks like a secret were replaced by name-1, name-2, ...; look through \
         it before you send it: `tar -xzOf {0} | less`\n",
        path.display()
    ))
}

fn packed(parts: &[Part]) -> std::io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    for part in parts {
        let length = part.text.len() as u64;
        out.write_all(&tar::file(&format!("{FOLDER}/{}", part.name), length))?;
        out.write_all(part.text.as_bytes())?;
        out.write_all(&tar::padding(length))?;
    }
    out.write_all(&tar::end())?;
    out.finish()
}

/// What there is to tell, as it is.
#[derive(Default)]
struct Told {
    findings: Value,
    /// Of this command and of the daemon.
    stated: Vec<Stated>,
    status: Value,
    machine: Value,
    /// Running tasks, what tasks cost, what is held.
    lists: [Value; 3],
    log: Vec<String>,
    metrics: String,
    /// What this machine calls itself.
    machine_name: String,
}

async fn gather(config: &Config, findings: &[Finding]) -> Vec<Part> {
    let running = Running::find(&config.local.socket).await;
    let theirs = running.as_ref().and_then(Running::config);
    let told = theirs.as_ref().unwrap_or(config);
    let client = Client::new(&config.local.socket);
    let mut stated = config.stated.clone();
    stated.extend(theirs.iter().flat_map(|theirs| theirs.stated.clone()));
    parts(Told {
        findings: value(Some(findings)),
        stated,
        status: value(running.as_ref().map(|running| &running.status)),
        machine: machine(told),
        lists: [
            value(within(client.tasks()).await),
            value(within(client.explained()).await),
            value(within(client.store_list()).await),
        ],
        log: within(client.log()).await.unwrap_or_default(),
        metrics: metrics(told).await.unwrap_or_default(),
        machine_name: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
    })
}

/// The files, with names and secrets taken out of all of them.
fn parts(told: Told) -> Vec<Part> {
    let mut names = Names::default();
    learn(&mut names, &told);
    let [tasks, explained, store] = told.lists;
    let mut parts = Vec::new();
    for (name, about, value) in [
        ("doctor.json", "what `pantala doctor` found", told.findings),
        (
            "settings.json",
            "what was set in the configuration, and where",
            settings(&told.stated),
        ),
        (
            "status.json",
            "the daemon's version, tasks, store, problems",
            told.status,
        ),
        ("tasks.json", "what runs and what it waits for", tasks),
        (
            "explain.json",
            "what contents cost, as `pantala explain` tells",
            explained,
        ),
        ("store.json", "what is held", store),
    ] {
        let text = show::json(&names.hide_in(value));
        parts.push(Part { name, about, text });
    }
    parts.push(Part {
        name: "machine.json",
        about: "processors, memory, system, disk",
        text: names.hide_learnt(&show::json(&told.machine)),
    });
    let lines = told.log.iter().map(|line| names.hide_line(line) + "\n");
    parts.push(Part {
        name: "log.txt",
        about: "the daemon's last lines of log, if this user may see them",
        text: lines.collect(),
    });
    parts.push(Part {
        name: "metrics.txt",
        about: "the daemon's metrics, which name no content and no host",
        text: names.hide_learnt(&told.metrics),
    });
    parts
}

/// Names stand where users write them: in texts of the configuration, and in what was asked for.
fn learn(names: &mut Names, told: &Told) {
    for stated in &told.stated {
        if find(stated.key).is_some_and(|key| key.kind.is_free()) {
            names.learn(&stated.value);
        }
    }
    names.learn(&told.machine_name);
    for row in told.lists.iter().filter_map(Value::as_array).flatten() {
        for field in ["content", "name"] {
            names.learn(row[field].as_str().unwrap_or_default());
        }
    }
}

fn settings(stated: &[Stated]) -> Value {
    let row =
        |one: &Stated| json!({ "key": one.key, "value": one.value, "from": one.place.to_string() });
    stated.iter().map(row).collect()
}

fn machine(config: &Config) -> Value {
    let system = rustix::system::uname();
    let first = |path: &str, word: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(word))
            .map(str::to_owned);
        line.unwrap_or_default().replace('\t', " ")
    };
    let there = config.host.data_dir.ancestors().find(|path| path.exists());
    let disk = there.and_then(|path| rustix::fs::statvfs(path).ok());
    json!({
        "pantala": env!("CARGO_PKG_VERSION"),
        "kernel": system.release().to_string_lossy(),
        "architecture": std::env::consts::ARCH,
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": first("/proc/meminfo", "MemTotal"),
        "memory_free": first("/proc/meminfo", "MemAvailable"),
        "system": first("/etc/os-release", "PRETTY_NAME"),
        "disk_bytes": disk.as_ref().map(|it| it.f_blocks.saturating_mul(it.f_frsize)),
        "disk_free_bytes": disk.as_ref().map(|it| it.f_bavail.saturating_mul(it.f_frsize)),
    })
}

/// The status page's metrics, if there is one.
async fn metrics(config: &Config) -> Option<String> {
    let address = config.status?;
    let asked = async {
        let mut stream = try_reach(&address.ip().to_string(), address.port()).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(METRICS_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(PATIENCE, asked).await.ok()?.ok()?;
    answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
}

/// As JSON; of a list the last rows.
fn value(told: Option<impl Serialize>) -> Value {
    let value = serde_json::to_value(told).expect("reports always become JSON");
    match value {
        Value::Array(mut rows) => rows.split_off(rows.len().saturating_sub(ROWS_MAX)).into(),
        other => other,
    }
}

async fn within<T, E>(asked: impl Future<Output = Result<T, E>>) -> Option<T> {
    let limit = PATIENCE + Duration::from_secs(2);
    timeout(limit, asked).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, Place};

    /// Names and secrets, each of another form: none may leave.
    const CANARIES: [&str; 8] = [
        "osprey",
        "Peregrine",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "hunter2",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln",
        "AKIAIOSFODNN7EXAMPLE",
        "dXNlcjpwYXNzd29yZA==",
        "s3cr3t-5f4dcc3b5aa765d61d8327deb882cf99",
    ];

    /// Everything that is told holds every canary, in the places where such things stand.
    fn told() -> Told {
        let keys = KEYS.iter().filter(|key| key.kind.is_free());
        let value = format!(
            "[\"https://u:{0}@{1}.corp:5000/{0}?sig={2}\"]",
            CANARIES[3], CANARIES[0], CANARIES[7]
        );
        let stated = keys.map(|key| Stated {
            key: key.name,
            value: value.clone(),
            place: Place::Variable("PANTALA_X".into()),
        });
        let row = |content: &str| json!([{ "content": content, "name": content, "length": 3 }]);
        let url = format!(
            "https://{}.corp/{}/f?X-Amz-Signature={}",
            CANARIES[0], CANARIES[1], CANARIES[7]
        );
        let sentences = CANARIES.map(|canary| {
            format!("reading \"{canary}\" of /srv/{canary}/f failed: token={canary} Authorization: Bearer {canary}, {canary}.corp")
        });
        let lines = sentences.iter().flat_map(|text| {
            let plain = format!("2026-11-25T14:20:57.123456Z  WARN daemon::core: {text}");
            [
                plain,
                json!({ "level": "WARN", "message": text }).to_string(),
            ]
        });
        Told {
            findings: json!(sentences),
            stated: stated.collect(),
            status: json!({ "problems": sentences, "cluster": CANARIES[0] }),
            machine: json!({}),
            lists: [
                row(&url),
                row(&format!(
                    "{0}.corp/{1}/app",
                    CANARIES[0],
                    CANARIES[1].to_lowercase()
                )),
                json!([]),
            ],
            log: lines.collect(),
            metrics: format!("pantala_x{{cluster=\"{}\"}} 7\n", CANARIES[0]),
            machine_name: CANARIES[1].into(),
        }
    }

    #[test]
    fn no_secret_and_no_chosen_name_is_in_a_bundle() {
        let parts = parts(told());
        assert_eq!(parts.len(), 9);
        for part in &parts {
            let text = part.text.to_lowercase();
            for canary in CANARIES {
                assert!(
                    !text.contains(&canary.to_lowercase()),
                    "{canary} is in {}: {}",
                    part.name,
                    part.text
                );
            }
        }
        let log = &parts
            .iter()
            .find(|part| part.name == "log.txt")
            .expect("a log")
            .text;
        assert!(
            log.contains("WARN daemon::core: reading"),
            "it can still be read: {log}"
        );
        let settings = &parts[1].text;
        assert!(settings.contains("\"key\": \"origin.allow\""), "{settings}");
    }

    #[test]
    fn a_bundle_is_an_archive_that_tar_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("b.tar.gz");
        let bytes = packed(&parts(told())).expect("packed");
        std::fs::write(&path, bytes).expect("written");
        let listed = std::process::Command::new("tar")
            .arg("-tzf")
            .arg(&path)
            .output();
        let listed = listed.expect("tar runs");
        let text = String::from_utf8(listed.stdout).expect("text");
        assert!(listed.status.success(), "{text}");
        assert_eq!(text.lines().next(), Some("pantala-bundle/doctor.json"));
        assert_eq!(text.lines().count(), 9);
    }
}
