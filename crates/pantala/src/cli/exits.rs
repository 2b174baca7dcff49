//! With which codes each command may end: told at the end of its help.

use clap::Command;

use crate::problem::Exit::{self, *};

/// By the words of a command; what is not listed fails or not.
const BY_COMMAND: &[(&str, &[Exit])] = &[
    (
        "get",
        &[
            Usage,
            Configuration,
            NotFound,
            Denied,
            NoDaemon,
            Mismatch,
            Interrupted,
            PipeClosed,
            Terminated,
        ],
    ),
    ("task", &[Usage, Configuration, Denied, NoDaemon]),
    (
        "explain",
        &[Usage, Configuration, NotFound, Denied, NoDaemon],
    ),
    ("store ls", &[Usage, Configuration, Denied, NoDaemon]),
    ("store rm", &[Usage, Configuration, Denied, NoDaemon]),
    ("store gc", &[Usage, Configuration, Denied, NoDaemon]),
    ("bypass on", &[Usage, Configuration, Denied, NoDaemon]),
    ("bypass off", &[Usage, Configuration, Denied, NoDaemon]),
    ("bypass status", &[Usage, Configuration, Denied, NoDaemon]),
    ("doctor", &[Usage, Configuration]),
    ("runtime plan", &[Usage, Configuration]),
    ("runtime apply", &[Usage, Configuration, NoDaemon]),
    ("runtime undo", &[Usage]),
    ("runtime status", &[Usage, Configuration]),
    ("token create", &[Usage, Configuration]),
    ("token list", &[Usage, Configuration]),
    ("token revoke", &[Usage, Configuration]),
    ("host list", &[Usage, Configuration]),
    ("host revoke", &[Usage, Configuration]),
    ("config check", &[Usage, Configuration]),
    ("config match", &[Usage, Configuration]),
    ("config explain", &[Usage, Configuration]),
    ("proxy ca", &[Usage, Configuration]),
    ("daemon", &[Usage, Configuration]),
    ("scheduler", &[Usage, Configuration]),
    ("up", &[Usage, Configuration]),
];

/// `command` and all below it, each with its codes.
pub(super) fn told(command: Command) -> Command {
    below(command, "")
}

fn below(mut command: Command, words: &str) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in &names {
        let words = format!("{words} {name}");
        command = command.mut_subcommand(name, |sub| below(sub, words.trim()));
    }
    let codes = if words.is_empty() || names.is_empty() {
        line(words)
    } else {
        // What its commands end with, they say themselves.
        return command;
    };
    let help = match command.get_after_help() {
        Some(help) => format!("{help}\n\n{codes}"),
        None => codes,
    };
    command.after_help(help)
}

fn line(words: &str) -> String {
    let (_, more) = BY_COMMAND
        .iter()
        .find(|(command, _)| *command == words)
        .unwrap_or(&("", &[Usage]));
    let told = Exit::ALL
        .iter()
        .filter(|(exit, _)| words.is_empty() || *exit == Failed || more.contains(exit))
        .map(|(exit, meaning)| format!("{} {meaning}", *exit as u8));
    let told: Vec<String> = told.collect();
    format!("Exit codes: 0 ok, {}.", told.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_of_the_list_exists() {
        let root = Cli::command();
        for (words, _) in BY_COMMAND {
            let mut at = &root;
            for word in words.split(' ') {
                at = at.find_subcommand(word).expect(words);
            }
        }
    }

    #[test]
    fn whoever_reads_the_configuration_says_so() {
        // A key is set, or a default is taken from it.
        let reads = |command: &Command| {
            let ids = command.get_arguments().map(|arg| arg.get_id().as_str());
            ids.into_iter()
                .any(|id| ["set", "socket", "ca_dir"].contains(&id))
        };
        let (root, mut seen) = (crate::cli::commands(), 0);
        let mut commands: Vec<&Command> = root.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            if reads(command) {
                seen += 1;
                let help = command.get_after_help().expect("codes").to_string();
                assert!(
                    help.contains("3 configuration"),
                    "{}: {help}",
                    command.get_name()
                );
            }
        }
        assert!(seen > 15, "{seen}");
    }
}
