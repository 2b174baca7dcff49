//! Completions, manual pages and reference pages, all from the definition of the commands.

use std::{fmt::Write, io, path::Path};

use clap::{Command, CommandFactory};

use crate::{
    cli::{Cli, Page},
    config::reference,
    problem::{Exit, Problem},
    show,
};

/// `pantala completions`.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pantala", &mut script);
    show::print(&String::from_utf8_lossy(&script))
}

/// `pantala man`.
pub(super) fn man(folder: &Path) -> Result<(), Problem> {
    let written: io::Result<()> = clap_mangen::generate_to(Cli::command(), folder);
    written.map_err(|error| {
        let doing = format!("writing manual pages into {} failed", folder.display());
        Problem::of(Exit::Failed, &doing, error).next("name an existing folder that you may write")
    })
}

/// A reference page.
pub(super) fn markdown(page: Page) -> String {
    match page {
        Page::Config => reference::markdown(),
        Page::Cli => {
            let mut page = String::from(
                "<!-- Made from crates/pantala/src/cli.rs: UPDATE_DOCS=1 cargo nextest run -p pantala -->\n\
                 # Commands\n\nKeys: [configuration.md](configuration.md). Every command ends with 0, or with one of these; more on\n\
                 them: [errors.md](errors.md).\n\n| exit code | meaning |\n| --- | --- |\n",
            );
            for (exit, meaning) in Exit::ALL {
                writeln!(page, "| {} | {meaning} |", exit as u8)
                    .expect("a string takes everything");
            }
            let mut root = Cli::command().max_term_width(100).term_width(100);
            root.build();
            section(&mut page, &root);
            page
        }
    }
}

fn section(page: &mut String, command: &Command) {
    let title = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut command_help = command.clone().disable_help_subcommand(true);
    let help = command_help.render_help().to_string();
    let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    write!(page, "\n## {title}\n\n```text\n{}\n```\n", help.join("\n"))
        .expect("a string takes everything");
    for sub in command.get_subcommands() {
        if !sub.is_hide_set() && sub.get_name() != "help" {
            section(page, sub);
        }
    }
}
