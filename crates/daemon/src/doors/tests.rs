mod stale;

use std::{fs::File, io::Read, sync::Arc};

use futures_util::TryStreamExt;
use gateway::{
    AskedRange, Caller, ContentAsk, ContentReader, HeldManifest, ManifestAsk, ManifestName,
    Manifests, OpenError, Opened, OriginHeaders, Proof, ReadError, Upstream, UpstreamRequest,
    Wanted,
    local::{BypassChange, LocalService},
};
use http::HeaderMap;
use swarm::download::ReaderNo;
use types::{ByteCount, ByteRange, ContentKey, Digest, Source, Visibility};

use super::{
    resolve::{Found, Word},
    testing::{Answer, Seen, World, content, read},
};
use crate::{
    access::AccessError,
    handle::Command,
    reader::Begun,
    task::{From, Task, TaskError},
};

const LENGTH: usize = 3 << 20;
const ANN: Option<&str> = Some("Bearer ann");

/// A file, or the part of it that was asked for.
fn file(seen: &Seen, bytes: &[u8]) -> Answer {
    let etag = ("etag", "\"v1\"".to_owned());
    let range = seen.line("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some(first.parse::<usize>().ok()?..last.parse::<usize>().ok()? + 1)
    });
    match range {
        Some(range) => {
            let told = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
            (
                206,
                vec![etag, ("content-range", told)],
                bytes[range].to_vec(),
            )
        }
        None => (200, vec![etag], bytes.to_vec()),
    }
}

fn denied() -> Answer {
    let challenge = ("www-authenticate", "Basic realm=\"here\"".to_owned());
    (401, vec![challenge], b"{\"errors\":[]}".to_vec())
}

/// A registry whose blob is only for ann.
async fn private(bytes: Vec<u8>) -> World {
    World::new(move |seen| {
        if seen.line("authorization") == ANN {
            file(seen, &bytes)
        } else {
            denied()
        }
    })
    .await
}

/// The same ask, for bytes of that digest.
fn with_digest(mut ask: ContentAsk, expected: Digest) -> ContentAsk {
    if let Wanted::Url { digest, .. } = &mut ask.wanted {
        *digest = Some(expected);
    }
    ask
}

async fn public(bytes: Vec<u8>) -> World {
    World::new(move |seen| file(seen, &bytes)).await
}

fn whole() -> ByteRange {
    ByteRange::whole(ByteCount(LENGTH as u64))
}

#[tokio::test]
async fn a_public_blob_is_a_task_whoever_asks() {
    let (bytes, digest) = content(LENGTH);
    let world = public(bytes).await;
    let ask = world.blob(digest, ANN);
    let found = world
        .doors
        .resolver
        .find(&ask, Word::Anybodys)
        .await
        .expect("found");
    let Found::Shared { spec, .. } = found else {
        panic!("it is public");
    };
    assert_eq!(spec.task, ContentKey::Digest(digest).task_id());
    assert_eq!(spec.layout.length().0, LENGTH as u64);
    assert_eq!(spec.visibility, Visibility::Public);
    assert!(world.accesses.knows(&spec.task));
    let seen = world.server.seen();
    assert!(seen.iter().all(|seen| seen.line("authorization").is_none()));
}

#[tokio::test]
async fn what_is_held_costs_no_request() {
    let (bytes, digest) = content(LENGTH);
    let world = public(bytes).await;
    let task = ContentKey::Digest(digest).task_id();
    let spec = world.spec_of(task, (digest, LENGTH), Visibility::Public);
    let new = spec.new_content(store::Reserve::EachPiece);
    let _held = world.store.create(new).expect("created");
    let ask = world.blob(digest, None);
    let described = world.doors.describe(&ask).await.expect("found");
    assert_eq!((described.task, described.length.0), (task, LENGTH as u64));
    assert!(world.server.seen().is_empty());
}

#[tokio::test]
async fn private_content_of_a_url_goes_to_its_caller_and_nowhere_else() {
    let (bytes, digest) = content(LENGTH);
    let mut world = private(bytes.clone()).await;
    let ask = with_digest(world.url("/f", ANN), digest);
    let mut opened = world.doors.open(&ask).await.expect("ann may");
    ends_well(&mut opened, Proof::Sealed, (&bytes, digest)).await;
    assert_eq!(opened.reader.sources().origin, LENGTH as u64);
    assert!(world.store.list().is_empty());
    assert!(!world.accesses.knows(&opened.description.task));
    assert!(world.commands.try_recv().is_err());
}

#[tokio::test]
async fn a_part_of_private_content_is_asked_as_a_part() {
    let (bytes, digest) = content(LENGTH);
    let world = private(bytes.clone()).await;
    let mut ask = with_digest(world.url("/f", ANN), digest);
    ask.range = AskedRange::parse("bytes=1000-1999");
    let mut opened = world.doors.open(&ask).await.expect("ann may");
    let range = ByteRange::new(1000, 2000).expect("a range");
    assert_eq!(read(&mut opened, range).await, bytes[1000..2000]);
    assert_eq!(opened.reader.sources().origin, 1000);
    assert!(opened.reader.finish(Proof::OwnDigest).await.is_err());
}

#[tokio::test]
async fn a_refusal_is_relayed_with_its_challenge() {
    let (bytes, digest) = content(10);
    let world = private(bytes).await;
    for authorization in [None, Some("Bearer eve")] {
        let ask = world.blob(digest, authorization);
        let Err(OpenError::Denied(answer)) = world.doors.open(&ask).await else {
            panic!("only ann may");
        };
        assert_eq!(answer.status, 401);
        assert_eq!(answer.headers["www-authenticate"], "Basic realm=\"here\"");
        assert_eq!(&answer.body[..], b"{\"errors\":[]}");
    }
}

#[tokio::test]
async fn a_stream_that_hashes_to_something_else_is_never_proved() {
    let (bytes, digest) = content(LENGTH);
    let (_, other) = content(10);
    let world = private(bytes).await;
    let ask = with_digest(world.url("/f", ANN), other);
    let mut opened = world.doors.open(&ask).await.expect("ann may");
    let proof = opened.reader.finish(Proof::OwnDigest).await;
    assert!(
        matches!(proof, Err(ReadError::Corrupt { expected, found, .. }) if expected == other && found == Some(digest))
    );
}

#[tokio::test]
async fn missing_content_is_not_found() {
    let world = World::new(|_| (404, Vec::new(), Vec::new())).await;
    let (_, digest) = content(1);
    for (ask, asked) in [
        (world.blob(digest, ANN), format!("/blobs/{digest}")),
        (world.url("/f", None), "/f".to_owned()),
    ] {
        let opened = world.doors.open(&ask).await;
        let Err(error @ OpenError::NotFound(_)) = opened else {
            panic!("it is not there: {opened:?}");
        };
        let told = format!("{:#}", anyhow::Error::from(error));
        assert!(told.contains(&asked) && told.contains("404"), "{told}");
    }
}

#[tokio::test]
async fn content_of_unknown_length_is_read_to_its_end_first() {
    let (bytes, digest) = content(LENGTH);
    let body = bytes.clone();
    let no_length = || vec![("x-no-length", "1".to_owned())];
    let world = World::new(move |_| (200, no_length(), body.clone())).await;
    let mut ask = world.url("/f", None);
    ask.proof = Proof::OwnDigest;
    let mut opened = world.doors.open(&ask).await.expect("found");
    assert_eq!(opened.description.length.0, LENGTH as u64);
    ends_well(&mut opened, Proof::OwnDigest, (&bytes, digest)).await;
}

#[tokio::test]
async fn a_descriptor_shows_every_byte_and_cannot_write() {
    let (bytes, digest) = content(LENGTH);
    let world = private(bytes.clone()).await;
    let mut ask = with_digest(world.url("/f", ANN), digest);
    ask.caller = Caller::Unix {
        uid: 0,
        gid: 0,
        pid: None,
    };
    let mut opened = world.doors.open(&ask).await.expect("ann may");
    let file = opened.reader.descriptor().expect("a descriptor");
    read(&mut opened, whole()).await;
    let mut file = File::from(file);
    let mut seen = Vec::new();
    file.read_to_end(&mut seen).expect("reads");
    assert!(seen == bytes);
    assert!(file.set_len(0).is_err());
}

#[tokio::test]
async fn while_the_bypass_is_on_nothing_is_asked_but_the_origin() {
    let (bytes, digest) = content(LENGTH);
    let mut world = public(bytes.clone()).await;
    let on = LocalService::bypass(&world.doors, BypassChange::On).await;
    assert!(on.expect("switched").is_on);
    let ask = world.blob(digest, ANN);
    let mut opened = world.doors.open(&ask).await.expect("found");
    assert_eq!(read(&mut opened, whole()).await, bytes);
    assert!(world.commands.try_recv().is_err());
    assert!(!world.accesses.knows(&opened.description.task));
    let seen = world.server.seen();
    assert!(seen.iter().all(|seen| seen.line("authorization") == ANN));
}

#[tokio::test]
async fn a_task_is_read_as_its_pieces_are_verified_and_ends_with_its_proof() {
    let (bytes, digest) = content(LENGTH);
    let mut world = public(bytes.clone()).await;
    let ask = world.blob(digest, None);
    let store = world.store.clone();
    let start = async {
        let Some(Command::Open {
            reply,
            spec,
            whole,
            run,
            ..
        }) = world.commands.recv().await
        else {
            panic!("the task is opened first");
        };
        assert!(whole && run == spec.layout.all());
        let task = begun(&store, spec, store::Reserve::Whole);
        drop(reply.send(Ok((Arc::clone(&task), ReaderNo(0), Begun::default()))));
        task
    };
    let (opened, task) = tokio::join!(world.doors.open(&ask), start);
    let mut opened = opened.expect("opened");
    for piece in task.spec.layout.all().pieces() {
        let range = task.spec.layout.range_of(piece);
        let at = |offset| usize::try_from(offset).expect("small");
        let part = at(range.start())..at(range.end());
        let mut writer = task.content.writer(piece).expect("free");
        writer.write(&bytes[part.clone()]).expect("written");
        writer.finish(None).expect("marked");
        task.counted(piece, From::Peer);
        task.verified();
        assert_eq!(read(&mut opened, range).await, bytes[part]);
        let told = world
            .commands
            .try_recv()
            .expect("the reader says where it is");
        assert!(matches!(told, Command::ReadAt { at, .. } if at == piece));
    }
    assert_eq!(opened.reader.sources().peer, LENGTH as u64);
    assert!(opened.reader.descriptor().is_ok());
    task.tell(|news| news.proven = Some(digest));
    let proved = opened.reader.finish(Proof::Sealed).await.expect("proved");
    assert_eq!(proved, Some(digest));
}

#[tokio::test]
async fn a_full_store_stops_no_consumer() {
    let (bytes, digest) = content(LENGTH);
    let mut world = public(bytes.clone()).await;
    let ask = world.blob(digest, None);
    let refuse = async {
        let Some(Command::Open { reply, spec, .. }) = world.commands.recv().await else {
            panic!("the task is opened first");
        };
        assert_eq!(spec.digest, Some(digest));
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        drop(reply.send(Err(Arc::new(TaskError::Store(Arc::new(full))))));
    };
    let (opened, ()) = tokio::join!(world.doors.open(&ask), refuse);
    let mut opened = opened.expect("streamed");
    ends_well(&mut opened, Proof::Sealed, (&bytes, digest)).await;
}

/// All bytes are right, and the end is proved as it was asked to be.
async fn ends_well(opened: &mut Opened, proof: Proof, (bytes, digest): (&[u8], Digest)) {
    assert_eq!(read(opened, whole()).await, bytes);
    let proved = opened.reader.finish(proof).await.expect("proved");
    assert_eq!(proved, Some(digest));
}

/// A task of `spec` that the core began.
fn begun(store: &store::Store, spec: crate::task::TaskSpec, reserve: store::Reserve) -> Arc<Task> {
    let held = store.create(spec.new_content(reserve)).expect("created");
    let cluster = identity::testing::Cluster::new("doors");
    let links = identity::Links::new(cluster.host(identity::Role::Daemon));
    Arc::new(Task::new(
        spec,
        held,
        (links, std::collections::BTreeSet::new()),
    ))
}

/// The same, and it fails at once because the disk does.
fn failing(store: &store::Store, spec: crate::task::TaskSpec) -> Arc<Task> {
    let task = begun(store, spec, store::Reserve::EachPiece);
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    task.tell(|news| news.failed = Some(Arc::new(TaskError::Store(Arc::new(full)))));
    task
}

#[tokio::test]
async fn a_disk_that_fails_before_the_first_byte_stops_no_client_of_the_mirror() {
    let (bytes, digest) = content(LENGTH);
    for is_local in [false, true] {
        let mut world = public(bytes.clone()).await;
        let store = world.store.clone();
        let mut ask = world.blob(digest, None);
        if is_local {
            ask.caller = Caller::Unix {
                uid: 0,
                gid: 0,
                pid: None,
            };
        }
        let begin = async {
            let Some(Command::Open { reply, spec, .. }) = world.commands.recv().await else {
                panic!("the task is opened first");
            };
            drop(reply.send(Ok((failing(&store, spec), ReaderNo(0), Begun::default()))));
        };
        let (opened, ()) = tokio::join!(world.doors.open(&ask), begin);
        let mut opened = opened.expect("a task");
        if is_local {
            // Its consumer was handed a descriptor of the file that fails.
            let ready = opened.reader.ready(0).await;
            assert!(matches!(ready, Err(ReadError::Store(_))), "{ready:?}");
        } else {
            ends_well(&mut opened, Proof::Sealed, (&bytes, digest)).await;
        }
    }
}

#[tokio::test]
async fn what_goes_past_the_store_needs_no_disk_unless_a_file_is_asked_for() {
    let (bytes, digest) = content(LENGTH);
    let world = private(bytes.clone()).await;
    std::fs::remove_dir_all(&world.doors.config.data_dir).expect("gone");
    let mut ask = with_digest(world.url("/f", ANN), digest);
    let mut opened = world.doors.open(&ask).await.expect("ann may");
    assert!(opened.reader.descriptor().is_err());
    ends_well(&mut opened, Proof::Sealed, (&bytes, digest)).await;
    ask.caller = Caller::Unix {
        uid: 0,
        gid: 0,
        pid: None,
    };
    let refused = world.doors.open(&ask).await;
    assert!(matches!(refused, Err(OpenError::NoRoom(_))), "{refused:?}");
}

#[tokio::test]
async fn a_manifest_is_given_without_its_registry_only_with_all_it_leads_to() {
    let world = token_registry().await;
    assert!(is_kept(&world).await);
    world.server.stop().await;
    // Nobody has noticed yet.
    assert!(held(&world).await.is_some());
    let request = manifest_request(&world, "/v2/team/app/manifests/latest");
    assert!(world.doors.pass(request).await.is_err());
    assert!(
        held(&world).await.is_none(),
        "it leads nowhere that is held"
    );
}

#[tokio::test]
async fn a_source_is_believed_only_if_the_origin_says_the_same() {
    let (bytes, _) = content(1000);
    let world = public(bytes).await;
    let ask = world.url("/f?b=1", None);
    let found = world
        .doors
        .resolver
        .find(&ask, Word::Anybodys)
        .await
        .expect("found");
    let Found::Shared { spec, .. } = found else {
        panic!("it is public");
    };
    let fresh = crate::access::Accesses::new(world.doors.resolver.origins.clone());
    let (found, _) = fresh
        .for_source(spec.task, &spec.source, None)
        .await
        .expect("the same");
    assert_eq!((found.task, found.layout), (spec.task, spec.layout));
    assert!(fresh.knows(&spec.task));
    let elsewhere = Source::Url(format!("http://{}/g", world.server.address));
    let found = fresh.for_source(spec.task, &elsewhere, None).await;
    assert!(matches!(found, Err(AccessError::Other { .. })));
}

const MANIFEST: &[u8] = b"{\"schemaVersion\":2}";

/// A registry that gives everything to who has a token, and a token to everybody.
async fn token_registry() -> World {
    World::new(|seen| {
        let host = seen.line("host").unwrap_or_default();
        if seen.target.starts_with("/token") {
            return (200, Vec::new(), b"{\"token\":\"anybody\"}".to_vec());
        }
        if seen.line("authorization") == Some("Bearer anybody") {
            let kind = ("content-type", "application/json".to_owned());
            return (200, vec![kind], MANIFEST.to_vec());
        }
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
        (401, vec![("www-authenticate", challenge)], Vec::new())
    })
    .await
}

fn manifest_request(world: &World, path: &str) -> UpstreamRequest {
    let registry = world.server.address.to_string();
    UpstreamRequest {
        registry: registry.parse().expect("a registry"),
        head: false,
        path_and_query: path.into(),
        headers: HeaderMap::new(),
    }
}

#[tokio::test]
async fn a_client_without_a_token_gets_public_manifests_and_sees_the_challenge() {
    let world = token_registry().await;
    let base = world.doors.pass(manifest_request(&world, "/v2/")).await;
    let base = base.expect("an answer");
    assert_eq!(base.status, 401);
    assert!(base.headers.contains_key("www-authenticate"));
    let request = manifest_request(&world, "/v2/team/app/manifests/latest");
    let answer = world.doors.pass(request).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    let body: Vec<bytes::Bytes> = answer.body.try_collect().await.expect("a body");
    assert_eq!(body.concat(), MANIFEST);
}

fn manifest_ask(world: &World) -> (ManifestAsk, HeldManifest) {
    let digest = Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(MANIFEST).into());
    let registry = world.server.address.to_string();
    let ask = ManifestAsk {
        registry: registry.parse().expect("a registry"),
        repository: "team/app".parse().expect("a repository"),
        name: ManifestName::Digest(digest),
        caller: Caller::Tcp(([127, 0, 0, 1], 1).into()),
        headers: OriginHeaders::default(),
    };
    let manifest = HeldManifest {
        digest,
        media_type: "application/json".into(),
        bytes: bytes::Bytes::from_static(MANIFEST),
    };
    (ask, manifest)
}

async fn held(world: &World) -> Option<HeldManifest> {
    world.doors.held(&manifest_ask(world).0).await
}

async fn is_kept(world: &World) -> bool {
    let (ask, manifest) = manifest_ask(world);
    world.doors.keep(&ask, &manifest);
    world.doors.manifests.settled().await;
    assert!(world.doors.stale(&ask).await.is_none());
    held(world).await == Some(manifest)
}

#[tokio::test]
async fn only_what_anybody_may_have_is_kept_of_manifests() {
    assert!(is_kept(&token_registry().await).await);
    assert!(!is_kept(&private(MANIFEST.to_vec()).await).await);
}
