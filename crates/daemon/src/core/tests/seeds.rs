//! Seeds come and go: what they signed is believed of them, and shown, for as long as they are not thrown out.

use identity::Identity;
use types::{PieceHasher, PieceSet, Seal, Segment};
use wire::{Config as WireConfig, Link, Message, link::BufferPool};

use super::{
    remote::{dial, open},
    *,
};

/// Introduces `one` and `other` to each other.
async fn meet(one: &Host, other: &Host, task: TaskId) {
    for (host, add) in [(one, other), (other, one)] {
        host.told(SchedulerMessage::Introduce(Introduce {
            task,
            reset: false,
            add: vec![add.as_neighbour()],
            remove: Vec::new(),
        }))
        .await;
    }
}

/// Waits until the store knows that all of its contents are whole.
async fn is_noted(host: &Host) {
    while !host.store.list().iter().all(|info| info.complete) {
        tokio::task::yield_now().await;
    }
}

/// A host that has all of a file that no digest names, from a seed that is gone, and the seed's certificate.
async fn after_the_seed(cluster: &Cluster, web: &Web) -> (Host, TaskSpec, (HostId, Vec<u8>)) {
    let seed = Host::seed(cluster, web).await;
    let host = Host::within(cluster, web, (true, patient())).await;
    let spec = host.spec(web, None).await;
    // No scheduler is there: the seed that it is linked to imports for it.
    let dialler = Dialler {
        greeting: Greeting::new(
            host.links.clone(),
            host.peer.port(),
            Limits::default().wire(),
        ),
        events: host.events.clone(),
    };
    dialler.find(seed.peer).await;
    has_heard_all(cluster, &host).await;
    let reader = host.open(spec.clone()).await;
    let task = Arc::clone(reader.task());
    read_all(reader, web).await;
    assert_eq!(task.bytes(), (0, 3 << 20, 0));
    is_noted(&host).await;
    seed.stop.cancel();
    let known = (seed.id, seed.certificate());
    let Host { mut _running, .. } = seed;
    while _running.join_next().await.is_some() {}
    (host, spec, known)
}

/// A link to `host` of somebody who takes part in the task with nothing, and which pieces the host shows in answer.
async fn shown(cluster: &Cluster, host: &Host, spec: &TaskSpec) -> (Link, u32) {
    let identity = cluster.host(Role::Daemon);
    let config = WireConfig::new(BufferPool::new(1));
    let mut link = dial(Links::new(identity), host, config)
        .await
        .expect("a link");
    let nothing = PieceSet::empty(spec.layout.piece_count());
    open(&link, (spec.task, spec.layout), &nothing);
    loop {
        let event = link.receiver.next().await.expect("the link stays");
        if let wire::Event::Message {
            message: Message::Open { have, .. },
            ..
        } = event
        {
            return (link, have.into_set(&spec.layout).len());
        }
    }
}

/// Waits until `links` know of somebody whether it is a seed.
pub(super) async fn hears(links: &Links, seed: &HostId, is_seed: bool) {
    let mut seeds = links.seeds();
    while links.is_seed(seed) != is_seed {
        seeds.changed().await.expect("they live");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_met_the_seed_believes_its_word_after_it_is_gone() {
    let (cluster, web) = (Cluster::new("after"), Web::serving(content(3 << 20)).await);
    let (host, spec, (seed, _)) = after_the_seed(&cluster, &web).await;
    web.refuse("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
    let late = Host::within(&cluster, &web, (true, patient())).await;
    assert!(!late.links.is_seed(&seed));
    let reader = late.open(late.spec(&web, None).await).await;
    meet(&host, &late, spec.task).await;
    let task = Arc::clone(reader.task());
    read_all(reader, &web).await;
    assert_eq!(task.bytes(), (0, 3 << 20, 0));
    assert!(late.links.is_seed(&seed));
    [host, late].iter().for_each(|host| host.stop.cancel());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_seed_signed_is_shown_to_nobody_once_it_is_none_any_more() {
    let (cluster, web) = (Cluster::new("none"), Web::serving(content(3 << 20)).await);
    let (host, spec, (seed, _)) = after_the_seed(&cluster, &web).await;
    let all = spec.layout.piece_count();
    assert_eq!(shown(&cluster, &host, &spec).await.1, all);
    let list = cluster.ca.revoke(seed, SystemTime::now());
    let list = list.expect("revoked").as_bytes().to_vec();
    host.told(SchedulerMessage::Revocations(list)).await;
    hears(&host.links, &seed, false).await;
    while shown(&cluster, &host, &spec).await.1 > 0 {}
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_the_role_that_the_scheduler_tells_of_ends_a_seeds_word() {
    let (cluster, web) = (Cluster::new("ended"), Web::serving(content(3 << 20)).await);
    let host = Host::within(&cluster, &web, (true, patient())).await;
    let identity = cluster.host(Role::Seed);
    let (seed, links) = (identity.host(), Links::new(identity.clone()));
    // It was met, and told of.
    let config = WireConfig::new(BufferPool::new(1));
    let _link = dial(links.clone(), &host, config).await.expect("a link");
    hears(&host.links, &seed, true).await;
    let as_seed = links.certificate_of(&seed).expect("it is a seed");
    let plain = cluster.again(&identity, (Role::Daemon, Duration::from_secs(5)));
    assert!(links.adopt(plain));
    let as_none = links.certificate_of(&seed).expect("it was one");
    let told = [as_none, as_seed]
        .map(|told| told.as_ref().to_vec())
        .to_vec();
    host.told(SchedulerMessage::Certificates(told)).await;
    hears(&host.links, &seed, false).await;
    host.stop.cancel();
}

/// Waits until `host` has taken in everything that happened to it before.
async fn has_heard_all(cluster: &Cluster, host: &Host) {
    let (other, id) = certified(&cluster.host(Role::Seed));
    host.told(SchedulerMessage::Certificates(vec![other])).await;
    hears(&host.links, &id, true).await;
}

/// What shows that `identity` is a seed.
fn certified(identity: &Identity) -> (Vec<u8>, HostId) {
    let links = Links::new(identity.clone());
    let certificate = links.certificate_of(&identity.host());
    let certificate = certificate.expect("it is a seed");
    (certificate.as_ref().to_vec(), identity.host())
}

/// The word of `identity` for all pieces of what `web` serves.
pub(super) fn words(identity: &Identity, (spec, web): (&TaskSpec, &Web)) -> Vec<Segment> {
    let of_piece = |piece: PieceIndex| {
        let range = spec.layout.range_of(piece);
        let mut hasher = PieceHasher::new(&spec.layout, piece);
        hasher.update(&web.content[range.start() as usize..range.end() as usize]);
        let mut segment = Segment {
            task: spec.task,
            layout: spec.layout,
            epoch: Epoch(1),
            first: piece,
            digests: vec![hasher.finish()],
            signer: identity.host(),
            signature: [0; 64],
        };
        segment.signature = identity.key().sign(&segment.statement(identity.cluster()));
        segment
    };
    spec.layout.all().pieces().map(of_piece).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_who_is_no_seed_in_an_older_store_are_shown_to_nobody() {
    let (cluster, web) = (Cluster::new("older"), Web::serving(content(3 << 20)).await);
    for role in [Role::Daemon, Role::Seed] {
        let host = Host::new(&cluster, &web, true).await;
        let spec = host.spec(&web, None).await;
        read_all(host.open(spec.clone()).await, &web).await;
        is_noted(&host).await;
        let identity = cluster.host(role);
        let content = host.store.content(spec.task).expect("readable");
        let content = content.expect("it is there");
        for word in words(&identity, (&spec, &web)) {
            content.put_segment(word, |_| false).expect("about this");
        }
        let known = Links::new(identity.clone()).certificate_of(&identity.host());
        let known = known.iter().map(|known| known.as_ref().to_vec()).collect();
        host.told(SchedulerMessage::Certificates(known)).await;
        hears(&host.links, &identity.host(), role == Role::Seed).await;
        let all = spec.layout.piece_count();
        let shows = |pieces: u32| pieces == if role == Role::Seed { all } else { 0 };
        // A seed's word is taken up as soon as it is heard that it is one.
        let mut pieces = shown(&cluster, &host, &spec).await.1;
        while role == Role::Seed && pieces < all {
            pieces = shown(&cluster, &host, &spec).await.1;
        }
        assert!(shows(pieces), "{pieces} of {all} by a {role}");
        host.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_named_importer_and_is_thrown_out_signs_no_more() {
    let (cluster, web) = (Cluster::new("named"), Web::serving(content(3 << 20)).await);
    let host = Host::within(&cluster, &web, (true, patient())).await;
    let spec = host.spec(&web, Some(digest_of(&web))).await;
    let reader = host.open(spec.clone()).await;
    let (bad, good) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let task = reader.task();
    for named in [&bad, &good] {
        task.name_importer(named.host());
        assert!(task.may_sign(&named.host()));
    }
    for word in words(&bad, (&spec, &web)) {
        task.keep_segment(Arc::new(word));
    }
    assert!(task.keep_seal(Seal {
        task: spec.task,
        layout: spec.layout,
        root: digest_of(&web),
        signer: bad.host(),
        signature: [0; 64],
    }));
    let list = cluster.ca.revoke(bad.host(), SystemTime::now());
    let list = list.expect("revoked").as_bytes().to_vec();
    host.told(SchedulerMessage::Revocations(list)).await;
    while task.is_vouched(PieceIndex(0)) {
        tokio::task::yield_now().await;
    }
    assert!(!task.may_sign(&bad.host()) && task.may_sign(&good.host()));
    assert!(!task.is_for_others(), "its words were lost");
    assert!(task.content.seal().is_none(), "its seal too");
    host.stop.cancel();
}
