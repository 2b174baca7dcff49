//! Content that no digest names: only a seed's word counts for it, and without one each host reads it by itself.

use super::{remote::Parent, *};

/// The scheduler finds nobody who may import `task`.
fn nobody_imports(task: TaskId) -> SchedulerMessage {
    let cause = control::FailCause::NobodyCanImport;
    SchedulerMessage::Fail { task, cause }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_about_a_url_is_not_believed_although_the_liar_was_named_importer() {
    let cluster = Cluster::new("lie");
    let (right, wrong) = (vec![1; 3 << 20], vec![2; 3 << 20]);
    let (web, lie) = (Web::serving(right).await, Web::serving(wrong).await);
    let host = Host::new(&cluster, &web, true).await;
    let spec = host.spec(&web, None).await;
    let of = (spec.task, spec.layout);
    let reader = host.open(spec).await;
    let mut liar = Parent::new(&cluster, (&host, &lie), of, false).await;
    liar.serve(true).await;
    host.told(nobody_imports(of.0)).await;
    let task = Arc::clone(reader.task());
    read_all(reader, &web).await;
    assert_eq!(task.bytes(), (0, 0, 3 << 20));
    assert!(task.is_unshared());
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_without_a_seed_each_read_a_url_and_show_each_other_nothing() {
    let (cluster, web) = (Cluster::new("each"), Web::serving(content(3 << 20)).await);
    let hosts = [
        Host::new(&cluster, &web, true).await,
        Host::new(&cluster, &web, true).await,
    ];
    let mut readers = Vec::new();
    for host in &hosts {
        let spec = host.spec(&web, None).await;
        readers.push(host.open(spec).await);
    }
    let task = readers[0].task().spec.task;
    introduce(&hosts, task).await;
    for host in &hosts {
        host.told(nobody_imports(task)).await;
    }
    for reader in readers {
        let task = Arc::clone(reader.task());
        read_all(reader, &web).await;
        assert_eq!(task.bytes(), (0, 0, 3 << 20));
    }
    hosts.iter().for_each(|host| host.stop.cancel());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_alone_reads_on_when_others_come_that_have_nothing_to_give() {
    let (cluster, web) = (
        Cluster::new("company"),
        Web::serving(content(9 << 20)).await,
    );
    // Nothing but the scheduler's word sends them to the origin in time.
    let hosts = [
        Host::within(&cluster, &web, (true, patient())).await,
        Host::within(&cluster, &web, (true, patient())).await,
    ];
    let spec = hosts[0].spec(&web, None).await;
    let task = spec.task;
    let mut reader = hosts[0].open(spec).await;
    let _other = hosts[1].open(hosts[1].spec(&web, None).await).await;
    hosts[0].told(nobody_imports(task)).await;
    reader.ready(0).await.expect("the origin gives it");
    hosts[0]
        .told(SchedulerMessage::Queued { task, layout: None })
        .await;
    for (host, other) in [(0, 1), (1, 0)] {
        let add = vec![hosts[other].as_neighbour()];
        hosts[host]
            .told(SchedulerMessage::Introduce(Introduce {
                task,
                reset: false,
                add,
                remove: Vec::new(),
            }))
            .await;
    }
    read_all(reader, &web).await;
    hosts.iter().for_each(|host| host.stop.cancel());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_comes_late_is_believed_for_the_rest() {
    let (cluster, web) = (Cluster::new("late"), Web::serving(content(9 << 20)).await);
    let host = Host::new(&cluster, &web, true).await;
    let seed = Host::seed(&cluster, &web).await;
    let spec = host.spec(&web, None).await;
    let task = spec.task;
    let mut reader = host.open(spec).await;
    host.told(nobody_imports(task)).await;
    reader.ready(0).await.expect("the origin gives it");
    let of_seed = seed.spec(&web, None).await;
    let of_seed = seed.open(of_seed).await;
    for (host, other) in [(&seed, &host), (&host, &seed)] {
        let seeds = vec![seed.as_neighbour()];
        host.told(SchedulerMessage::Members { seeds }).await;
        host.told(SchedulerMessage::Introduce(Introduce {
            task,
            reset: false,
            add: vec![other.as_neighbour()],
            remove: Vec::new(),
        }))
        .await;
    }
    seed.told(seed.lease(task)).await;
    let task = Arc::clone(reader.task());
    read_all(reader, &web).await;
    let (_, peer, origin) = task.bytes();
    assert!(peer > 0 && peer + origin == 9 << 20, "{peer} of peers");
    drop(of_seed);
    [host, seed].iter().for_each(|host| host.stop.cancel());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_seed_imports_on_its_own_word_is_counted_as_read_without_a_lease() {
    let (cluster, web) = (Cluster::new("word"), Web::serving(content(3 << 20)).await);
    let unleased = async |host: Host| {
        let reader = host.open(host.spec(&web, None).await).await;
        let task = Arc::clone(reader.task());
        read_all(reader, &web).await;
        assert_eq!(task.bytes(), (0, 0, 3 << 20));
        let text = host.metrics.text(&crate::metrics::Now::default());
        host.stop.cancel();
        let name = "pantala_origin_unleased_bytes_total ";
        let count = text.lines().find_map(|line| line.strip_prefix(name));
        count.map(str::to_owned)
    };
    // Its scheduler is not there.
    let seed = Host::seed(&cluster, &web).await;
    assert_eq!(unleased(seed).await, Some((3 << 20).to_string()));
    // It was told of nobody who could give leases.
    let alone = Host::new(&cluster, &web, false).await;
    assert_eq!(unleased(alone).await, Some("0".to_owned()));
}
