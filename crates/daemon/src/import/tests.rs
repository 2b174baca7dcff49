//! Imports into a real store, from a real origin.

use origin::{Budget, OriginConfig, Origins, RetryPolicy, Roots};
use store::{Reserve, Store, StoreConfig};
use types::{ContentKey, Source, Validator};

use super::*;
use crate::{
    doors::testing::{Answer, Seen, Server, content},
    metrics::Now,
    task::TaskSpec,
};

const TAG: &str = "\"one\"";

/// An import of a content of eight pieces, which the test orders.
struct World {
    server: Server,
    origins: Origins,
    task: Arc<Task>,
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<Event>,
    metrics: Metrics,
    _dir: tempfile::TempDir,
    _running: tokio::task::JoinSet<()>,
}

/// A file server's answer.
fn serve(seen: &Seen, body: &[u8]) -> Answer {
    let tag = ("etag", TAG.to_owned());
    let range = seen.line("range").and_then(|text| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    match range {
        Some((first, last)) => {
            let told = format!("bytes {first}-{last}/{}", body.len());
            (
                206,
                vec![tag, ("content-range", told)],
                body[first..=last].to_vec(),
            )
        }
        None => (200, vec![tag], body.to_vec()),
    }
}

impl World {
    async fn new(answer: fn(&Seen, &[u8]) -> Answer, budget: Budget) -> Self {
        let (body, _) = content((1 << 20) - 5);
        let server = Server::start(move |seen| answer(seen, &body)).await;
        let url = format!("http://{}/file", server.address);
        let origins = Origins::new(OriginConfig {
            origins: vec![url.trim_end_matches("/file").parse().expect("an origin")],
            roots: Roots::Files,
            retry: RetryPolicy::never(),
            budget,
            ..OriginConfig::default()
        });
        let origins = origins.expect("a door outside");
        let accesses = Accesses::new(origins.clone());
        let key = ContentKey::Url {
            url: url.clone(),
            tag: String::new(),
            validator: Validator::ETag(TAG.into()),
        };
        let source = Source::Url(url);
        let found = accesses.for_source(key.task_id(), &source, None);
        let spec = found.await.expect("the origin is there").0;
        let dir = tempfile::tempdir().expect("a directory");
        let task = Arc::new(task(spec, dir.path()));
        let (orders, ordered) = mpsc::channel(4);
        let (events_in, events) = mpsc::channel(64);
        let metrics = Metrics::default();
        let import = Import {
            task: Arc::clone(&task),
            accesses,
            epoch: None,
            signer: None,
            metrics: metrics.clone(),
        };
        let mut running = tokio::task::JoinSet::new();
        running.spawn(import.run(ordered, Events::new(events_in), CancellationToken::new()));
        Self {
            server,
            origins,
            task,
            orders,
            events,
            metrics,
            _dir: dir,
            _running: running,
        }
    }

    /// Imports `run`, with a request for everything behind it if there must be one, and waits for its last piece.
    async fn import(&mut self, first: u32, count: u32) {
        let first = PieceIndex(first);
        let run = PieceRun { first, count };
        let reach = PieceRun {
            first,
            count: self.task.spec.layout.piece_count() - first.0,
        };
        self.orders
            .send(Order { run, reach })
            .await
            .expect("it runs");
        while !run
            .pieces()
            .all(|piece| self.task.content.have().contains(piece))
        {
            match self.events.recv().await.expect("it runs") {
                Event::Imported { .. } => {}
                Event::ImportFailed { cause, .. } => panic!("{cause:?}"),
                _ => panic!("an import says nothing else"),
            }
        }
    }

    /// The ranges that were asked of the origin, as they were asked.
    fn asked(&self) -> Vec<String> {
        let seen = self.server.seen();
        let gets = seen.iter().filter(|seen| seen.method == "GET");
        gets.map(|seen| seen.line("range").unwrap_or("all").to_owned())
            .collect()
    }
}

fn task(spec: TaskSpec, dir: &std::path::Path) -> Task {
    let config = StoreConfig {
        free_floor: ByteCount::ZERO,
        ..StoreConfig::new(dir.join("store"))
    };
    let (store, _) = Store::open(config).expect("a store");
    let content = store.create(spec.new_content(Reserve::Whole));
    let cluster = identity::testing::Cluster::new("import");
    let links = identity::Links::new(cluster.host(identity::Role::Daemon));
    Task::new(
        spec,
        content.expect("room"),
        (links, std::collections::BTreeSet::new()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_follow_each_other_are_one_request() {
    let mut world = World::new(serve, Budget::default()).await;
    for first in [0, 2, 4] {
        world.import(first, 2).await;
    }
    assert_eq!(world.asked(), ["bytes=0-1048570"]);
    world.import(7, 1).await;
    assert!(world.task.content.have().is_full(), "the gap was read past");
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lies_behind_is_a_request_of_its_own() {
    let mut world = World::new(serve, Budget::default()).await;
    world.import(4, 1).await;
    world.import(0, 2).await;
    assert_eq!(world.asked(), ["bytes=524288-1048570", "bytes=0-1048570"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_without_ranges_is_read_once() {
    let mut world = World::new(
        |_, body| (200, vec![("etag", TAG.to_owned())], body.to_vec()),
        Budget::default(),
    )
    .await;
    for first in [3, 4, 7] {
        world.import(first, 1).await;
    }
    assert!(
        world.task.content.have().is_full(),
        "what came before was kept"
    );
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_makes_room_for_who_waits() {
    let mut world = World::new(
        serve,
        Budget {
            concurrency: 1,
            ..Budget::default()
        },
    )
    .await;
    world.import(0, 1).await;
    let url = format!("http://{}/other", world.server.address);
    let request = origin::Request::new(&url, origin::SecretHeaders::default()).expect("a URL");
    world
        .origins
        .resolve(&request)
        .await
        .expect("there is a place");
    world.import(1, 1).await;
    assert_eq!(world.asked(), ["bytes=0-1048570", "bytes=131072-1048570"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_told_and_the_next_one_asks_anew() {
    let spoiled = |seen: &Seen, body: &[u8]| {
        let (status, mut lines, bytes) = serve(seen, body);
        if seen
            .line("range")
            .is_some_and(|range| range.starts_with("bytes=0-"))
        {
            lines.retain(|(name, _)| *name != "etag");
        }
        (status, lines, bytes)
    };
    let mut world = World::new(spoiled, Budget::default()).await;
    let run = PieceRun {
        first: PieceIndex(0),
        count: 2,
    };
    world
        .orders
        .send(Order {
            run,
            reach: world.task.spec.layout.all(),
        })
        .await
        .expect("it runs");
    let Some(Event::ImportFailed {
        run: failed, cause, ..
    }) = world.events.recv().await
    else {
        panic!("the answer is not the content");
    };
    assert!(failed == run && cause.is_permanent(), "{cause:?}");
    world.import(2, 1).await;
    assert!(world.task.content.have().contains(PieceIndex(2)));
}

impl World {
    /// Orders `run` and gives what is said of its pieces.
    async fn order(&mut self, first: u32, count: u32) -> Vec<String> {
        let run = PieceRun {
            first: PieceIndex(first),
            count,
        };
        let order = Order { run, reach: run };
        self.orders.send(order).await.expect("it runs");
        let mut said = Vec::new();
        for _ in run.pieces() {
            said.push(match self.events.recv().await.expect("it runs") {
                Event::Imported { piece, .. } => format!("{piece} came"),
                Event::ImportHeld { piece, .. } => format!("{piece} was here"),
                Event::ImportFailed { run, cause, .. } => format!("{run}: {cause}"),
                _ => panic!("an import says nothing else"),
            });
        }
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ordered_piece_is_told_of() {
    let mut world = World::new(serve, Budget::default()).await;
    let (content, parent) = (&world.task.content, types::HostId::from_bytes([1; 32]));
    let of = |piece| content.writer(PieceIndex(piece)).expect("nobody has it");
    let busy = of(2);
    world
        .task
        .awaited
        .expect(parent, PieceRun::one(PieceIndex(1)));
    let writer = of(1);
    world.task.awaited.receive(parent, PieceIndex(1), writer);
    let told = [
        "piece 0 came".to_owned(),
        "piece 1 came".to_owned(),
        format!(
            "{}: piece 2 is being written by another import",
            PieceRun::one(PieceIndex(2))
        ),
        "piece 3 came".to_owned(),
    ];
    assert_eq!(world.order(0, 4).await, told, "the parent's piece is taken");
    drop(busy);
    let told = ["piece 1 was here", "piece 2 came"];
    assert_eq!(world.order(1, 2).await, told);
    // Everything was read without a lease, and a piece each time for nothing.
    let text = world.metrics.text(&Now::default());
    for line in [
        format!("pantala_origin_unleased_bytes_total {}", 6 * 131_072),
        format!("pantala_import_wasted_bytes_total {}", 2 * 131_072),
    ] {
        assert!(
            text.lines().any(|one| one == line),
            "{line} is not in {text}"
        );
    }
}

#[test]
fn an_origin_is_never_left_alone_for_longer_than_a_minute() {
    let failed = |status, retry_after| {
        let url = "https://a.example/f".parse().expect("a URL");
        ImportError::Origin(origin::ReadError::Ask(AskError::Status {
            url: origin::ShownUrl::of(&url),
            status,
            retry_after,
        }))
        .retry_after()
    };
    let status = |code| http::StatusCode::from_u16(code).expect("a status");
    let (minute, never) = (Duration::from_secs(60), Duration::from_secs(u64::MAX));
    assert_eq!(failed(status(503), Some(never)), Some(minute));
    assert_eq!(failed(status(429), Some(minute / 2)), Some(minute / 2));
    assert!(failed(status(503), None) < Some(minute));
    assert_eq!(failed(status(404), Some(minute)), None);
}
