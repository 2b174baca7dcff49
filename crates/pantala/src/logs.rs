//! Where log lines go: standard error, as text or one JSON object per line. The last ones are kept for bug reports.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::{EnvFilter, fmt::writer::MakeWriterExt};

use crate::config::{LogConfig, LogFormat};

/// Lines that are kept, and how much of each: half a MiB at most.
const LINES_MAX: usize = 500;
const LINE_BYTES_MAX: usize = 1000;

/// As global as logging is.
static KEPT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

fn lines() -> MutexGuard<'static, VecDeque<String>> {
    // A line is put there whole or not at all.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last lines, the oldest first.
pub(crate) fn kept() -> Vec<String> {
    lines().iter().cloned().collect()
}

/// Takes one line with each write, as the formatter gives them.
struct Keeper;

impl io::Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let start = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
        let line = without_colours(String::from_utf8_lossy(start).trim_end());
        let mut lines = lines();
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a terminal is told about colours is no part of a line.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        all + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

/// Begins logging, once per process.
pub(crate) fn begin(config: &LogConfig) {
    let filter = EnvFilter::new(&config.level);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr.and(|| Keeper));
    match config.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_without_colours_and_cut() {
        for number in 0..=LINES_MAX {
            let line = format!("\u{1b}[2mline\u{1b}[0m {number}\n");
            Keeper.write_all(line.as_bytes()).expect("kept");
        }
        Keeper.write_all(&[b'x'; 5000]).expect("kept");
        let kept = kept();
        assert_eq!(kept.len(), LINES_MAX);
        assert_eq!(kept[0], "line 2");
        assert_eq!(kept.last().map(String::len), Some(LINE_BYTES_MAX));
    }
}
