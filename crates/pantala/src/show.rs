//! Tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::problem::{Exit, Problem};

/// A table without lines, so that it can be cut by columns. `right` are the columns of numbers.
pub(crate) fn table(head: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.to_string();
    let lines = lines.lines().map(str::trim_end);
    lines.fold(String::new(), |all, line| all + line + "\n")
}

/// `value` as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("reports always become JSON");
    text + "\n"
}

/// Prints to standard output. A reader that went away, such as `head`, is no error.
pub(crate) fn print(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Problem::of(
            Exit::Failed,
            "writing to standard output",
            error,
        )),
        _ => Ok(()),
    }
}

/// `rows` as JSON or, by `table`, as a table.
pub(crate) fn list<T: Serialize>(
    rows: &[T],
    as_json: bool,
    table: impl FnOnce(&[T]) -> String,
) -> Result<(), Problem> {
    print(&if as_json { json(&rows) } else { table(rows) })
}
