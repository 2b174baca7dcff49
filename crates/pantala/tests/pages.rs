//! The reference pages are equal to what the program prints.

use std::{env, fs, path::Path};

use assert_cmd::Command;

fn check(page: &str, file: &str) {
    let printed = Command::cargo_bin("pantala")
        .expect("built")
        .args(["docs", page])
        .assert()
        .success();
    let printed = String::from_utf8(printed.get_output().stdout.clone()).expect("text");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(file);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &printed).expect("written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == printed,
        "docs/{file} is out of step: UPDATE_DOCS=1 cargo nextest run -p pantala"
    );
}

#[test]
fn the_page_of_commands_is_in_step() {
    check("cli", "cli.md");
}

#[test]
fn the_page_of_configuration_is_in_step() {
    check("config", "configuration.md");
}

#[test]
fn the_page_of_metrics_is_in_step() {
    check("metrics", "metrics.md");
}

/// The files within a Kubernetes manifest: each `NAME.toml: |` with what is indented below it.
fn embedded(manifest: &str) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in manifest.lines() {
        if line.trim_end().ends_with(".toml: |") {
            is_inside = true;
            files.push(String::new());
        } else if let (true, Some(line)) = (is_inside, line.strip_prefix("    ")) {
            let file = files.last_mut().expect("one was begun");
            *file += line;
            file.push('\n');
        } else {
            is_inside = false;
        }
    }
    files
}

#[test]
fn what_is_deployed_is_a_good_configuration() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let read = |name: &str| fs::read_to_string(deploy.join(name)).expect(name);
    let mut files = embedded(&read("kubernetes/daemonset.yaml"));
    assert_eq!(files.len(), 2);
    files.extend(["config/pantala.toml", "config/scheduler.toml"].map(read));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    for file in files {
        // What stands there as a comment to be taken in must be good too.
        let told_keys = file
            .replace("# schedulers", "schedulers")
            .replace("# join_token", "join_token");
        fs::write(&path, told_keys).expect("written");
        let mut command = Command::cargo_bin("pantala").expect("built");
        command
            .env_clear()
            .args(["config", "check"])
            .arg(&path)
            .assert()
            .success();
    }
}
