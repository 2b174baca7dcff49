//! Seeds come and go: whose word counts is told to those who never met them.

use std::time::SystemTime;

use super::*;

/// What `host` is told of certificates before the answer to a ping of it, as `links` take it.
async fn learns(host: &mut Host, links: &Links) {
    host.say(HostMessage::Ping).await;
    loop {
        let is_either = |m: &SchedulerMessage| {
            matches!(
                m,
                SchedulerMessage::Certificates(_) | SchedulerMessage::Pong { .. }
            )
        };
        let SchedulerMessage::Certificates(told) = host.until(is_either).await else {
            return;
        };
        for certificate in told {
            links.learn_certificate(&certificate).expect("genuine");
        }
    }
}

/// A host that joins, and what it knows of seeds.
async fn newcomer(cluster: &Cluster, scheduler: &Scheduler) -> (Host, Links) {
    let identity = cluster.host(Role::Daemon);
    let links = Links::new(identity.clone());
    let mut host = Host::join(&identity, scheduler, Inventory::default()).await;
    learns(&mut host, &links).await;
    (host, links)
}

#[tokio::test]
async fn who_joins_after_a_seed_left_is_told_of_it_until_it_is_none_or_was_thrown_out() {
    let cluster = Cluster::new("gone");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let identities = [(); 2].map(|()| cluster.host(Role::Seed));
    let (mut early, of_early) = newcomer(&cluster, &scheduler).await;
    let mut seeds = Vec::new();
    for identity in &identities {
        seeds.push(Host::join(identity, &scheduler, Inventory::default()).await);
    }
    learns(&mut early, &of_early).await;
    drop(seeds);
    let (mut late, of_late) = newcomer(&cluster, &scheduler).await;
    let known = |links: &Links| {
        identities
            .each_ref()
            .map(|seed| links.is_seed(&seed.host()))
    };
    assert_eq!([known(&of_early), known(&of_late)], [[true; 2]; 2]);
    // One comes back and is no seed any more; the other is thrown out.
    let plain = cluster.again(&identities[0], (Role::Daemon, Duration::from_secs(5)));
    let _plain = Host::join(&plain, &scheduler, Inventory::default()).await;
    let list = cluster.ca.revoke(identities[1].host(), SystemTime::now());
    drop(list.expect("kept"));
    for (host, links) in [(&mut early, &of_early), (&mut late, &of_late)] {
        let is_list = |m: &SchedulerMessage| matches!(m, SchedulerMessage::Revocations(_));
        let is_told =
            |m: &SchedulerMessage| is_list(m) || matches!(m, SchedulerMessage::Certificates(_));
        for _ in 0..2 {
            match host.until(is_told).await {
                SchedulerMessage::Revocations(list) => {
                    links.learn_revocations(&list).expect("a list");
                }
                SchedulerMessage::Certificates(told) => {
                    let [one] = &told[..] else {
                        panic!("{} certificates", told.len());
                    };
                    assert!(links.learn_certificate(one).expect("genuine"));
                }
                _ => unreachable!("nothing else fits"),
            }
        }
        assert_eq!(known(links), [false; 2]);
    }
    let (_last, of_last) = newcomer(&cluster, &scheduler).await;
    assert_eq!(known(&of_last), [false; 2]);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_role_that_ended_stays_so_after_a_restart_whatever_older_certificate_is_shown() {
    let cluster = Cluster::new("reborn");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let as_seed = cluster.host(Role::Seed);
    drop(Host::join(&as_seed, &scheduler, Inventory::default()).await);
    let plain = cluster.again(&as_seed, (Role::Daemon, Duration::from_secs(5)));
    drop(Host::join(&plain, &scheduler, Inventory::default()).await);
    scheduler.stop().await;

    let scheduler = start(&cluster, "127.0.0.1:0").await;
    // It, or whoever has its key, comes with what it had before.
    drop(Host::join(&as_seed, &scheduler, Inventory::default()).await);
    let (_late, of_late) = newcomer(&cluster, &scheduler).await;
    assert!(!of_late.is_seed(&as_seed.host()));
    scheduler.stop().await;
}

#[tokio::test]
async fn an_importer_that_is_thrown_out_is_named_to_nobody_any_more() {
    let cluster = Cluster::new("unnamed");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let bad = cluster.host(Role::Daemon);
    let mut importer = Host::join(&bad, &scheduler, Inventory::default()).await;
    importer.ask().await;
    importer.granted().await;
    let is_named = async |name: HostId| {
        let identity = cluster.host(Role::Daemon);
        let mut host = Host::join(&identity, &scheduler, Inventory::default()).await;
        host.ask().await;
        host.say(HostMessage::Ping).await;
        let mut named = false;
        loop {
            match host.until(|_| true).await {
                SchedulerMessage::Importer { host, .. } => named |= host == name,
                SchedulerMessage::Pong { .. } => return named,
                _ => {}
            }
        }
    };
    assert!(is_named(bad.host()).await);
    let mut witness = newcomer(&cluster, &scheduler).await.0;
    cluster
        .ca
        .revoke(bad.host(), SystemTime::now())
        .expect("kept");
    witness
        .until(|m| matches!(m, SchedulerMessage::Revocations(_)))
        .await;
    importer.ended().await;
    assert!(!is_named(bad.host()).await);
    scheduler.stop().await;
}
