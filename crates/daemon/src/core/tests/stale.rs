//! What nobody who counts vouches for any more, where no digest names the content: no reader gets a part of it and a part of
//! another reading.

use control::{ControlSender, HostMessage};
use store::Reserve;

use super::{
    remote::Parent,
    seeds::{hears, words},
    *,
};
use crate::task::TaskError;

/// An origin that gives nothing for now: what comes is a seed's.
async fn web() -> Web {
    let web = Web::serving(content(3 << 20)).await;
    web.refuse("HTTP/1.1 503 Busy\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n");
    web
}

/// What a seed that is thrown out later makes of the content.
async fn lie() -> Web {
    let lie = content(3 << 20).iter().map(|byte| !byte).collect();
    Web::serving(lie).await
}

async fn throw_out(cluster: &Cluster, host: &Host, seed: HostId) {
    let list = cluster.ca.revoke(seed, SystemTime::now());
    let list = list.expect("revoked").as_bytes().to_vec();
    host.told(SchedulerMessage::Revocations(list)).await;
    hears(&host.links, &seed, false).await;
}

/// Reads the whole of what `web` serves, that an honest seed has.
async fn read_of_honest(cluster: &Cluster, (host, web): (&Host, &Web), reader: TaskReader) {
    let spec = &reader.task().spec;
    let of = (spec.task, spec.layout);
    let identity = cluster.host(Role::Seed);
    let mut honest = Parent::unnamed(identity, (host, web), of, false).await;
    tokio::select! {
        () = read_all(reader, web) => {}
        () = honest.serve(false) => panic!("the link of the honest seed ended"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_told_when_who_vouched_for_what_it_read_is_thrown_out() {
    let (cluster, web) = (Cluster::new("stale"), web().await);
    let (host, lie) = (
        Host::within(&cluster, &web, (true, patient())).await,
        lie().await,
    );
    let spec = host.spec(&web, None).await;
    let of = (spec.task, spec.layout);
    let mut reader = host.open(spec).await;
    let bad = cluster.host(Role::Seed);
    let id = bad.host();
    let mut liar = Parent::unnamed(bad, (&host, &lie), of, false).await;
    tokio::select! {
        given = reader.ready(0) => drop(given.expect("a seed vouches for it")),
        () = liar.serve(false) => panic!("the link of the seed ended"),
    }
    throw_out(&cluster, &host, id).await;
    let told = loop {
        match reader.ready(0).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(told) => break told,
        }
    };
    assert!(matches!(*told, TaskError::Voided), "{told}");
    read_of_honest(&cluster, (&host, &web), reader).await;
    host.stop.cancel();
}

/// A content that no digest names, of which the store of `host` has so many pieces as `web` serves them, by the word of
/// `seed`.
fn stored(host: &Host, (spec, web): (&TaskSpec, &Web), (seed, pieces): (&identity::Identity, u32)) {
    let content = host.store.create(spec.new_content(Reserve::Whole));
    let content = content.expect("room");
    for word in words(seed, (spec, web)).into_iter().take(pieces as usize) {
        let range = spec.layout.range_of(word.first);
        let mut writer = content.writer(word.first).expect("it is missing");
        let bytes = &web.content[range.start() as usize..range.end() as usize];
        writer.write(bytes).expect("written");
        writer.finish(None).expect("marked");
        content.put_segment(word, |_| true).expect("about this");
    }
    if pieces == spec.layout.piece_count() {
        let root = content.table().expect("whole").root();
        content.set_complete(root).expect("whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_who_was_thrown_out_is_not_made_up_with_another_reading() {
    let (cluster, web) = (Cluster::new("part"), web().await);
    let lie = lie().await;
    for all in [false, true] {
        let host = Host::within(&cluster, &web, (true, patient())).await;
        let spec = host.spec(&web, None).await;
        let bad = cluster.host(Role::Seed);
        let pieces = if all { spec.layout.piece_count() } else { 5 };
        stored(&host, (&spec, &lie), (&bad, pieces));
        throw_out(&cluster, &host, bad.host()).await;
        let reader = host.open(spec).await;
        read_of_honest(&cluster, (&host, &web), reader).await;
        host.stop.cancel();
    }
}

/// A core over the store of `host` that nobody runs, and what it says to its scheduler.
fn core_over(host: &Host) -> (Core, impl FnMut(&mut Core) -> Vec<HostMessage>) {
    let limits = patient();
    let events = Events::new(mpsc::channel(64).0);
    let greeting = Greeting::new(host.links.clone(), host.peer.port(), limits.wire());
    let mut core = Core::new(
        Parts {
            links: host.links.clone(),
            signer: host.signer.clone(),
            is_seed: false,
            is_alone: false,
            dialler: Dialler {
                greeting,
                events: events.clone(),
            },
            outlook: watch::Sender::default(),
            join: join(host.peer),
            limits,
            store: host.store.clone(),
            accesses: host.accesses.clone(),
            metrics: Metrics::default(),
            health: crate::doors::Health::default(),
            clock: host.clock,
            seed: 7,
        },
        events,
    );
    let (sender, mut said) = ControlSender::pair(64);
    core.scheduling.connected(sender);
    let hear = move |core: &mut Core| {
        core.scheduling.flush(core.parts.clock.now());
        std::iter::from_fn(|| said.try_recv().ok())
            .map(|stamped| stamped.message)
            .collect()
    };
    (core, hear)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_seeds_is_told_in_one_message_of_what_they_vouch_for() {
    let (cluster, web) = (Cluster::new("batch"), Web::serving(content(3 << 17)).await);
    let host = Host::within(&cluster, &web, (true, patient())).await;
    let [bad, good, other] = [(); 3].map(|()| cluster.host(Role::Seed));
    let meet = |seed: &identity::Identity| {
        let told = Links::new(seed.clone()).certificate_of(&seed.host());
        let told = host.links.learn_certificate(told.expect("a seed").as_ref());
        assert!(told.expect("it is genuine"));
    };
    [&bad, &good].iter().for_each(|seed| meet(seed));
    let spec = host.spec(&web, None).await;
    let tasks =
        |numbers: std::ops::Range<u8>| numbers.map(|number| TaskId::from_bytes([number; 32]));
    for (seed, numbers) in [(&bad, 1..4), (&good, 4..7)] {
        for task in tasks(numbers) {
            let spec = TaskSpec {
                task,
                ..spec.clone()
            };
            stored(&host, (&spec, &web), (seed, spec.layout.piece_count()));
        }
    }
    let (mut core, mut hear) = core_over(&host);
    meet(&other);
    core.seeds_changed();
    assert_eq!(hear(&mut core), [], "it vouches for nothing");
    let list = cluster.ca.revoke(bad.host(), SystemTime::now());
    let list = list.expect("revoked").as_bytes().to_vec();
    host.links.learn_revocations(&list).expect("it is genuine");
    core.seeds_changed();
    let (added, removed) = (Vec::new(), tasks(1..4).collect());
    let once = HostMessage::Holdings { added, removed };
    assert_eq!(hear(&mut core), [once]);
    host.stop.cancel();
}
