//! Measures the swarm and the simulator itself, and writes `bench/sim.sh`'s JSON to standard output.
//!
//! `bench_sim` runs the two cases of the bench; `bench_sim KEY=VALUE ...` runs one scenario and prints its report.

use std::time::Instant;

use simulator::{
    report::Report,
    scenario::{RawScenario, Scenario},
    simulate,
};

/// The bench's scenario: equal hosts that all read in order, one seed that is fed at the rate of its link, 256 pieces,
/// a tenth of a piece time for each message.
const USUAL: [(&str, &str); 6] = [
    ("pieces", "256"),
    ("content", "1GiB"),
    ("rate", "1Gbit"),
    ("origin_rate", "1Gbit"),
    ("delay", "0.1p"),
    ("readers", "in order"),
];

fn scenario(keys: &[(&str, &str)]) -> Scenario {
    let mut raw = RawScenario::default();
    let mut set = |key: &str, value: &str| {
        if let Err(error) = raw.set(key, value) {
            panic!("{error}");
        }
    };
    let is_given = |key: &str| keys.iter().any(|(given, _)| *given == key);
    for (key, value) in USUAL.into_iter().filter(|(key, _)| !is_given(key)) {
        set(key, value);
    }
    keys.iter().for_each(|(key, value)| set(key, value));
    raw.check().unwrap_or_else(|error| panic!("{error}"))
}

fn run(keys: &[(&str, &str)]) -> (Report, f64) {
    let scenario = scenario(keys);
    let start = Instant::now();
    let report = Report::of(&simulate(&scenario));
    (report, start.elapsed().as_secs_f64())
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let keys: Vec<(&str, &str)> = words
        .iter()
        .filter_map(|word| word.split_once('='))
        .collect();
    if !keys.is_empty() {
        let (report, seconds) = run(&keys);
        println!("{report}\ntook      {seconds:.1} s");
        return;
    }
    let mut metrics = serde_json::Map::new();
    for hosts in ["1000", "10000"] {
        let (report, seconds) = run(&[("hosts", hosts)]);
        let units = |span: Option<simulator::report::Span>| span.map(|span| span.units);
        let values = [
            ("slowest", units(report.slowest)),
            ("p50", units(report.p50)),
            ("origin_copies", Some(report.origin.copies)),
            ("seconds", Some(seconds)),
        ];
        for (name, value) in values {
            metrics.insert(format!("{name}_{hosts}"), serde_json::json!(value));
        }
    }
    println!("{}", serde_json::Value::Object(metrics));
}
