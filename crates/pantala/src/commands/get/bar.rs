//! The bar of a running `get`: on a terminal alone.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// Before a length is known there is no part of it: a bar would be full.
const LOOKING: &str = "{spinner} looking for it  {elapsed}";
const RUNNING: &str =
    "{bar:20} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left  {wide_msg}";

/// A bar on a terminal; nothing elsewhere.
pub(super) fn begin() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = unsized_bar(ProgressBar::no_length());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn unsized_bar(bar: ProgressBar) -> ProgressBar {
    bar.with_style(style(LOOKING))
}

/// So many bytes are to come.
pub(super) fn length(bar: &ProgressBar, total: u64) {
    if bar.length().is_none() {
        bar.set_style(style(RUNNING));
    }
    bar.set_length(total);
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant template is well formed")
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    /// A terminal that remembers what was drawn.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<Vec<String>>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("whole").push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_full_before_its_first_byte() {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
        let bar = unsized_bar(ProgressBar::with_draw_target(None, target));
        let drawn = || paper.0.lock().expect("whole").drain(..).collect::<String>();
        bar.force_draw();
        let first = drawn();
        assert!(first.contains("looking") && !first.contains('%'), "{first}");
        length(&bar, 1000);
        bar.force_draw();
        let sized = drawn();
        assert!(sized.contains(" 0%") && !sized.contains("100%"), "{sized}");
        bar.set_position(1000);
        bar.force_draw();
        let full = drawn();
        assert!(full.contains("100%"), "{full}");
    }
}
