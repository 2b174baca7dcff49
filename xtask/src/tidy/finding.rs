//! One thing to mend, as it is printed.

use std::fmt;

/// Printed as `path:line: what, what to do`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    /// `line` counts from 1; `what` says what is wrong and, after a comma or colon, what to do.
    pub(crate) fn new(path: &str, line: usize, what: String) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what,
        }
    }

    /// The same, in a part of the file that begins below `above` lines.
    pub(crate) fn below(self, above: usize) -> Self {
        Self {
            line: self.line + above,
            ..self
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}
