//! Content that nobody uses any more makes room, goes when it is told to, and can be taken up again.

use std::time::Duration;

use store::RemoveError;

use super::{
    remote::{fetch, remote},
    *,
};

/// Far longer than what is waited for takes: a test that hangs fails.
const LONG: Duration = Duration::from_secs(30);

/// Waits until no task is in memory: the core hears a moment later that the last reader is gone.
async fn at_rest(host: &Host) {
    loop {
        host.handle.release(None).await;
        if host.handle.tasks().await.is_empty() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_makes_room_for_what_is_read_next() {
    let cluster = Cluster::new("room");
    let (one, other) = (
        Web::serving(content(3 << 20)).await,
        Web::serving(content((3 << 20) + 1)).await,
    );
    let quota = Some(ByteCount::mib(4));
    let host = Host::with_quota(&cluster, (&one, &other), quota).await;
    for web in [&one, &other, &one] {
        let spec = host.spec(web, None).await;
        let (task, before) = (spec.task, sent(web));
        let reader = tokio::time::timeout(LONG, open_once_there_is_room(&host, &spec)).await;
        read_all(reader.expect("what was read before makes room"), web).await;
        let held = host.store.list().into_iter().map(|info| info.task);
        assert_eq!(held.collect::<Vec<_>>(), [task], "the other had to go");
        assert_eq!(sent(web) - before, web.content.len() as u64);
    }
    host.stop.cancel();
}

/// The core hears a moment later that the last reader of something else is gone.
async fn open_once_there_is_room(host: &Host, spec: &TaskSpec) -> TaskReader {
    loop {
        let all = spec.layout.all();
        let opened = host.handle.open(spec.clone(), all, Fetch::default()).await;
        match opened {
            Ok(reader) => return reader,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_stays_and_goes_once_it_was() {
    let (cluster, web) = (Cluster::new("stay"), Web::serving(content(300_000)).await);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, None).await;
    let reader = host.open(spec.clone()).await;
    host.handle.release(None).await;
    let removed = host.store.remove(spec.task);
    assert!(matches!(removed, Err(RemoveError::Busy)), "{removed:?}");
    read_all(reader, &web).await;
    at_rest(&host).await;
    // That it is whole may be being noted at this moment.
    while let Err(cause) = host.store.remove(spec.task) {
        assert!(matches!(cause, RemoveError::Busy), "{cause}");
        tokio::task::yield_now().await;
    }
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_memory_is_taken_up_for_a_neighbour_that_asks() {
    let (cluster, web) = (Cluster::new("again"), Web::serving(content(2 << 20)).await);
    let host = Host::new(&cluster, &web, true).await;
    let digest = digest_of(&web);
    let spec = host.spec(&web, Some(digest)).await;
    let of = (spec.task, spec.layout);
    let reader = host.open(spec).await;
    host.told(host.lease(of.0)).await;
    read_all(reader, &web).await;
    at_rest(&host).await;
    let mut link = remote(&cluster, &host, None).await;
    fetch(&mut link, of).await;
    host.stop.cancel();
}
