//! `pantala explain`: where a content's bytes came from, what its time went to, and why, as the daemon counted.

mod page;

use std::{collections::BTreeSet, path::PathBuf};

use gateway::{
    ImageName, Wanted,
    local::{ExplainReport, SourceKind, WaitedReport, client::Client},
};
use serde::Serialize;
use url::Url;

use super::{block_on, client, get};
use crate::{
    cli::ExplainArgs,
    problem::{Exit, Problem},
    show,
};

/// What is told of what was asked.
#[derive(Debug, Serialize)]
struct Told {
    /// As it was asked for.
    content: String,
    /// Bytes and time by kind of source and zone, in order of cost.
    by: Vec<Part>,
    /// What was waited for while nothing came, in order of cost.
    waited: Vec<WaitedReport>,
    /// Contents of the image that the daemon knows nothing of.
    unknown: Vec<String>,
    /// Each content.
    contents: Vec<ExplainReport>,
    /// Why these are not just the contents of the image, if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// What one kind of source gave, in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Part {
    from: SourceKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    bytes: u64,
    ms: u64,
}

pub(super) fn run(file: Option<PathBuf>, args: ExplainArgs) -> Result<(), Problem> {
    let client = client(file, &args.list.socket)?;
    let told = block_on(told(&client, &args))?;
    show::print(&if args.list.json {
        show::json(&told)
    } else {
        page::of(&told)
    })
}

async fn told(client: &Client, args: &ExplainArgs) -> Result<Told, Problem> {
    let rows = client.explained().await;
    let rows = rows.map_err(|error| Problem::of_daemon("asking the daemon failed", error))?;
    let asked = args.content.as_str();
    let is_task = asked.len() >= 4 && asked.bytes().all(|c| c.is_ascii_hexdigit());
    let wanted = asked.parse::<Wanted>();
    let (chosen, unknown, note) = match wanted {
        _ if is_task => (of_task(rows, asked)?, Vec::new(), None),
        Ok(Wanted::Url { url, .. }) => (of_url(rows, url.expose()), Vec::new(), None),
        Ok(Wanted::Blob { digest, .. })
            if args.platform.is_none() && holds(&rows, &digest.to_string()) =>
        {
            let digest = digest.to_string();
            (of_digests(rows, &[digest].into()), Vec::new(), None)
        }
        _ => of_image(client, rows, args).await?,
    };
    if chosen.is_empty() {
        return Err(nothing(asked));
    }
    Ok(Told {
        content: shown(asked),
        by: by(&chosen),
        waited: waited(&chosen),
        unknown,
        contents: chosen,
        note,
    })
}

fn nothing(asked: &str) -> Problem {
    let message = format!("this daemon knows nothing of {}", shown(asked));
    Problem::new(Exit::Failed, message).next(
        "it tells of what it distributes now and of the last 256 contents since it was started; what went past it \
         shows in neither: `pantala doctor` says whether engines use the mirror, `pantala task` and `pantala store ls` \
         list what there is. Private content is told of to root and the daemon's user alone",
    )
}

/// What was asked, without what may be a secret in a URL.
fn shown(asked: &str) -> String {
    match Url::parse(asked) {
        Ok(url) if url.has_host() => origin::canonical_url(&url, &[]),
        _ => asked.to_owned(),
    }
}

fn of_task(rows: Vec<ExplainReport>, digits: &str) -> Result<Vec<ExplainReport>, Problem> {
    let digits = digits.to_ascii_lowercase();
    let rows = rows.into_iter().filter(|row| row.task.starts_with(&digits));
    let rows: Vec<ExplainReport> = rows.collect();
    if rows.len() > 1 {
        let message = format!("several tasks begin with {digits:?}");
        return Err(Problem::new(Exit::Usage, message).next("give more of its digits"));
    }
    Ok(rows)
}

/// Contents of that URL. The daemon may drop more of a query than what are known to be signatures.
fn of_url(rows: Vec<ExplainReport>, url: &str) -> Vec<ExplainReport> {
    let Ok(url) = Url::parse(url) else {
        return Vec::new();
    };
    let canonical = origin::canonical_url(&url, &[]);
    let split = |text: &str| {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let pairs: BTreeSet<String> = query.split('&').map(str::to_owned).collect();
        (place.to_owned(), pairs)
    };
    let (place, mut pairs) = split(&canonical);
    pairs.insert(String::new());
    let is_it = |row: &ExplainReport| {
        let (of, query) = split(&row.content);
        of == place && query.is_subset(&pairs)
    };
    rows.into_iter().filter(is_it).collect()
}

fn holds(rows: &[ExplainReport], digest: &str) -> bool {
    rows.iter().any(|row| row.digest.as_deref() == Some(digest))
}

fn of_digests(rows: Vec<ExplainReport>, digests: &BTreeSet<String>) -> Vec<ExplainReport> {
    let is_one =
        |row: &ExplainReport| (row.digest.as_ref()).is_some_and(|one| digests.contains(one));
    rows.into_iter().filter(is_one).collect()
}

type Chosen = (Vec<ExplainReport>, Vec<String>, Option<String>);

/// The contents of an image, by its manifest; where there is none to be had, those of its repository.
async fn of_image(
    client: &Client,
    rows: Vec<ExplainReport>,
    args: &ExplainArgs,
) -> Result<Chosen, Problem> {
    let asked = &args.content;
    let image: ImageName = asked.parse().map_err(|error| {
        let problem = Problem::of(Exit::Usage, "the content cannot be named so", anyhow::Error::from(error));
        problem.next("give an image REGISTRY/REPOSITORY:TAG, a URL, or the first digits of a task as `pantala task` shows it")
    })?;
    match get::image::contents(client, &image, args.platform.clone()).await {
        Ok(digests) => {
            let digests: BTreeSet<String> = digests.iter().map(ToString::to_string).collect();
            let chosen = of_digests(rows, &digests);
            let unknown = digests.into_iter().filter(|one| !holds(&chosen, one));
            let unknown = unknown.collect();
            Ok((chosen, unknown, None))
        }
        Err(problem) => {
            let repository = format!("{}/{}@", image.registry, image.repository);
            let of = |row: &ExplainReport| row.content.starts_with(&repository);
            let rows: Vec<ExplainReport> = rows.into_iter().filter(of).collect();
            if rows.is_empty() {
                return Err(problem);
            }
            let note =
                "the image's manifest is not to be had: these are all contents of its repository";
            Ok((rows, Vec::new(), Some(note.to_owned())))
        }
    }
}

fn by(rows: &[ExplainReport]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for source in rows.iter().flat_map(|row| &row.sources) {
        let is_same = |part: &&mut Part| part.from == source.from && part.zone == source.zone;
        match parts.iter_mut().find(is_same) {
            Some(part) => {
                part.bytes += source.bytes;
                part.ms += source.ms;
            }
            None => parts.push(Part {
                from: source.from,
                zone: source.zone.clone(),
                bytes: source.bytes,
                ms: source.ms,
            }),
        }
    }
    parts.sort_by_key(|part| std::cmp::Reverse((part.ms, part.bytes)));
    parts
}

fn waited(rows: &[ExplainReport]) -> Vec<WaitedReport> {
    let mut all: Vec<WaitedReport> = Vec::new();
    for wait in rows.iter().flat_map(|row| &row.waited) {
        match all.iter_mut().find(|one| one.on == wait.on) {
            Some(one) => one.ms += wait.ms,
            None => all.push(wait.clone()),
        }
    }
    all.sort_by_key(|wait| std::cmp::Reverse(wait.ms));
    all
}

#[cfg(test)]
mod tests {
    use gateway::local::SourceReport;

    use super::*;

    pub(super) fn row(
        task: &str,
        content: &str,
        sources: &[(SourceKind, &str, u64, u64)],
    ) -> ExplainReport {
        let source = |(from, zone, bytes, ms): &(SourceKind, &str, u64, u64)| SourceReport {
            from: *from,
            host: None,
            zone: (!zone.is_empty()).then(|| (*zone).to_owned()),
            pieces: 1,
            bytes: *bytes,
            ms: *ms,
            why: "it had it".to_owned(),
        };
        ExplainReport {
            task: task.to_owned(),
            content: content.to_owned(),
            digest: None,
            length: 10,
            held: 10,
            ended_seconds: None,
            failed: Vec::new(),
            readers: 1,
            sources: sources.iter().map(source).collect(),
            waited: vec![WaitedReport {
                on: "a host".to_owned(),
                ms: 5,
            }],
            waits: Vec::new(),
            importer: "no: others had it".to_owned(),
            efficiency: None,
        }
    }

    #[test]
    fn parts_are_summed_by_source_and_zone_the_costliest_first() {
        let rows = [
            row(
                "aaaa",
                "c",
                &[
                    (SourceKind::Peer, "eu/a", 3, 10),
                    (SourceKind::Origin, "", 1, 50),
                ],
            ),
            row(
                "bbbb",
                "d",
                &[
                    (SourceKind::Peer, "eu/a", 4, 20),
                    (SourceKind::Peer, "eu/b", 9, 1),
                ],
            ),
        ];
        let told: Vec<(u64, u64)> = by(&rows).iter().map(|part| (part.bytes, part.ms)).collect();
        assert_eq!(told, [(1, 50), (7, 30), (9, 1)]);
        assert_eq!(waited(&rows)[0].ms, 10);
    }

    #[track_caller]
    fn check_url(asked: &str, stored: &str, is_it: bool) {
        let rows = vec![row("aaaa", stored, &[])];
        assert_eq!(
            !of_url(rows, asked).is_empty(),
            is_it,
            "{asked} and {stored}"
        );
    }

    #[test]
    fn a_url_is_found_by_what_is_kept_of_it() {
        check_url("https://H/f#x", "https://h/f", true);
        check_url(
            "https://u:p@h/f?X-Amz-Signature=s&X-Amz-Algorithm=a&X-Amz-Credential=c",
            "https://h/f",
            true,
        );
        check_url("https://h/f?a=1&b=2", "https://h/f?a=1", true);
        check_url("https://h/f?a=1", "https://h/f?a=2", false);
        check_url("https://h/f", "https://h/f?a=2", false);
        check_url("https://h/g", "https://h/f", false);
        check_url("not a url", "https://h/f", false);
    }

    #[test]
    fn a_task_is_one_by_enough_digits() {
        let rows = || vec![row("abcd12", "c", &[]), row("abcd34", "d", &[])];
        assert_eq!(of_task(rows(), "ABCD1").expect("one").len(), 1);
        assert!(of_task(rows(), "abcd").is_err());
        assert!(of_task(rows(), "ffff").expect("none").is_empty());
    }

    #[test]
    fn what_is_told_back_holds_no_secret_of_a_url() {
        let told = shown(
            "https://user:hunter2@h/f?sig=1&X-Amz-Signature=hunter3&X-Amz-Algorithm=a&X-Amz-Credential=c",
        );
        assert!(!told.contains("hunter"), "{told}");
    }
}
