//! What `pantala explain` prints for people.

use std::collections::BTreeSet;

use gateway::{
    Bound,
    local::{ExplainReport, SourceKind},
};

use super::{Part, Told};
use crate::{commands::local::size, show};

/// Sources of one content that are told of one by one; `--json` has all.
const SOURCES_MAX: usize = 8;

pub(super) fn of(told: &Told) -> String {
    let mut text = head(told);
    text.push_str(&parts(told));
    match told.contents.as_slice() {
        [one] => text.push_str(&one_content(one)),
        many => {
            text.push('\n');
            text.push_str(&contents(many));
        }
    }
    text.push_str(&waits(told));
    text
}

fn head(told: &Told) -> String {
    let count = told.contents.len();
    let length: u64 = told.contents.iter().map(|one| one.length).sum();
    let mut text = format!(
        "{}: {} content{} of {}\n",
        told.content,
        count,
        if count == 1 { "" } else { "s" },
        size(length)
    );
    if let Some(note) = &told.note {
        text.push_str(note);
        text.push('\n');
    }
    if !told.unknown.is_empty() {
        let unknown = told.unknown.len();
        text.push_str(&format!(
            "of {unknown} more the daemon knows nothing: nobody asked it for them lately\n"
        ));
    }
    text.push('\n');
    text
}

/// Bytes and time by source and zone, and what was waited in all.
fn parts(told: &Told) -> String {
    let waited: u64 = told.waited.iter().map(|wait| wait.ms).sum();
    let bytes: u64 = told.by.iter().map(|part| part.bytes).sum();
    let row = |part: &Part| {
        let share = u128::from(part.bytes) * 100;
        vec![
            word(part.from).to_owned(),
            part.zone.clone().unwrap_or_default(),
            size(part.bytes),
            format!("{}%", share.checked_div(u128::from(bytes)).unwrap_or(0)),
            seconds(part.ms),
        ]
    };
    let mut rows: Vec<Vec<String>> = told.by.iter().map(row).collect();
    let none = String::new;
    rows.push(vec![
        "waiting".to_owned(),
        none(),
        none(),
        none(),
        seconds(waited),
    ]);
    show::table(
        &["FROM", "ZONE", "BYTES", "SHARE", "TIME"],
        &[2, 3, 4],
        rows,
    )
}

const fn word(from: SourceKind) -> &'static str {
    match from {
        SourceKind::Local => "local",
        SourceKind::Peer => "peer",
        SourceKind::Origin => "origin",
    }
}

fn seconds(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        _ => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

fn one_content(one: &ExplainReport) -> String {
    let mut text = format!("\ntask {}: {}\n", one.task, one.content);
    text.push_str(&format!("  {}; {}\n", standing(one), opened(one.readers)));
    if let [first, rest @ ..] = one.failed.as_slice() {
        text.push_str(&format!("  failed: {first}\n"));
        rest.iter()
            .for_each(|cause| text.push_str(&format!("    because: {cause}\n")));
    }
    text.push_str(&format!("  importer: {}\n", one.importer));
    text.push_str(&format!("  efficiency: {}\n", efficiency(one)));
    for source in one.sources.iter().take(SOURCES_MAX) {
        let host = source.host.as_deref().map_or(String::new(), |host| {
            format!(" {}", &host[..host.len().min(10)])
        });
        text.push_str(&format!(
            "  {}{host}: {} in {}: {}\n",
            word(source.from),
            size(source.bytes),
            seconds(source.ms),
            source.why
        ));
    }
    let more = one.sources.len().saturating_sub(SOURCES_MAX);
    if more > 0 {
        text.push_str(&format!("  and {more} more hosts: see --json\n"));
    }
    text
}

fn opened(readers: u32) -> String {
    match readers {
        0 => "nobody here opened it: other hosts asked for it".to_owned(),
        1 => "opened once".to_owned(),
        many => format!("opened {many} times"),
    }
}

fn standing(one: &ExplainReport) -> String {
    let held = if one.held == one.length {
        "all of it is here".to_owned()
    } else {
        format!("{} of {} are here", size(one.held), size(one.length))
    };
    match one.ended_seconds {
        None => held,
        Some(ago) => format!("{held}; it left memory {ago} s ago"),
    }
}

fn efficiency(one: &ExplainReport) -> String {
    let Some(told) = one.efficiency else {
        return "not measured: it took less than a second, was here, or is not whole".to_owned();
    };
    let bound = match told.bound {
        Bound::Link => "the best of this host's link",
        Bound::Limit => "peer.download_rate",
        Bound::Origin => "the best of its origins",
    };
    format!("{:.0} % of {bound}", told.share * 100.0)
}

/// A row for each content of an image, the costliest first.
fn contents(all: &[ExplainReport]) -> String {
    let sum = |one: &ExplainReport, of: SourceKind| -> u64 {
        let sources = one.sources.iter().filter(|source| source.from == of);
        sources.map(|source| source.bytes).sum()
    };
    let time = |one: &ExplainReport| -> u64 { one.sources.iter().map(|source| source.ms).sum() };
    let waited = |one: &ExplainReport| -> u64 { one.waited.iter().map(|wait| wait.ms).sum() };
    let mut sorted: Vec<&ExplainReport> = all.iter().collect();
    sorted.sort_by_key(|one| std::cmp::Reverse(time(one) + waited(one)));
    let row = |one: &&ExplainReport| {
        let share = one
            .efficiency
            .map_or_else(String::new, |told| format!("{:.0}%", told.share * 100.0));
        vec![
            one.task.chars().take(10).collect(),
            size(one.length),
            size(sum(one, SourceKind::Local)),
            size(sum(one, SourceKind::Peer)),
            size(sum(one, SourceKind::Origin)),
            seconds(time(one)),
            seconds(waited(one)),
            share,
            one.importer
                .split([':', ','])
                .next()
                .unwrap_or_default()
                .to_owned(),
        ]
    };
    let head = [
        "TASK", "LENGTH", "LOCAL", "PEERS", "ORIGIN", "TIME", "WAITING", "OF BOUND", "IMPORTER",
    ];
    let mut text = show::table(
        &head,
        &[1, 2, 3, 4, 5, 6, 7],
        sorted.iter().map(row).collect(),
    );
    let why: BTreeSet<&str> = (all.iter().flat_map(|one| &one.sources))
        .map(|source| source.why.as_str())
        .collect();
    if !why.is_empty() {
        text.push_str("\nsources were chosen because:\n");
        why.iter()
            .for_each(|why| text.push_str(&format!("  {why}\n")));
    }
    text
}

fn waits(told: &Told) -> String {
    let mut text = String::new();
    if !told.waited.is_empty() {
        text.push_str("\nwaited for, in order of cost:\n");
        let row =
            |wait: &gateway::local::WaitedReport| format!("  {}: {}\n", seconds(wait.ms), wait.on);
        text.extend(told.waited.iter().map(row));
    }
    let live: Vec<_> = told.contents.iter().flat_map(|one| &one.waits).collect();
    if !live.is_empty() {
        text.push_str("\nwaits now for:\n");
        let row = |wait: &&gateway::local::WaitReport| {
            format!(
                "  {}: {}, at most {} more\n",
                seconds(wait.since_ms),
                wait.on,
                seconds(wait.left_ms)
            )
        };
        text.extend(live.iter().map(row));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::tests::row, *};

    fn told(contents: Vec<ExplainReport>) -> Told {
        Told {
            content: "r/a:v1".to_owned(),
            by: super::super::by(&contents),
            waited: super::super::waited(&contents),
            unknown: Vec::new(),
            contents,
            note: None,
        }
    }

    #[track_caller]
    fn check(told: &Told, expected: &[&str]) {
        let text = of(told);
        // Columns are as wide as it takes.
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in expected {
            assert!(flat.contains(words), "{words} is not in\n{text}");
        }
    }

    #[test]
    fn one_content_is_told_of_with_reasons() {
        let peer = (SourceKind::Peer, "eu/a", 3 << 20, 1200);
        let told = told(vec![row("abcd", "https://h/f", &[peer])]);
        let zone = "peer eu/a 3.00 MiB 100% 1200 ms";
        let waiting = "waiting 5 ms";
        check(
            &told,
            &[
                zone,
                waiting,
                "task abcd: https://h/f",
                "importer: no: others had it",
                "5 ms: a host",
            ],
        );
    }

    #[test]
    fn an_image_has_a_row_for_each_content_the_costliest_first() {
        let cheap = row("aaaa", "c", &[(SourceKind::Peer, "", 1, 1)]);
        let dear = row("bbbb", "d", &[(SourceKind::Origin, "", 1, 20_000)]);
        let told = told(vec![cheap, dear]);
        let text = of(&told);
        let at = |task: &str| text.find(task).expect("a row");
        assert!(at("bbbb") < at("aaaa"), "{text}");
        check(
            &told,
            &[
                "r/a:v1: 2 contents",
                "20.0 s",
                "sources were chosen because",
            ],
        );
    }
}
