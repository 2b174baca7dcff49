//! After a power loss nothing that was stored is believed before it was hashed again.

use std::{fs::File, os::unix::fs::FileExt};

use store::BootId;

use super::{bounds::damage, *};

fn boot(number: u8) -> Option<BootId> {
    Some(BootId::from_bytes([number; 16]))
}

/// A host over `dir` in one boot of its machine.
async fn booted(cluster: &Cluster, web: &Web, dir: tempfile::TempDir, number: u8) -> Host {
    let origins = Origins::new(web.listed()).expect("a door outside");
    let config = StoreConfig {
        boot: boot(number),
        ..disk(&dir)
    };
    let of = (cluster, Role::Daemon);
    Host::over(of, origins, (false, Limits::default()), (dir, config)).await
}

/// A host that has the content of `web`, whose machine lost its power and a part of a piece with it.
async fn after_power_loss(cluster: &Cluster, web: &Web, digest: Option<Digest>) -> Host {
    let dir = tempfile::tempdir().expect("a directory");
    let host = booted(cluster, web, dir, 1).await;
    let spec = host.spec(web, digest).await;
    read_all(host.open(spec).await, web).await;
    while !host.store.list().iter().all(|info| info.complete) {
        tokio::task::yield_now().await;
    }
    host.store.commit().expect("committed");
    host.stop.cancel();
    let Host {
        dir,
        store,
        mut _running,
        ..
    } = host;
    while _running.join_next().await.is_some() {}
    drop(store);
    assert!(damage(dir.path(), web.content.len() as u64));
    booted(cluster, web, dir, 2).await
}

/// The bytes of the content's file, as another process reads them by a descriptor.
fn by_descriptor(reader: &TaskReader, range: types::ByteRange) -> Vec<u8> {
    let file = File::from(reader.task().content.open_read_only().expect("a file"));
    let mut bytes = vec![0; range.length().0 as usize];
    file.read_exact_at(&mut bytes, range.start()).expect("read");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_no_byte_that_was_not_hashed_again() {
    let (cluster, web) = (Cluster::new("boot"), Web::serving(content(3 << 20)).await);
    let sha = digest_of(&web);
    for digest in [None, Some(sha)] {
        let host = after_power_loss(&cluster, &web, digest).await;
        let before = sent(&web);
        let mut reader = host.open(host.spec(&web, digest).await).await;
        let mut at = 0;
        while at < web.content.len() as u64 {
            let range = reader.ready(at).await.expect("verified bytes");
            let bytes = by_descriptor(&reader, range);
            let (start, end) = (range.start() as usize, range.end() as usize);
            assert!(bytes == web.content[start..end], "bytes {range} differ");
            at = range.end();
        }
        let proven = reader.proven().await.expect("the whole is right");
        assert_eq!(proven, digest.unwrap_or(proven));
        let again = sent(&web) - before;
        assert!(again > 0 && again < web.content.len() as u64, "{again}");
        host.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_is_not_called_right_before_it_was_read_again() {
    let (cluster, web) = (Cluster::new("whole"), Web::serving(content(3 << 20)).await);
    let host = after_power_loss(&cluster, &web, None).await;
    let mut reader = host.open(host.spec(&web, None).await).await;
    reader.proven().await.expect("the whole is right");
    let all = types::ByteRange::whole(ByteCount(web.content.len() as u64));
    assert!(by_descriptor(&reader, all) == *web.content);
    host.stop.cancel();
}
