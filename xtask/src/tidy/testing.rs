//! One file under one rule, for the rules' tests.

use super::{Finding, tree::Tree};

/// A rule, as in [`super::RULES`].
pub(super) type Rule = fn(&Tree) -> Vec<Finding>;

/// `rule` finds that many things in a file at `path` that holds `text`.
pub(super) fn finds(rule: Rule, (path, text): (&str, &str), count: usize) {
    let found = rule(&Tree::of(&[(path, text)]));
    assert_eq!(found.len(), count, "{found:?}");
}

/// The same, and each of `parts` stands in one of them, in order.
pub(super) fn says(rule: Rule, (path, text): (&str, &str), parts: &[&str]) {
    let found = rule(&Tree::of(&[(path, text)]));
    assert_eq!(found.len(), parts.len(), "{found:?}");
    for (finding, part) in found.iter().zip(parts) {
        assert!(finding.to_string().contains(part), "{finding}");
    }
}
