//! `pantala get`: content through the daemon into a file or a pipe; a whole image (`image`) into a folder or an archive.

mod bar;
pub(super) mod image;
mod layout;
pub(crate) mod plan;
mod report;
pub(super) mod tar;

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Instant,
};

use gateway::{
    AskedRange, ImageName, ParseWantedError, Wanted,
    local::{
        GetRequest, HeaderLine,
        client::{Client, Output, Progress},
    },
};
use types::Digest;

pub(crate) use self::plan::Platforms;
use self::report::{sources, tell};
use super::{block_on, client};
use crate::{
    cli::GetArgs,
    problem::{Exit, Problem},
    signals::unless_interrupted,
};

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
    let named = named(&args)?;
    let client = client(file, &args.socket)?;
    match named {
        Named::Image(image) => get_image(&client, &args, &image).map_err(|problem| {
            // A file's address without its scheme looks like an image.
            let is_bare = image.tag.is_some() && !args.content.ends_with(&tag_of(&image));
            match problem.exit() {
                Exit::NotFound if is_bare => problem.next(format!(
                    "check the name; if it is a file and no image, give its URL: https://{}",
                    args.content
                )),
                _ => problem,
            }
        }),
        Named::File(wanted) => match get_file(&client, &args, &wanted) {
            // A digest may be an image's as well as a blob's: its registry knows which.
            Err(problem) if problem.exit() == Exit::NotFound && may_be_image(&args, &wanted) => {
                let image = args.content.parse().map_err(unnamed)?;
                get_image(&client, &args, &image).map_err(|other| match other.exit() {
                    Exit::NotFound => problem.and(&other).next(
                        "check the repository and the digest: it is neither a blob nor an image there",
                    ),
                    _ => other,
                })
            }
            got => got,
        },
    }
}

/// A digest alone names a blob first, unless a platform says that it is an image's.
fn named(args: &GetArgs) -> Result<Named, Problem> {
    match args.content.parse::<Wanted>() {
        Ok(Wanted::Blob { .. }) if args.platform.is_some() => {}
        Ok(wanted) => return Ok(Named::File(wanted)),
        Err(ParseWantedError::Shape) => {}
        Err(error) => return Err(unnamed(error)),
    }
    args.content.parse().map(Named::Image).map_err(unnamed)
}

fn tag_of(image: &ImageName) -> String {
    image
        .tag
        .as_ref()
        .map_or_else(String::new, |tag| format!(":{}", tag.as_str()))
}

fn may_be_image(args: &GetArgs, wanted: &Wanted) -> bool {
    matches!(wanted, Wanted::Blob { .. }) && args.range.is_none() && args.tag.is_empty()
}

fn unnamed(error: impl Into<anyhow::Error>) -> Problem {
    Problem::of(Exit::Usage, "the content cannot be named so", error)
        .next("give a URL, an image as REGISTRY/REPOSITORY:TAG, or a blob or image as REGISTRY/REPOSITORY@sha256:DIGEST")
}

/// Endings of archives that an image is not written as. In a folder's name they would only mislead.
const OTHER_ARCHIVES: [&str; 8] = ["tgz", "gz", "bz2", "xz", "zst", "zip", "tbz2", "txz"];

/// What an image becomes, by the end of its path: `.tar` is an archive, a slash or anything else a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Folder,
    Archive,
}

fn form(path: &Path) -> Result<Form, Problem> {
    let text = path.to_string_lossy();
    let ending = path.extension().map(|ending| ending.to_string_lossy());
    let ending = ending.map(|ending| ending.to_ascii_lowercase());
    match ending.as_deref() {
        _ if text == "-" => Ok(Form::Archive),
        _ if text.ends_with('/') => Ok(Form::Folder),
        Some("tar") => Ok(Form::Archive),
        Some(other) if OTHER_ARCHIVES.contains(&other) => {
            let message = format!("an image is not written as .{other}");
            Err(Problem::new(Exit::Usage, message).next(format!(
                "name a .tar file, pack it yourself (`-o - | gzip > {text}`), or end a folder's name with a slash"
            )))
        }
        _ => Ok(Form::Folder),
    }
}

fn get_image(client: &Client, args: &GetArgs, image: &ImageName) -> Result<(), Problem> {
    if args.range.is_some() || !args.tag.is_empty() {
        let message = "--range and --tag are for files, not for images";
        return Err(Problem::new(Exit::Usage, message).next("leave them out"));
    }
    let form = form(&args.output)?;
    let ask = image::Ask {
        client,
        image,
        platforms: args.platform.clone(),
        digest: args.digest,
        headers: headers(args)?,
        background: args.background,
        overwrite: args.overwrite,
    };
    let to_stdout = args.output == Path::new("-");
    let mut stdout = stdout()?;
    let place = match form {
        Form::Archive if to_stdout => Place::Archive(Output::Stream(&mut stdout)),
        Form::Archive => Place::Archive(Output::File {
            path: &args.output,
            overwrite: args.overwrite,
        }),
        Form::Folder => Place::Folder(&args.output),
    };
    let bar = bar::begin();
    let got = block_on(interruptible(image::get(&ask, place, &bar)));
    bar.finish_and_clear();
    let report = got?;
    if args.json {
        return report::print_json(&report, to_stdout);
    }
    eprint!("{}", image::words(&report));
    Ok(())
}

/// A signal ends `getting`, so that what is half written goes.
async fn interruptible<T>(getting: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let got = unless_interrupted(getting).await;
    got.map_err(|problem| match problem.exit() {
        Exit::Interrupted | Exit::Terminated => problem
            .next("give the same command again: it goes on with what is in the daemon's store"),
        _ => problem,
    })
}

fn get_file(client: &Client, args: &GetArgs, wanted: &Wanted) -> Result<(), Problem> {
    let request = request(args, wanted)?;
    let is_part = request.range.is_some();
    let to_stdout = args.output == Path::new("-");
    let began = Instant::now();
    let bar = bar::begin();
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
        bar::length(&bar, now.total);
        bar.set_position(now.copied);
        bar.set_message(sources(now.sources));
    };
    let finished = block_on(interruptible(async {
        let finished = client.get(request, output, &mut progress).await;
        finished.map_err(|error| Problem::of_daemon("getting the content failed", error))
    }));
    bar.finish_and_clear();
    let how = report::How {
        is_part,
        as_json: args.json,
        to_stdout,
    };
    tell(finished?, began.elapsed(), how)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_becomes_what_its_path_ends_in() {
        let of = |path: &str| form(Path::new(path)).ok();
        for path in ["a.tar", "-", "A.TAR", "/x/y.tar"] {
            assert_eq!(of(path), Some(Form::Archive), "{path}");
        }
        for path in ["a", "a/", "alpine-3.20", "a.tar/", "a.tgz/", ".", "x.tar/y"] {
            assert_eq!(of(path), Some(Form::Folder), "{path}");
        }
        for path in ["a.tgz", "a.tar.gz", "a.tar.zst", "a.TGZ", "a.zip"] {
            let problem = form(Path::new(path)).expect_err(path);
            assert_eq!(problem.exit(), Exit::Usage);
        }
    }
}
