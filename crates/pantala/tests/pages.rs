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
