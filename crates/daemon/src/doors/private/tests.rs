use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gateway::{ContentAsk, OpenError, Upstream, UpstreamRequest};
use types::{ByteCount, ContentKey, Digest, Source, TaskId, Visibility};

use super::{
    super::{
        resolve::{Found, Word},
        testing::{Answer, Seen, Server, World, blob_at, content},
    },
    ProofPolicy, Rights,
};
use crate::task::TaskSpec;

const ANN: Option<&str> = Some("Bearer ann");
const BOB: Option<&str> = Some("Bearer bob");
const LENGTH: usize = 200_000;

fn denied() -> Answer {
    let challenge = ("www-authenticate", "Basic realm=\"here\"".to_owned());
    (401, vec![challenge], b"{\"errors\":[]}".to_vec())
}

/// A registry that gives blobs of team/app to ann, as long as `is_open`, and to everybody once `is_public`.
async fn registry(bytes: &[u8]) -> (World, Arc<AtomicBool>, Arc<AtomicBool>) {
    let (is_open, is_public) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let answer = gives(bytes, (Arc::clone(&is_open), Arc::clone(&is_public)));
    (World::new(answer).await, is_open, is_public)
}

fn gives(
    bytes: &[u8],
    (is_open, is_public): (Arc<AtomicBool>, Arc<AtomicBool>),
) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    let bytes = bytes.to_vec();
    move |seen| {
        let is_anns = seen.line("authorization") == ANN && seen.target.contains("/team/app/");
        if (is_anns && is_open.load(Ordering::SeqCst)) || is_public.load(Ordering::SeqCst) {
            (200, Vec::new(), bytes.clone())
        } else {
            denied()
        }
    }
}

async fn find(world: &World, ask: &ContentAsk) -> Result<TaskSpec, OpenError> {
    match world.doors.resolver.find(ask, Word::Anybodys).await? {
        Found::Shared { spec, .. } => Ok(spec),
        Found::Alone(_) => panic!("it is a task"),
    }
}

fn private_name(world: &World, digest: Digest) -> TaskId {
    let registry = world.server.address.to_string();
    let registry = registry.parse().expect("a registry");
    ContentKey::Private { registry, digest }.task_id()
}

/// Puts all of `bytes` into the store as what the registry keeps private.
fn hold(world: &World, (bytes, digest): (&[u8], Digest)) -> TaskId {
    let task = private_name(world, digest);
    let spec = world.spec_of(task, (digest, bytes.len()), Visibility::Private);
    let (layout, new) = (spec.layout, spec.new_content(store::Reserve::Whole));
    let held = world.store.create(new).expect("created");
    for piece in layout.all().pieces() {
        let range = layout.range_of(piece);
        let at = |offset| usize::try_from(offset).expect("small");
        let mut writer = held.writer(piece).expect("free");
        writer
            .write(&bytes[at(range.start())..at(range.end())])
            .expect("written");
        writer.finish(None).expect("marked");
    }
    held.set_complete(digest).expect("complete");
    task
}

/// What a registry saw: method, target, who asked.
fn seen(server: &Server) -> Vec<(String, String, Option<String>)> {
    let seen = server.seen().into_iter();
    seen.map(|seen| {
        let who = seen.line("authorization").map(str::to_owned);
        (seen.method, seen.target, who)
    })
    .collect()
}

#[tokio::test]
async fn who_has_shown_his_right_gets_a_task_of_that_registry_and_is_not_asked_again() {
    let (bytes, digest) = content(LENGTH);
    let (world, ..) = registry(&bytes).await;
    let ask = world.blob(digest, ANN);
    let spec = find(&world, &ask).await.expect("ann may");
    assert_eq!(spec.visibility, Visibility::Private);
    assert_eq!(spec.task, private_name(&world, digest));
    assert!(spec.is_by_digest());
    assert_eq!(spec.layout.length().0, LENGTH as u64);
    assert!(world.accesses.opens(&spec), "it is read on ann's behalf");
    let asked = seen(&world.server);
    let who: Vec<_> = asked.iter().map(|(.., who)| who.as_deref()).collect();
    assert_eq!(who, [None, ANN], "nobody in particular is tried first");
    find(&world, &ask).await.expect("ann may");
    assert_eq!(seen(&world.server).len(), asked.len());
}

/// Whatever is held, and whoever was here before: the same questions go out, and the same answer comes back.
#[tokio::test]
async fn who_may_not_have_it_cannot_tell_whether_it_is_held() {
    let (bytes, digest) = content(LENGTH);
    let mut told = Vec::new();
    for is_held in [false, true] {
        let (world, ..) = registry(&bytes).await;
        if is_held {
            hold(&world, (&bytes, digest));
            find(&world, &world.blob(digest, ANN))
                .await
                .expect("ann may");
        }
        let before = world.server.seen().len();
        for (repository, who) in [("team/app", BOB), ("team/app", None), ("bob/app", BOB)] {
            let ask = world.blob_in(repository, digest, who);
            let Err(OpenError::Denied(answer)) = find(&world, &ask).await else {
                panic!("only ann may");
            };
            told.push((answer.status, answer.headers.clone(), answer.body.clone()));
        }
        let targets = seen(&world.server).split_off(before);
        let names = |target: &(String, String, Option<String>)| format!("{target:?}");
        told.push((
            Default::default(),
            http::HeaderMap::new(),
            targets.iter().map(names).collect::<String>().into(),
        ));
    }
    let (new, held) = told.split_at(told.len() / 2);
    let dateless = |told: &[(http::StatusCode, http::HeaderMap, bytes::Bytes)]| format!("{told:?}");
    assert_eq!(dateless(new), dateless(held));
}

#[tokio::test]
async fn another_repository_is_asked_for_itself() {
    let (bytes, digest) = content(LENGTH);
    let (world, ..) = registry(&bytes).await;
    find(&world, &world.blob(digest, ANN))
        .await
        .expect("ann may");
    let other = find(&world, &world.blob_in("bob/app", digest, ANN)).await;
    assert!(matches!(other, Err(OpenError::Denied(_))), "{other:?}");
}

#[tokio::test]
async fn who_lost_his_right_gets_nothing_once_his_proof_is_over() {
    let (bytes, digest) = content(LENGTH);
    for (counts_for, may_still) in [(Duration::from_secs(300), true), (Duration::ZERO, false)] {
        let (mut world, is_open, _) = registry(&bytes).await;
        world.doors.resolver.rights = Rights::new(ProofPolicy::of(counts_for));
        hold(&world, (&bytes, digest));
        let ask = world.blob(digest, ANN);
        find(&world, &ask).await.expect("ann may");
        is_open.store(false, Ordering::SeqCst);
        assert_eq!(find(&world, &ask).await.is_ok(), may_still);
    }
}

#[tokio::test]
async fn who_was_refused_is_refused_again_without_a_question_for_a_while() {
    let (bytes, digest) = content(LENGTH);
    let (world, ..) = registry(&bytes).await;
    let ask = world.blob(digest, BOB);
    let first = find(&world, &ask).await.expect_err("bob may not");
    let asked = world.server.seen().len();
    let second = find(&world, &ask).await.expect_err("bob may not");
    assert_eq!(world.server.seen().len(), asked);
    let (OpenError::Denied(first), OpenError::Denied(second)) = (first, second) else {
        panic!("the registry's own refusal");
    };
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}

/// Whoever has a registry of his own can say anything of a digest that he heard of: also that everybody may have it.
#[tokio::test]
async fn a_registry_that_claims_a_digest_of_another_gets_nobody_its_content() {
    let (bytes, digest) = content(LENGTH);
    let evil = Server::start(|_| (200, Vec::new(), vec![0; LENGTH])).await;
    let is_closed = Arc::new(AtomicBool::new(false));
    let answer = gives(&bytes, (Arc::new(AtomicBool::new(true)), is_closed));
    let world = World::beside(answer, &evil).await;
    let held = hold(&world, (&bytes, digest));
    let of_evil = format!("{}/team/app", evil.address);
    for who in [None, BOB] {
        let spec = find(&world, &blob_at(&of_evil, digest, who)).await;
        let spec = spec.expect("the evil registry says yes");
        assert_ne!(spec.task, held);
        assert!(world.store.info(spec.task).is_none(), "nothing is here");
    }
    let private = Server::start(|seen| match seen.line("authorization") {
        Some(_) => (200, Vec::new(), vec![0; LENGTH]),
        None => denied(),
    })
    .await;
    let answer = gives(&bytes, (Arc::default(), Arc::default()));
    let world = World::beside(answer, &private).await;
    let held = hold(&world, (&bytes, digest));
    let of_evil = format!("{}/team/app", private.address);
    let spec = find(&world, &blob_at(&of_evil, digest, BOB)).await;
    let spec = spec.expect("the evil registry says yes to bob");
    assert_eq!(spec.visibility, Visibility::Private);
    assert_ne!(spec.task, held);
}

#[tokio::test]
async fn what_another_registry_began_to_give_is_no_word_on_this_one() {
    let (bytes, digest) = content(LENGTH);
    let (world, ..) = registry(&bytes).await;
    let public = ContentKey::Digest(digest).task_id();
    for (from, is_asked) in [
        ("evil.example".to_owned(), true),
        (world.server.address.to_string(), false),
    ] {
        let spec = TaskSpec {
            source: Source::Blob {
                registry: from.parse().expect("a registry"),
                repository: "all/x".parse().expect("a repository"),
                digest,
            },
            ..world.spec_of(public, (digest, LENGTH), Visibility::Public)
        };
        let new = spec.new_content(store::Reserve::EachPiece);
        drop(world.store.create(new).expect("created"));
        let before = world.server.seen().len();
        let spec = find(&world, &world.blob(digest, ANN))
            .await
            .expect("ann may");
        assert_eq!(world.server.seen().len() > before, is_asked, "{from}");
        assert_eq!(spec.task == public, !is_asked, "{from}");
        world.store.remove(public).expect("removed");
    }
}

#[tokio::test]
async fn what_its_registry_gives_to_everybody_by_now_is_public_and_held() {
    let (bytes, digest) = content(LENGTH);
    let (world, _, is_public) = registry(&bytes).await;
    let task = hold(&world, (&bytes, digest));
    is_public.store(true, Ordering::SeqCst);
    let spec = find(&world, &world.blob(digest, BOB))
        .await
        .expect("public");
    assert_eq!((spec.task, spec.visibility), (task, Visibility::Public));
    assert!(spec.is_by_digest());
    let info = world.store.info(task).expect("held");
    assert_eq!(info.visibility, Visibility::Public);
    let asked = world.server.seen().len();
    let spec = find(&world, &world.blob(digest, None))
        .await
        .expect("public");
    assert_eq!((spec.task, spec.is_by_digest()), (task, true));
    assert_eq!(world.server.seen().len(), asked, "it is held");
}

#[tokio::test]
async fn a_page_that_everybody_gets_for_anything_makes_nothing_public() {
    let (bytes, digest) = content(LENGTH);
    let page = |_: &Seen| -> Answer { (200, Vec::new(), b"sign in".to_vec()) };
    let world = World::new(page).await;
    let task = hold(&world, (&bytes, digest));
    let spec = find(&world, &world.blob(digest, BOB))
        .await
        .expect("a page");
    assert_ne!(spec.task, task);
    let info = world.store.info(task).expect("held");
    assert_eq!(info.visibility, Visibility::Private);
}

#[tokio::test]
async fn who_is_known_to_have_a_right_proves_it_anew_once_the_registry_refused_what_is_read_for_him()
 {
    let (bytes, digest) = content(LENGTH);
    let (world, is_open, _) = registry(&bytes).await;
    let ask = world.blob(digest, ANN);
    let spec = find(&world, &ask).await.expect("ann may");
    let access = world.accesses.known(&spec).expect("it is read for ann");
    is_open.store(false, Ordering::SeqCst);
    world.accesses.forget(&spec, &access);
    let refused = find(&world, &ask).await;
    assert!(matches!(refused, Err(OpenError::Denied(_))));
    is_open.store(true, Ordering::SeqCst);
}

/// A token that is good for a minute, say, must not take the place of one that is good for a day.
#[tokio::test]
async fn what_is_read_for_one_caller_goes_on_when_another_comes_and_goes() {
    let (bytes, digest) = content(LENGTH);
    const CAROL: Option<&str> = Some("Bearer carol");
    let anns = Arc::new(AtomicBool::new(true));
    let (body, is_open) = (bytes.clone(), Arc::clone(&anns));
    let world = World::new(move |seen| match seen.line("authorization") {
        ANN if is_open.load(Ordering::SeqCst) => (200, Vec::new(), body.clone()),
        CAROL => (200, Vec::new(), body.clone()),
        _ => denied(),
    })
    .await;
    let (anns_ask, carols_ask) = (world.blob(digest, ANN), world.blob(digest, CAROL));
    let spec = find(&world, &anns_ask).await.expect("ann may");
    find(&world, &carols_ask).await.expect("carol may");
    let whole = types::ByteRange::whole(ByteCount(LENGTH as u64));
    let read_for = async |who: Option<&str>| {
        let read = world.accesses.read(&spec, whole).await;
        read.expect("an access").expect("the registry gives it");
        let asked = seen(&world.server).pop().expect("a request");
        assert_eq!((asked.0.as_str(), asked.2.as_deref()), ("GET", who));
    };
    read_for(ANN).await;
    anns.store(false, Ordering::SeqCst);
    read_for(CAROL).await;
    anns.store(true, Ordering::SeqCst);
    // Ann's way past the store is her own, whoever is first.
    let own = (world.doors.resolver.own_access(&anns_ask, &spec)).expect("it is private");
    own.read(whole).await.expect("the registry gives it");
    let asked = seen(&world.server).pop().expect("a request");
    assert_eq!(asked.2.as_deref(), ANN);
}

#[tokio::test]
async fn a_seed_reads_what_is_private_only_as_an_operator_lets_it() {
    let (bytes, digest) = content(LENGTH);
    let (world, _, is_public) = registry(&bytes).await;
    let spec = find(&world, &world.blob(digest, ANN))
        .await
        .expect("ann may");
    let fresh = crate::access::Accesses::new(world.doors.resolver.origins.clone());
    assert!(!fresh.opens(&spec));
    let before = world.server.seen().len();
    let refused = fresh.for_source(spec.task, &spec.source, spec.digest).await;
    assert!(refused.is_err());
    let asked = seen(&world.server).split_off(before);
    assert!(asked.iter().all(|(.., who)| who.is_none()), "{asked:?}");
    // What everybody may have it may read, whatever its name.
    is_public.store(true, Ordering::SeqCst);
    let (found, _) = fresh
        .for_source(spec.task, &spec.source, spec.digest)
        .await
        .expect("anybody may");
    assert_eq!(
        (found.task, found.visibility),
        (spec.task, Visibility::Private)
    );
}

#[tokio::test]
async fn who_shows_nothing_acts_with_credentials_that_are_lent() {
    let (bytes, digest) = content(LENGTH);
    const LENT: Option<&str> = Some("Basic YW5uOnMzY3JldA==");
    let body = bytes.clone();
    let gives = move |seen: &Seen| match seen.line("authorization") == LENT {
        true => (200, Vec::new(), body.clone()),
        false => denied(),
    };
    for lends in [true, false] {
        let world = match lends {
            true => World::lending(gives.clone()).await,
            false => World::new(gives.clone()).await,
        };
        let found = find(&world, &world.blob(digest, None)).await;
        assert_eq!(
            found.is_ok_and(|spec| spec.visibility == Visibility::Private),
            lends
        );
        // Who shows something of his own is himself.
        let bobs = find(&world, &world.blob(digest, BOB)).await;
        assert!(matches!(bobs, Err(OpenError::Denied(_))), "{bobs:?}");
        let base = UpstreamRequest {
            registry: world
                .server
                .address
                .to_string()
                .parse()
                .expect("a registry"),
            head: false,
            path_and_query: "/v2/".into(),
            headers: http::HeaderMap::new(),
        };
        let answer = world.doors.pass(base).await.expect("an answer");
        assert_eq!(
            answer.status == 200,
            lends,
            "a challenge would send him for a token"
        );
    }
}

#[tokio::test]
async fn a_proof_ends_with_the_token_that_it_was_made_with() {
    let (bytes, digest) = content(LENGTH);
    // {"exp":1500} and {"exp":32503680000}: long ago, and far ahead.
    for (token, is_kept) in [
        ("Bearer x.eyJleHAiOjE1MDB9.y", false),
        ("Bearer x.eyJleHAiOjMyNTAzNjgwMDAwfQ.y", true),
    ] {
        let body = bytes.clone();
        // It is lenient, as real ones are for a minute.
        let world = World::new(move |seen| match seen.line("authorization") {
            Some(_) => (200, Vec::new(), body.clone()),
            None => denied(),
        })
        .await;
        let ask = world.blob(digest, Some(token));
        find(&world, &ask).await.expect("the registry says yes");
        let asked = world.server.seen().len();
        find(&world, &ask).await.expect("the registry says yes");
        assert_eq!(world.server.seen().len() == asked, is_kept, "{token}");
    }
}

/// What hosts tell each other and their scheduler is made of this.
#[tokio::test]
async fn nothing_of_what_a_caller_shows_is_in_a_task() {
    let (bytes, digest) = content(LENGTH);
    let (world, ..) = registry(&bytes).await;
    let spec = find(&world, &world.blob(digest, ANN))
        .await
        .expect("ann may");
    let told = format!("{spec:?} {}", spec.source);
    assert!(!told.contains("ann") && !told.contains("Bearer"), "{told}");
}
