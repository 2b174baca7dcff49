//! Contents that turn out wrong as a whole: what becomes of their readers, and of who vouched for them.

use std::sync::atomic::Ordering;

use super::*;
use crate::task::{Task, TaskError};

/// Reads as `get` does: from the start again whenever it is told that what it read is void. How often that was.
async fn read(mut reader: TaskReader, length: u64) -> Result<usize, Arc<TaskError>> {
    let (mut voided, mut at) = (0, 0);
    while at <= length {
        let told = if at < length {
            reader.ready(at).await.map(|range| range.end())
        } else {
            reader.proven().await.map(|_| length + 1)
        };
        match told {
            Ok(until) => at = until,
            Err(cause) if matches!(*cause, TaskError::Voided) => (at, voided) = (0, voided + 1),
            Err(cause) => return Err(cause),
        }
    }
    Ok(voided)
}

async fn read_right(reader: TaskReader, web: &Web) -> usize {
    let task = Arc::clone(reader.task());
    let voided = read(reader, web.content.len() as u64).await;
    let mut bytes = vec![0; web.content.len()];
    let got = task.content.read_at(0, &mut bytes);
    got.expect("proven bytes can be read");
    assert!(bytes == *web.content);
    voided.expect("the content is right in the end")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_origin_gave_wrong_once_is_read_again() {
    let length = 3 << 20;
    let (cluster, web) = (Cluster::new("once"), Web::serving(content(length)).await);
    web.wrong_until.store(1, Ordering::Relaxed);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, Some(digest_of(&web))).await;
    let reader = host.open(spec).await;
    let task = Arc::clone(reader.task());
    let of_the_wrong = gateway::Efficiency {
        share: 0.125,
        bound: gateway::Bound::Origin,
    };
    task.measured(of_the_wrong);
    // It is told if it had been given a byte by then.
    assert!(read_right(reader, &web).await <= 1);
    assert_eq!(task.news().borrow().voids, 1);
    assert!(
        task.efficiency() != Some(of_the_wrong),
        "it is not of this content"
    );
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

/// Waits until the whole was hashed once, be it wrong.
async fn found_out(task: &Task) {
    let mut news = task.news();
    let told = news.wait_for(|news| news.voids > 0 || news.proven.is_some());
    told.await.expect("the task lives");
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
    let (hosts, tasks, mut reading) = hosts_that_read(3, (&cluster, &web)).await;
    let task = tasks[0].spec.task;
    name(&hosts, (0, task), Epoch(1)).await;
    // The first to have all of it finds out. Others do with what the next one reads in its place, which may end its
    // lease before everybody had the last of it.
    for next in 1..hosts.len() {
        found_out(&tasks[next - 1]).await;
        name(&hosts, (next, task), Epoch(1 + next as u64)).await;
    }
    while let Some(read) = reading.join_next().await {
        read.expect("it ends").expect("the content is right");
    }
    let mut bytes = vec![0; length];
    for (host, task) in hosts.iter().zip(&tasks) {
        let got = task.content.read_at(0, &mut bytes);
        got.expect("proven bytes can be read");
        assert!(bytes == *web.content);
        let refuses = |of: &Host| task.table.read().refuses(&of.id);
        assert!(!refuses(&hosts[0]) || task.news().borrow().voids > 0);
        assert!(!refuses(&hosts[1]) && !refuses(&hosts[2]) && !refuses(host));
    }
    hosts.iter().for_each(|host| host.stop.cancel());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_that_read_the_same_wrong_whole_name_the_origin() {
    let length = 300_000;
    let (cluster, web) = (Cluster::new("alike"), Web::serving(content(length)).await);
    web.wrong_until.store(u64::MAX, Ordering::Relaxed);
    let (hosts, tasks, mut reading) = hosts_that_read(2, (&cluster, &web)).await;
    let task = tasks[0].spec.task;
    name(&hosts, (0, task), Epoch(1)).await;
    found_out(&tasks[0]).await;
    name(&hosts, (1, task), Epoch(2)).await;
    while let Some(read) = reading.join_next().await {
        let error = read.expect("it ends").expect_err("the content is another");
        let TaskError::Corrupt { found, .. } = *error else {
            panic!("the origin is wrong: {error}");
        };
        assert!(found.is_some_and(|found| Some(found) != tasks[0].spec.digest));
    }
    hosts.iter().for_each(|host| host.stop.cancel());
}

/// So many hosts who know each other and all want the content of `web`; their tasks, and how each reading ends.
async fn hosts_that_read(
    count: usize,
    (cluster, web): (&Cluster, &Web),
) -> (
    Vec<Host>,
    Vec<Arc<Task>>,
    JoinSet<Result<usize, Arc<TaskError>>>,
) {
    let (mut hosts, mut tasks, mut reading) = (Vec::new(), Vec::new(), JoinSet::new());
    for _ in 0..count {
        let host = Host::new(cluster, web, true).await;
        let spec = host.spec(web, Some(digest_of(web))).await;
        let reader = host.open(spec).await;
        tasks.push(Arc::clone(reader.task()));
        reading.spawn(read(reader, web.content.len() as u64));
        hosts.push(host);
    }
    introduce(&hosts, tasks[0].spec.task).await;
    (hosts, tasks, reading)
}
