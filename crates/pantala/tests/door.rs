//! Client commands against the daemon's end of the local socket, with content in a real file behind it.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{self, Child, Stdio},
    sync::{Arc, Mutex},
};

use assert_cmd::{assert::Assert, cargo::cargo_bin};
use bytes::Bytes;
use gateway::{
    BoxFuture, ContentAsk, ContentReader, Description, HeldManifest, ManifestAsk, OpenError,
    Opened, Proof, ReadError, SourceBytes, VerifiedReader,
    local::{
        Access, BypassChange, BypassState, ExplainReport, Failure, FailureCode, Freed, Listed,
        LocalDoor, LocalService, LocalSocket, SettingReport, SourceKind, SourceReport,
        StatusReport, StoreEntry, TaskReport, WaitReport, WaitedReport,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use types::{ByteCount, ByteRange, Digest, TaskId};

const LENGTH: u64 = 100_000;

/// A daemon that holds one content; a URL's last letters, or a header, say what goes wrong.
struct Service {
    content: PathBuf,
    is_bypassed: Mutex<bool>,
    slow: Arc<Slow>,
}

/// Content that does not come before it is let.
#[derive(Default)]
struct Slow {
    awaited: Notify,
    let_come: Notify,
}

struct Reader {
    content: PathBuf,
    is_corrupt: bool,
    slow: Option<Arc<Slow>>,
}

impl VerifiedReader for Reader {
    fn ready(&mut self, at: u64) -> BoxFuture<'_, Result<ByteRange, ReadError>> {
        Box::pin(async move {
            if let Some(slow) = &self.slow {
                slow.awaited.notify_one();
                slow.let_come.notified().await;
            }
            Ok(ByteRange::new(at, LENGTH).expect("within"))
        })
    }

    fn read(&mut self, _: ByteRange) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async { Err(ReadError::Stopping) })
    }

    fn finish(&mut self, _: Proof) -> BoxFuture<'_, Result<Option<Digest>, ReadError>> {
        let expected = Digest::sha256([7; 32]);
        let result = if self.is_corrupt {
            Err(ReadError::Corrupt {
                expected,
                found: Some(Digest::sha256([8; 32])),
                origin: None,
            })
        } else {
            Ok(Some(expected))
        };
        Box::pin(async { result })
    }

    fn descriptor(&self) -> std::io::Result<OwnedFd> {
        File::open(&self.content).map(OwnedFd::from)
    }

    fn sources(&self) -> SourceBytes {
        SourceBytes {
            local: 1,
            peer: LENGTH - 1,
            origin: 0,
        }
    }
}

impl Service {
    fn describe(ask: &ContentAsk) -> Result<Description, OpenError> {
        let url = match &ask.wanted {
            gateway::Wanted::Url { url, .. } => url,
            gateway::Wanted::Blob { registry, .. } if registry.to_string() == "gone.test" => {
                return Err(OpenError::NotFound("/v2/a/blobs/b answered 404".into()));
            }
            gateway::Wanted::Blob { .. } => {
                return Err(OpenError::Policy("no blobs here".to_owned()));
            }
        };
        if url.expose().ends_with("missing") {
            return Err(OpenError::NotFound("https://h/missing answered 404".into()));
        }
        let (task, length) = (TaskId::from_bytes([5; 32]), ByteCount(LENGTH));
        Ok(Description {
            task,
            length,
            content_type: None,
        })
    }
}

impl ContentReader for Service {
    fn open<'a>(&'a self, ask: &'a ContentAsk) -> BoxFuture<'a, Result<Opened, OpenError>> {
        let has = |word: &str| format!("{:?}", ask.headers).contains(word);
        let reader = Reader {
            content: self.content.clone(),
            is_corrupt: has("x-corrupt"),
            slow: has("x-slow").then(|| Arc::clone(&self.slow)),
        };
        let opened = Self::describe(ask).map(|description| Opened {
            description,
            reader: Box::new(reader),
        });
        Box::pin(async { opened })
    }

    fn describe<'a>(
        &'a self,
        ask: &'a ContentAsk,
    ) -> BoxFuture<'a, Result<Description, OpenError>> {
        Box::pin(async { Self::describe(ask) })
    }
}

impl LocalService for Service {
    fn content(&self) -> &dyn ContentReader {
        self
    }

    fn manifest<'a>(
        &'a self,
        _ask: &'a ManifestAsk,
    ) -> BoxFuture<'a, Result<HeldManifest, OpenError>> {
        Box::pin(async {
            Err(OpenError::NotFound(
                "https://r/v2/a/manifests/b answered 404".into(),
            ))
        })
    }

    fn tasks(&self, _listed: Listed) -> BoxFuture<'_, Result<Vec<TaskReport>, Failure>> {
        let row = TaskReport {
            task: "ab".repeat(32),
            content: "https://h/f".to_owned(),
            length: Some(2048),
            verified: 1024,
            sources: SourceBytes {
                local: 0,
                peer: 1000,
                origin: 24,
            },
            state: "fetching from 3 hosts".to_owned(),
            waits: vec![WaitReport {
                on: "the scheduler".to_owned(),
                since_ms: 1234,
                left_ms: 500,
            }],
        };
        Box::pin(async { Ok(vec![row]) })
    }

    fn explained(&self, _listed: Listed) -> BoxFuture<'_, Result<Vec<ExplainReport>, Failure>> {
        let row = ExplainReport {
            task: "ab".repeat(32),
            content: "https://h/f".to_owned(),
            digest: None,
            length: 2048,
            held: 2048,
            ended_seconds: Some(7),
            failed: Vec::new(),
            readers: 1,
            sources: vec![SourceReport {
                from: SourceKind::Peer,
                host: Some("hosthosthost".to_owned()),
                zone: Some("eu/a".to_owned()),
                pieces: 1,
                bytes: 2048,
                ms: 12,
                why: "it had it".to_owned(),
            }],
            waited: vec![WaitedReport {
                on: "the scheduler".to_owned(),
                ms: 3,
            }],
            waits: Vec::new(),
            importer: "no: other hosts had it".to_owned(),
            efficiency: None,
        };
        Box::pin(async { Ok(vec![row]) })
    }

    fn store_list(&self, _listed: Listed) -> BoxFuture<'_, Result<Vec<StoreEntry>, Failure>> {
        let entry = |digit: &str| StoreEntry {
            task: digit.repeat(64),
            digest: None,
            length: 2048,
            held: 2048,
            unused_seconds: 90,
            name: Some("https://h/f".to_owned()),
        };
        Box::pin(async move { Ok(vec![entry("a"), entry("b")]) })
    }

    fn store_remove(&self, _: TaskId) -> BoxFuture<'_, Result<Freed, Failure>> {
        Box::pin(async {
            Ok(Freed {
                entries: 1,
                bytes: 2048,
            })
        })
    }

    fn store_gc(&self) -> BoxFuture<'_, Result<Freed, Failure>> {
        Box::pin(async { Err(Failure::new(FailureCode::Forbidden, "not you")) })
    }

    fn bypass(&self, change: BypassChange) -> BoxFuture<'_, Result<BypassState, Failure>> {
        let mut is_on = self.is_bypassed.lock().expect("not poisoned");
        match change {
            BypassChange::On => *is_on = true,
            BypassChange::Off => *is_on = false,
            BypassChange::Show => {}
        }
        let state = BypassState { is_on: *is_on };
        Box::pin(async move { Ok(state) })
    }

    fn status(&self) -> BoxFuture<'_, Result<StatusReport, Failure>> {
        Box::pin(async { Err(Failure::new(FailureCode::Stopping, "going away")) })
    }

    fn settings(&self) -> Vec<SettingReport> {
        Vec::new()
    }
}

/// A running door.
struct Daemon {
    folder: TempDir,
    slow: Arc<Slow>,
    stop: CancellationToken,
    doors: JoinSet<()>,
    runtime: Runtime,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let content = folder.path().join("content");
        let mut file = File::create(&content).expect("a file");
        file.write_all(&bytes()).expect("written");
        let runtime = Runtime::new().expect("a runtime");
        let (stop, mut doors) = (CancellationToken::new(), JoinSet::new());
        let path = folder.path().join("run/s");
        let _inside = runtime.enter();
        let socket = LocalSocket::bind(&path, None).expect("a socket");
        let slow = Arc::new(Slow::default());
        let service = Service {
            content,
            is_bypassed: Mutex::new(false),
            slow: Arc::clone(&slow),
        };
        let door = LocalDoor::new(Arc::new(service), Access::default());
        doors.spawn(door.serve(socket, stop.clone()));
        drop(_inside);
        Self {
            folder,
            slow,
            stop,
            doors,
            runtime,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A `get` that waits for its first bytes, started by a shell that first does `before`.
    fn begin(&self, before: &str, file: &Path) -> Child {
        let script = format!("{before} exec \"$@\"");
        let child = process::Command::new("/bin/sh")
            .env_clear()
            .args(["-c", &script, "sh", shown(&cargo_bin("pantala"))])
            .args(["get", "https://h/f", "--header", "x-slow: 1", "-o"])
            .arg(file)
            .arg("--socket")
            .arg(self.path("run/s"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        self.runtime.block_on(self.slow.awaited.notified());
        child
    }

    fn run(&self, args: &[&str]) -> Assert {
        let mut command = assert_cmd::Command::cargo_bin("pantala").expect("built");
        command
            .env_clear()
            .args(args)
            .arg("--socket")
            .arg(self.path("run/s"));
        command.assert()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
        self.runtime
            .block_on(async { while self.doors.join_next().await.is_some() {} });
    }
}

fn bytes() -> Vec<u8> {
    (0..LENGTH)
        .map(|at| u8::try_from(at % 251).expect("small"))
        .collect()
}

fn out(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).expect("text")
}

fn err(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).expect("text")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn content_arrives_in_a_file_and_says_where_it_came_from() {
    let daemon = Daemon::start();
    let file = daemon.path("f");
    let got = daemon
        .run(&["get", "https://h/f", "-o", shown(&file), "--json"])
        .success();
    let report = json(&out(&got));
    assert_eq!(
        (&report["length"], &report["sources"]["peer"]),
        (&LENGTH.into(), &(LENGTH - 1).into())
    );
    assert!(fs::read(&file).expect("written") == bytes());

    let told = err(&daemon
        .run(&["get", "https://h/f", "-o", shown(&file)])
        .code(1));
    assert!(
        told.contains("exists") && told.contains("next: choose another name, or pass --overwrite"),
        "{told}"
    );
    let told = err(&daemon
        .run(&["get", "https://h/f", "-o", shown(&file), "--overwrite"])
        .success());
    assert!(
        told.contains("97.7 KiB from peers") && told.contains("sha256:0707"),
        "{told}"
    );
}

#[test]
fn content_and_ranges_go_into_a_pipe_without_a_word_between() {
    let daemon = Daemon::start();
    let got = daemon
        .run(&["get", "https://h/f", "-o", "-", "--json"])
        .success();
    assert!(got.get_output().stdout == bytes());
    assert_eq!(json(&err(&got))["length"], LENGTH);
    let part = ["get", "https://h/f", "-o", "-", "--range", "-10"];
    let got = daemon.run(&part).success();
    assert!(got.get_output().stdout == bytes()[99_990..]);
    let told = err(&got);
    assert!(
        told.starts_with("10 B (bytes 99990-99999 of 100000) in "),
        "{told}"
    );
    let told = json(&err(&daemon
        .run(&[&part[..], &["--json"]].concat())
        .success()));
    assert_eq!(told["length"], 10);
    assert_eq!(
        told["range"],
        serde_json::json!({ "first": 99_990, "last": 99_999, "of": LENGTH })
    );
}

#[test]
fn a_reader_that_has_enough_is_no_failure_worth_a_word() {
    let daemon = Daemon::start();
    let mut get = std::process::Command::new(assert_cmd::cargo::cargo_bin!("pantala"))
        .args(["get", "https://h/f", "-o", "-", "--socket"])
        .arg(daemon.path("run/s"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    drop(get.stdout.take());
    let ended = get.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_digest_that_is_no_blob_is_asked_for_as_an_image() {
    let daemon = Daemon::start();
    let name = format!("gone.test/a@sha256:{}", "ab".repeat(32));
    let file = daemon.path("f");
    let told = err(&daemon.run(&["get", &name, "-o", shown(&file)]).code(4));
    assert!(
        told.contains("/v2/a/blobs/b answered 404")
            && told.contains("/v2/a/manifests/b answered 404")
            && told.contains("neither a blob nor an image"),
        "{told}"
    );
}

#[test]
fn failures_have_codes_of_their_own_and_leave_no_file() {
    let daemon = Daemon::start();
    let file = daemon.path("f");
    let blob = format!("h/r@sha256:{}", "ab".repeat(32));
    for (content, header, code, words) in [
        (
            "https://h/missing",
            "x: y",
            4,
            "https://h/missing answered 404",
        ),
        (
            "h.test/file",
            "x: y",
            4,
            "give its URL: https://h.test/file",
        ),
        ("h.test/a:b", "x: y", 4, "/v2/a/manifests/b answered 404"),
        (&blob, "x: y", 5, "no blobs here"),
        ("https://h/f", "X-Corrupt: hunter2", 7, "found sha256:0808"),
    ] {
        let args = ["get", content, "-o", shown(&file), "--header", header];
        let told = err(&daemon.run(&args).code(code));
        assert!(
            told.contains("next: ") && told.contains(words) && !told.contains("hunter2"),
            "{told}"
        );
        assert!(!file.exists());
    }
}

#[test]
fn a_signal_ends_a_get_in_order_unless_it_was_ignored_from_the_start() {
    let daemon = Daemon::start();
    let file = daemon.path("out/f");
    fs::create_dir(daemon.path("out")).expect("a folder");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let child = daemon.begin("", &file);
        kill_process(Pid::from_child(&child), signal).expect("it lives");
        let ended = child.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{told}");
        assert!(
            told.contains("interrupted") && told.contains("next: "),
            "{told}"
        );
        let left = fs::read_dir(daemon.path("out")).expect("a folder");
        assert_eq!(left.count(), 0);
    }
    // As a script's `&` and `nohup` have it.
    for (signal, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM")] {
        let child = daemon.begin(&format!("trap '' {name};"), &file);
        kill_process(Pid::from_child(&child), signal).expect("it lives");
        daemon.slow.let_come.notify_one();
        let ended = child.wait_with_output().expect("it ends");
        assert!(ended.status.success(), "{name}: {ended:?}");
        assert!(fs::read(&file).expect("written") == bytes());
        fs::remove_file(&file).expect("it is there");
    }
}

#[test]
fn what_is_explained_is_a_page_and_json() {
    let daemon = Daemon::start();
    for asked in ["https://h/f", "abab"] {
        let page = out(&daemon.run(&["explain", asked]).success());
        let words: Vec<&str> = page.split_whitespace().collect();
        assert!(
            words.join(" ").contains("peer eu/a 2.00 KiB 100% 12 ms"),
            "{page}"
        );
        assert!(page.contains("importer: no: other hosts had it"), "{page}");
    }
    let told = json(&out(&daemon.run(&["explain", "abab", "--json"]).success()));
    assert_eq!(told["by"][0]["zone"], "eu/a");
    assert_eq!(told["waited"][0]["ms"], 3);
    assert_eq!(told["contents"][0]["ended_seconds"], 7);
    for unknown in ["https://h/other", "ffff"] {
        let told = err(&daemon.run(&["explain", unknown]).code(1));
        assert!(
            told.contains("knows nothing of") && told.contains("next:"),
            "{told}"
        );
    }
    daemon.run(&["explain", "no name"]).code(2);
    daemon.run(&["explain", "registry.corp/a:v1"]).code(4);
}

#[test]
fn tasks_and_the_store_are_tables_and_json() {
    let daemon = Daemon::start();
    let table = out(&daemon.run(&["task"]).success());
    assert!(
        table.contains("abababab")
            && table.contains("50%")
            && table.contains("fetching from 3 hosts")
            && table.contains("the scheduler")
            && table.contains("1.2 s")
            && table.contains("0.5 s more"),
        "{table}"
    );
    assert_eq!(
        json(&out(&daemon.run(&["task", "--json"]).success()))[0]["verified"],
        1024
    );
    let table = out(&daemon.run(&["store", "ls"]).success());
    assert!(
        table.contains("aaaaaaaaaa") && table.contains("https://h/f") && table.contains("1min"),
        "{table}"
    );
    assert_eq!(
        json(&out(&daemon.run(&["store", "ls", "--json"]).success()))[1]["held"],
        2048
    );
}

#[test]
fn contents_are_removed_by_the_first_digits_of_their_tasks() {
    let daemon = Daemon::start();
    assert_eq!(
        out(&daemon.run(&["store", "rm", "aa", "b"]).success()),
        "removed 2 contents, freed 4.00 KiB\n"
    );
    assert_eq!(
        json(&out(&daemon.run(&["store", "rm", "a", "--json"]).success()))["bytes"],
        2048
    );
    assert!(err(&daemon.run(&["store", "rm", "a", "c"]).code(1)).contains("store ls"));
    assert!(err(&daemon.run(&["store", "gc"]).code(5)).contains("because: not you"));
}

#[test]
fn the_bypass_is_switched_and_shown() {
    let daemon = Daemon::start();
    assert!(out(&daemon.run(&["bypass", "on"]).success()).starts_with("the bypass is on"));
    assert_eq!(
        json(&out(&daemon.run(&["bypass", "status", "--json"]).success()))["is_on"],
        true
    );
    assert!(out(&daemon.run(&["bypass", "off"]).success()).starts_with("the bypass is off"));
}
