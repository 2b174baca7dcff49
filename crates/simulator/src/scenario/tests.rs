use types::ByteCount;

use super::*;

fn told(text: &str) -> String {
    let raw: RawScenario = toml::from_str(text).expect("readable");
    raw.check().expect_err("wrong").to_string()
}

#[test]
fn an_empty_scenario_is_a_sound_one() {
    let scenario = RawScenario::default().check().expect("defaults are sound");
    assert_eq!(
        (scenario.hosts, scenario.seeds, scenario.seed),
        (1000, 1, 1)
    );
    assert_eq!(scenario.layout.piece_count(), 256);
    assert_eq!(
        (scenario.up, scenario.down),
        (Rate::mbit(1000), Rate::mbit(1000))
    );
}

#[test]
fn a_file_and_flags_say_the_same() {
    let file: RawScenario = toml::from_str(
        r#"
        hosts = 200
        seeds = 0
        rate = "100Mbit"
        down = "1Gbit"
        pieces = 64
        piece_length = "1MiB"
        delay = "0.5p"
        arrivals = "over 30s"
        readers = "in order"
        groups = ["5% at 0.1x"]
        zones = ["a 30%", "b", "c"]
        pipes = ["a and b at 10Gbit", "c to a at 1Gbit"]
        origin_zone = "c"
        faults = ["kill 5% at 10s", "kill importer at 50%"]
        seed = 7
        time_limit = "10min"
        "#,
    )
    .expect("readable");
    let mut flags = RawScenario::default();
    for flag in [
        "hosts 200",
        "seeds 0",
        "rate 100Mbit",
        "down 1Gbit",
        "pieces 64",
        "piece-length 1MiB",
        "delay 0.5p",
        "arrivals over 30s",
        "readers in order",
        "groups 5% at 0.1x",
        "zones a 30%",
        "zones b",
        "zones c",
        "pipes a and b at 10Gbit",
        "pipes c to a at 1Gbit",
        "origin-zone c",
        "faults kill 5% at 10s",
        "faults kill importer at 50%",
        "seed 7",
        "time-limit 10min",
    ] {
        let (key, value) = flag.split_once(' ').expect("two parts");
        flags.set(key, value).expect("a known key");
    }
    assert_eq!(flags, file);
    let scenario = file.check().expect("sound");
    assert_eq!(scenario.layout.length(), ByteCount::mib(64));
    // Half the time of a MiB at 100 Mbit/s.
    assert_eq!(scenario.delay.as_micros(), 41_943);
    assert_eq!(
        scenario.groups,
        [Group {
            hosts: 10,
            up: Rate::mbit(10),
            down: Rate::mbit(100)
        }]
    );
    let zones: Vec<u32> = scenario.zones.iter().map(|zone| zone.hosts).collect();
    assert_eq!(zones, [60, 70, 70]);
    assert_eq!((scenario.pipes.len(), scenario.origin_zone), (3, Some(2)));
    assert_eq!(scenario.faults[1].what, Trouble::Kill(Who::Importer, None));
}

#[test]
fn everything_wrong_is_told_at_once_by_key() {
    let text = told(
        r#"
        hosts = 0
        rate = "fast"
        up = "0Mbit"
        content = "1GiB"
        pieces = 1000
        delay = "soon"
        arrivals = "later"
        groups = ["5% at 0.1x", "some at 1Mbit"]
        zones = ["a 10%", "b 20%"]
        pipes = ["a to x at 1Gbit"]
        faults = ["kill host 3 at 10s", "explode"]
        "#,
    );
    let keys: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.trim().split(" = ").next())
        .collect();
    assert_eq!(
        keys.join(" "),
        "hosts rate up pieces delay arrivals groups[1] pipes[0] faults[0] faults[1]"
    );
    assert!(text.contains("rate = \"fast\": a rate is a number and a unit"));
    assert!(text.contains("\"explode\": a fault is one of: kill WHO"));
}

#[test]
fn contradictions_between_keys_are_found() {
    for (text, fault) in [
        (
            "content = \"1GiB\"\npieces = 4\npiece_length = \"1MiB\"",
            "either pieces or piece_length",
        ),
        ("pieces = 0", "at least one piece"),
        ("piece_length = \"3MiB\"", "not a power of two"),
        ("pieces = 4000000000", "at most 1000000 pieces"),
        ("content = \"99999TiB\"", "too long"),
        (
            "groups = [\"60% at 0.5x\", \"500 at 0.5x\"]",
            "they have 1100 of 1000 hosts",
        ),
        ("groups = [\"5% at 0x\"]", "never end"),
        ("groups = [\"1001 at 0.1x\"]", "there are 1000 hosts"),
        ("zones = [\"a 1001\", \"b\"]", "there are 1000 hosts"),
        (
            "faults = [\"kill 1001 hosts at 1s\"]",
            "there are 1000 hosts",
        ),
        ("zones = [\"a\", \"a\"]", "one zone of each name"),
        (
            "zones = [\"a 900\", \"b 101\"]",
            "they have 1001 of 1000 hosts",
        ),
        (
            "zones = [\"a 30%\", \"b 30%\"]",
            "they have 600 of 1000 hosts",
        ),
        (
            "zones = [\"a\", \"b\"]\npipes = [\"a to a at 1Gbit\"]",
            "joins two zones",
        ),
        (
            "zones = [\"a\", \"b\"]\norigin_zone = \"c\"",
            "zones are: a, b",
        ),
        ("faults = [\"kill seed 1 at 1s\"]", "there are 1 seeds"),
        ("faults = [\"kill 0% at 1s\"]", "it befalls nobody"),
        ("faults = [\"liar origin at 1s\"]", "slowed or stalled"),
        (
            "time_limit = \"10s\"\nfaults = [\"kill host 1 at 10s\"]",
            "the run ends before",
        ),
        ("time_limit = \"forever\"", "a duration is"),
    ] {
        let told = told(text);
        assert!(told.contains(fault), "{text}: {told}");
    }
}

#[test]
fn rounded_parts_leave_no_host_without_a_zone() {
    for (hosts, zones) in [
        (3, "\"a 50%\", \"b 50%\""),
        (10, "\"a 33.3%\", \"b 33.3%\", \"c 33.3%\""),
        (7, "\"a\", \"b\", \"c\""),
    ] {
        let text = format!("hosts = {hosts}\nzones = [{zones}]");
        let scenario: Scenario = text.parse().expect("sound");
        assert_eq!(
            scenario.zones.iter().map(|zone| zone.hosts).sum::<u32>(),
            hosts,
            "{text}"
        );
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones() {
    let error = RawScenario::default()
        .set("host", "3")
        .expect_err("unknown")
        .to_string();
    assert!(
        error.contains("no \"host\"") && error.contains("hosts, seeds, rate"),
        "{error}"
    );
    assert!(RawScenario::default().set("hosts", "many").is_err());
    assert!("host = 3".parse::<Scenario>().is_err());
    let mut raw = RawScenario::default();
    for key in RawScenario::KEYS {
        assert_eq!(raw.set(key, "1"), Ok(()), "{key}");
    }
}

#[test]
fn a_slow_fault_keeps_its_factor() {
    let scenario: Scenario = "faults = [\"slow 5% to 0.1x at 10s\"]"
        .parse()
        .expect("sound");
    assert!(matches!(
        scenario.faults[0].what,
        Trouble::Slow(_, NewRate::Times(_), None)
    ));
}
