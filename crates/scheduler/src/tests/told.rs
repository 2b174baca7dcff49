//! Importers of an earlier scheduler, of whom hosts tell.

use super::*;

/// One of `hosts` says that it accepted the word `of` these for pieces of [`task`].
async fn told(hosts: &mut [Host], teller: usize, of: &[HostId]) {
    let told = HostMessage::Vouchers {
        task: task(),
        digest: DIGEST,
        importers: of.to_vec(),
    };
    hosts[teller].say(told).await;
}

/// Whom `host` hears named before the answer to a ping of it.
async fn hears(host: &mut Host) -> Vec<HostId> {
    host.say(HostMessage::Ping).await;
    let mut named = Vec::new();
    loop {
        let is_either = |m: &SchedulerMessage| {
            matches!(
                m,
                SchedulerMessage::Importer { .. } | SchedulerMessage::Pong { .. }
            )
        };
        match host.until(is_either).await {
            SchedulerMessage::Importer { host, .. } => named.push(host),
            _ => return named,
        }
    }
}

#[tokio::test]
async fn one_member_that_tells_of_a_key_of_its_own_names_no_importer() {
    let cluster = Cluster::new("told");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let identities: Vec<_> = (0..3).map(|_| cluster.host(Role::Daemon)).collect();
    let mut hosts = Vec::new();
    for identity in &identities {
        let mut host = Host::join(identity, &scheduler, Inventory::default()).await;
        host.ask().await;
        // The answer to the ping: it takes part by now.
        hears(&mut host).await;
        hosts.push(host);
    }
    let late = cluster.host(Role::Daemon);
    let made = [HostId::from_bytes([5; 32]), late.host()];
    let known = identities[1].host();
    for host in &mut hosts {
        hears(host).await;
    }
    told(&mut hosts, 0, &made).await;
    hears(&mut hosts[0]).await;
    assert_eq!(hears(&mut hosts[2]).await, [], "one host's word");
    told(&mut hosts, 0, &[known]).await;
    hears(&mut hosts[0]).await;
    assert_eq!(hears(&mut hosts[2]).await, [known], "it was met");
    told(&mut hosts, 1, &made[..1]).await;
    hears(&mut hosts[1]).await;
    assert_eq!(hears(&mut hosts[2]).await, made[..1], "two say so");
    let newcomer = Host::join(&late, &scheduler, Inventory::default()).await;
    assert_eq!(hears(&mut hosts[2]).await, made[1..], "it came since");
    drop(newcomer);
    // Found wrong: newcomers do not hear of it.
    hosts[2]
        .say(HostMessage::Doubt {
            task: task(),
            of: made[0],
        })
        .await;
    hears(&mut hosts[2]).await;
    let identity = cluster.host(Role::Daemon);
    let mut host = Host::join(&identity, &scheduler, Inventory::default()).await;
    host.ask().await;
    let named = hears(&mut host).await;
    assert!(named.contains(&known) && !named.contains(&made[0]));
    scheduler.stop().await;
}
