//! What another host saw, right or wrong, and what this host tells.

use futures_util::FutureExt;
use gateway::{AskedRange, Caller, Class, ContentAsk, ContentReader, OriginHeaders, Wanted};
use identity::testing::Cluster as TestCluster;
use swarm::download::DownloadPolicy;
use tokio::{sync::mpsc, task::JoinSet};
use types::{ByteCount, ByteRange, Digest, Validator};

use super::*;
use crate::{
    config::Limits,
    core::tests::{Host, Web, content},
    doors::{
        Doors,
        resolve::{Found as Content, Word},
        testing::{Answer, Seen, World, doors, read},
    },
};

fn tag(text: &str) -> Option<Validator> {
    Some(Validator::ETag(text.to_owned()))
}

fn told(length: u64, validator: Option<Validator>) -> Look {
    let found = Found::of(ByteCount(length), validator).expect("fit to travel");
    Look::Told(found)
}

fn small(_: &Seen) -> Answer {
    (200, vec![("etag", "\"one\"".to_owned())], vec![7; 1000])
}

/// Answers the one question of a resolver, if it has one, and gives what it tells besides what it found.
async fn asked(
    world: &mut World,
    ask: &ContentAsk,
    answer: Option<Look>,
) -> (Content, Vec<Source>, Option<Command>) {
    let mut sources = Vec::new();
    let (resolver, commands) = (&world.doors.resolver, &mut world.commands);
    let mut finding = resolver.find(ask, Word::Anybodys).boxed();
    let mut said = None;
    let found = loop {
        tokio::select! {
            found = &mut finding => break found,
            command = commands.recv() => match command.expect("the doors are there") {
                Command::Look { source, reply } => {
                    sources.push(source);
                    match &answer {
                        Some(answer) => drop(reply.send(answer.clone())),
                        // A scheduler that does not answer.
                        None => std::mem::forget(reply),
                    }
                }
                other => said = Some(other),
            }
        }
    };
    drop(finding);
    let said = said.or_else(|| commands.try_recv().ok());
    (
        found.unwrap_or_else(|_| panic!("the origin is there")),
        sources,
        said,
    )
}

fn length_of(found: &Content) -> (u64, bool) {
    match found {
        Content::Shared { spec, is_sure, .. } => (spec.layout.length().0, *is_sure),
        Content::Alone(_) => panic!("it is public"),
    }
}

#[tokio::test]
async fn what_another_host_saw_costs_no_request() {
    let mut world = World::with(small, true).await;
    let url = world.url("/f", None);
    let (found, sources, said) = asked(&mut world, &url, Some(told(5, tag("\"one\"")))).await;
    assert_eq!(length_of(&found), (5, false));
    assert_eq!(
        sources,
        [Source::Url(format!("http://{}/f", world.server.address))]
    );
    let blob = world.blob(Digest::sha256([1; 32]), None);
    let (found, sources, also) = asked(&mut world, &blob, Some(told(6, None))).await;
    assert_eq!((length_of(&found), sources.len()), ((6, false), 1));
    assert!(world.server.seen().is_empty() && said.is_none() && also.is_none());
}

#[tokio::test]
async fn a_host_that_is_to_look_tells_what_it_saw() {
    let mut world = World::with(small, true).await;
    for ask in [
        world.url("/f", None),
        world.blob(Digest::sha256([1; 32]), None),
    ] {
        let (found, _, said) = asked(&mut world, &ask, Some(Look::Yourself)).await;
        assert_eq!(length_of(&found), (1000, true));
        let Some(Command::Looked {
            found: Some(found), ..
        }) = said
        else {
            panic!("it tells");
        };
        assert_eq!(found.length, ByteCount(1000));
        assert_eq!(
            found.validator.is_some(),
            matches!(ask.wanted, Wanted::Url { .. })
        );
    }
}

#[tokio::test]
async fn what_is_asked_with_credentials_is_nobody_elses() {
    let mut world = World::with(small, true).await;
    for ask in [
        world.url("/f", Some("Bearer ann")),
        world.url("/f?X-Amz-Signature=s", None),
    ] {
        let answer = told(5, tag("\"one\""));
        let found = asked(&mut world, &ask, Some(answer)).await;
        assert!(matches!(found, (Content::Alone(_), sources, None) if sources.is_empty()));
    }
    assert!(!world.server.seen().is_empty());
}

#[tokio::test]
async fn a_scheduler_that_does_not_answer_is_waited_for_once() {
    let mut world = World::with(small, true).await;
    for asks in [1, 0] {
        let ask = world.url("/f", None);
        let (found, sources, said) = asked(&mut world, &ask, None).await;
        assert_eq!((length_of(&found), sources.len()), ((1000, true), asks));
        assert!(said.is_none(), "nobody asked for it");
    }
}

/// A host whose scheduler says `answer` of every source.
struct Misled {
    doors: Doors,
    _forwarding: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Misled {
    fn new(host: &Host, answer: Look) -> Self {
        let (sender, mut commands) = mpsc::channel(8);
        let core = host.handle.clone();
        let mut forwarding = JoinSet::new();
        forwarding.spawn(async move {
            while let Some(command) = commands.recv().await {
                match command {
                    Command::Look { reply, .. } => drop(reply.send(answer.clone())),
                    other => core.tell(other).await,
                }
            }
        });
        let dir = tempfile::tempdir().expect("a directory");
        let kept = (host.store.clone(), dir.path().to_owned());
        let outside = (host.origins.clone(), host.accesses.clone());
        Self {
            doors: doors(sender, kept, outside, true),
            _forwarding: forwarding,
            _dir: dir,
        }
    }
}

fn ask(web: &Web, digest: Option<Digest>, range: Option<AskedRange>) -> ContentAsk {
    ContentAsk {
        wanted: Wanted::Url {
            url: types::Secret::new(web.url()),
            digest,
            tag: String::new(),
            ignored: Vec::new(),
            seen: None,
        },
        range,
        // Such a caller waits for the first piece however long it takes; one of the mirror does not.
        caller: Caller::Unix {
            uid: 0,
            gid: 0,
            pid: None,
        },
        headers: OriginHeaders::default(),
        class: Class::Waiting,
        prefetch: false,
        proof: gateway::Proof::OwnDigest,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_word_on_a_source_is_found_out_by_the_first_piece() {
    let length = (1 << 20) + 17;
    let web = Web::serving(content(length)).await;
    let digest = Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(&*web.content).into());
    let whole = ByteRange::whole(ByteCount(length as u64));
    for (digest, length, validator) in [
        (None, 1 << 20, tag("\"one\"")),
        (None, 3 << 20, tag("\"one\"")),
        (None, length as u64, tag("\"two\"")),
        (Some(digest), 1 << 20, None),
        (Some(digest), 3 << 20, tag("\"one\"")),
        (Some(digest), 1 << 30, tag("\"two\"")),
    ] {
        let cluster = TestCluster::new("misled");
        let host = Host::new(&cluster, &web, false).await;
        let misled = Misled::new(&host, told(length, validator));
        let mut opened = misled
            .doors
            .open(&ask(&web, digest, None))
            .await
            .expect("it is there");
        assert_eq!(opened.description.length.0, whole.end(), "told {length}");
        assert!(
            read(&mut opened, whole).await == *web.content,
            "told {length}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_word_on_a_source_needs_no_look() {
    let web = Web::serving(content(1 << 20)).await;
    let cluster = TestCluster::new("led");
    let host = Host::new(&cluster, &web, false).await;
    let led = Misled::new(&host, told(1 << 20, tag("\"one\"")));
    let mut opened = led
        .doors
        .open(&ask(&web, None, None))
        .await
        .expect("it is there");
    let whole = ByteRange::whole(ByteCount(1 << 20));
    assert!(read(&mut opened, whole).await == *web.content);
    assert_eq!(web.heads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_mirror_has_its_answer_before_a_slow_origin_sends_a_byte() {
    let web = Web::serving(content(1 << 20)).await;
    let cluster = TestCluster::new("slow");
    let limits = Limits {
        download: DownloadPolicy {
            hard_limit: Duration::from_secs(3),
            ..DownloadPolicy::default()
        },
        ..Limits::default()
    };
    let host = Host::within(&cluster, &web, (false, limits)).await;
    let led = Misled::new(&host, told(1 << 20, tag("\"one\"")));
    web.refuse("");
    let mut ask = ask(&web, None, None);
    ask.caller = Caller::Tcp(([127, 0, 0, 1], 1).into());
    let mut opened = led.doors.open(&ask).await.expect("told");
    assert_eq!((opened.description.length.0, web.heads()), (1 << 20, 0));
    assert!(opened.reader.ready(0).now_or_never().is_none(), "no byte");
    // If it goes wrong from here on, the word it went by is not believed again.
    let task = opened.description.task;
    assert!(opened.reader.ready(0).await.is_err());
    let doubted = &led.doors.resolver.doubted;
    assert!(doubted.contains(&task, std::time::Instant::now()));
}
