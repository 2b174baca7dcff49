//! Small stories with one expected answer each.
//!
//! A story is a list of words: `join a`, `join a seed`, `join a r/z1`, `ask a t` (`anonymous`, or `no`, or `cred`),
//! `+500` (milliseconds pass), and so on. No digest names the task `w`. The answer is what hosts are told, leaving out acknowledgements.

use std::time::Duration;

use types::{ByteCount, Epoch, HostId, Layout, Moment, TaskId, Topology, Visibility};

use super::*;

fn host(name: &str) -> HostId {
    HostId::from_bytes([name.as_bytes()[0]; 32])
}

fn task(name: &str) -> TaskId {
    TaskId::from_bytes([name.as_bytes()[0]; 32])
}

fn name(id: HostId) -> char {
    char::from(id.as_bytes()[0])
}

fn names(ids: &[HostId]) -> String {
    ids.iter().copied().map(name).collect()
}

fn join(host: HostId, topology: &str, is_seed: bool) -> Event {
    Event::Join(Join {
        host,
        topology: topology.parse::<Topology>().expect("a topology"),
        is_seed,
        capacity: 100,
        sent: Moment(7),
    })
}

fn ask(host: HostId, task: TaskId, can_import: CanImport, have: Have) -> Event {
    let ask = Ask {
        task,
        by_digest: name(HostId::from_bytes(*task.as_bytes())) != 'w',
        can_import,
        have,
        visibility: Visibility::Public,
        layout: None,
    };
    Event::Ask { host, ask }
}

fn doubt(by: HostId, of: HostId, task: TaskId) -> Event {
    Event::Doubt(Doubt { by, of, task })
}

fn event(words: &[&str]) -> Event {
    let (h, third) = (host(words[1]), words.get(2).copied().unwrap_or_default());
    let t = task(if third.is_empty() { "?" } else { third });
    let last = *words.last().expect("not empty");
    let epoch = Epoch(last.parse().unwrap_or(0));
    let failed = |cause, permanent| {
        Event::LeaseFailed(LeaseFailed {
            host: h,
            task: t,
            epoch,
            cause,
            permanent,
        })
    };
    match words[0] {
        "join" => join(h, if third == "seed" { "" } else { third }, third == "seed"),
        "ask" => {
            let rights = match last {
                "no" => CanImport::No,
                "cred" => CanImport::Credentialed,
                _ => CanImport::Anonymous,
            };
            ask(h, t, rights, Have::None)
        }
        "hold" => ask(h, t, CanImport::No, Have::All),
        "left" => Event::Left { host: h, task: t },
        "lost" => Event::Lost { host: h },
        "bye" => Event::Goodbye { host: h },
        "404" => failed(OriginFailure::NotFound, true),
        "503" => failed(OriginFailure::Overloaded, false),
        "forbids" => failed(OriginFailure::Forbidden, true),
        "has" => Event::Progress(Progress {
            host: h,
            task: t,
            have: last.parse().expect("a number of pieces"),
            lease: None,
            imported: 0,
            left: 1,
        }),
        "back" => Event::LeaseReturned(LeaseReturned {
            host: h,
            task: t,
            epoch,
        }),
        "import" | "done" => Event::Progress(Progress {
            host: h,
            task: t,
            have: 1,
            lease: Some(epoch),
            imported: 1,
            left: u32::from(words[0] == "import"),
        }),
        "claim" => Event::Inventory(Inventory {
            host: h,
            leases: vec![LeaseClaim {
                task: t,
                epoch,
                remaining: Duration::from_secs(2),
            }],
            running: match ask(h, t, CanImport::Anonymous, Have::Some(1)) {
                Event::Ask { ask, .. } => vec![ask],
                _ => Vec::new(),
            },
            holdings: Vec::new(),
        }),
        "blame" => Event::Blame(Blame {
            by: h,
            of: host(third),
        }),
        "doubt" => doubt(h, host(third), task(last)),
        other => panic!("no such word: {other}"),
    }
}

fn told(action: &Action) -> Option<String> {
    let to = name(action.host());
    Some(match action {
        Action::Queued { .. } => return None,
        Action::Introduce { add, remove, .. } if add.is_empty() && remove.is_empty() => {
            return None;
        }
        Action::Introduce { add, remove, .. } => {
            let minus = if remove.is_empty() { "" } else { "-" };
            format!("{to}:{}{minus}{}", names(add), names(remove))
        }
        Action::Grant { lease, .. } => format!("{to}!{}", lease.epoch.0),
        Action::Renew { epoch, .. } => format!("{to}+{}", epoch.0),
        Action::Revoke { epoch, .. } => format!("{to}x{}", epoch.0),
        Action::Fail { .. } => format!("{to}?"),
        Action::Recruit { .. } => format!("{to}*"),
        Action::Refused { .. } => format!("{to}#"),
    })
}

fn check_with(mut brain: Schedule, story: &str, expected: &str) {
    let (mut now, mut seen) = (Moment(1_000_000_000), Vec::new());
    for part in story.split(',').map(str::trim) {
        if let Some(millis) = part.strip_prefix('+') {
            let until = now + Duration::from_millis(millis.parse().expect("milliseconds"));
            while let Some(at) = brain.deadline().filter(|at| *at <= until) {
                brain.handle(at, Event::Tick);
            }
            now = until;
            brain.handle(now, Event::Tick);
        } else {
            brain.handle(now, event(&part.split_whitespace().collect::<Vec<_>>()));
        }
        seen.extend(std::iter::from_fn(|| brain.next_action()).filter_map(|action| told(&action)));
    }
    assert_eq!(seen.join(" "), expected, "{story}");
}

fn check(story: &str, expected: &str) {
    check_with(Schedule::new(Policy::default(), 1), story, expected);
}

#[test]
fn the_first_asker_imports_and_both_ends_are_told() {
    check("join a, join b, ask a t, ask b t, +30", "a!1 b:a a:b");
}

#[test]
fn a_seed_is_preferred_once_the_lease_is_free() {
    check(
        "join a, ask a t, join s seed, ask s t, 503 a t 1",
        "a!1 s:a s!2",
    );
}

#[test]
fn a_seed_is_recruited_and_given_a_moment() {
    check("join a, join s seed, ask a t, ask s t", "s* s:a s!1");
    check("join a, join s seed, ask a t, +100", "s*");
    check("join a, join s seed, ask a t, +160", "s* a!1");
    check("join s seed, ask s t", "s!1");
}

#[test]
fn who_cannot_import_waits_for_who_can() {
    check("join a, join b, ask a t no, +100, ask b t", "b:a b!1");
    check("join a, ask a t no, +1100", "a?");
}

#[test]
fn what_no_digest_names_is_imported_by_seeds_alone() {
    check("join a, join b, ask a w, ask b w", "a? b?");
    check("join a, join s seed, ask a w, +140, ask s w", "s* s:a s!1");
    check("join a, ask a w no, join s seed, ask a w", "a? s*");
}

#[test]
fn a_seed_that_declines_or_says_nothing_makes_room_for_the_next_and_then_each_reads_alone() {
    let seeds = "join a, join s seed, join z seed, ask a w";
    check(&format!("{seeds}, +990, +20, +1000"), "z* s* a?");
    check(&format!("{seeds}, left z w, left s w"), "z* s* a?");
    check(&format!("{seeds}, left s w, left z w"), "z* s*");
    check("join a, join s seed, ask a t, left s t", "s* a!1");
}

#[test]
fn a_seed_that_is_gone_or_silent_is_not_named_again() {
    check(
        "join a, join s seed, ask a w, ask s w, +30, lost s, +3200, +3200",
        "s* s:a s!1 a:s a:-s a?",
    );
    check(
        "join a, join s seed, join z seed, ask s w, ask a w, +30, has a w 1, +3200, ask z w",
        "s!1 a:s s:a z* z:as z!2",
    );
}

#[test]
fn a_lease_of_what_no_digest_names_is_kept_by_seeds_alone() {
    let restart = Restart {
        wait: Duration::from_secs(1),
        epoch_floor: Epoch(0),
    };
    let fresh = || Schedule::rebuilding(Moment(1_000_000_000), Policy::default(), 1, restart);
    check_with(fresh(), "join a, claim a w 7, +1000", "ax7 a?");
    check_with(fresh(), "join s seed, claim s w 7", "s+7");
}

#[test]
fn a_goodbye_gives_the_lease_on_at_once_and_a_loss_when_it_has_ended() {
    check("join a, join b, ask a t, ask b t, bye a", "a!1 b:a b!2");
    check(
        "join a, join b, ask a t, ask b t, +50, lost a, +3100, +100",
        "a!1 b:a a:b b:-a b!2",
    );
}

#[test]
fn an_importer_that_reports_keeps_the_lease_and_one_that_stands_still_loses_it() {
    check(
        "join a, ask a t, +2000, import a t 1, +2000, import a t 1",
        "a!1 a+1 a+1",
    );
    check(
        "join a, join b, ask a t, ask b t, +30, import a t 1, +2000, import a t 1, +1500, import a t 1, back a t 1",
        "a!1 b:a a:b a+1 a+1 ax1 b!2",
    );
}

#[test]
fn complete_content_has_no_lease() {
    check("join a, join b, hold a t, ask b t", "b:a");
    check(
        "join a, join b, ask a t, ask b t, +30, hold b t",
        "a!1 b:a a:b b:a ax1",
    );
}

#[test]
fn content_that_is_here_but_reaches_nobody_is_imported_all_the_same() {
    check("join a, join b, hold a t, ask b t, +3100", "b:a a:b b!1");
    check("join a, join b, hold a t, ask b t no, +90000", "b:a a:b");
}

#[test]
fn members_that_still_exchange_pieces_are_not_told_that_nobody_can_import() {
    check(
        "join a, join b, ask a t, ask b t no, +30, import b t, bye a, +2000, +2000",
        "a!1 b:a a:b b:-a b?",
    );
}

#[test]
fn what_is_covered_is_imported_again_when_its_only_holder_leaves() {
    check(
        "join a, join b, ask a t, ask b t, +30, done a t 1, back a t 1, bye a",
        "a!1 b:a a:b ax1 b!2",
    );
}

#[test]
fn a_lasting_failure_is_told_to_all_once_nobody_is_left_to_try() {
    check("join a, ask a t, 404 a t 1", "a!1 a?");
    check(
        "join a, join b, join c, ask a t, ask b t, ask c t cred, 404 a t 1, 404 b t 2",
        "a!1 b:a c:ab b!2 c!3",
    );
    check(
        "join a, join b, join c, ask a t, ask b t, ask c t, 404 a t 1, 404 b t 2",
        "a!1 b:a c:ab b!2 a? b? c?",
    );
}

#[test]
fn what_the_credentials_of_some_do_not_open_others_may_and_their_own_of_later() {
    check(
        "join a, join b, join c, ask a t cred, ask b t cred, ask c t cred, 404 a t 1, 404 b t 2",
        "a!1 b:a c:ab b!2 c!3",
    );
    check(
        "join a, join b, ask a t cred, ask b t no, 404 a t 1, ask a t cred",
        "a!1 b:a a:b a!2",
    );
}

#[test]
fn what_one_hosts_policy_forbids_is_left_to_others() {
    check(
        "join a, join b, join c, ask a t, ask b t, ask c t, forbids a t 1, forbids b t 2, import c t 3",
        "a!1 b:a c:ab b!2 c!3 c+3",
    );
    check("join a, ask a t, forbids a t 1, +900, +200", "a!1 a?");
}

#[test]
fn a_slow_distribution_that_is_told_of_is_no_stall() {
    let hold = "join a, join b, hold a t, ask b t";
    let slow: String = (1..60)
        .map(|pieces| format!(", +2500, has b t {pieces}"))
        .collect();
    check(&format!("{hold}{slow}"), "b:a a:b");
}

#[test]
fn a_passing_failure_of_the_only_importer_is_tried_again_later() {
    check("join a, ask a t, 503 a t 1, +400, +200", "a!1 a!2");
}

#[test]
fn a_lease_from_before_a_restart_is_kept_and_later_epochs_are_larger() {
    let restart = Restart {
        wait: Duration::from_secs(1),
        epoch_floor: Epoch(0),
    };
    let fresh = || Schedule::rebuilding(Moment(1_000_000_000), Policy::default(), 1, restart);
    check_with(
        fresh(),
        "join a, join b, ask b t, +500, claim a t 7, +1000, import a t 7, bye a",
        "a+7 a:b b:a a+7 b!8",
    );
    check_with(fresh(), "join b, ask b t, +900, +200", "b!1");
}

#[test]
fn three_unrelated_voices_lower_a_host_until_it_is_forgotten() {
    let hosts = "join z r/z/k0, join a r/z/k1, join b r/z/k2, join c r/z/k3, join d r/z/k3";
    let three = "blame a z, blame b z, blame c z";
    let asks = "ask z t, ask a t, +30";
    // It imports nothing; that it gets what others have spares the origin its reading.
    check(&format!("{hosts}, {three}, {asks}"), "a:z a!1 z:a");
    check(
        &format!("{hosts}, blame a z, blame c z, blame d z, {asks}"),
        "z!1 a:z z:a",
    );
    let waits = "join e r/z/k5, join a r/z/k1, join b r/z/k2, join c r/z/k3, hold e t";
    let three = three.replace('z', "e");
    check(&format!("{waits}, {three}, ask a t"), "a!1");
    check(&format!("{waits}, {three}, +600001, ask a t"), "a:e");
}

#[test]
fn who_vouched_for_a_wrong_whole_imports_again_only_if_nobody_else_can() {
    let begun = "join a, join b, join c, ask a t, ask b t, ask c t, import a t 1";
    // The holder is asked to stop and the next one is named; nobody is lowered.
    check(
        &format!("{begun}, doubt b a t, back a t 1"),
        "a!1 b:a c:ab a+1 ax1 b!2",
    );
    // Leaving and asking again washes nobody.
    check(
        "join a, ask a t, join b, ask b t no, doubt b a t, left a t, join c, ask c t, ask a t, 503 c t 2",
        "a!1 b:a ax1 c:b c!2 a:bc c!3",
    );
    // One who takes no part has no say.
    check("join a, join z, ask a t, doubt z a t", "a!1");
    // A seed that has no part in it reads it again.
    check(
        "join a, ask a t, +1000, join s seed, join b, ask b t, import a t 1, doubt b a t, back a t 1, ask s t",
        "a!1 b:a a+1 ax1 s* s:ab s!2",
    );
}

#[test]
fn quotas_bound_what_one_host_can_make_us_remember() {
    let policy = Policy {
        running_max: 1,
        holdings_max: 1,
        asks_burst: 5,
        asks_per_second: 1,
        ..Policy::default()
    };
    check_with(
        Schedule::new(policy, 1),
        "join a, ask a t, ask a u, hold a v, hold a w, ask a t, ask a t, +1000, ask a t",
        "a!1 a# a# a#",
    );
}

#[test]
fn a_host_that_joins_again_and_again_has_no_more_asks_for_that() {
    let policy = Policy {
        asks_burst: 2,
        ..Policy::default()
    };
    check_with(
        Schedule::new(policy, 1),
        "join a, ask a t no, ask a u no, lost a, join a, ask a t no, +30, ask a t no",
        "a#",
    );
    let often = "join a, ".repeat(40);
    check(&format!("{often}+1000"), "a# a# a# a# a# a# a# a#");
}

#[test]
fn the_grant_covers_the_whole_layout_and_is_counted_from_the_holders_clock() {
    let mut brain = Schedule::new(Policy::default(), 1);
    let (now, later) = (Moment(1_000_000_000), Moment(3_000_000_000));
    let layout = Layout::of(ByteCount::mib(1)).expect("a layout");
    brain.handle(now, join(host("a"), "", false));
    let Event::Ask { host, mut ask } = ask(host("a"), task("t"), CanImport::Anonymous, Have::None)
    else {
        panic!("an ask");
    };
    ask.layout = Some(layout);
    brain.handle(later, Event::Ask { host, ask });
    let actions = std::iter::from_fn(|| brain.next_action());
    let lease = actions.filter_map(|action| match action {
        Action::Grant { lease, .. } => Some(lease),
        _ => None,
    });
    let lease = lease.last().expect("a grant");
    assert_eq!(lease.run, layout.all());
    assert_eq!(lease.term.counted_from, Moment(7));
    assert_eq!(lease.term.valid_for, Duration::from_secs(2 + 3));
}

fn numbered(number: u32) -> HostId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    HostId::from_bytes(bytes)
}

/// A storm: all join and ask within a flush's time, then all finish.
#[test]
fn a_storm_of_joins_is_a_few_messages_per_host_and_rest_leaves_nothing() {
    let count = 10_000u32;
    let start = std::time::Instant::now();
    let mut brain = Schedule::new(Policy::default(), 1);
    let mut now = Moment(1_000_000_000);
    let mut messages = 0;
    let mut step = |brain: &mut Schedule, now: Moment, event: Event| {
        brain.handle(now, event);
        let actions = std::iter::from_fn(|| brain.next_action());
        messages += actions
            .filter(|a| matches!(a, Action::Introduce { .. }))
            .count();
    };
    for number in 0..count {
        now = now + Duration::from_micros(50);
        let place = format!("r/z{}/k{}", number % 4, number % 40);
        step(&mut brain, now, join(numbered(number), &place, false));
        let wish = ask(
            numbered(number),
            task("t"),
            CanImport::Anonymous,
            Have::None,
        );
        step(&mut brain, now, wish);
    }
    step(&mut brain, now + Duration::from_millis(20), Event::Tick);
    println!("{count} joins and asks in {:?}", start.elapsed());
    let view = brain.task_view(&task("t")).expect("known");
    let degrees = view.members.iter().map(|member| member.neighbours.len());
    assert!(degrees.clone().all(|degree| (28..=30).contains(&degree)));
    for number in 0..count {
        let wish = ask(numbered(number), task("t"), CanImport::No, Have::All);
        step(&mut brain, now, wish);
    }
    step(&mut brain, now + Duration::from_secs(1), Event::Tick);
    println!("and finished, after {:?} in all", start.elapsed());
    // One message per change, without gathering, would be 60 per host.
    assert!(messages < 16 * count as usize, "{messages} messages");
    let counts = brain.counts();
    assert_eq!((counts.waiting, counts.leases), (0, 0));
    assert_eq!(counts.holdings, count as usize);
}

#[test]
fn near_hosts_are_preferred_and_far_ones_still_met() {
    let mut brain = Schedule::new(Policy::default(), 1);
    let now = Moment(1_000_000_000);
    for number in 0..1000 {
        let place = format!("r/z{}", number % 4);
        brain.handle(now, join(numbered(number), &place, false));
        let wish = ask(
            numbered(number),
            task("t"),
            CanImport::Anonymous,
            Have::None,
        );
        brain.handle(now, wish);
    }
    let zone = |id: HostId| id.as_bytes()[3] % 4;
    let view = brain.task_view(&task("t")).expect("known");
    let edges = (view.members.iter())
        .flat_map(|member| member.neighbours.iter().map(|other| (member.host, *other)));
    let all = edges.clone().count();
    let near = edges.filter(|(a, b)| zone(*a) == zone(*b)).count();
    assert!(
        near * 3 > all && near * 10 < all * 9,
        "{near} of {all} are near"
    );
}

/// 256 bytes for a host's part in a task with all its neighbours, an entry of a B-tree counted half as much again.
#[test]
fn a_member_with_thirty_neighbours_is_small() {
    let seats = 32 * size_of::<graph::Seat>();
    let entries = size_of::<(task::TaskNo, graph::Seat)>() + size_of::<member::Rank>();
    let total = graph::NODE_BYTES + size_of::<Option<member::Member>>() + seats + entries * 3 / 2;
    println!(
        "{total} bytes per member, {} per host, {} per task",
        size_of::<hosts::Host>() + 1024,
        size_of::<task::Task>()
    );
    assert!(total <= 256, "{total}");
}
