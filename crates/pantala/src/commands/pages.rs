//! Completions, manual pages and reference pages, all from the definition of the commands.

use std::{fmt::Write, io, path::Path};

use clap::Command;

use super::counted;
use crate::{
    cli::{Page, commands},
    config::reference,
    problem::{Exit, Problem},
    show,
};

/// `pantala completions`.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut commands(), "pantala", &mut script);
    show::print(&String::from_utf8_lossy(&script))
}

/// `pantala man`.
pub(super) fn man(folder: &Path) -> Result<(), Problem> {
    let mut root = commands().disable_help_subcommand(true);
    root.build();
    let written: io::Result<()> = pages(&root, folder);
    written.map_err(|error| {
        let doing = format!("writing manual pages into {} failed", folder.display());
        Problem::of(Exit::Failed, &doing, error).next("name an existing folder that you may write")
    })
}

/// The page of `command` and those below it.
fn pages(command: &Command, folder: &Path) -> io::Result<()> {
    let below = command.get_subcommands();
    below
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| pages(command, folder))?;
    let page = command.clone().override_usage(synopsis(command));
    clap_mangen::Man::new(page).generate_to(folder).map(drop)
}

/// What may be written, in one line. The one that would be made otherwise names no values.
fn synopsis(command: &Command) -> String {
    let mut line = vec![name_of(command).to_owned()];
    let (places, mut options): (Vec<_>, Vec<_>) = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .partition(|arg| arg.is_positional());
    options.sort_by_key(|arg| (!arg.is_required_set(), arg.get_long() == Some("help")));
    for arg in options.into_iter().chain(places) {
        let names = [
            arg.get_short().map(|short| format!("-{short}")),
            arg.get_long().map(|long| format!("--{long}")),
        ];
        let mut text = names.into_iter().flatten().collect::<Vec<_>>().join("|");
        if arg.get_num_args().is_some_and(|count| count.takes_values()) {
            let values = arg.get_value_names().unwrap_or_default();
            let values = values.iter().map(clap::builder::Str::as_str);
            text = [text.as_str()]
                .into_iter()
                .chain(values)
                .collect::<Vec<_>>()
                .join(" ");
        }
        let is_many = matches!(arg.get_action(), clap::ArgAction::Append);
        let text = text.trim();
        let text = match arg.is_required_set() {
            true => text.to_owned(),
            false => format!("[{text}]"),
        };
        line.push(text + if is_many { "..." } else { "" });
    }
    if command.has_subcommands() {
        line.push("COMMAND".to_owned());
    }
    line.join(" ")
}

fn name_of(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

/// A reference page.
pub(super) fn markdown(page: Page) -> String {
    match page {
        Page::Config => reference::markdown(),
        Page::Metrics => counted::markdown(),
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
            let mut root = commands().max_term_width(100).term_width(100);
            root.build();
            section(&mut page, &root);
            page
        }
    }
}

fn section(page: &mut String, command: &Command) {
    let title = name_of(command);
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
