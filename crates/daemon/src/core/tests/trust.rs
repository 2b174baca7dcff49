//! Who is dealt with: hosts of the cluster that were not thrown out.

use identity::Identity;
use wire::{Config as WireConfig, LinkEnd, codec::GoodbyeReason, link::BufferPool};

use super::{bounds::end, remote::dial, *};

fn config() -> WireConfig {
    WireConfig::new(BufferPool::new(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_a_peer_passes_on_cuts_off_the_revoked_and_outlives_a_restart() {
    let (cluster, web) = (Cluster::new("outcast"), Web::serving(content(1)).await);
    // Its scheduler is away: only its peers can tell.
    let host = Host::new(&cluster, &web, true).await;
    let (bad, good) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let mut outcast = dial(Links::new(bad.clone()), &host, config())
        .await
        .expect("a link");
    let list = cluster.ca.revoke(bad.host(), SystemTime::now());
    let list = list.expect("revoked");
    let messenger = Links::new(good.with_revocations(list.clone()));
    let _messenger = dial(messenger, &host, config()).await.expect("a link");
    let told = end(&mut outcast).await;
    assert!(
        matches!(told, LinkEnd::Goodbye(GoodbyeReason::Revoked)),
        "{told:?}"
    );
    if let Ok(mut again) = dial(Links::new(bad), &host, config()).await {
        panic!("it came back: {:?}", end(&mut again).await);
    }
    // Others hear of it in turn, and so does the next life of this host.
    let newcomer = Links::new(cluster.host(Role::Daemon));
    let link = dial(newcomer.clone(), &host, config()).await;
    assert_eq!(
        link.expect("a link").hello.revocations.as_deref(),
        Some(list.as_bytes())
    );
    assert_eq!(newcomer.identity().revocations().number(), 1);
    let kept = Identity::load(&host.dir.path().join("identity")).expect("readable");
    assert_eq!(kept.expect("there").revocations().number(), 1);
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_or_forged_list_changes_nothing() {
    let (cluster, web) = (Cluster::new("lists"), Web::serving(content(1)).await);
    let forged = Cluster::new("lists");
    let host = Host::new(&cluster, &web, true).await;
    let (one, other) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let now = SystemTime::now();
    let first = cluster.ca.revoke(HostId::from_bytes([1; 32]), now);
    let second = cluster.ca.revoke(one.host(), now).expect("revoked");
    let messenger = other.clone().with_revocations(second.clone());
    let link = dial(Links::new(messenger), &host, config()).await;
    drop(link.expect("a link"));
    // A forged list of a higher number, and an older one.
    for _ in 0..3 {
        forged.ca.revoke(other.host(), now).expect("revoked");
        forged
            .ca
            .revoke(cluster.host(Role::Daemon).host(), now)
            .expect("revoked");
    }
    let lies = forged.ca.revocations().expect("a list");
    for list in [lies, first.expect("revoked")] {
        let messenger = other.clone().with_revocations(list);
        let link = dial(Links::new(messenger), &host, config()).await;
        let link = link.expect("nobody but the authority throws hosts out");
        drop(link);
    }
    let link = dial(Links::new(other), &host, config()).await;
    let shown = link.expect("a link").hello.revocations;
    assert_eq!(shown.as_deref(), Some(second.as_bytes()));
    host.stop.cancel();
}
