//! A corpus of configurations: what is refused, where it says so, and which source wins.

use std::fs;

use super::{reference, *};

fn sources(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pantala.toml");
    fs::write(&file, text).expect("written");
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    (folder, sources)
}

/// What is wrong with `text`: `line: key: told` for each fault.
fn faults(text: &str) -> Vec<String> {
    let (_folder, sources) = sources(text);
    match Config::load(&sources) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Check(Faults(faults))) => faults
            .iter()
            .map(|fault| {
                let line = match fault.place {
                    Place::File(_, line) => line,
                    _ => 0,
                };
                format!("{line}: {}: {}", fault.key, fault.told)
            })
            .collect(),
        Err(error) => panic!("{error}"),
    }
}

fn load(sources: &Sources) -> Config {
    Config::load(sources).expect("a configuration").0
}

#[test]
fn nothing_at_all_is_a_configuration() {
    assert_eq!(faults(""), Vec::<String>::new());
    assert_eq!(faults("version = 1\n"), Vec::<String>::new());
}

#[test]
fn the_default_file_is_the_default_configuration_with_and_without_its_comments() {
    let file = reference::default_file();
    assert_eq!(faults(&file), Vec::<String>::new());
    let bare: Vec<String> = file
        .lines()
        .filter_map(|line| {
            let key = line.strip_prefix("# ").unwrap_or(line);
            (line.starts_with('[') || key.contains(" = ")).then(|| key.to_owned())
        })
        // Of a group that this machine may not have.
        .filter(|line| !line.starts_with("group"))
        .collect();
    assert_eq!(faults(&bare.join("\n")), Vec::<String>::new(), "{bare:#?}");
}

/// A text, and how the first words of what is wrong with it are.
const CORPUS: &[(&str, &str)] = &[
    (
        "[host]\ndatadir = \"/x\"",
        "2: host.datadir: there is no such key: did you mean host.data_dir?",
    ),
    (
        "[hosts]\n",
        "1: [hosts]: there is no such section: did you mean [host]?",
    ),
    (
        "socket = \"/x\"",
        "1: socket: there is no such key: did you mean local.socket?",
    ),
    (
        "\n[peer]\nslots = \"2\"",
        "3: peer.slots: this must be a whole number, not a string",
    ),
    (
        "[peer]\nslots = -1",
        "2: peer.slots: this must be a whole number, not an integer",
    ),
    (
        "[peer]\nslots = 99",
        "2: peer.slots: \"99\": a whole number from 1 to 16",
    ),
    (
        "[host]\nseed = \"yes\"",
        "2: host.seed: this must be true or false, not a string",
    ),
    (
        "[host]\ndata_dir = \"x\"",
        "2: host.data_dir: \"x\": a path here is absolute: it starts with /",
    ),
    (
        "[mirror]\nlisten = \"7472\"",
        "2: mirror.listen: \"7472\": an address to listen at is",
    ),
    (
        "[control]\nschedulers = [\"a:1\", \"b\"]",
        "2: control.schedulers: \"b\": an endpoint is HOST:PORT",
    ),
    (
        "[control]\nschedulers = \"a:1\"",
        "2: control.schedulers: this must be a list of texts",
    ),
    (
        "[control]\nexpiry_grace = \"73h\"",
        "2: control.expiry_grace: \"73h\": certificates may live on",
    ),
    (
        "[peer]\nupload_rate = \"0MB/s\"",
        "2: peer.upload_rate: nothing would ever move",
    ),
    (
        "[peer]\nupload_rate = \"fast\"",
        "2: peer.upload_rate: \"fast\": a rate is a number and a unit",
    ),
    (
        "[memory]\nbudget = \"1MiB\"",
        "2: memory.budget: \"1MiB\": it is 16MiB at least",
    ),
    (
        "[log]\nlevel = \"loud=very\"",
        "2: log.level: \"loud=very\": a level is",
    ),
    (
        "[status]\nlisten = \"127.0.0.1:7470\"",
        "2: status.listen: 127.0.0.1:7470 is the port of peer.listen too",
    ),
    (
        "[origin]\nlisted_only = true",
        "2: origin.listed_only: no origin is listed",
    ),
    (
        "[mirror]\nlisten = \"10.0.0.1:7472\"\n[runtime]\nmanage = true",
        "4: runtime.manage: engines are pointed only at a mirror on loopback",
    ),
    (
        "[runtime]\nregistries = [\"https://quay.io\"]",
        "2: runtime.registries: \"https://quay.io\": a registry is HOST",
    ),
    (
        "[runtime]\nprobe = \"pause\"",
        "2: runtime.probe: \"pause\": an image is named REGISTRY/REPOSITORY:TAG",
    ),
    (
        "[origin]\nservice_ranges = [\"10.0.0.1/8\"]",
        "2: origin.service_ranges: \"10.0.0.1/8\": a range is ADDRESS/BITS",
    ),
    (
        "[origin]\nallow = [\"ftp://h\"]",
        "2: origin.allow: \"ftp://h\": an origin is reached over http",
    ),
    (
        "[local]\ngroup = \"no-such-group-here\"",
        "2: local.group: \"no-such-group-here\": there is no such group",
    ),
    (
        "version = 2",
        "1: version: \"2\": a whole number from 1 to 1",
    ),
    ("[host\nseed = true", "1: : no TOML:"),
    (
        "[host]\nseed = true\nseed = false",
        "3: : no TOML: duplicate key",
    ),
];

#[test]
fn a_fault_is_told_with_its_line_its_key_and_a_hint() {
    for (text, told) in CORPUS {
        let faults = faults(text);
        assert!(
            faults.iter().any(|fault| fault.starts_with(told)),
            "{text}\n{told}\n{faults:#?}"
        );
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let text = "[host]\nseed = 1\ndata_dir = \"x\"\n[peer]\nslots = 0\nlisen = \"off\"\n[nothing]\na = 1\n[origin]\nallow = [\"a b\", \"c/d\"]\n";
    let faults = faults(text);
    assert_eq!(faults.len(), 7, "{faults:#?}");
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let (_folder, mut sources) =
        sources("[peer]\nslots = 3\nconnections_max = 30\n[host]\nseed = true\n");
    sources.variables = vec![
        ("PANTALA_PEER_SLOTS".to_owned(), "4".to_owned()),
        ("PANTALA_PEER_CONNECTIONS_MAX".to_owned(), "40".to_owned()),
        ("PANTALA_LOG_LEVEL".to_owned(), String::new()),
    ];
    sources.flags = vec![("peer.slots".to_owned(), "5".to_owned(), "--set".to_owned())];
    let config = load(&sources);
    assert_eq!((config.peer.slots, config.peer.connections_max), (5, 40));
    assert!(config.host.seed);
    assert_eq!(config.log.level, "info");
}

#[test]
fn lists_come_from_variables_with_commas_and_from_repeated_flags() {
    let (_folder, mut sources) = sources("");
    sources.variables = vec![("PANTALA_CONTROL_PEERS".to_owned(), "a:1, b:2,".to_owned())];
    let flag = |value: &str| {
        (
            "control.schedulers".to_owned(),
            value.to_owned(),
            "--scheduler".to_owned(),
        )
    };
    sources.flags = vec![flag("c:3"), flag("[fd00::1]:4")];
    let control = load(&sources).control;
    let shown = |ends: &[Endpoint]| ends.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&control.peers), ["a:1", "b:2"]);
    assert_eq!(shown(&control.schedulers), ["c:3", "[fd00::1]:4"]);
}

/// What `key` is by a file's line, a variable and a flag that say `value`.
fn everywhere(key: &key::Key, value: &str) -> [Option<Value>; 3] {
    let section = key.section();
    let line = format!("{} = {value}\n", key.leaf());
    let (_folder, in_file) = sources(&if section.is_empty() {
        line
    } else {
        format!("[{section}]\n{line}")
    });
    let (_other, mut by_variable) = sources("");
    let mut by_flag = by_variable.clone();
    by_variable.variables = vec![(key.variable(), value.to_owned())];
    by_flag.flags = vec![(key.name.to_owned(), value.to_owned(), "--set".to_owned())];
    [in_file, by_variable, by_flag].map(|sources| {
        let settings = Settings::gather(&sources).expect("readable");
        assert!(settings.faults.is_empty(), "{value}: {:?}", settings.faults);
        let (value, place) = settings.get(key.name)?;
        assert_ne!(*place, Place::Default);
        Some(value.clone())
    })
}

#[test]
fn every_key_takes_one_syntax_in_the_file_in_variables_and_in_flags() {
    for key in keys::KEYS {
        for shown in [key.shown(), key.illustration()] {
            let [in_file, by_variable, by_flag] = everywhere(key, shown);
            assert_eq!(in_file, by_variable, "{} {shown}", key.name);
            assert_eq!(in_file, by_flag, "{} {shown}", key.name);
            // And without the quotes and brackets.
            let bare = shown.replace('"', "");
            let bare = match key.kind.is_list() {
                true => bare.trim_matches(['[', ']']),
                false => &bare,
            };
            let (_folder, mut sources) = sources("");
            sources.flags = vec![(key.name.to_owned(), bare.to_owned(), "--set".to_owned())];
            let settings = Settings::gather(&sources).expect("readable");
            let by_bare = settings.get(key.name).map(|(value, _)| value.clone());
            assert_eq!(in_file, by_bare, "{} {bare}", key.name);
            // What is explained can be given back.
            let explained = reference::Explanation::of(key, &settings).to_text();
            let told = explained
                .lines()
                .find_map(|line| line.strip_prefix("  value     "));
            let told = told.and_then(|told| told.rsplit_once(" (from "));
            let [again, ..] = everywhere(key, told.expect("a value").0);
            assert_eq!(in_file, again, "{explained}");
        }
    }
}

#[test]
fn every_example_is_a_value_that_is_taken() {
    // Of a group that this machine may not have.
    for key in keys::KEYS.iter().filter(|key| key.name != "local.group") {
        let (_folder, mut sources) = sources("");
        let value = key.illustration().to_owned();
        sources.flags = vec![(key.name.to_owned(), value, "--set".to_owned())];
        load(&sources);
    }
}

#[test]
fn a_strange_variable_is_a_warning_and_a_wrong_one_a_fault() {
    let (_folder, mut sources) = sources("");
    sources.variables = vec![
        (
            "PANTALA_SCHEDULER_SERVICE_HOST".to_owned(),
            "10.0.0.1".to_owned(),
        ),
        ("PANTALA_PEER_SLOT".to_owned(), "3".to_owned()),
    ];
    let (_, warnings) = Config::load(&sources).expect("a configuration");
    assert!(
        warnings[1].ends_with("did you mean PANTALA_PEER_SLOTS?"),
        "{warnings:?}"
    );
    sources.variables = vec![("PANTALA_PEER_SLOTS".to_owned(), "many".to_owned())];
    let error = Config::load(&sources).expect_err("a fault").to_string();
    assert!(
        error.contains("environment variable PANTALA_PEER_SLOTS: peer.slots: \"many\""),
        "{error}"
    );
}

#[test]
fn endpoints_are_a_host_and_a_port() {
    for good in ["a:1", "a.b-c:65535", "127.0.0.1:7470", "[::1]:7470"] {
        assert_eq!(
            good.parse::<Endpoint>().map(|end| end.to_string()),
            Ok(good.to_owned())
        );
    }
    for bad in [
        "",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "::1:7470",
        "[a]:1",
        "a/b:1",
        "http://a:1",
    ] {
        assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
    }
}
