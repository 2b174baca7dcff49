//! `pantala sim`: thousands of hosts in virtual time, on this machine, around the product's own decisions.

use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use indicatif::ProgressBar;
use simulator::{
    plot::{Curve, Picture},
    report::{Outcome, Report},
    scenario::{RawScenario, Scenario},
};

use crate::{
    problem::{Exit, Problem},
    show,
};

/// Flags of `sim`: those here, and one for each key of a scenario.
#[derive(Debug)]
pub(crate) struct SimArgs {
    file: Option<PathBuf>,
    svg: Option<PathBuf>,
    json: bool,
    /// Key and value, in the order of the keys.
    keys: Vec<(&'static str, String)>,
}

/// What each key means, in the order of [`RawScenario::KEYS`].
const HELP: [(&str, &str, &str); 19] = [
    (
        "hosts",
        "COUNT",
        "Receiving hosts, 1 to 100000 [default: 1000]",
    ),
    (
        "seeds",
        "COUNT",
        "Hosts beside them that only import and upload [default: 1]",
    ),
    (
        "rate",
        "RATE",
        "Every host's way up and down: 100Mbit, 1GB/s [default: 1Gbit]",
    ),
    ("up", "RATE", "The way up, if it is not --rate"),
    ("down", "RATE", "The way down, if it is not --rate"),
    (
        "content",
        "SIZE",
        "The content's size: 10GiB [default: 1GiB]",
    ),
    (
        "pieces",
        "COUNT",
        "How many pieces [default: as the product cuts content of that size]",
    ),
    (
        "piece_length",
        "SIZE",
        "How long a piece is, instead of --pieces: a power of two, 4MiB",
    ),
    (
        "origin_rate",
        "RATE",
        "What the origin sends at most [default: 10Gbit]",
    ),
    (
        "origin_zone",
        "ZONE",
        "The zone in which the origin stands [default: beside all zones]",
    ),
    (
        "delay",
        "TIME",
        "How long a message is under way: 2ms, or in piece times 0.1p [default: 1ms]",
    ),
    (
        "arrivals",
        "WHEN",
        "When hosts ask: 'at once', or 'over 30s' [default: at once]",
    ),
    (
        "readers",
        "WHAT",
        "What local consumers do: 'none', or 'in order' [default: none]",
    ),
    (
        "groups",
        "GROUP",
        "Hosts with other rates: '5% at 0.1x'. May be repeated",
    ),
    (
        "zones",
        "ZONE",
        "A zone and its hosts: 'a 30%', 'b 200', or 'c' for the rest. May be repeated",
    ),
    (
        "pipes",
        "PIPE",
        "A limited way between zones: 'a and b at 10Gbit'. May be repeated",
    ),
    (
        "faults",
        "FAULT",
        "What goes wrong: 'kill host 3 at 10s'; 'help' tells all forms. May be repeated",
    ),
    ("seed", "NUMBER", "The seed of all chance [default: 1]"),
    (
        "time_limit",
        "TIME",
        "Virtual time after which the run ends [default: 1h]",
    ),
];

impl Args for SimArgs {
    fn augment_args(command: Command) -> Command {
        let keys = HELP.into_iter().map(|(key, value, help)| {
            let action = if is_list(key) {
                ArgAction::Append
            } else {
                ArgAction::Set
            };
            Arg::new(key)
                .long(key.replace('_', "-"))
                .value_name(value)
                .help(help)
                .action(action)
        });
        command
            .arg(Arg::new("file").long("file").value_name("FILE").value_parser(clap::value_parser!(PathBuf))
                .help("A scenario in TOML, with the flags below as keys; flags count more, lists add up"))
            .args(keys)
            .arg(Arg::new("svg").long("svg").value_name("PATH").value_parser(clap::value_parser!(PathBuf))
                .help("Draw how many hosts had it when"))
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SimArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &'static str| {
            let values = matches.get_many::<String>(key).into_iter().flatten();
            values.map(move |value| (key, value.clone()))
        };
        Ok(Self {
            file: matches.get_one::<PathBuf>("file").cloned(),
            svg: matches.get_one::<PathBuf>("svg").cloned(),
            json: matches.get_flag("json"),
            keys: RawScenario::KEYS.into_iter().flat_map(given).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn is_list(key: &str) -> bool {
    matches!(key, "groups" | "zones" | "pipes" | "faults")
}

/// `pantala sim`.
pub(super) fn run(args: &SimArgs) -> Result<(), Problem> {
    let scenario = scenario(args)?;
    let waiting = waiting(&scenario);
    let outcome = simulate(&scenario);
    waiting.finish_and_clear();
    let report = Report::of(&outcome);
    show::print(&if args.json {
        report.to_json() + "\n"
    } else {
        format!("{report}\n")
    })?;
    match &args.svg {
        Some(path) => draw(path, &scenario, outcome),
        None => Ok(()),
    }
}

/// The one call of the simulator.
fn simulate(scenario: &Scenario) -> Outcome {
    simulator::simulate(scenario)
}

/// The scenario of the file and the flags, or everything that is wrong with them.
fn scenario(args: &SimArgs) -> Result<Scenario, Problem> {
    let next = "correct these; `pantala sim --help` lists every key";
    let mut raw = match &args.file {
        None => RawScenario::default(),
        Some(path) => {
            let doing = format!("reading the scenario {} failed", path.display());
            let text = fs::read_to_string(path).map_err(|error| {
                Problem::of(Exit::Usage, &doing, error).next("name an existing file")
            })?;
            toml::from_str(&text)
                .map_err(|error| Problem::of(Exit::Usage, &doing, error).next(next))?
        }
    };
    let mut faults = Vec::new();
    for (key, value) in &args.keys {
        if let Err(error) = raw.set(key, value) {
            faults.push(error.to_string());
        }
    }
    let checked = raw.check();
    if let Err(error) = &checked {
        faults.extend(error.faults.iter().map(ToString::to_string));
    }
    match checked {
        Ok(scenario) if faults.is_empty() => Ok(scenario),
        _ => {
            let list = faults.join("\n  ");
            Err(Problem::new(
                Exit::Usage,
                format!("the scenario cannot be run:\n  {list}"),
            )
            .next(next))
        }
    }
}

/// A sign of life on a terminal: a large run takes a minute.
fn waiting(scenario: &Scenario) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.set_message(format!(
        "{} hosts, {} pieces",
        scenario.hosts,
        scenario.layout.piece_count()
    ));
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn draw(path: &Path, scenario: &Scenario, outcome: Outcome) -> Result<(), Problem> {
    let picture = Picture {
        title: "How many hosts have it, when".to_owned(),
        subtitle: format!(
            "{} to {} hosts at {}",
            outcome.content, scenario.hosts, outcome.rate
        ),
        bound: outcome.bound,
        curves: vec![Curve {
            name: format!("seed {}", outcome.seed),
            hosts: outcome.hosts,
        }],
    };
    fs::write(path, picture.to_svg()).map_err(|error| {
        let doing = format!("writing the picture {} failed", path.display());
        Problem::of(Exit::Failed, &doing, error).next("check the folder and its permissions")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_scenario_is_a_flag_with_help() {
        assert_eq!(HELP.map(|(key, _, _)| key), RawScenario::KEYS);
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let key = |key, value: &str| (key, value.to_owned());
        let keys = vec![
            key("hosts", "many"),
            key("rate", "fast"),
            key("faults", "boom"),
        ];
        let args = SimArgs {
            file: None,
            svg: None,
            json: false,
            keys,
        };
        let problem = format!("{:?}", scenario(&args).expect_err("three faults"));
        for told in ["hosts takes a whole number", "rate = ", "faults[0] = "] {
            assert!(problem.contains(told), "{problem}");
        }
    }
}
