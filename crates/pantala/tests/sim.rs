//! `pantala sim` from outside.

use assert_cmd::Command;

fn sim(args: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("pantala").expect("built");
    command.env_clear().arg("sim").args(args).assert()
}

#[test]
fn every_fault_of_a_scenario_is_told_at_once() {
    let assert = sim(&["--hosts", "many", "--rate", "fast", "--faults", "boom"]).code(2);
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    for fault in [
        "hosts takes a whole number",
        "rate = ",
        "faults[0] = ",
        "next: ",
    ] {
        assert!(told.contains(fault), "{told}");
    }
    sim(&["--file", "/nowhere/s.toml"]).code(2);
    let help = sim(&["--help"]).success();
    assert!(String::from_utf8_lossy(&help.get_output().stdout).contains("Examples:"));
}

#[test]
fn a_small_run_is_reported_and_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, svg) = (
        folder.path().join("s.toml"),
        folder.path().join("curve.svg"),
    );
    std::fs::write(&file, "hosts = 99\ncontent = \"64MiB\"\n").expect("written");
    let paths = [&file, &svg].map(|path| path.to_str().expect("text"));
    let assert = sim(&[
        "--file", paths[0], "--hosts", "10", "--json", "--svg", paths[1],
    ])
    .success();
    let report: serde_json::Value =
        serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
    assert_eq!(
        (&report["hosts"], &report["complete"]),
        (&10.into(), &10.into())
    );
    assert!(
        std::fs::read_to_string(&svg)
            .expect("drawn")
            .starts_with("<svg")
    );
}
