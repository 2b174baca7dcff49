use types::Moment;

use super::{World, host::Host};
use crate::{
    report::Report,
    scenario::{RawScenario, Scenario},
    simulate,
};

/// The usual scenario of `hosts` with further keys.
fn scenario(hosts: u32, keys: &[(&str, &str)]) -> Scenario {
    let mut raw = RawScenario {
        hosts: Some(hosts),
        pieces: Some(64),
        ..RawScenario::default()
    };
    for (key, value) in [
        ("content", "64MiB"),
        ("rate", "80Mbit"),
        ("origin_rate", "80Mbit"),
        ("delay", "0.1p"),
        ("readers", "in order"),
    ] {
        raw.set(key, value).expect("a known key");
    }
    for (key, value) in keys {
        raw.set(key, value).expect("a known key");
    }
    raw.check().expect("a sound scenario")
}

/// Runs the usual scenario and gives its report.
fn run(hosts: u32, keys: &[(&str, &str)]) -> Report {
    Report::of(&simulate(&scenario(hosts, keys)))
}

fn all_complete(report: &Report) {
    assert_eq!(report.unfinished, 0, "{report}");
    assert_eq!(report.complete + report.killed, report.hosts, "{report}");
}

#[test]
fn a_quiet_run_nears_the_bound_and_reads_each_byte_once() {
    let report = run(60, &[]);
    all_complete(&report);
    assert!(report.efficiency > Some(0.75), "{report}");
    assert!(report.origin.copies <= 1.01, "{report}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let faults = ("faults", "kill 10% at 2s for 1s");
    let story = |seed| run(30, &[faults, ("seed", seed)]).to_json();
    assert_eq!(story("7"), story("7"));
    assert_ne!(story("7"), story("8"));
}

/// Runs 30 hosts with one fault, which must have befallen so many.
fn withstands(fault: &str, befallen: usize) -> Report {
    let report = run(30, &[("faults", fault)]);
    all_complete(&report);
    assert_eq!(report.befallen, [befallen], "{fault}: {report}");
    report
}

fn seconds(report: &Report) -> f64 {
    report.slowest.map_or(f64::INFINITY, |span| span.seconds)
}

#[test]
fn killed_hosts_are_missed_by_nobody() {
    assert_eq!(withstands("kill 20% at 3s", 6).killed, 6);
    let back = withstands("kill 20% at 3s for 2s", 6);
    assert_eq!((back.killed, back.complete), (0, 30));
}

#[test]
fn the_import_is_taken_over() {
    for fault in ["kill importer at 50%", "stall importer at 50%"] {
        let report = withstands(fault, 1);
        assert!(report.importers > 1, "{fault}: {report}");
        assert!(report.origin.copies > 1.0 || report.origin.requests > 1);
    }
    assert_eq!(
        run(30, &[]).importers,
        1,
        "without a fault nobody else is asked"
    );
}

#[test]
fn stalls_and_slow_links_are_seen_and_end() {
    let quiet = seconds(&run(30, &[]));
    for (fault, befallen) in [
        ("stall 20% at 3s for 4s", 6),
        ("slow 10% to 0.1x at 2s for 5s", 3),
        ("stall origin at 3s for 3s", 1),
    ] {
        let slowest = seconds(&withstands(fault, befallen));
        assert!(slowest > quiet + 0.5, "{fault}: {slowest} after {quiet}");
    }
}

#[test]
fn wrong_pieces_are_seen_and_their_senders_found() {
    let report = withstands("liar 10% at 1s", 3);
    assert!(report.corrupt_pieces > 0, "{report}");
    assert_eq!(report.liars, 3);
}

#[test]
fn a_scheduler_that_comes_back_with_an_older_clock_goes_on() {
    let report = withstands("scheduler restart at 3s for 2s", 1);
    assert!(report.origin.copies <= 1.01, "{report}");
}

#[test]
fn a_fault_that_befalls_nobody_is_told() {
    let report = run(30, &[("faults", "kill importer at 50min")]);
    assert!(report.to_string().ends_with("fault 1   befell nobody"));
}

#[test]
fn each_zone_gets_the_content_about_once_over_its_pipe() {
    let zones = "a 30%";
    let report = run(
        60,
        &[
            ("zones", zones),
            ("zones", "b"),
            ("zones", "c"),
            ("pipes", "a and b at 400Mbit"),
            ("pipes", "a and c at 400Mbit"),
            ("origin_zone", "a"),
        ],
    );
    all_complete(&report);
    assert!(report.origin.copies <= 1.01, "{report}");
    let into = |zone: &str| -> f64 {
        let ways = report.zones.iter().filter(|way| way.to == zone);
        ways.map(|way| way.copies).sum()
    };
    for zone in ["b", "c"] {
        // A zone's hosts cannot have it with less than one copy.
        assert!(into(zone) >= 1.0, "{report}");
    }
}

#[test]
fn without_seeds_a_receiving_host_imports() {
    let report = run(20, &[("seeds", "0")]);
    all_complete(&report);
    assert!(report.origin.copies <= 1.01, "{report}");
}

#[test]
fn an_importers_death_costs_the_origin_no_more_than_its_read_ahead() {
    let report = run(30, &[("faults", "kill importer at 50%")]);
    all_complete(&report);
    // Eight pieces that had not left, and at most two requests in flight, of 64 pieces.
    assert!(report.origin.copies <= 1.0 + 10.0 / 64.0, "{report}");
}

#[test]
fn hosts_that_come_later_are_served_too() {
    let report = run(40, &[("arrivals", "over 10s")]);
    all_complete(&report);
    assert!(report.origin.copies <= 1.01, "{report}");
}

#[test]
fn an_even_smaller_swarm_of_one_is_a_swarm() {
    all_complete(&run(1, &[]));
    all_complete(&run(1, &[("seeds", "0")]));
}

/// Runs 30 hosts with one fault of the clock and looks after every event: no two live hosts ever believe, each by its own
/// clock, that they hold the lease of one epoch. Gives the greatest number that believed in any lease at once.
fn believers(fault: &str) -> usize {
    let scenario = scenario(30, &[("faults", fault)]);
    let mut world = World::new(&scenario);
    let limit = Moment::ZERO + scenario.time_limit;
    let mut most = 0;
    while world.waiting > 0 && world.step(limit) {
        let now = world.now;
        let running = |host: &&Host| host.is_up && host.stalled_until <= now;
        let lease = |host: &Host| {
            let held = host
                .download
                .lease()
                .filter(|lease| host.clock.shows(now) < lease.until);
            held.map(|lease| lease.epoch)
        };
        let mut epochs: Vec<_> = world
            .hosts
            .iter()
            .filter(running)
            .filter_map(lease)
            .collect();
        most = most.max(epochs.len());
        epochs.sort_unstable();
        let count = epochs.len();
        epochs.dedup();
        assert_eq!(
            epochs.len(),
            count,
            "{fault}: one epoch, one importer at {now}"
        );
    }
    let report = Report::of(&world.outcome());
    all_complete(&report);
    assert!(
        report.befallen.iter().all(|count| *count > 0),
        "{fault}: {report}"
    );
    assert!(
        report.origin.copies <= 1.0 + 10.0 / 64.0,
        "{fault}: {report}"
    );
    assert_eq!(report.liars, 0, "{fault}: {report}");
    most
}

#[test]
fn a_clock_that_leaps_ahead_makes_no_second_importer() {
    for fault in [
        "clock jump importer by 1s at 50%",
        "clock jump importer by 1h at 50%",
        "clock jump 30% by 20s at 3s",
        "clock jump 100% by 5s at 2s",
    ] {
        assert_eq!(believers(fault), 1, "{fault}");
    }
}

#[test]
fn a_clock_that_drifts_by_less_than_two_margins_makes_no_second_importer() {
    for fault in [
        "clock drift importer to 0.9x at 10%",
        "clock drift importer to 2x at 10%",
        "clock drift 50% to 0.5x at 1s for 5s",
        "clock drift 100% to 1.1x at 1s",
    ] {
        assert_eq!(believers(fault), 1, "{fault}");
    }
}

/// Its own lease it believes in for a moment more: no clock tells it, but it is of an older epoch.
#[test]
fn whoever_was_paused_shares_its_epoch_with_nobody() {
    for fault in [
        "clock jump importer by -500ms at 50%",
        "clock jump importer by -10s at 50%",
        "clock jump 30% by -6s at 3s",
    ] {
        assert!(believers(fault) <= 2, "{fault}");
    }
}

#[test]
fn a_fault_of_the_clock_changes_the_story() {
    let messages = |fault: &str| withstands(fault, 1).messages;
    let quiet = run(30, &[]).messages;
    assert_ne!(messages("clock jump importer by 1h at 50%"), quiet);
    assert_ne!(messages("clock drift importer to 2x at 10%"), quiet);
    assert_ne!(messages("clock jump host 3 by -4s at 50%"), quiet);
}
