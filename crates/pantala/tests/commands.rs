//! Every command from outside: help, errors, exit codes, JSON.

use std::{fs, path::Path};

use assert_cmd::{Command, assert::Assert};
use tempfile::TempDir;

/// The program, without this machine's configuration.
fn pantala() -> Command {
    let mut command = Command::cargo_bin("pantala").expect("built");
    command.env_clear();
    command
}

fn run(args: &[&str]) -> Assert {
    pantala().args(args).assert()
}

fn out(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).expect("text")
}

fn err(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).expect("text")
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("text")
}

const COMMANDS: [&[&str]; 23] = [
    &["get"],
    &["task"],
    &["store", "ls"],
    &["store", "rm"],
    &["store", "gc"],
    &["bypass", "on"],
    &["bypass", "off"],
    &["bypass", "status"],
    &["doctor"],
    &["token", "create"],
    &["token", "list"],
    &["token", "revoke"],
    &["host", "list"],
    &["host", "revoke"],
    &["config", "check"],
    &["config", "default"],
    &["config", "explain"],
    &["daemon"],
    &["scheduler"],
    &["up"],
    &["completions"],
    &["man"],
    &["sim"],
];

#[test]
fn every_command_has_help_with_examples() {
    for command in COMMANDS {
        let args: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let help = out(&run(&args).success());
        assert!(
            help.contains("Usage:") && help.contains("Examples:"),
            "{command:?}\n{help}"
        );
        assert!(
            help.contains("Exit codes: 0 ok, 1 failed, 2 usage"),
            "{help}"
        );
    }
    for group in ["store", "bypass", "token", "host", "config"] {
        let help = out(&run(&[group, "--help"]).success());
        assert!(help.contains("Examples:"), "{help}");
    }
    let help = out(&run(&["--help"]).success());
    assert!(
        help.contains("Examples:") && help.contains("141 output closed"),
        "{help}"
    );
}

#[test]
fn the_version_is_one_line() {
    assert_eq!(
        out(&run(&["--version"]).success()),
        concat!("pantala ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let hex = "ab".repeat(32);
    let other = format!("h/r@sha256:{}", "cd".repeat(32));
    let digest = format!("sha256:{hex}");
    for args in [
        &["nothing"][..],
        &["get", "https://h/f"],
        &["get", "alpine", "-o", "f"],
        &["get", "htp://h/f", "-o", "f"],
        &["get", "https:///f", "-o", "f"],
        &["get", "https://", "-o", "f"],
        &["get", "/etc/passwd", "-o", "f"],
        &["get", "file:///etc/passwd", "-o", "f"],
        &["get", "h.test/a:b", "-o", "f.tgz"],
        &["get", "https://u:p@h/f", "-o", "f"],
        &["get", "https://h/f", "-o", "f", "--digest", "sha256:00"],
        &["get", "https://h/f", "-o", "f", "--range", "x"],
        &["get", "https://h/f", "-o", "f", "--header", "hunter2"],
        &["get", &other, "-o", "f", "--digest", &digest],
        &["token", "create", "--role", "king"],
        &["token", "create", "--ttl", "soon"],
        &["token", "revoke", "xyz"],
        &["config", "explain", "host.datadir"],
        &["config", "check", "--set", "peer.slots"],
        &["up", "--scheduler", "a:1"],
    ] {
        let told = err(&run(args).code(2));
        assert!(
            told.starts_with("error: ") && !told.contains("hunter2"),
            "{args:?}\n{told}"
        );
    }
}

#[test]
fn content_that_is_no_content_says_what_would_be_some() {
    for (content, words) in [
        ("htp://h/f", "http:// or https://, not with htp:"),
        ("https:///f", "names no host"),
        ("./model.bin", "a path on this machine"),
        ("alpine", "such as docker.io/library/alpine"),
    ] {
        let told = err(&run(&["get", content, "-o", "f"]).code(2));
        assert!(told.contains(words) && told.contains("next: "), "{told}");
    }
}

#[test]
fn without_a_daemon_client_commands_end_with_6_and_say_what_to_do() {
    for args in [
        &["get", "https://h/f", "-o", "-"][..],
        &["task"],
        &["store", "ls"],
        &["store", "rm", "ab"],
        &["store", "gc"],
        &["bypass", "status"],
    ] {
        let folder = TempDir::new().expect("a folder");
        let socket = folder.path().join("none.sock");
        let told = err(&pantala()
            .args(args)
            .arg("--socket")
            .arg(&socket)
            .assert()
            .code(6));
        assert!(
            told.contains("because: ") && told.contains("next: start the daemon"),
            "{told}"
        );
        assert!(told.contains(shown(&socket)), "{told}");
    }
}

#[test]
fn the_socket_is_taken_from_the_environment_and_the_file() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("c.toml");
    // The rest of a file may be wrong: a client needs one key of it.
    fs::write(
        &file,
        "[local]\nsocket = \"/nowhere/of-file\"\n[peer]\nslots = 99\n",
    )
    .expect("written");
    let told = err(&pantala()
        .args(["task", "--config", shown(&file)])
        .assert()
        .code(6));
    assert!(told.contains("/nowhere/of-file"), "{told}");
    let mut command = pantala();
    command
        .env("PANTALA_LOCAL_SOCKET", "/nowhere/of-variable")
        .env("PANTALA_CONFIG", &file);
    let told = err(&command.arg("task").assert().code(6));
    assert!(told.contains("/nowhere/of-variable"), "{told}");
}

#[test]
fn a_wrong_configuration_ends_with_3_and_lists_every_fault() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("c.toml");
    fs::write(&file, "[host]\ndatadir = \"/x\"\n[peer]\nslots = 99\n").expect("written");
    for command in [
        &["config", "check"][..],
        &["daemon"],
        &["scheduler"],
        &["up"],
        &["doctor"],
    ] {
        let told = err(&pantala()
            .args(command)
            .args(["--config", shown(&file)])
            .assert()
            .code(3));
        assert!(
            told.contains("2 faults")
                && told.contains(
                    ":2: host.datadir: there is no such key: did you mean host.data_dir?"
                ),
            "{told}"
        );
        assert!(
            told.contains(":4: peer.slots: \"99\"") && told.contains("next: "),
            "{told}"
        );
    }
    let listed = run(&["config", "check", "--json", shown(&file)]).code(3);
    let listed: serde_json::Value = serde_json::from_str(&out(&listed)).expect("JSON");
    assert_eq!(listed[1]["key"], "peer.slots");
    assert_eq!(listed[1]["place"], format!("{}:4", shown(&file)));
    assert_eq!(out(&run(&["config", "check", "--json"]).success()), "[]\n");
    run(&["config", "check", "/nowhere/c.toml"]).code(3);
}

#[test]
fn the_default_file_is_good() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("c.toml");
    fs::write(&file, out(&run(&["config", "default"]).success())).expect("written");
    assert!(out(&run(&["config", "check", shown(&file)]).success()).ends_with("c.toml is good\n"));
}

#[test]
fn a_key_is_explained_with_its_value_and_its_source() {
    let mut command = pantala();
    command.env("PANTALA_PEER_SLOTS", "4");
    let told = out(&command
        .args(["config", "explain", "peer.slots"])
        .assert()
        .success());
    assert!(
        told.contains("4 (from environment variable PANTALA_PEER_SLOTS)"),
        "{told}"
    );
    let told = out(&run(&[
        "config",
        "explain",
        "store.quota",
        "--json",
        "--set",
        "store.quota=2TiB",
    ])
    .success());
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["value"], &told["from"]),
        (&"2TiB".into(), &"flag --set".into())
    );
}

#[test]
fn a_token_is_made_listed_and_revoked() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("ca");
    let token = |args: &[&str]| {
        let mut command = pantala();
        command
            .arg("token")
            .args(args)
            .arg("--ca-dir")
            .arg(&dir)
            .args(["--cluster", "test"]);
        command.assert()
    };
    assert!(err(&token(&["list"]).code(1)).contains("there is no authority in"));
    assert!(!dir.exists(), "looking founds no cluster");

    let made = out(&token(&["create", "--role", "seed", "--uses", "3", "--ttl", "2h"]).success());
    let id = made.split('.').next().expect("an id").to_owned();
    let listed = out(&token(&["list", "--json"]).success());
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed[0]["id"], *id);
    assert_eq!(
        (&listed[0]["role"], &listed[0]["uses_left"]),
        (&"seed".into(), &3.into())
    );
    let table = out(&token(&["list"]).success());
    assert!(
        table.contains("USES LEFT") && table.contains(&id),
        "{table}"
    );
    // The folder names its cluster.
    let mut short = pantala();
    short.args(["token", "list", "--ca-dir"]).arg(&dir);
    assert!(out(&short.assert().success()).contains(&id));
    let secret = made.split('.').nth(1).expect("a secret");
    assert!(!table.contains(secret));

    assert!(out(&token(&["revoke", &id]).success()).contains("is revoked"));
    assert!(err(&token(&["revoke", &id]).code(1)).contains("there is no token"));
    assert!(out(&token(&["list"]).success()).starts_with("there are no tokens"));

    let mut other = pantala();
    other
        .args(["token", "list", "--cluster", "another", "--ca-dir"])
        .arg(&dir);
    assert!(err(&other.assert().code(1)).contains("because: "));
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            out(&run(&["completions", shell]).success()).contains("pantala"),
            "{shell}"
        );
    }
    let folder = TempDir::new().expect("a folder");
    run(&["man", shown(folder.path())]).success();
    for page in ["pantala.1", "pantala-get.1", "pantala-config-check.1"] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
    let page = fs::read_to_string(folder.path().join("pantala-get.1")).expect("a page");
    let synopsis = page.split(".SH SYNOPSIS").nth(1).expect("a synopsis");
    let synopsis = synopsis
        .split(".SH ")
        .next()
        .expect("its lines")
        .replace('\\', "");
    for part in [
        "-o|--output PATH",
        "[--range RANGE]",
        "[--header LINE]...",
        " CONTENT",
    ] {
        assert!(synopsis.contains(part), "{part}\n{synopsis}");
    }
    run(&["man", "/nowhere/at-all"]).code(1);
}

#[test]
fn the_doctor_without_a_daemon_finds_that_and_ends_with_1() {
    let folder = TempDir::new().expect("a folder");
    let mut command = pantala();
    command
        .args([
            "doctor",
            "--json",
            "--set",
            "peer.listen=127.0.0.1:0",
            "--set",
            "status.listen=off",
        ])
        .args(["--set", "mirror.listen=127.0.0.1:0", "--set"])
        .arg(format!("host.data_dir={}", shown(folder.path())))
        .arg("--set")
        .arg(format!("local.socket={}/s", shown(folder.path())));
    let assert = command.assert().code(1);
    let findings: serde_json::Value = serde_json::from_str(&out(&assert)).expect("JSON");
    let health = |check: &str| {
        let findings = findings.as_array().expect("a list");
        let found = findings.iter().find(|finding| finding["check"] == check);
        found.expect("checked")["health"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    assert_eq!(health("socket"), "bad");
    assert_eq!(health("data folder"), "good");
    assert_eq!(health("peer port"), "good");
    for skipped in ["status port", "certificate", "mirror", "scheduler"] {
        assert_eq!(health(skipped), "skipped", "{skipped}");
    }
    assert!(err(&assert).starts_with("error: 1 thing needs attention"));
}
