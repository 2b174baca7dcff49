use crate::{
    report::Report,
    scenario::{RawScenario, Scenario},
    simulate,
};

/// Runs the usual scenario of `hosts` with further keys, and gives its report.
fn run(hosts: u32, keys: &[(&str, &str)]) -> Report {
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
    let scenario: Scenario = raw.check().expect("a sound scenario");
    Report::of(&simulate(&scenario))
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

#[test]
fn every_host_ends_whatever_goes_wrong() {
    for fault in [
        "kill importer at 50%",
        "kill 20% at 3s",
        "kill 20% at 3s for 2s",
        "stall importer at 50%",
        "stall 20% at 3s for 4s",
        "slow 10% to 0.1x at 2s for 5s",
        "liar 10% at 1s",
        "scheduler restart at 3s for 2s",
        "clock jump host 1 by -1h at 2s",
        "stall origin at 3s for 3s",
    ] {
        all_complete(&run(30, &[("faults", fault)]));
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
