//! What tasks cost, as it is told of live ones and of some that left memory.

use super::*;
use crate::account::{Doing, Explained, Giver, Reason, Standing};

async fn explained(host: &Host, task: TaskId) -> Explained {
    let (_, all) = host.handle.explained().await;
    let mut of_task = all.into_iter().filter(|one| one.task == task);
    let one = of_task.next().expect("it is told of");
    assert!(of_task.next().is_none(), "it is told of once");
    one
}

fn bytes_by(explained: &Explained, is: impl Fn(&Giver) -> bool) -> u64 {
    let given = explained
        .account
        .given
        .iter()
        .filter(|(giver, _)| is(giver));
    given.map(|(_, given)| given.bytes.0).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_told_of_after_it_left_memory_and_its_account_goes_on() {
    let (cluster, web) = (Cluster::new("told"), Web::serving(content(3 << 20)).await);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, None).await;
    let task = spec.task;
    read_all(host.open(spec.clone()).await, &web).await;
    let live = explained(&host, task).await;
    assert!(matches!(live.standing, Standing::Live));
    // Its reader is gone in a moment: then it may leave.
    let ended = loop {
        host.handle.release(Some(task)).await;
        let told = explained(&host, task).await;
        if let Standing::Ended(_) = told.standing {
            break told;
        }
        tokio::task::yield_now().await;
    };
    let lone = |giver: &Giver| *giver == Giver::Origin(Reason::Lone);
    assert_eq!(bytes_by(&ended, lone), 3 << 20);
    assert_eq!((ended.held, ended.account.readers), (ByteCount::mib(3), 1));
    let again = host.open(spec).await;
    let told = explained(&host, task).await;
    assert_eq!(bytes_by(&told, lone), 3 << 20, "what came before counts");
    assert_eq!(told.account.readers, 2);
    drop(again);
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_knows_who_gave_what_and_who_imported() {
    let (cluster, web) = (Cluster::new("gave"), Web::serving(content(5 << 20)).await);
    let mut hosts = Vec::new();
    for _ in 0..3 {
        hosts.push(Host::within(&cluster, &web, (true, patient())).await);
    }
    let digest = digest_of(&web);
    let mut readers = Vec::new();
    for host in &hosts {
        readers.push(host.open(host.spec(&web, Some(digest)).await).await);
    }
    let task = readers[0].task().spec.task;
    introduce(&hosts, task).await;
    hosts[0].told(hosts[0].lease(task)).await;
    for reader in readers {
        read_all(reader, &web).await;
    }
    let all: u64 = 5 << 20;
    let importer = explained(&hosts[0], task).await;
    let leased = |giver: &Giver| *giver == Giver::Origin(Reason::Lease);
    assert_eq!(bytes_by(&importer, leased), all);
    for host in &hosts[1..] {
        let told = explained(host, task).await;
        let ids: Vec<_> = hosts.iter().map(|host| host.id).collect();
        let known = |giver: &Giver| matches!(giver, Giver::Host(Some(id)) if ids.contains(id));
        assert_eq!(bytes_by(&told, known), all);
        let introduced = told.account.given.values().all(|given| given.is_introduced);
        assert!(introduced, "{:?}", told.account.given);
    }
    hosts.iter().for_each(|host| host.stop.cancel());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_failed_tells_why_and_what_it_waited_for() {
    let (cluster, web) = (Cluster::new("why"), Web::serving(content(300_000)).await);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, Some(Digest::sha256([1; 32]))).await;
    let task = spec.task;
    let mut reader = host.open(spec).await;
    reader.proven().await.expect_err("the content is another");
    let told = explained(&host, task).await;
    let Standing::Failed(_, causes) = &told.standing else {
        panic!("{:?}", told.standing)
    };
    assert!(causes[0].contains("does not match"), "{causes:?}");
    let waited = told.account.waited.keys();
    assert!(waited.clone().all(|doing| *doing != Doing::Resting));
    host.stop.cancel();
}
