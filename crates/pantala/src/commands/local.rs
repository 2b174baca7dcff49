//! Small questions to the daemon of this host: tasks, store, bypass.

use std::path::PathBuf;

use gateway::{
    SourceBytes,
    local::{BypassChange, Freed, StoreEntry, TaskReport},
};
use types::ByteCount;

use super::{block_on, client};
use crate::{
    cli::{BypassCommand, ListArgs, StoreCommand},
    problem::{Exit, Problem},
    show,
};

/// `pantala task`.
pub(super) fn tasks(file: Option<PathBuf>, args: ListArgs) -> Result<(), Problem> {
    let client = client(file, &args.socket)?;
    let rows = block_on(async {
        let rows = client.tasks().await;
        rows.map_err(|error| Problem::of_daemon("listing tasks failed", error))
    })?;
    show::list(&rows, args.json, |rows| match rows {
        [] => "no task is running\n".to_owned(),
        rows => {
            let mut text = show::table(
                &[
                    "TASK",
                    "CONTENT",
                    "LENGTH",
                    "DONE",
                    "FROM PEERS",
                    "FROM ORIGIN",
                    "STATE",
                ],
                &[2, 3, 4, 5],
                rows.iter().map(task_row).collect(),
            );
            let waits: Vec<_> = rows.iter().flat_map(wait_rows).collect();
            if !waits.is_empty() {
                text.push('\n');
                text.push_str(&show::table(
                    &["TASK", "WAITS FOR", "SINCE", "AT MOST"],
                    &[2, 3],
                    waits,
                ));
            }
            text
        }
    })
}

/// Every wait of a task: for what, for how long by now, and how long more before something else is done.
fn wait_rows(row: &TaskReport) -> impl Iterator<Item = Vec<String>> + '_ {
    let seconds = |millis: u64| format!("{}.{} s", millis / 1000, millis % 1000 / 100);
    row.waits.iter().map(move |wait| {
        vec![
            short(&row.task),
            wait.on.clone(),
            seconds(wait.since_ms),
            format!("{} more", seconds(wait.left_ms)),
        ]
    })
}

fn task_row(row: &TaskReport) -> Vec<String> {
    let SourceBytes { peer, origin, .. } = row.sources;
    vec![
        short(&row.task),
        row.content.clone(),
        row.length.map_or_else(|| "?".to_owned(), size),
        row.length.map_or_else(
            || size(row.verified),
            |length| percent(row.verified, length),
        ),
        size(peer),
        size(origin),
        row.state.clone(),
    ]
}

/// `pantala store`.
pub(super) fn store(file: Option<PathBuf>, command: StoreCommand) -> Result<(), Problem> {
    match command {
        StoreCommand::Ls(args) => {
            let client = client(file, &args.socket)?;
            let rows = block_on(async {
                let rows = client.store_list().await;
                rows.map_err(|error| Problem::of_daemon("listing the store failed", error))
            })?;
            show::list(&rows, args.json, |rows| match rows {
                [] => "the store is empty\n".to_owned(),
                rows => show::table(
                    &["TASK", "CONTENT", "LENGTH", "HELD", "UNUSED", "DIGEST"],
                    &[2, 3, 4],
                    rows.iter().map(store_row).collect(),
                ),
            })
        }
        StoreCommand::Rm { tasks, list } => {
            let client = client(file, &list.socket)?;
            let freed = block_on(remove(&client, &tasks))?;
            tell_freed(freed, list.json)
        }
        StoreCommand::Gc(args) => {
            let client = client(file, &args.socket)?;
            let freed = block_on(async {
                let freed = client.store_gc().await;
                freed.map_err(|error| Problem::of_daemon("cleaning the store failed", error))
            })?;
            tell_freed(freed, args.json)
        }
    }
}

async fn remove(
    client: &gateway::local::client::Client,
    tasks: &[String],
) -> Result<Freed, Problem> {
    let held = client.store_list().await;
    let held = held.map_err(|error| Problem::of_daemon("listing the store failed", error))?;
    // All names are understood before anything is removed.
    let whole: Result<Vec<&str>, Problem> = tasks.iter().map(|task| only(&held, task)).collect();
    let mut freed = Freed {
        entries: 0,
        bytes: 0,
    };
    for task in whole? {
        let one = client.store_remove(task).await;
        let doing = format!("removing {} failed", short(task));
        let one = one.map_err(|error| Problem::of_daemon(&doing, error))?;
        freed.entries += one.entries;
        freed.bytes += one.bytes;
    }
    Ok(freed)
}

/// The one task that begins with `written`.
fn only<'a>(held: &'a [StoreEntry], written: &str) -> Result<&'a str, Problem> {
    let mut found = held.iter().filter(|entry| entry.task.starts_with(written));
    match (found.next(), found.next()) {
        (Some(entry), None) if !written.is_empty() => Ok(&entry.task),
        (None, _) => Err(Problem::new(
            Exit::Failed,
            format!("the store holds no task {written:?}"),
        )
        .next("look it up with `pantala store ls`")),
        _ => Err(
            Problem::new(Exit::Usage, format!("several tasks begin with {written:?}"))
                .next("give more of its digits; nothing was removed"),
        ),
    }
}

fn tell_freed(freed: Freed, as_json: bool) -> Result<(), Problem> {
    let contents = if freed.entries == 1 {
        "content"
    } else {
        "contents"
    };
    show::print(&if as_json {
        show::json(&freed)
    } else {
        format!(
            "removed {} {contents}, freed {}\n",
            freed.entries,
            size(freed.bytes)
        )
    })
}

fn store_row(row: &StoreEntry) -> Vec<String> {
    vec![
        short(&row.task),
        row.name.clone().unwrap_or_default(),
        size(row.length),
        percent(row.held, row.length),
        span(row.unused_seconds),
        row.digest.clone().unwrap_or_default(),
    ]
}

/// `pantala bypass`.
pub(super) fn bypass(file: Option<PathBuf>, command: BypassCommand) -> Result<(), Problem> {
    let (args, change) = match command {
        BypassCommand::On(args) => (args, BypassChange::On),
        BypassCommand::Off(args) => (args, BypassChange::Off),
        BypassCommand::Status(args) => (args, BypassChange::Show),
    };
    let client = client(file, &args.socket)?;
    let state = block_on(async {
        let state = client.bypass(change).await;
        state.map_err(|error| Problem::of_daemon("asking about the bypass failed", error))
    })?;
    show::print(&match (args.json, state.is_on) {
        (true, _) => show::json(&state),
        (false, true) => "the bypass is on: consumers are sent straight to the origin\n".to_owned(),
        (false, false) => "the bypass is off: consumers are served\n".to_owned(),
    })
}

/// The digits that name a task in tables.
fn short(task: &str) -> String {
    task.chars().take(10).collect()
}

pub(super) fn size(bytes: u64) -> String {
    ByteCount(bytes).to_string()
}

fn percent(part: u64, whole: u64) -> String {
    let part = u128::from(part) * 100;
    format!("{}%", part.checked_div(u128::from(whole)).unwrap_or(100))
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}min", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_spans_are_short() {
        assert_eq!(
            (percent(0, 0), percent(1, 3)),
            ("100%".to_owned(), "33%".to_owned())
        );
        assert_eq!(
            (span(59), span(7200), span(200_000)),
            ("59s".to_owned(), "2h".to_owned(), "2d".to_owned())
        );
    }

    #[test]
    fn a_task_is_named_by_enough_digits() {
        let entry = |task: &str| StoreEntry {
            task: task.to_owned(),
            digest: None,
            length: 1,
            held: 1,
            unused_seconds: 0,
            name: None,
        };
        let held = [entry("ab12"), entry("ab34")];
        assert_eq!(only(&held, "ab1").ok(), Some("ab12"));
        assert!(
            only(&held, "ab").is_err() && only(&held, "c").is_err() && only(&held, "").is_err()
        );
        assert!(only(&held[..1], "").is_err());
    }
}
