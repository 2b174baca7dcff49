//! `pantala get`: content through the daemon into a file or a pipe; a whole image (`image`) into a folder or an archive.

mod image;
mod layout;
mod plan;
mod tar;

use std::{
    io::IsTerminal,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gateway::{
    AskedRange, Bound, Efficiency, ImageName, SourceBytes, Wanted,
    local::{
        GetRequest, HeaderLine,
        client::{Finished, Output, Progress},
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use types::Digest;

pub(crate) use self::plan::Platforms;
use super::{block_on, client, local::size};
use crate::{
    cli::GetArgs,
    problem::{Exit, Problem},
    show,
};

/// Why a file that other hosts may want too came from the origin.
const UNSHARED: &str = "hint: no seed reads this for the cluster, so that each host reads it from the origin; --digest sha256:... lets hosts \
    share it";

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    task: String,
    length: u64,
    content_type: Option<String>,
    digest: Option<String>,
    sources: SourceBytes,
    seconds: f64,
    /// How near the task came to what this host's link, an operator's limit or the origin allow.
    efficiency: Option<Efficiency>,
    /// Said only where other hosts must read it at the origin again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unshared: bool,
}

/// What is named.
enum Named {
    File(Wanted),
    Image(ImageName),
}

/// Where an image goes.
enum Place<'a> {
    Folder(&'a Path),
    Archive(Output<'a>),
}

pub(super) fn run(file: Option<PathBuf>, args: GetArgs) -> Result<(), Problem> {
    match named(&args)? {
        Named::File(wanted) => get_file(file, args, &wanted),
        Named::Image(image) => get_image(file, args, &image),
    }
}

/// A digest alone names a blob, unless a platform says that it is an image's.
fn named(args: &GetArgs) -> Result<Named, Problem> {
    match args.content.parse::<Wanted>() {
        Ok(Wanted::Blob { .. }) if args.platform.is_some() => {}
        Ok(wanted) => return Ok(Named::File(wanted)),
        Err(error) if args.content.contains("://") => return Err(unnamed(error)),
        Err(_) => {}
    }
    args.content.parse().map(Named::Image).map_err(unnamed)
}

fn unnamed(error: impl Into<anyhow::Error>) -> Problem {
    Problem::of(Exit::Usage, "the content cannot be named so", error)
        .next("give a URL, an image as REGISTRY/REPOSITORY:TAG, or a blob as REGISTRY/REPOSITORY@sha256:DIGEST")
}

fn get_image(file: Option<PathBuf>, args: GetArgs, image: &ImageName) -> Result<(), Problem> {
    if args.range.is_some() || !args.tag.is_empty() {
        let message = "--range and --tag are for files, not for images";
        return Err(Problem::new(Exit::Usage, message).next("leave them out"));
    }
    let headers = headers(&args)?;
    let client = client(file, args.socket)?;
    let ask = image::Ask {
        client: &client,
        image,
        platforms: args.platform,
        digest: args.digest,
        headers,
        background: args.background,
        overwrite: args.overwrite,
    };
    let to_stdout = args.output == Path::new("-");
    let mut stdout = stdout()?;
    let place = match args.output.extension() {
        _ if to_stdout => Place::Archive(Output::Stream(&mut stdout)),
        Some(extension) if extension == "tar" => Place::Archive(Output::File {
            path: &args.output,
            overwrite: args.overwrite,
        }),
        _ => Place::Folder(&args.output),
    };
    let bar = bar();
    let got = block_on(async {
        tokio::select! {
            got = image::get(&ask, place, &bar) => got,
            // Ended here, so that what is half written goes.
            problem = interrupted() => Err(problem),
        }
    });
    bar.finish_and_clear();
    let report = got?;
    if args.json {
        return print_json(&report, to_stdout);
    }
    eprint!("{}", image::words(&report));
    Ok(())
}

/// Waits for a signal to end.
async fn interrupted() -> Problem {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            Problem::new(Exit::Failed, "interrupted")
                .next("give the same command again: what came so far is in the daemon's store")
        }
        (Err(error), _) | (_, Err(error)) => {
            Problem::of(Exit::Failed, "waiting for signals", error)
        }
    }
}

fn get_file(file: Option<PathBuf>, args: GetArgs, wanted: &Wanted) -> Result<(), Problem> {
    let request = request(&args, wanted)?;
    let to_stdout = args.output == Path::new("-");
    let client = client(file, args.socket)?;
    let began = Instant::now();
    let bar = bar();
    let mut stdout = stdout()?;
    let output = if to_stdout {
        Output::Stream(&mut stdout)
    } else {
        Output::File {
            path: &args.output,
            overwrite: args.overwrite,
        }
    };
    let mut progress = |now: Progress| {
        bar.set_length(now.total);
        bar.set_position(now.copied);
        bar.set_message(sources(now.sources));
    };
    let finished = block_on(async {
        let finished = client.get(request, output, &mut progress).await;
        finished.map_err(|error| {
            let problem = Problem::of_daemon("getting the content failed", error);
            match problem.exit() {
                Exit::NotFound if matches!(wanted, Wanted::Blob { .. }) => problem.next(
                    "check the name; if it is an image's digest and not a blob's, add --platform",
                ),
                _ => problem,
            }
        })
    });
    bar.finish_and_clear();
    tell(finished?, began.elapsed(), (args.json, to_stdout))
}

fn request(args: &GetArgs, wanted: &Wanted) -> Result<GetRequest, Problem> {
    if let (Wanted::Blob { digest, .. }, Some(asked)) = (wanted, &args.digest)
        && digest != asked
    {
        return Err(
            Problem::new(Exit::Usage, "--digest differs from the digest in the name")
                .next("leave --digest out: a blob is named by its digest already"),
        );
    }
    let is_blob = matches!(wanted, Wanted::Blob { .. });
    Ok(GetRequest {
        digest: args
            .digest
            .as_ref()
            .filter(|_| !is_blob)
            .map(Digest::to_string),
        headers: headers(args)?,
        tag: args.tag.clone(),
        background: args.background,
        range: args.range.as_deref().map(range).transpose()?,
        ..GetRequest::of(&args.content)
    })
}

fn headers(args: &GetArgs) -> Result<Vec<HeaderLine>, Problem> {
    args.headers.iter().map(|line| header(line)).collect()
}

/// The line is not repeated in the message: it may be a credential.
fn header(line: &str) -> Result<HeaderLine, Problem> {
    let (name, value) = line.split_once(':').ok_or_else(|| {
        Problem::new(Exit::Usage, "a --header has no colon").next("write it as 'Name: value'")
    })?;
    let (name, value) = (name.trim().to_owned(), value.trim().into());
    Ok(HeaderLine { name, value })
}

fn range(text: &str) -> Result<String, Problem> {
    let value = format!("bytes={}", text.strip_prefix("bytes=").unwrap_or(text));
    match AskedRange::parse(&value) {
        Some(_) => Ok(value),
        None => Err(Problem::new(Exit::Usage, format!("{text:?} is no range"))
            .next("write FIRST-LAST, FIRST- or -COUNT, counting bytes from 0")),
    }
}

/// Standard output, written to by the runtime's blocking threads.
fn stdout() -> Result<tokio::fs::File, Problem> {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let stdout =
        stdout.map_err(|error| Problem::of(Exit::Failed, "opening standard output", error))?;
    Ok(tokio::fs::File::from_std(stdout.into()))
}

/// A bar on a terminal; nothing elsewhere.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{bar:32} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left  {msg}",
    );
    let style = style.expect("a constant template is well formed");
    let bar = ProgressBar::new(0).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Where bytes came from, in words.
fn sources(from: SourceBytes) -> String {
    let SourceBytes {
        local,
        peer,
        origin,
    } = from;
    let (local, peer, origin) = (size(local), size(peer), size(origin));
    format!("{local} from here, {peer} from peers, {origin} from the origin")
}

/// How near it came to what is possible, in words.
fn of_bound(told: Efficiency) -> String {
    let bound = match told.bound {
        Bound::Link => "the best of this host's link",
        Bound::Limit => "peer.download_rate",
        Bound::Origin => "the best of its origins",
    };
    format!("; {:.0} % of {bound}", told.share * 100.0)
}

fn tell(
    finished: Finished,
    took: Duration,
    (as_json, to_stdout): (bool, bool),
) -> Result<(), Problem> {
    let Finished {
        task,
        length,
        content_type,
        digest,
        sources: from,
        efficiency,
        unshared,
    } = finished;
    if as_json {
        let seconds = took.as_secs_f64();
        let report = Report {
            task,
            length,
            content_type,
            digest,
            sources: from,
            seconds,
            efficiency,
            unshared,
        };
        return print_json(&report, to_stdout);
    }
    // Nothing on standard output: it may be the content.
    eprintln!(
        "{} in {:.1} s: {}{}",
        size(length),
        took.as_secs_f64(),
        sources(from),
        efficiency.map_or_else(String::new, of_bound),
    );
    if let Some(digest) = digest {
        eprintln!("{digest}");
    }
    if unshared {
        eprintln!("{UNSHARED}");
    }
    Ok(())
}

/// On standard output, unless that is the content.
fn print_json(report: &impl Serialize, to_stdout: bool) -> Result<(), Problem> {
    let text = show::json(report);
    if to_stdout {
        eprint!("{text}");
        return Ok(());
    }
    show::print(&text)
}
