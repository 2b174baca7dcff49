//! Both ends of the local socket, over a real one.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use types::{Digest, TaskId};

use super::{
    Access, Allowed, BypassChange, BypassState, ExplainReport, Failure, FailureCode, Freed,
    GetRequest, HeaderLine, Listed, LocalDoor, LocalService, LocalSocket, StatusReport, StoreEntry,
    TaskReport,
    client::{Client, ClientError, Finished, Output, TargetError},
};
use crate::{
    Caller, ContentReader, HeldManifest, ManifestAsk, ManifestName, OpenError, Proof, SourceBytes,
    Wanted,
    testing::{Shared, TestContent},
};

mod image;

struct Daemon {
    content: Shared,
    bypass: Mutex<bool>,
}

impl LocalService for Daemon {
    fn content(&self) -> &dyn ContentReader {
        &self.content
    }

    /// Longer than a frame, and whatever digest it is asked by.
    fn manifest<'a>(
        &'a self,
        ask: &'a ManifestAsk,
    ) -> BoxFuture<'a, Result<HeldManifest, OpenError>> {
        let bytes = vec![b'm'; 100_000];
        let digest = match &ask.name {
            ManifestName::Digest(digest) => *digest,
            ManifestName::Tag(_) => Digest::blake3(*blake3::hash(&bytes).as_bytes()),
        };
        let media_type = ask.repository.to_string();
        Box::pin(async move {
            Ok(HeldManifest {
                digest,
                media_type,
                bytes: bytes.into(),
            })
        })
    }

    fn tasks(&self, _listed: Listed) -> BoxFuture<'_, Result<Vec<TaskReport>, Failure>> {
        let row = TaskReport {
            task: "t".into(),
            content: "c".repeat(1000),
            length: Some(u64::MAX),
            verified: 0,
            sources: SourceBytes::default(),
            state: "waiting".into(),
            waits: Vec::new(),
        };
        Box::pin(async { Ok(vec![row; 1000]) })
    }

    fn explained(&self, _listed: Listed) -> BoxFuture<'_, Result<Vec<ExplainReport>, Failure>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn store_list(&self, listed: Listed) -> BoxFuture<'_, Result<Vec<StoreEntry>, Failure>> {
        let row = StoreEntry {
            task: "t".into(),
            digest: None,
            length: 1,
            held: 1,
            unused_seconds: 0,
            name: None,
        };
        let rows = usize::from(listed == Listed::Everything);
        Box::pin(async move { Ok(vec![row; rows]) })
    }

    fn store_remove(&self, _task: TaskId) -> BoxFuture<'_, Result<Freed, Failure>> {
        Box::pin(async { Ok(freed(1, 2)) })
    }

    fn store_gc(&self) -> BoxFuture<'_, Result<Freed, Failure>> {
        Box::pin(async { Ok(freed(3, 4)) })
    }

    fn bypass(&self, change: BypassChange) -> BoxFuture<'_, Result<BypassState, Failure>> {
        Box::pin(async move {
            let mut is_on = self.bypass.lock().expect("a lock");
            *is_on = match change {
                BypassChange::On => true,
                BypassChange::Off => false,
                BypassChange::Show => *is_on,
            };
            Ok(BypassState { is_on: *is_on })
        })
    }

    fn status(&self) -> BoxFuture<'_, Result<StatusReport, Failure>> {
        Box::pin(async { Err(Failure::new(FailureCode::Stopping, "leaving")) })
    }

    fn settings(&self) -> Vec<super::SettingReport> {
        vec![super::SettingReport {
            key: "peer.slots".into(),
            value: "3".into(),
            from: "flag --set".into(),
        }]
    }
}

fn freed(entries: u64, bytes: u64) -> Freed {
    Freed { entries, bytes }
}

struct Harness {
    folder: tempfile::TempDir,
    socket: PathBuf,
    content: Arc<TestContent>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Harness {
    fn of(length: usize) -> Self {
        Self::with(TestContent::of(length), Access::default())
    }

    fn with(content: TestContent, access: Access) -> Self {
        let content = Arc::new(content);
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("s");
        fs::create_dir(folder.path().join("out")).expect("a folder");
        let daemon = Arc::new(Daemon {
            content: Shared(Arc::clone(&content)),
            bypass: Mutex::new(false),
        });
        let door = LocalDoor::new(daemon, access);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let bound = LocalSocket::bind(&socket, None).expect("a socket");
        tasks.spawn(door.serve(bound, stop.clone()));
        Self {
            folder,
            socket,
            content,
            stop,
            tasks,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    fn blob(&self) -> GetRequest {
        GetRequest::of(&format!("quay.io/a/b@{}", self.content.digest))
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("out/f")
    }

    fn is_out_empty(&self) -> bool {
        is_empty(&self.folder.path().join("out"))
    }

    async fn get(&self, request: GetRequest, overwrite: bool) -> Result<Finished, ClientError> {
        let path = self.target();
        let output = Output::File {
            path: &path,
            overwrite,
        };
        self.client().get(request, output, &mut |_| {}).await
    }

    /// Sends these bytes and gives all that comes back.
    async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.socket).await.expect("connects");
        stream.write_all(bytes).await.expect("writes");
        stream.shutdown().await.expect("ends");
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        reply
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

fn code(result: Result<Finished, ClientError>) -> FailureCode {
    match result.expect_err("a failure") {
        ClientError::Failed(failure) => {
            assert!(!failure.causes.is_empty() && !failure.next_step.is_empty());
            failure.code
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn content_arrives_under_its_name_with_its_story() {
    for length in [0, 1, 3_000_000] {
        let local = Harness::of(length);
        let finished = local.get(local.blob(), false).await.expect("got");
        assert!(fs::read(local.target()).expect("read") == local.content.bytes);
        assert_eq!(finished.length, length as u64);
        assert_eq!(finished.digest, Some(local.content.digest.to_string()));
        assert_eq!((finished.sources.peer, finished.sources.origin), (2, 3));
        let proofs = local.content.proofs.lock().expect("a lock").clone();
        assert_eq!(proofs, [Proof::OwnDigest]);
        local.content.until_readers(0).await;
    }
}

#[tokio::test]
async fn progress_follows_what_is_verified() {
    let local = Harness::of(1000);
    local.content.set(|script| script.verified = 400);
    let content = Arc::clone(&local.content);
    let mut seen = Vec::new();
    let path = local.target();
    let output = Output::File {
        path: &path,
        overwrite: false,
    };
    let mut progress = |progress: super::client::Progress| {
        seen.push((progress.copied, progress.total));
        content.set(|script| script.verified = 1000);
    };
    local
        .client()
        .get(local.blob(), output, &mut progress)
        .await
        .expect("got");
    assert_eq!(seen, [(400, 1000), (1000, 1000)]);
}

#[tokio::test]
async fn a_range_arrives_alone() {
    let local = Harness::of(1000);
    let mut request = local.blob();
    request.range = Some("bytes=-100".into());
    let finished = local.get(request.clone(), false).await.expect("got");
    assert_eq!(
        fs::read(local.target()).expect("read"),
        local.content.bytes[900..]
    );
    assert_eq!((finished.length, finished.digest), (1000, None));
    for bad in ["bytes=1000-", "bytes=5-2", "0-1", "bytes=0-1,3-4"] {
        request.range = Some(bad.into());
        assert_eq!(
            code(local.get(request.clone(), true).await),
            FailureCode::BadRequest,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_failure_leaves_no_file_and_no_old_one_changed() {
    let local = Harness::of(1000);
    local
        .content
        .set(|script| (script.verified, script.is_broken) = (500, true));
    assert_eq!(
        code(local.get(local.blob(), false).await),
        FailureCode::Unavailable
    );
    assert!(local.is_out_empty());
    local
        .content
        .set(|script| (script.verified, script.proof) = (1000, Some(false)));
    assert_eq!(
        code(local.get(local.blob(), false).await),
        FailureCode::Corrupt
    );
    assert!(local.is_out_empty());
    fs::write(local.target(), "old").expect("a file");
    assert_eq!(
        code(local.get(local.blob(), true).await),
        FailureCode::Corrupt
    );
    local.content.set(|script| script.proof = Some(true));
    let refused = local.get(local.blob(), false).await;
    assert!(matches!(
        refused,
        Err(ClientError::Target(TargetError::Exists { .. }))
    ));
    assert_eq!(fs::read(local.target()).expect("read"), b"old");
    local.get(local.blob(), true).await.expect("got");
    assert_eq!(fs::read(local.target()).expect("read"), local.content.bytes);
}

#[tokio::test]
async fn refusals_keep_their_kind() {
    let local = Harness::of(10);
    for (error, kind) in [
        (OpenError::NotFound("404".into()), FailureCode::NotFound),
        (
            OpenError::OriginBusy {
                retry_after: None,
                cause: "429".into(),
            },
            FailureCode::OriginBusy,
        ),
        (
            OpenError::Unavailable("cable".into()),
            FailureCode::Unavailable,
        ),
        (OpenError::Policy("closed".into()), FailureCode::Policy),
    ] {
        *local.content.refusal.lock().expect("a lock") = Some(error);
        assert_eq!(code(local.get(local.blob(), false).await), kind);
    }
    for bad in [
        "/etc/passwd",
        "alpine",
        "file:///etc/passwd",
        "https://u:p@h/f",
    ] {
        assert_eq!(
            code(local.get(GetRequest::of(bad), false).await),
            FailureCode::BadRequest,
            "{bad}"
        );
    }
    assert!(local.is_out_empty());
}

#[tokio::test]
async fn the_daemon_learns_what_was_asked_and_by_whom() {
    let local = Harness::of(10);
    let mut request = GetRequest::of("https://h.example/f?sig=s");
    request.digest = Some(local.content.digest.to_string());
    request.tag = "mine".into();
    request.headers = vec![HeaderLine {
        name: "Authorization".into(),
        value: "Bearer t".into(),
    }];
    local.get(request, false).await.expect("got");
    let asks = local.content.asks.lock().expect("a lock");
    let wanted = &asks[0].wanted;
    let Wanted::Url {
        url, digest, tag, ..
    } = wanted
    else {
        panic!("{asks:?}");
    };
    assert_eq!(url.expose(), "https://h.example/f?sig=s");
    assert_eq!(*digest, Some(local.content.digest));
    assert_eq!(tag, "mine");
    assert_eq!(asks[0].headers.to_map()["authorization"], "Bearer t");
    let uid = rustix::process::geteuid().as_raw();
    assert!(matches!(asks[0].caller, Caller::Unix { uid: got, .. } if got == uid));
}

#[tokio::test]
async fn a_stream_gets_its_last_bytes_only_after_the_check() {
    let local = Harness::of(1000);
    local.content.set(|script| script.verified = 600);
    local.content.set(|script| script.proof = Some(false));
    let (mut ours, mut theirs) = tokio::io::duplex(4096);
    let client = local.client();
    let content = Arc::clone(&local.content);
    let mut progress = |_| content.set(|script| script.verified = 1000);
    let failed = client
        .get(local.blob(), Output::Stream(&mut theirs), &mut progress)
        .await;
    assert_eq!(code(failed), FailureCode::Corrupt);
    drop(theirs);
    let mut got = Vec::new();
    ours.read_to_end(&mut got).await.expect("read");
    assert_eq!(got, local.content.bytes[..600]);

    local.content.set(|script| script.proof = Some(true));
    let mut whole = std::io::Cursor::new(Vec::new());
    client
        .get(local.blob(), Output::Stream(&mut whole), &mut |_| {})
        .await
        .expect("got");
    assert_eq!(whole.into_inner(), local.content.bytes);
}

#[tokio::test]
async fn a_client_that_leaves_withdraws_its_demand() {
    let local = Harness::of(1000);
    local.content.set(|script| script.verified = 10);
    let mut tasks = JoinSet::new();
    let (client, request, path) = (local.client(), local.blob(), local.target());
    tasks.spawn(async move {
        let output = Output::File {
            path: &path,
            overwrite: false,
        };
        let _ = client.get(request, output, &mut |_| {}).await;
    });
    local.content.until_readers(1).await;
    tasks.shutdown().await;
    local.content.until_readers(0).await;
    assert!(local.is_out_empty());
}

#[tokio::test]
async fn a_descriptor_that_could_be_written_through_is_never_passed() {
    let mut content = TestContent::of(10);
    content.leaks_writable = true;
    let local = Harness::with(content, Access::default());
    assert!(local.get(local.blob(), false).await.is_err());
    assert!(local.is_out_empty());
}

#[tokio::test]
async fn lists_of_any_length_and_changes_come_through() {
    let local = Harness::of(10);
    let client = local.client();
    assert_eq!(client.tasks().await.expect("rows").len(), 1000);
    assert_eq!(client.store_list().await.expect("rows").len(), 1);
    let settings = client.settings().await.expect("rows");
    assert_eq!(
        (&*settings[0].key, &*settings[0].value),
        ("peer.slots", "3")
    );
    assert_eq!(client.store_gc().await.expect("freed").entries, 3);
    let task = TaskId::from_bytes([1; 32]).to_string();
    assert_eq!(client.store_remove(&task).await.expect("freed").bytes, 2);
    assert!(client.store_remove("../etc").await.is_err());
    assert!(
        client
            .bypass(BypassChange::On)
            .await
            .expect("a state")
            .is_on
    );
    assert!(
        client
            .bypass(BypassChange::Show)
            .await
            .expect("a state")
            .is_on
    );
    assert!(matches!(
        client.status().await,
        Err(ClientError::Failed(failure)) if failure.code == FailureCode::Stopping
    ));
}

#[tokio::test]
async fn other_users_are_refused_by_what_the_kernel_says() {
    let nobody = Allowed::Users(BTreeSet::from([rustix::process::geteuid().as_raw() + 1]));
    let access = Access {
        read: Allowed::Everyone,
        manage: nobody.clone(),
    };
    let local = Harness::with(TestContent::of(10), access);
    let client = local.client();
    client.tasks().await.expect("reading is allowed");
    let listed = client.store_list().await.expect("reading is allowed");
    assert!(listed.is_empty(), "what is private is for who manages");
    client
        .bypass(BypassChange::Show)
        .await
        .expect("looking is allowed");
    for refused in [
        client.store_gc().await.err(),
        client.bypass(BypassChange::On).await.err(),
    ] {
        assert!(
            matches!(refused, Some(ClientError::Failed(failure)) if failure.code == FailureCode::Forbidden)
        );
    }
    let local = Harness::with(
        TestContent::of(10),
        Access {
            read: nobody.clone(),
            manage: nobody,
        },
    );
    assert_eq!(
        code(local.get(local.blob(), false).await),
        FailureCode::Forbidden
    );
    assert!(local.content.asks.lock().expect("a lock").is_empty());
}

#[tokio::test]
async fn hostile_frames_get_a_reason_or_nothing_and_harm_nobody() {
    let local = Harness::of(10);
    let framed = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    for (bytes, reason) in [
        (framed("{}"), "bad_request"),
        (framed("nonsense"), "bad_request"),
        (framed(r#"{"version":2,"request":{"fly":{}}}"#), "version"),
        (
            framed(r#"{"version":1,"request":{"fly":{}}}"#),
            "bad_request",
        ),
        (
            framed(
                r#"{"version":1,"request":{"get":{"reference":"https://h/","path":"/etc/passwd"}}}"#,
            ),
            "bad_request",
        ),
        (u32::MAX.to_be_bytes().to_vec(), "bad_request"),
        (vec![0, 0], ""),
        (vec![], ""),
    ] {
        let reply = String::from_utf8_lossy(&local.raw(&bytes).await).into_owned();
        assert!(reply.contains(reason), "{bytes:?} gave {reply}");
        assert_eq!(
            reply.is_empty(),
            reason.is_empty(),
            "{bytes:?} gave {reply}"
        );
    }
    local.get(local.blob(), false).await.expect("still serving");
}

#[tokio::test]
async fn stopping_ends_running_requests_and_removes_the_socket() {
    let mut local = Harness::of(1000);
    local.content.set(|script| script.verified = 10);
    let stop = local.stop.clone();
    let content = Arc::clone(&local.content);
    let (got, ()) = tokio::join!(local.get(local.blob(), false), async {
        content.until_readers(1).await;
        stop.cancel();
    });
    assert!(got.is_err() && local.is_out_empty());
    local
        .tasks
        .join_next()
        .await
        .expect("served")
        .expect("no panic");
    assert!(!local.socket.exists());
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
async fn a_process_to_kill() {
    let Ok(socket) = std::env::var("GATEWAY_TEST_SOCKET") else {
        return;
    };
    let request = GetRequest::of(&std::env::var("GATEWAY_TEST_REFERENCE").expect("set"));
    let path = PathBuf::from(std::env::var("GATEWAY_TEST_TARGET").expect("set"));
    let output = Output::File {
        path: &path,
        overwrite: false,
    };
    let mut progress = |_| std::io::stderr().write_all(b"copied").expect("told");
    let _ = Client::new(socket)
        .get(request, output, &mut progress)
        .await;
}

#[tokio::test]
async fn a_killed_client_leaves_nothing_behind() {
    let local = Harness::of(1000);
    local.content.set(|script| script.verified = 10);
    let mut child = Command::new(std::env::current_exe().expect("this"))
        .args(["--exact", "local::tests::a_process_to_kill", "--nocapture"])
        .env("GATEWAY_TEST_SOCKET", &local.socket)
        .env(
            "GATEWAY_TEST_REFERENCE",
            format!("quay.io/a/b@{}", local.content.digest),
        )
        .env("GATEWAY_TEST_TARGET", local.target())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    let mut told = tokio::process::ChildStderr::from_std(child.stderr.take().expect("a pipe"))
        .expect("a pipe");
    let mut word = [0; 6];
    told.read_exact(&mut word).await.expect("it copies");
    child.kill().expect("killed");
    child.wait().expect("gone");
    local.content.until_readers(0).await;
    assert!(local.is_out_empty());
}
