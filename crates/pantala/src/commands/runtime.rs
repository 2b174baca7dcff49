//! `pantala runtime`: what the `runtime` crate plans, shown; and the question to the mirror before anything is written.

use std::path::PathBuf;

use runtime::{Host, Plan, Report, Standing, Wanted};
use serde::Serialize;

use super::running::Running;
use crate::{
    cli::{RuntimeArgs, RuntimeCommand},
    config::{Config, Sources},
    engines::{self, ProbeError},
    problem::{Exit, Problem},
    show,
};

/// An engine, and how its files are.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    report: &'a Report,
    standing: &'static str,
}

/// What a command is about.
struct About {
    config: Config,
    host: Host,
    wanted: Wanted,
    plan: Plan,
}

pub(super) fn run(file: Option<PathBuf>, command: RuntimeCommand) -> Result<(), Problem> {
    match command {
        RuntimeCommand::Plan(args) => {
            let About { plan, .. } = about(file, &args)?;
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
                let proof = async { Ok(engines::prove(&about.wanted, image).await) };
                super::block_on(proof)?.map_err(|error| {
                    let next = format!(
                        "{}; or write without asking: --unchecked",
                        error.next_step()
                    );
                    let exit = match error {
                        ProbeError::Nobody(..) => Exit::NoDaemon,
                        _ => Exit::Failed,
                    };
                    Problem::of(exit, "the mirror did not prove itself", error).next(next)
                })?;
            }
            let changed = about.host.apply(&about.plan, force).map_err(|error| {
                let next = engines::remedy(&error);
                Problem::of(Exit::Failed, "writing the files failed", error).next(next)
            })?;
            if args.json {
                let engines = about.plan.engines;
                let told = serde_json::json!({ "changed": changed, "engines": engines });
                return show::print(&show::json(&told));
            }
            show::print(&format!(
                "{}{}",
                listed("changed", &changed),
                told(&about.plan)
            ))
        }
        RuntimeCommand::Undo { root, force, json } => {
            undo(root.unwrap_or_else(|| root_of(file)), force, json)
        }
        RuntimeCommand::Status(args) => status(file, &args),
    }
}

/// What was written is taken back whatever the configuration is by now.
fn root_of(file: Option<PathBuf>) -> PathBuf {
    let config = Config::load(&Sources::of_process(file));
    config.map_or_else(|_| "/".into(), |(config, _)| config.runtime.root)
}

fn undo(root: PathBuf, force: bool, json: bool) -> Result<(), Problem> {
    let removed = Host::new(root).undo(force).map_err(|error| {
        let next = engines::remedy(&error);
        Problem::of(Exit::Failed, "taking the files back failed", error).next(next)
    })?;
    if json {
        return show::print(&show::json(&serde_json::json!({ "removed": removed })));
    }
    show::print(&listed("removed", &removed))
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
    let plan = host.plan(&wanted).map_err(|error| {
        let next = engines::remedy(&error);
        Problem::of(Exit::Failed, "reading the files failed", error).next(next)
    })?;
    Ok(About {
        config,
        host,
        wanted,
        plan,
    })
}

fn status(file: Option<PathBuf>, args: &RuntimeArgs) -> Result<(), Problem> {
    let About { host, plan, .. } = about(file, args)?;
    let files = host.standing().map_err(|error| {
        let next = engines::remedy(&error);
        Problem::of(Exit::Failed, "reading the record failed", error).next(next)
    })?;
    let rows = plan.engines.iter();
    let rows: Vec<_> = rows
        .map(|report| Row {
            report,
            standing: standing(report, &files),
        })
        .collect();
    show::list(&rows, args.json, |rows| {
        let rows = rows.iter().map(|Row { report, standing }| {
            let next = report.next.first().or(report.conflicts.first());
            vec![
                report.engine.name().into(),
                report.config.clone(),
                (*standing).into(),
                next.cloned().unwrap_or_default(),
            ]
        });
        let heads = ["ENGINE", "CONFIGURATION", "STANDING", "NEXT"];
        show::table(&heads, &[], rows.collect())
    })
}

/// How the files of an engine are, in a word or two.
pub(super) fn standing(report: &Report, files: &[(String, Standing)]) -> &'static str {
    let of = |path: &str| files.iter().find(|(it, _)| it == path).map(|(_, how)| *how);
    let all: Vec<_> = report.files.iter().map(|it| of(&it.path)).collect();
    let armed = Some(Standing::Armed);
    match () {
        () if all.contains(&Some(Standing::Changed)) => "edited",
        () if all.is_empty() && report.is_named => "by your own files",
        () if all.is_empty() || !all.contains(&armed) => "not armed",
        () if all.iter().all(|it| *it == armed) => "armed",
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
