//! `pantala runtime`: what the `runtime` crate plans, shown; and the question to the mirror before anything is written.

use std::{collections::BTreeMap, path::PathBuf};

use runtime::{ApplyError, Host, Plan, Report, Standing, Undo, Wanted};
use serde::Serialize;

use super::running::Running;
use crate::{
    cli::{RuntimeArgs, RuntimeCommand},
    config::{Config, Sources},
    engines::{self, ProbeError},
    problem::{Exit, Problem},
    show,
};

/// A line of what is so.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    /// An engine, and how its files are.
    Engine {
        #[serde(flatten)]
        report: &'a Report,
        standing: &'static str,
    },
    /// A file of ours that no engine is to have.
    File { path: &'a str, standing: Standing },
}

/// What a command is about.
struct About {
    config: Config,
    running: Option<Running>,
    host: Host,
    wanted: Wanted,
}

impl About {
    fn plan(&self) -> Result<Plan, Problem> {
        self.host.plan(&self.wanted).map_err(|error| {
            let next = engines::remedy(&error);
            Problem::of(Exit::Failed, "reading the files failed", error).next(next)
        })
    }
}

pub(super) fn run(file: Option<PathBuf>, command: RuntimeCommand) -> Result<(), Problem> {
    match command {
        RuntimeCommand::Plan(args) => {
            let plan = about(file, &args)?.plan()?;
            show::print(&if args.json {
                show::json(&plan)
            } else {
                told(&plan)
            })
        }
        RuntimeCommand::Apply {
            args,
            probe,
            unchecked,
            force,
        } => {
            let about = about(file, &args)?;
            if !unchecked {
                let image = probe.as_ref().or(about.config.runtime.probe.as_ref());
                super::block_on(async {
                    let user = mirror_of(&about).await?;
                    let proof = async {
                        engines::is_of(about.wanted.mirror, user)?;
                        engines::prove(&about.wanted, image).await
                    };
                    proof.await.map_err(not_proved)
                })?;
            }
            apply(&about, args.json, force)
        }
        RuntimeCommand::Undo {
            root,
            mirror,
            forget,
            force,
            json,
        } => {
            let what = Undo {
                force,
                of: mirror,
                forget,
            };
            undo(root.unwrap_or_else(|| root_of(file)), &what, json)
        }
        RuntimeCommand::Status(args) => status(file, &args),
    }
}

/// The user whose daemon runs with that mirror: its socket is in a folder where nobody else makes one.
async fn mirror_of(about: &About) -> Result<u32, Problem> {
    let next = "start the daemon, or see whether local.socket is another; or write without asking: --unchecked";
    let socket = &about.config.local.socket;
    let absent = || {
        let told = format!("no daemon answers at {}", socket.display());
        Problem::new(Exit::NoDaemon, told).next(next)
    };
    let running = about.running.as_ref().ok_or_else(absent)?;
    let mirror = running.config().and_then(|it| it.mirror.listen);
    if mirror.and_then(engines::local) != Some(about.wanted.mirror) {
        let told = match mirror {
            Some(mirror) => format!("the daemon has its mirror at {mirror}"),
            None => "the daemon has no mirror, or does not tell where".into(),
        };
        let told = format!("{told}, not at {}", about.wanted.mirror);
        return Err(Problem::new(Exit::Failed, told)
            .next("leave out --mirror, or write without asking: --unchecked"));
    }
    Running::user(socket).await.ok_or_else(absent)
}

fn not_proved(error: ProbeError) -> Problem {
    let next = format!(
        "{}; or write without asking: --unchecked",
        error.next_step()
    );
    let exit = match error {
        ProbeError::Nobody(..) => Exit::NoDaemon,
        _ => Exit::Failed,
    };
    Problem::of(exit, "the mirror did not prove itself", error).next(next)
}

fn apply(about: &About, json: bool, force: bool) -> Result<(), Problem> {
    let applied = about.host.apply(&about.wanted, force).map_err(|error| {
        let next = engines::remedy(&error);
        Problem::of(Exit::Failed, "writing the files failed", error).next(next)
    })?;
    let (plan, changed) = (applied.plan, applied.changed);
    show::print(&if json {
        let left = texts(&applied.left);
        show::json(
            &serde_json::json!({ "changed": changed, "left": left, "engines": plan.engines }),
        )
    } else {
        format!("{}{}", listed("changed", &changed), told(&plan))
    })?;
    none_left(applied.left)
}

fn texts(left: &[ApplyError]) -> Vec<String> {
    left.iter().map(ToString::to_string).collect()
}

/// What stayed as it is makes the command fail, after all else was done.
fn none_left(mut left: Vec<ApplyError>) -> Result<(), Problem> {
    let others = texts(&left).split_off(1.min(left.len()));
    if left.is_empty() {
        return Ok(());
    }
    let first = left.swap_remove(0);
    let next = engines::remedy(&first);
    let told = match &others[..] {
        [] => "a file stays as it is".to_owned(),
        others => format!("files stay as they are ({})", others.join("; ")),
    };
    Err(Problem::of(Exit::Failed, &told, first).next(next))
}

/// What was written is taken back whatever the configuration is by now.
fn root_of(file: Option<PathBuf>) -> PathBuf {
    let config = Config::load(&Sources::of_process(file));
    config.map_or_else(|_| "/".into(), |(config, _)| config.runtime.root)
}

fn undo(root: PathBuf, what: &Undo, json: bool) -> Result<(), Problem> {
    let undone = Host::new(root).undo(what).map_err(|error| {
        let next = engines::remedy(&error);
        Problem::of(Exit::Failed, "taking the files back failed", error).next(next)
    })?;
    show::print(&if json {
        let left = texts(&undone.left);
        show::json(
            &serde_json::json!({ "removed": undone.removed, "left": left, "next": undone.next }),
        )
    } else {
        let next = undone.next.iter().map(|it| format!("next: {it}\n"));
        listed("removed", &undone.removed) + &next.collect::<String>()
    })?;
    none_left(undone.left)
}

fn about(file: Option<PathBuf>, args: &RuntimeArgs) -> Result<About, Problem> {
    let (mut config, _) = Config::load(&Sources::of_process(file))?;
    // A daemon that runs knows best where its mirror is.
    let running = super::block_on(async { Ok(Running::find(&config.local.socket).await) })?;
    if let Some(running) = running.as_ref().and_then(Running::config) {
        config.mirror = running.mirror;
    }
    let wanted = engines::wanted(&config, args.mirror, &args.registry)?;
    let host = Host::new(args.root.as_ref().unwrap_or(&config.runtime.root));
    Ok(About {
        config,
        running,
        host,
        wanted,
    })
}

fn status(file: Option<PathBuf>, args: &RuntimeArgs) -> Result<(), Problem> {
    let about = about(file, args)?;
    let plan = about.plan()?;
    let files = about.host.standing(&plan, &about.wanted).map_err(|error| {
        let next = engines::remedy(&error);
        Problem::of(Exit::Failed, "reading the record failed", error).next(next)
    })?;
    let engines = plan.engines.iter().map(|report| Row::Engine {
        report,
        standing: standing(report, &files),
    });
    let others = unplanned(&plan, &files).map(|(path, standing)| Row::File { path, standing });
    let rows: Vec<_> = engines.chain(others).collect();
    show::list(&rows, args.json, |rows| {
        let rows = rows.iter().map(|row| match row {
            Row::Engine { report, standing } => {
                let next = report.next.first().or(report.conflicts.first());
                vec![
                    report.engine.name().into(),
                    report.config.clone(),
                    (*standing).into(),
                    next.cloned().unwrap_or_default(),
                ]
            }
            Row::File { path, standing } => {
                let (standing, next) = of_file(*standing);
                vec!["-".into(), (*path).into(), standing.into(), next.into()]
            }
        });
        let heads = ["ENGINE", "CONFIGURATION", "STANDING", "NEXT"];
        show::table(&heads, &[], rows.collect())
    })?;
    match files.iter().find(|(_, how)| **how == Standing::Unrecorded) {
        Some((path, _)) => none_left(vec![ApplyError::Unrecorded(path.clone())]),
        None => Ok(()),
    }
}

/// Files of ours that no engine is to have by now, and how each is.
pub(super) fn unplanned<'a>(
    plan: &'a Plan,
    files: &'a BTreeMap<String, Standing>,
) -> impl Iterator<Item = (&'a str, Standing)> {
    let is_planned = |path: &str| plan.files().any(|it| it.path == path);
    let others = files.iter().filter(move |(path, _)| !is_planned(path));
    others.map(|(path, how)| (path.as_str(), *how))
}

/// Such a file in words, and what to do with it.
pub(super) fn of_file(standing: Standing) -> (&'static str, &'static str) {
    match standing {
        Standing::Changed => (
            "edited",
            "look at it; `pantala runtime undo --forget PATH` leaves it to you",
        ),
        Standing::Unrecorded => (
            "ours, unrecorded",
            "the record was lost: `sudo pantala runtime undo --force` removes it",
        ),
        _ => (
            "not planned any more",
            "`sudo pantala runtime apply` removes it",
        ),
    }
}

/// How the files of an engine are, in a word or two.
pub(super) fn standing(report: &Report, files: &BTreeMap<String, Standing>) -> &'static str {
    let of = |path: &str| files.get(path).copied();
    let all: Vec<_> = report.files.iter().map(|it| of(&it.path)).collect();
    let has = |how| all.contains(&Some(how));
    match () {
        () if has(Standing::Changed) => "edited",
        () if has(Standing::Unrecorded) => "unrecorded",
        () if has(Standing::Elsewhere) => "other address",
        () if has(Standing::Outdated) => "out of date",
        () if all.is_empty() && report.is_named => "by your own files",
        () if !has(Standing::Armed) => "not armed",
        () if all.iter().all(|it| *it == Some(Standing::Armed)) => "armed",
        () => "in part",
    }
}

fn told(plan: &Plan) -> String {
    if plan.engines.is_empty() {
        return "no container engine was found\n".into();
    }
    let mut rows = Vec::new();
    for report in &plan.engines {
        let mut put = |what: &str, text: &String| {
            rows.push(vec![report.engine.name().into(), what.into(), text.clone()]);
        };
        put("found", &report.config);
        report.files.iter().for_each(|it| put("file", &it.path));
        report.conflicts.iter().for_each(|it| put("conflict", it));
        report.next.iter().for_each(|it| put("next", it));
        report.notes.iter().for_each(|it| put("note", it));
    }
    show::table(&["ENGINE", "WHAT", "TEXT"], &[], rows)
}

fn listed(verb: &str, paths: &[String]) -> String {
    if paths.is_empty() {
        return format!("nothing {verb}\n");
    }
    let lines = paths.iter().map(|path| format!("{verb} {path}\n"));
    lines.collect()
}
