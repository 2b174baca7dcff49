//! Chores of this repository that need more than a shell line: `cargo xtask tidy`.
//!
//! `tidy` holds the rules of the house that compilers and lints cannot see; see [`tidy`] for the list. It is part of
//! `make check`.

mod tidy;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};

const USAGE: &str = "Usage: cargo xtask tidy [--update]

  tidy             check the rules of the house, print what breaks them as path:line: what, what to do
  tidy --update    first lower xtask/ratchet.toml to the present sizes (it never raises one)";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["tidy"] => check(),
        ["tidy", "--update"] => {
            tidy::lower_ratchet(&repository()?)?;
            check()
        }
        ["-h" | "--help" | "help"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("unknown arguments\n{USAGE}"),
    }
}

fn check() -> anyhow::Result<ExitCode> {
    let findings = tidy::findings(&repository()?)?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("tidy: {} to mend", findings.len());
    Ok(ExitCode::FAILURE)
}

/// The folder above this crate. Asked at run time: a build shared by two clones must look at the clone it runs in.
fn repository() -> anyhow::Result<PathBuf> {
    let own = env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let own = PathBuf::from(own);
    Ok(own
        .parent()
        .context("xtask has no folder above it")?
        .to_path_buf())
}
