//! One word per thing (ARCHITECTURE.md, "Glossary"), and no name that means the name is not found yet.

use super::{Finding, source::line_of, tree::Tree};

/// Names of files and modules that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = [
    "util", "utils", "common", "helper", "helpers", "misc", "stuff",
];

/// Words of other systems, and ours for the same thing. Looked for in code, comments and metric names of the product and
/// on its pages.
const FOREIGN_WORDS: [(&str, &str); 2] = [
    ("leecher", "a child, or a peer that lacks pieces"),
    (
        "tracker",
        "the scheduler; for tasks, name what is waited for",
    ),
];

/// Who has such words: a paragraph that names one of these may speak of it in its words.
const OTHERS: [&str; 2] = ["bittorrent", "kraken"];

/// Keywords that a type's name follows.
const TYPES: [&str; 4] = ["struct", "enum", "trait", "type"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        if path.ends_with(".rs") {
            check_name(path, &mut findings);
            if path.starts_with("crates/") {
                check_words(path, text, &mut findings);
            }
        } else if path.ends_with(".md") {
            check_page(path, text, &mut findings);
        }
    }
    for (path, source) in tree.sources() {
        check_types(path, source.code(), &mut findings);
    }
    findings
}

fn check_name(path: &str, findings: &mut Vec<Finding>) {
    let mut parts = path.trim_end_matches(".rs").split('/');
    if let Some(name) = parts.find(|part| EMPTY_NAMES.contains(part)) {
        let what = format!("`{name}` names no idea, name the file after what is inside");
        findings.push(Finding::new(path, 1, what));
    }
}

/// Paragraph by paragraph: where another system is named, its words are right.
fn check_page(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut above = 0;
    for paragraph in text.split("\n\n") {
        let lower = paragraph.to_lowercase();
        if !OTHERS.iter().any(|other| lower.contains(other)) {
            let mut found = Vec::new();
            check_words(path, paragraph, &mut found);
            findings.extend(found.into_iter().map(|finding| finding.below(above)));
        }
        above += paragraph.matches('\n').count() + 2;
    }
}

fn check_words(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        for (foreign, ours) in FOREIGN_WORDS {
            let is_foreign = |word: &str| word.strip_suffix('s').unwrap_or(word) == foreign;
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let mut words = line.split(|c| !is_word(c));
            // A metric's name is made of words.
            let is_named = |word: &str| {
                let parts = word.strip_prefix("pantala_");
                parts.is_some_and(|parts| parts.split('_').any(is_foreign))
            };
            if words.any(|word| is_foreign(word) || is_named(word)) {
                let what = format!("\"{foreign}\" is no word of ours, say {ours}");
                findings.push(Finding::new(path, number + 1, what));
            }
        }
    }
}

fn check_types(path: &str, code: &str, findings: &mut Vec<Finding>) {
    let mut before = "";
    for word in code.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        if word.is_empty() {
            continue;
        }
        if TYPES.contains(&before) && word.ends_with("Manager") {
            let offset = word.as_ptr().addr() - code.as_ptr().addr();
            let what =
                format!("type {word}: `Manager` means the name is not found yet, say what it does");
            findings.push(Finding::new(path, line_of(code, offset), what));
        }
        before = word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::says;

    fn check_at(path: &str, text: &str, expected: &[&str]) {
        says(check, (path, text), expected);
    }

    #[test]
    fn names_without_an_idea_are_found() {
        check_at("crates/a/src/utils.rs", "", &["`utils` names no idea"]);
        check_at("crates/a/src/common/b.rs", "", &["`common`"]);
        check_at("crates/a/src/utility_bill.rs", "", &[]);
        check_at(
            "crates/a/src/a.rs",
            "\nstruct PeerManager;\nfn f(m: PeerManager) {}",
            &[":2: type PeerManager"],
        );
    }

    #[test]
    fn words_of_other_systems_are_found_in_comments_too() {
        check_at(
            "crates/a/src/a.rs",
            "// asks the tracker\nlet leechers = 1;",
            &["tracker", "leecher"],
        );
        check_at(
            "crates/a/src/a.rs",
            "use tokio_util::task::TaskTracker;",
            &[],
        );
        check_at("bench/a.rs", "// a BitTorrent tracker", &[]);
        check_at(
            "crates/a/src/a.rs",
            "\"pantala_tracker_total\"",
            &["tracker"],
        );
    }

    #[test]
    fn a_page_speaks_of_others_in_their_words_only_where_it_names_them() {
        let text = "one\ntwo\n\nthree\nask the tracker";
        check_at("docs/a.md", text, &["docs/a.md:5: \"tracker\""]);
        check_at("docs/a.md", "a tracker,\nas in BitTorrent", &[]);
        check_at("docs/a.md", "`pantala_leechers`", &["leecher"]);
    }
}
