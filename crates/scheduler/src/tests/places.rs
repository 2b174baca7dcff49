//! Where hosts are told that others stand.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of this machine.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What a host that calls the scheduler at ELSEWHERE is told of a seed that calls it at HERE and says that it listens at
/// `listen`, where only `allowed` may be advertised.
async fn check(name: &str, (listen, allowed): (&str, &'static str), told: &str) {
    let cluster = Cluster::new(name);
    let mut config = config(&cluster, "0.0.0.0:0");
    config.may_advertise = Arc::new(move |address| address.to_string() == allowed);
    let scheduler = Scheduler::start(config).await.expect("a scheduler");
    let at = |ip| SocketAddr::new(ip, scheduler.address().port());
    let seed = cluster.host(Role::Seed);
    let _seed = Host::join_at(&seed, (at(HERE), listen), Inventory::default()).await;
    let other = cluster.host(Role::Daemon);
    let at = (at(ELSEWHERE), "0.0.0.0:1");
    let mut other = Host::join_at(&other, at, Inventory::default()).await;
    let is_told = |m: &SchedulerMessage| matches!(m, SchedulerMessage::Members { .. });
    let SchedulerMessage::Members { seeds } = other.until(is_told).await else {
        unreachable!("only members fit")
    };
    let seed = seeds.iter().find(|told| told.host == seed.host());
    let addresses = &seed.expect("the seed").addresses;
    assert_eq!(*addresses, [told.parse().expect("an address")], "{listen}");
    scheduler.stop().await;
}

#[tokio::test]
async fn a_host_on_the_schedulers_machine_stands_where_others_reach_that() {
    check("beside", ("[::]:4242", ""), "127.0.0.2:4242").await;
}

#[tokio::test]
async fn a_host_stands_by_its_own_word_only_where_that_is_allowed() {
    check("named", ("10.1.2.3:4242", "10.1.2.3"), "10.1.2.3:4242").await;
    check("made-up", ("10.1.2.3:4242", "10.1.2.4"), "127.0.0.2:4242").await;
    check("own", ("127.0.0.1:4242", "127.0.0.1"), "127.0.0.1:4242").await;
}
