//! `pantala runtime`: what the `runtime` crate plans, shown; and the question to the mirror before anything is written.

use std::{io, net::SocketAddr, path::PathBuf};

use runtime::{ApplyError, Host, Plan, Report, Wanted};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    cli::{RuntimeArgs, RuntimeCommand},
    config::{Config, Sources},
    dial::{PATIENCE, try_reach},
    problem::{Exit, Problem},
    show,
};

#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    report: &'a Report,
    standing: &'static str,
}

pub(super) fn run(file: Option<PathBuf>, command: RuntimeCommand) -> Result<(), Problem> {
    match command {
        RuntimeCommand::Plan(args) => {
            let (_, _, plan) = planned(file, &args)?;
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
            let (host, wanted, plan) = planned(file, &args)?;
            if !unchecked {
                ask(wanted.mirror, probe.as_deref())?;
            }
            let changed = host
                .apply(&plan, force)
                .map_err(|error| failed("writing the files failed", error))?;
            if args.json {
                return show::print(&show::json(
                    &serde_json::json!({ "changed": changed, "engines": plan.engines }),
                ));
            }
            show::print(&format!("{}{}", listed("changed", &changed), told(&plan)))
        }
        RuntimeCommand::Undo { root, force, json } => {
            let removed = Host::new(root).undo(force);
            let removed = removed.map_err(|error| failed("taking the files back failed", error))?;
            if json {
                return show::print(&show::json(&serde_json::json!({ "removed": removed })));
            }
            show::print(&listed("removed", &removed))
        }
        RuntimeCommand::Status(args) => status(file, &args),
    }
}

fn status(file: Option<PathBuf>, args: &RuntimeArgs) -> Result<(), Problem> {
    let (host, _, plan) = planned(file, args)?;
    let files = host
        .standing()
        .map_err(|error| failed("reading the record failed", error))?;
    let standing = |report: &Report| {
        let of = |path: &str| files.iter().find(|(it, _)| it == path).map(|(_, how)| *how);
        let all: Vec<_> = report.files.iter().map(|it| of(&it.path)).collect();
        match () {
            () if all.contains(&Some("changed")) => "edited",
            () if all.iter().all(Option::is_none) => "not armed",
            () if all.iter().all(|it| *it == Some("armed")) => "armed",
            () => "in part",
        }
    };
    let rows: Vec<_> = plan
        .engines
        .iter()
        .map(|report| Status {
            report,
            standing: standing(report),
        })
        .collect();
    show::list(&rows, args.json, |rows| {
        let rows = rows.iter().map(|it| {
            let next = it.report.next.first().or(it.report.conflicts.first());
            let next = next.cloned().unwrap_or_default();
            vec![
                it.report.engine.name().into(),
                it.report.config.clone(),
                it.standing.into(),
                next,
            ]
        });
        show::table(
            &["ENGINE", "CONFIGURATION", "STANDING", "NEXT"],
            &[],
            rows.collect(),
        )
    })
}

fn planned(file: Option<PathBuf>, args: &RuntimeArgs) -> Result<(Host, Wanted, Plan), Problem> {
    let wanted = wanted(file, args)?;
    let host = Host::new(&args.root);
    let plan = host
        .plan(&wanted)
        .map_err(|error| failed("reading the files failed", error))?;
    Ok((host, wanted, plan))
}

/// Flags first; the configuration fills in what they leave open.
fn wanted(file: Option<PathBuf>, args: &RuntimeArgs) -> Result<Wanted, Problem> {
    let (mut mirror, mut registries) = (args.mirror, args.registry.clone());
    if mirror.is_none() || registries.is_empty() {
        let (config, _) = Config::load(&Sources::of_process(file))?;
        mirror = mirror.or(config.mirror.listen);
        if registries.is_empty() {
            let named = config
                .mirror
                .registries
                .iter()
                .chain(&config.mirror.default_registry);
            registries = named.map(ToString::to_string).collect();
            if config.mirror.any_registry {
                registries.push("_default".into());
            }
        }
    }
    registries.sort();
    registries.dedup();
    let is_name = |it: &String| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        it.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && it.chars().all(is_part)
    };
    if let Some(wrong) = registries.iter().find(|it| !is_name(it)) {
        return Err(
            Problem::new(Exit::Usage, format!("{wrong:?} is no registry"))
                .next("name a HOST or HOST:PORT"),
        );
    }
    let mirror = mirror.ok_or_else(|| {
        Problem::new(Exit::Configuration, "mirror.listen is off")
            .next("set mirror.listen, or give --mirror")
    })?;
    // Elsewhere a mirror that is gone may be silent instead of refusing, and every pull would wait for it.
    if !mirror.ip().is_loopback() {
        return Err(Problem::new(
            Exit::Usage,
            format!("the mirror {mirror} is not on loopback"),
        )
        .next("set mirror.listen to 127.0.0.1:PORT, or give --mirror"));
    }
    Ok(Wanted { mirror, registries })
}

/// Asks the mirror, as an engine would, for `image` or whether it is a registry.
fn ask(mirror: SocketAddr, image: Option<&str>) -> Result<(), Problem> {
    let path = match image.map(path_of) {
        Some(Some(path)) => path,
        Some(None) => {
            return Err(
                Problem::new(Exit::Usage, "--probe names no image").next("write HOST/NAME:TAG")
            );
        }
        None => "/v2/".to_owned(),
    };
    let unchecked =
        "start the daemon and look with `pantala doctor`, or write without asking: --unchecked";
    let line = super::block_on(async {
        first_line(mirror, &path).await.map_err(|error| {
            let doing = format!("asking the mirror {mirror} failed");
            Problem::of(Exit::NoDaemon, &doing, error).next(unchecked)
        })
    })?;
    // Without an image, a registry's challenge is as good as its yes.
    let is_good = |code: &str| code == "200" || (image.is_none() && code == "401");
    if line.starts_with("HTTP/1.") && line.split(' ').nth(1).is_some_and(is_good) {
        return Ok(());
    }
    Err(Problem::new(
        Exit::Failed,
        format!("the mirror {mirror} answers {line:?} to {path}"),
    )
    .next(unchecked))
}

/// `HOST/NAME:TAG` as what an engine asks.
fn path_of(image: &str) -> Option<String> {
    let (host, rest) = image.split_once('/')?;
    let (name, tag) = rest.split_once('@').or_else(|| rest.rsplit_once(':'))?;
    let is_plain = |it: &str| {
        !it.is_empty()
            && it
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c))
    };
    (is_plain(host) && is_plain(name) && is_plain(tag))
        .then(|| format!("/v2/{name}/manifests/{tag}?ns={host}"))
}

async fn first_line(mirror: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = try_reach(&mirror.ip().to_string(), mirror.port()).await?;
    let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                  application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {mirror}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // A manifest that nobody has comes from its registry first.
    let mut stream = stream.take(64 << 10);
    timeout(10 * PATIENCE, stream.read_to_end(&mut answer)).await??;
    let line = answer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn told(plan: &Plan) -> String {
    if plan.engines.is_empty() {
        return "no container engine was found\n".into();
    }
    let mut rows = Vec::new();
    for report in &plan.engines {
        let mut row = |what: &str, text: String| {
            rows.push(vec![report.engine.name().into(), what.into(), text])
        };
        row("found", report.config.clone());
        report
            .files
            .iter()
            .for_each(|it| row("file", it.path.clone()));
        report
            .conflicts
            .iter()
            .for_each(|it| row("conflict", it.clone()));
        report.next.iter().for_each(|it| row("next", it.clone()));
    }
    show::table(&["ENGINE", "WHAT", "TEXT"], &[], rows)
}

fn listed(verb: &str, paths: &[String]) -> String {
    if paths.is_empty() {
        return format!("nothing {verb}\n");
    }
    paths
        .iter()
        .map(|path| format!("{verb} {path}\n"))
        .collect()
}

fn failed(doing: &str, error: ApplyError) -> Problem {
    let next = match &error {
        ApplyError::Changed(_) => "look at the file; --force gives up the edit",
        ApplyError::Record(_) => "use the release that wrote it",
        ApplyError::Io { .. } => "run it as root",
    };
    Problem::of(Exit::Failed, doing, error).next(next)
}
