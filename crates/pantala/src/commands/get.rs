//! `pantala get`: content through the daemon into a file or a pipe.

use std::{
    io::IsTerminal,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gateway::{
    AskedRange, SourceBytes, Wanted,
    local::{
        GetRequest, HeaderLine,
        client::{Finished, Output, Progress},
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use types::Digest;

use super::{block_on, client, local::size};
use crate::{
    cli::GetArgs,
    problem::{Exit, Problem},
    show,
};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    task: String,
    length: u64,
    content_type: Option<String>,
    digest: Option<String>,
    sources: SourceBytes,
    seconds: f64,
}

pub(super) fn run(file: Option<PathBuf>, args: GetArgs) -> Result<(), Problem> {
    let request = request(&args)?;
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
        finished.map_err(|error| Problem::of_daemon("getting the content failed", error))
    });
    bar.finish_and_clear();
    tell(finished?, began.elapsed(), (args.json, to_stdout))
}

fn request(args: &GetArgs) -> Result<GetRequest, Problem> {
    let wanted: Wanted = args.content.parse().map_err(|error| {
        Problem::of(Exit::Usage, "the content cannot be named so", error)
            .next("give a URL or REGISTRY/REPOSITORY@sha256:DIGEST; an image by tag is pulled by a container runtime through the mirror")
    })?;
    if let (Wanted::Blob { digest, .. }, Some(asked)) = (&wanted, &args.digest)
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
        headers: args
            .headers
            .iter()
            .map(|line| header(line))
            .collect::<Result<_, _>>()?,
        tag: args.tag.clone(),
        background: args.background,
        range: args.range.as_deref().map(range).transpose()?,
        ..GetRequest::of(&args.content)
    })
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
        };
        let text = show::json(&report);
        if to_stdout {
            eprint!("{text}");
            return Ok(());
        }
        return show::print(&text);
    }
    // Nothing on standard output: it may be the content.
    eprintln!(
        "{} in {:.1} s: {}",
        size(length),
        took.as_secs_f64(),
        sources(from),
    );
    if let Some(digest) = digest {
        eprintln!("{digest}");
    }
    Ok(())
}
