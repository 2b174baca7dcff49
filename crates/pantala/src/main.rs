//! The one binary of Pantala: commands, configuration, wiring. What is more than that lives in the other crates.
//!
//! - `cli`: the commands and their flags; `commands`: what each does;
//! - `config`: flags, environment and file, checked;
//! - `roles`: from the configuration to running parts;
//! - `engines`: pointing container engines at the mirror, once it proved itself;
//! - `problem`: how a command fails: message, causes, next step, exit code;
//! - `logs`, `signals`, `watchdog`, `show`, `dial`: log lines, leaving, telling systemd that it lives, tables, what the doctor
//!   tries.

mod cli;
mod commands;
mod config;
mod dial;
mod engines;
mod logs;
mod problem;
mod roles;
mod show;
mod signals;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::of_process() {
        Ok(cli) => cli,
        Err(error) => return problem::usage(&error),
    };
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => problem.report(),
    }
}
