//! Who believes which word for a whole content, and what is made of it.

use types::Seal;
use wire::{Inventory, Link, Message, TaskNo};

use super::{remote::remote, *};

/// What the content really folds to.
fn root_of(web: &Web) -> Digest {
    Digest::blake3(*blake3::hash(&web.content).as_bytes())
}

/// Tells everybody that the first of `hosts` is a seed.
async fn name_seed(hosts: &[Host]) {
    for host in hosts {
        let seeds = vec![hosts[0].as_neighbour()];
        host.told(SchedulerMessage::Members { seeds }).await;
    }
}

/// Shows all of `hosts` that the first of them is a seed.
async fn show_seed(hosts: &[Host]) {
    for host in hosts {
        let told = vec![hosts[0].certificate()];
        host.told(SchedulerMessage::Certificates(told)).await;
    }
}

/// Makes `one` and `other` neighbours, with the first of `hosts` as the importer.
async fn meet(hosts: &[Host], (one, other): (usize, usize), task: TaskId) {
    for (host, add) in [(one, other), (other, one)] {
        let importer = SchedulerMessage::Importer {
            task,
            host: hosts[0].id,
        };
        let introduce = Introduce {
            task,
            reset: false,
            add: vec![hosts[add].as_neighbour()],
            remove: Vec::new(),
        };
        hosts[host].told(importer).await;
        hosts[host]
            .told(SchedulerMessage::Introduce(introduce))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeds_word_reaches_who_never_met_it_and_ends_what_verifies_itself() {
    let (cluster, web) = (
        Cluster::new("seals"),
        Web::serving(content((4 << 20) + 3)).await,
    );
    let hosts = [
        Host::seed(&cluster, &web).await,
        Host::within(&cluster, &web, (true, patient())).await,
        Host::within(&cluster, &web, (true, patient())).await,
    ];
    name_seed(&hosts).await;
    let mut readers = Vec::new();
    for host in &hosts {
        let spec = host.spec(&web, Some(digest_of(&web))).await;
        readers.push(host.open(spec).await);
    }
    let imported = imported(&readers);
    let task = readers[0].task().spec.task;
    meet(&hosts, (0, 1), task).await;
    meet(&hosts, (1, 2), task).await;
    hosts[0].told(hosts[0].lease(task)).await;
    for reader in &mut readers {
        let vouched = reader.vouched().await.expect("the whole is right");
        assert_eq!(vouched, Some(digest_of(&web)));
    }
    for reader in readers {
        // The word is on its way, or was what `vouched` heard.
        let mut news = reader.task().news();
        while reader.task().content.seal().is_none() {
            news.changed().await.expect("the task lives");
        }
        let seal = reader.task().content.seal().expect("just seen");
        assert_eq!((seal.signer, seal.root), (hosts[0].id, root_of(&web)));
        read_all(reader, &web).await;
    }
    assert_eq!(imported(), web.content.len() as u64);
    hosts.iter().for_each(|host| host.stop.cancel());
}

/// Takes part in the task of `reader` over `link`, and says each of `seals`.
async fn say(link: &mut Link, reader: &TaskReader, seals: &[Seal]) {
    let spec = &reader.task().spec;
    let no = TaskNo(1);
    let have = Inventory::of(&types::PieceSet::empty(spec.layout.piece_count())).0;
    let open = Message::Open {
        no,
        task: spec.task,
        layout: spec.layout,
        have,
        importer: false,
    };
    link.sender.try_send(&open).expect("room");
    for seal in seals.iter().cloned() {
        let message = Message::Seal { no, seal };
        link.sender.try_send(&message).expect("room");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_seeds_word_is_not_kept() {
    let (cluster, web) = (Cluster::new("forged"), Web::serving(content(3 << 20)).await);
    let hosts = [
        Host::seed(&cluster, &web).await,
        Host::within(&cluster, &web, (true, patient())).await,
    ];
    name_seed(&hosts).await;
    show_seed(&hosts).await;
    let spec = hosts[1].spec(&web, Some(digest_of(&web))).await;
    let reader = hosts[1].open(spec.clone()).await;
    let good = hosts[0].signer.seal(&spec, root_of(&web));
    let forged = Seal {
        root: Digest::blake3([9; 32]),
        ..good.clone()
    };
    let no_seed = hosts[1].signer.seal(&spec, forged.root);
    let elsewhere = Signer {
        cluster: "elsewhere".parse().expect("a name"),
        ..hosts[0].signer.clone()
    };
    let foreign = elsewhere.seal(&spec, forged.root);
    let mut link = remote(&cluster, &hosts[1], None).await;
    let mut news = reader.task().news();
    say(
        &mut link,
        &reader,
        &[forged, no_seed, foreign, good.clone()],
    )
    .await;
    while reader.task().content.seal().is_none() {
        news.changed().await.expect("the task lives");
    }
    assert_eq!(reader.task().content.seal(), Some(good));
    hosts.iter().for_each(|host| host.stop.cancel());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_that_the_pieces_do_not_make_is_settled_by_the_own_hash() {
    let (cluster, web) = (Cluster::new("astray"), Web::serving(content(3 << 20)).await);
    let hosts = [
        Host::seed(&cluster, &web).await,
        Host::within(&cluster, &web, (true, patient())).await,
    ];
    name_seed(&hosts).await;
    show_seed(&hosts).await;
    let spec = hosts[1].spec(&web, Some(digest_of(&web))).await;
    let reader = hosts[1].open(spec.clone()).await;
    let wrong = hosts[0].signer.seal(&spec, Digest::blake3([9; 32]));
    assert!(reader.task().keep_seal(wrong));
    let task = spec.task;
    hosts[1].told(hosts[1].lease(task)).await;
    let mut news = reader.task().news();
    let content = reader.task().content.clone();
    read_all(reader, &web).await;
    while content.seal().is_some() {
        news.changed().await.expect("the task lives");
    }
    assert!(!news.borrow().sealed);
    hosts.iter().for_each(|host| host.stop.cancel());
}
