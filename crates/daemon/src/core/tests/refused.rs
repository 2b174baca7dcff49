//! What a reader hears when the origin or the disk does not do its part.

use gateway::OpenError;
use swarm::download::DownloadPolicy;

use super::*;
use crate::{doors::refusal, task::TaskError};

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_keeps_asking_for_patience_is_what_the_reader_hears_of() {
    let (cluster, web) = (
        Cluster::new("refused"),
        Web::serving(content(300_000)).await,
    );
    let limits = Limits {
        download: DownloadPolicy {
            hard_limit: Duration::from_millis(200),
            ..DownloadPolicy::default()
        },
        ..Limits::default()
    };
    let host = Host::within(&cluster, &web, (false, limits)).await;
    let spec = host.spec(&web, None).await;
    web.refuse("HTTP/1.1 503 Busy\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n");
    let mut reader = host.open(spec).await;
    let error = reader.ready(0).await.expect_err("nobody has it");
    let told = refusal::of_task(&error);
    let OpenError::OriginBusy { retry_after, cause } = told else {
        panic!("{told}");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(86_400)));
    assert!(cause.to_string().contains("answered 503"), "{cause}");
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_content_larger_than_the_disk_is_read_and_the_whole_is_refused() {
    let (cluster, web) = (Cluster::new("huge"), Web::serving(content(1)).await);
    let host = Host::new(&cluster, &web, false).await;
    let mut spec = host.spec(&web, None).await;
    spec.layout = types::Layout::of(ByteCount::gib(1 << 10)).expect("a layout");
    let open = |whole| {
        let fetch = Fetch {
            whole,
            ..Fetch::default()
        };
        host.handle
            .open(spec.clone(), PieceRun::one(PieceIndex(7)), fetch)
    };
    let part = open(false).await.expect("there is room for a piece");
    let reserved = host.store.usage().expect("a disk").reserved;
    assert_eq!(reserved, spec.layout.length_of(PieceIndex(7)));
    let whole = open(true).await.map(drop).expect_err("a TiB");
    assert!(matches!(*whole, TaskError::Store(_)), "{whole}");
    drop(part);
    host.stop.cancel();
}
