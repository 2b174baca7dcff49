//! What a core never goes beyond, and what it does when stored bytes decay.

use std::{fs, os::unix::fs::FileExt, path::Path};

use wire::{Link, LinkEnd, codec::GoodbyeReason};

use super::{
    remote::{fetch, join, remote},
    *,
};
use crate::{metrics::Now, scrub::Scrub};

/// The end of a link, whatever was said before.
pub(super) async fn end(link: &mut Link) -> LinkEnd {
    loop {
        if let Err(end) = link.receiver.next().await {
            return end;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_idle_link_makes_room_and_a_busy_one_does_not() {
    let (cluster, web) = (
        Cluster::new("bounds"),
        Web::serving(content(16 << 20)).await,
    );
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let host = Host::within(&cluster, &web, (true, limits)).await;
    let digest = digest_of(&web);
    let spec = host.spec(&web, Some(digest)).await;
    let of = (spec.task, spec.layout);
    let reader = host.open(spec).await;
    host.told(host.lease(of.0)).await;
    read_all(reader, &web).await;

    let mut idle = remote(&cluster, &host, None).await;
    // It has its place before the next one comes.
    join(&mut idle, of).await;
    let mut busy = remote(&cluster, &host, Some(ByteCount(1 << 20))).await;
    let left = end(&mut idle).await;
    assert!(
        matches!(left, LinkEnd::Goodbye(GoodbyeReason::Idle)),
        "{left}"
    );
    fetch(&mut busy, of).await;
    let mut third = remote(&cluster, &host, None).await;
    let left = end(&mut third).await;
    assert!(
        matches!(left, LinkEnd::Goodbye(GoodbyeReason::Full)),
        "{left}"
    );
    let next = busy.receiver.next().await;
    assert!(next.is_ok(), "its transfer goes on");
    host.stop.cancel();
}

/// Changes a byte in the middle of the one file below `dir` that is `length` bytes long.
pub(super) fn damage(dir: &Path, length: u64) -> bool {
    fs::read_dir(dir).expect("readable").any(|entry| {
        let entry = entry.expect("readable");
        let about = entry.metadata().expect("readable");
        if about.is_dir() {
            return damage(&entry.path(), length);
        }
        about.len() == length && {
            let file = fs::OpenOptions::new().write(true).open(entry.path());
            let file = file.expect("writable");
            file.write_all_at(&[1, 2, 3], length / 2).expect("written");
            true
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_decays_is_found_and_comes_again() {
    let length = (3 << 20) + 5;
    let (cluster, web) = (Cluster::new("decay"), Web::serving(content(length)).await);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, None).await;
    read_all(host.open(spec.clone()).await, &web).await;
    let mut held = Some(host.open(spec.clone()).await);
    let scrub = Scrub {
        store: host.store.clone(),
        rate: ByteCount::gib(1),
        events: host.events.clone(),
        metrics: Metrics::default(),
    };
    for found in 1..=2 {
        assert!(damage(host.dir.path(), length as u64), "there is a file");
        let before = sent(&web);
        let line = format!("pantala_decayed_pieces_total {found}\n");
        while !scrub.metrics.text(&Now::default()).contains(&line) {
            scrub.step().await;
        }
        read_all(host.open(spec.clone()).await, &web).await;
        let again = sent(&web) - before;
        assert!(again > 0 && again < length as u64, "{again} bytes again");
        // The second time nobody holds it.
        drop(held.take());
    }
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_background_gives_way_and_goes_on_by_itself() {
    let (cluster, web) = (
        Cluster::new("background"),
        Web::serving(content(12 << 20)).await,
    );
    let host = Host::new(&cluster, &web, false).await;
    let digest = digest_of(&web);
    let (one, other) = (
        host.spec(&web, None).await,
        host.spec(&web, Some(digest)).await,
    );
    let first = host.open(one).await;
    let mut later = host.open_as(other, swarm::Class::Background).await;
    later.ready(0).await.expect("it goes on");
    let have = first.task().content.have();
    assert!(have.is_full(), "{} pieces before the first", have.len());
    read_all(later, &web).await;
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_events_keeps_neither_questions_nor_deadlines_waiting() {
    let (cluster, web) = (Cluster::new("flood"), Web::serving(content(300_000)).await);
    let mut limits = Limits::default();
    limits.download.hard_limit = Duration::from_millis(200);
    let host = Host::within(&cluster, &web, (false, limits)).await;
    let spec = host.spec(&web, None).await;
    web.refuse("HTTP/1.1 503 Busy\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n");
    let mut flood = JoinSet::new();
    // More than there is room for, always.
    for _ in 0..100 {
        let (events, host) = (host.events.clone(), host.id);
        flood.spawn(async move {
            loop {
                events.tell(Event::DialFailed { host }).await;
            }
        });
    }
    let mut reader = host.open(spec).await;
    reader.ready(0).await.expect_err("it is given up in time");
    for _ in 0..100 {
        host.handle.tasks().await;
    }
    // Before the core ends: to who is gone they would talk without a pause.
    flood.shutdown().await;
    host.stop.cancel();
}
