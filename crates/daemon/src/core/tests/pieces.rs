//! A piece that one source began and does not end comes from another.

use std::time::Duration;

use wire::{Message, Runs, TaskNo};

use super::{
    remote::{Parent, join, remote},
    *,
};

/// Far longer than what is waited for takes: a test that hangs fails.
const LONG: Duration = Duration::from_secs(30);

/// A host that reads a content of three pieces, and a parent that stops in the middle of the first it is asked for.
async fn stalled(
    cluster: &Cluster,
    web: &Web,
    head_wait_max: Duration,
) -> (Host, TaskReader, Parent) {
    let limits = Limits {
        download: swarm::download::DownloadPolicy {
            patience_min: Duration::from_millis(300),
            patience_max: Duration::from_millis(300),
            head_wait_max,
            ..Default::default()
        },
        ..Limits::default()
    };
    let host = Host::within(cluster, web, (true, limits)).await;
    let digest = digest_of(web);
    let spec = host.spec(web, Some(digest)).await;
    let of = (spec.task, spec.layout);
    let reader = host.open(spec).await;
    host.told(SchedulerMessage::Queued {
        task: of.0,
        layout: None,
    })
    .await;
    let mut parent = Parent::new(cluster, (&host, web), of, true).await;
    parent.serve(true).await;
    (host, reader, parent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_a_parent_does_not_end_comes_from_another() {
    let (cluster, web) = (Cluster::new("stall"), Web::serving(content(3 << 17)).await);
    let (host, reader, mut stalled) = stalled(&cluster, &web, LONG).await;
    let spec = &reader.task().spec;
    let of = (spec.task, spec.layout);
    let mut good = Parent::new(&cluster, (&host, &web), of, false).await;
    let whole = tokio::time::timeout(LONG, async {
        tokio::select! {
            () = read_all(reader, &web) => {}
            () = stalled.serve(false) => panic!("the link of the stalled parent ended"),
            () = good.serve(false) => panic!("the link of the good parent ended"),
        }
    });
    whole.await.expect("everything comes");
    assert_eq!(sent(&web), 0, "the origin was not needed");
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_a_parent_does_not_end_comes_from_the_origin() {
    let (cluster, web) = (Cluster::new("turn"), Web::serving(content(3 << 17)).await);
    let (host, reader, mut stalled) = stalled(&cluster, &web, Duration::from_millis(300)).await;
    let whole = tokio::time::timeout(LONG, async {
        tokio::select! {
            () = read_all(reader, &web) => {}
            () = stalled.serve(false) => panic!("the link of the stalled parent ended"),
        }
    });
    whole.await.expect("everything comes");
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_came_before_their_signers_name_come_again_when_it_is_known() {
    come_again(Limits::default().memory.words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_come_again_although_there_was_no_room_for_their_words() {
    come_again(0).await;
}

/// A host with so much room for words that wait for a name is sent each piece before its signer is named.
async fn come_again(words: usize) {
    let (cluster, web) = (Cluster::new("names"), Web::serving(content(3 << 17)).await);
    let mut limits = Limits::default();
    limits.download.head_wait_max = LONG;
    limits.memory.words = words;
    let host = Host::within(&cluster, &web, (true, limits)).await;
    let digest = digest_of(&web);
    let spec = host.spec(&web, Some(digest)).await;
    let of = (spec.task, spec.layout);
    let reader = host.open(spec).await;
    let identity = cluster.host(Role::Daemon);
    let mut parent = Parent::unnamed(identity, (&host, &web), of, false).await;
    // One piece is asked for at a time, and none twice.
    for _ in of.1.all().pieces() {
        parent.serve(true).await;
    }
    let (task, id) = (of.0, parent.id);
    host.told(SchedulerMessage::Importer { task, host: id })
        .await;
    let whole = tokio::time::timeout(LONG, async {
        tokio::select! {
            () = read_all(reader, &web) => {}
            () = parent.serve(false) => panic!("the link of the parent ended"),
        }
    });
    whole.await.expect("everything comes");
    assert_eq!(sent(&web), 0, "the origin was not needed");
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_piece_again_gets_its_word_again() {
    let (cluster, web) = (Cluster::new("again"), Web::serving(content(3 << 17)).await);
    let host = Host::within(&cluster, &web, (true, patient())).await;
    let spec = host.spec(&web, Some(digest_of(&web))).await;
    let of = (spec.task, spec.layout);
    let reader = host.open(spec).await;
    host.told(host.lease(of.0)).await;
    read_all(reader, &web).await;
    let mut link = remote(&cluster, &host, None).await;
    join(&mut link, of).await;
    for _ in 0..2 {
        let want = Message::Want {
            no: TaskNo(1),
            runs: Runs::one(PieceRun::one(PieceIndex(1))).expect("a piece"),
            urgent: false,
            background: false,
        };
        link.sender.try_send(&want).expect("room");
        let mut has_word = false;
        loop {
            match link.receiver.next().await.expect("the link stays") {
                wire::Event::Message {
                    message: Message::Segment { .. },
                    ..
                } => has_word = true,
                wire::Event::Data { data, .. } if data.offset > 0 => break,
                _ => {}
            }
        }
        assert!(has_word, "it may have had no room for it");
    }
    host.stop.cancel();
}
