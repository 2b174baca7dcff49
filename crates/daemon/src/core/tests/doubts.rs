//! Contents that turn out wrong as a whole: what becomes of their readers, and of who vouched for them.

use std::sync::atomic::Ordering;

use super::*;
use crate::task::TaskError;

fn digest_of(web: &Web) -> Digest {
    Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(&*web.content).into())
}

/// Reads as `get` does: from the start again whenever it is told that what it read is void. How often that was.
async fn read_right(mut reader: TaskReader, web: &Web) -> usize {
    let (mut voided, length) = (0, web.content.len() as u64);
    let mut at = 0;
    loop {
        let told = if at < length {
            reader.ready(at).await.map(|range| at = range.end())
        } else {
            reader.proven().await.map(|_| at += 1)
        };
        match told {
            Ok(()) if at > length => break,
            Ok(()) => {}
            Err(cause) if matches!(*cause, TaskError::Voided) => (at, voided) = (0, voided + 1),
            Err(cause) => panic!("{cause}"),
        }
    }
    let mut bytes = vec![0; web.content.len()];
    let read = reader.task().content.read_at(0, &mut bytes);
    read.expect("proven bytes can be read");
    assert!(bytes == *web.content);
    voided
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_origin_gave_wrong_once_is_read_again() {
    let length = 3 << 20;
    let (cluster, web) = (Cluster::new("once"), Web::serving(content(length)).await);
    web.wrong_until.store(1, Ordering::Relaxed);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, Some(digest_of(&web))).await;
    let voided = read_right(host.open(spec).await, &web).await;
    assert_eq!(voided, 1);
    assert!(sent(&web) < 3 * length as u64);
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_always_wrong_is_named_and_not_read_for_ever() {
    let length = 300_000;
    let (cluster, web) = (Cluster::new("always"), Web::serving(content(length)).await);
    web.wrong_until.store(u64::MAX, Ordering::Relaxed);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, Some(digest_of(&web))).await;
    let mut reader = host.open(spec).await;
    let error = reader.proven().await.expect_err("the content is another");
    let told = format!(
        "what {} gives does not match {}",
        web.url(),
        digest_of(&web)
    );
    assert_eq!(error.to_string(), told);
    assert!(sent(&web) < 3 * length as u64);
    host.stop.cancel();
}

/// Waits until the whole was hashed once: whether it was wrong.
async fn found_out(reader: &TaskReader) -> bool {
    let mut news = reader.task().news();
    let told = news.wait_for(|news| news.voids > 0 || news.proven.is_some());
    told.await.expect("the task lives").voids > 0
}

/// Does what a scheduler does: names one of `hosts` the importer.
async fn name(hosts: &[Host], (importer, task): (usize, TaskId), epoch: Epoch) {
    for host in hosts {
        let named = hosts[importer].id;
        host.told(SchedulerMessage::Queued { task, layout: None })
            .await;
        host.told(SchedulerMessage::Importer { task, host: named })
            .await;
    }
    let importer = &hosts[importer];
    importer.told(importer.lease_of(task, epoch)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_importer_costs_time_and_fails_nobody() {
    let length = (4 << 20) + 5;
    let (cluster, web) = (Cluster::new("liar"), Web::serving(content(length)).await);
    web.wrong_until.store(1, Ordering::Relaxed);
    let mut hosts = Vec::new();
    for _ in 0..3 {
        hosts.push(Host::new(&cluster, &web, true).await);
    }
    let mut readers = Vec::new();
    for host in &hosts {
        let spec = host.spec(&web, Some(digest_of(&web))).await;
        readers.push(host.open(spec).await);
    }
    let task = readers[0].task().spec.task;
    introduce(&hosts, task).await;
    hosts[0].told(hosts[0].lease(task)).await;
    // The first to have all of it finds out; with what the next one reads in its place, the others do.
    found_out(&readers[0]).await;
    name(&hosts, (1, task), Epoch(2)).await;
    let mut liars_known = Vec::new();
    for reader in &readers {
        liars_known.push(found_out(reader).await);
    }
    name(&hosts, (2, task), Epoch(3)).await;
    for ((reader, host), is_known) in readers.into_iter().zip(&hosts).zip(liars_known) {
        let table = Arc::clone(reader.task());
        read_right(reader, &web).await;
        let refuses = |of: &Host| table.table.read().refuses(&of.id);
        assert_eq!(refuses(&hosts[0]), is_known && host.id != hosts[0].id);
        assert!(!refuses(&hosts[1]) && !refuses(&hosts[2]));
    }
    hosts.iter().for_each(|host| host.stop.cancel());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_that_read_the_same_wrong_whole_name_the_origin() {
    let length = 300_000;
    let (cluster, web) = (Cluster::new("alike"), Web::serving(content(length)).await);
    web.wrong_until.store(u64::MAX, Ordering::Relaxed);
    let mut hosts = Vec::new();
    for _ in 0..2 {
        hosts.push(Host::new(&cluster, &web, true).await);
    }
    let mut readers = Vec::new();
    for host in &hosts {
        let spec = host.spec(&web, Some(digest_of(&web))).await;
        readers.push(host.open(spec).await);
    }
    let task = readers[0].task().spec.task;
    introduce(&hosts, task).await;
    name(&hosts, (0, task), Epoch(1)).await;
    for reader in &readers {
        assert!(found_out(reader).await);
    }
    name(&hosts, (1, task), Epoch(2)).await;
    for mut reader in readers {
        let error = loop {
            match reader.proven().await.expect_err("the content is another") {
                cause if matches!(*cause, TaskError::Voided) => {}
                cause => break cause,
            }
        };
        assert!(
            matches!(*error, TaskError::Corrupt { .. }),
            "ended with {error}"
        );
    }
    hosts.iter().for_each(|host| host.stop.cancel());
}
