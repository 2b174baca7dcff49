//! `pantala config`: check, default, match, explain.

use std::path::PathBuf;

use super::{load, proxy};
use crate::{
    cli::ConfigCommand,
    config::{ConfigError, Settings, Sources, find, reference},
    problem::{Exit, Problem},
    show,
};

pub(super) fn run(named: Option<PathBuf>, command: ConfigCommand) -> Result<(), Problem> {
    match command {
        ConfigCommand::Default => show::print(&reference::default_file()),
        ConfigCommand::Check { file, json, common } => {
            let file = file.or(named);
            if json {
                return check_as_json(file, common.settings());
            }
            let told = file.as_ref().map_or_else(
                || "the configuration is good\n".to_owned(),
                |file| format!("{} is good\n", file.display()),
            );
            load(file, common.settings())?;
            show::print(&told)
        }
        ConfigCommand::Match { url, json, common } => {
            proxy::match_url(&load(named, common.settings())?, &url, json)
        }
        ConfigCommand::Explain {
            key: name,
            json,
            common,
        } => {
            let key = find(&name).ok_or_else(|| {
                let told = Settings::unknown(&name);
                Problem::new(Exit::Usage, format!("{name}: {told}"))
                    .next("`pantala config default` prints every key")
            })?;
            let sources = Sources {
                flags: common.settings(),
                ..Sources::of_process(named)
            };
            // A file with faults elsewhere explains this key all the same.
            let settings = Settings::gather(&sources).map_err(ConfigError::from)?;
            let explanation = reference::Explanation::of(key, &settings);
            show::print(&if json {
                show::json(&explanation)
            } else {
                explanation.to_text()
            })
        }
    }
}

/// A fault as programs read it.
#[derive(serde::Serialize)]
struct Row {
    key: String,
    place: String,
    told: String,
}

/// Prints the list of faults, and fails as a check for people does.
fn check_as_json(
    file: Option<PathBuf>,
    flags: Vec<(String, String, String)>,
) -> Result<(), Problem> {
    let checked = load(file, flags);
    let faults = checked.as_ref().err().map(Problem::faults);
    let rows = faults.unwrap_or_default().iter().map(|fault| Row {
        key: fault.key.clone(),
        place: fault.place.to_string(),
        told: fault.told.clone(),
    });
    show::print(&show::json(&rows.collect::<Vec<_>>()))?;
    checked.map(drop)
}
