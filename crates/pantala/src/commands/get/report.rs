//! What a `get` tells at its end: to people on standard error, to programs as JSON.

use std::time::Duration;

use gateway::{Bound, Efficiency, SourceBytes, local::client::Finished};
use serde::Serialize;

use crate::{commands::local::size, problem::Problem, show};

/// Why a file that other hosts may want too came from the origin.
const UNSHARED: &str = "hint: no seed reads this for the cluster, so that each host reads it from the origin; --digest sha256:... lets hosts \
    share it";

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    task: String,
    /// Bytes that were written.
    length: u64,
    /// Which bytes of the content they are, if not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<Part>,
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

/// A part of a content, as `--range` names it.
#[derive(Clone, Copy, Serialize)]
struct Part {
    first: u64,
    last: u64,
    /// Bytes of the whole.
    of: u64,
}

/// How a `get` was asked.
pub(super) struct How {
    pub(super) is_part: bool,
    pub(super) as_json: bool,
    pub(super) to_stdout: bool,
}

/// Where bytes came from, in words.
pub(super) fn sources(from: SourceBytes) -> String {
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

pub(super) fn tell(finished: Finished, took: Duration, how: How) -> Result<(), Problem> {
    let Finished {
        task,
        length: whole,
        range: got,
        content_type,
        digest,
        sources: from,
        efficiency,
        unshared,
    } = finished;
    let length = got.length().0;
    let range = how.is_part.then_some(Part {
        first: got.start(),
        last: got.end().saturating_sub(1),
        of: whole,
    });
    if how.as_json {
        let seconds = took.as_secs_f64();
        let report = Report {
            task,
            length,
            range,
            content_type,
            digest,
            sources: from,
            seconds,
            efficiency,
            unshared,
        };
        return print_json(&report, how.to_stdout);
    }
    // Nothing on standard output: it may be the content.
    eprintln!(
        "{}{} in {:.1} s: {}{}{}",
        size(length),
        range.map_or_else(String::new, place_of),
        took.as_secs_f64(),
        // Only whole pieces can be checked.
        if how.is_part { "in whole pieces " } else { "" },
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

fn place_of(part: Part) -> String {
    let Part { first, last, of } = part;
    format!(" (bytes {first}-{last} of {of})")
}

/// On standard output, unless that is the content.
pub(super) fn print_json(report: &impl Serialize, to_stdout: bool) -> Result<(), Problem> {
    let text = show::json(report);
    if to_stdout {
        eprint!("{text}");
        return Ok(());
    }
    show::print(&text)
}
