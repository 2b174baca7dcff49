//! What is cited is there: sections of ARCHITECTURE.md (`ARCHITECTURE.md, "The house"`), and no number of a rule that
//! stands in a list somewhere else. A reader who cannot look a rule up needs its reason.

use super::{Finding, source::line_of, tree::Tree};

const PAGE: &str = "ARCHITECTURE.md";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let page = tree.text(PAGE).unwrap_or_default();
    let sections: Vec<&str> = (page.lines())
        .filter_map(|line| {
            Some(line.trim_start_matches('#')).filter(|rest| rest.len() < line.len())
        })
        .map(str::trim)
        .collect();
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (offset, number) in rule_numbers(text) {
            let what = format!("{number} is a rule of no page here, say the reason in its place");
            findings.push(Finding::new(path, line_of(text, offset), what));
        }
    }
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".rs")) {
        for (offset, cited) in citations(text) {
            if !sections.contains(&cited) {
                let what = format!(
                    "{PAGE} has no section \"{cited}\", cite one of: {}",
                    sections.join(", ")
                );
                findings.push(Finding::new(path, line_of(text, offset), what));
            }
        }
    }
    findings
}

/// What is cited, and where. The name of the page may stand without its ending.
fn citations(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("ARCHITECTURE")
        .filter_map(|(offset, word)| {
            let rest = &text[offset + word.len()..];
            let rest = rest.strip_prefix(".md").unwrap_or(rest);
            let (cited, _) = rest.strip_prefix(", \"")?.split_once('"')?;
            Some((offset, cited))
        })
}

/// Words such as `SEC` and `R-INT`, a dash and a number behind them.
fn rule_numbers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words = text.split(move |c: char| !is_part(c));
    words.filter_map(|word| {
        let (list, number) = word.rsplit_once('-')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let is_list = match list.split_once('-') {
            Some(("R", group)) => group.bytes().all(|byte| byte.is_ascii_uppercase()),
            _ => list == "SEC",
        };
        let offset = word.as_ptr().addr() - text.as_ptr().addr();
        (is_number && is_list).then_some((offset, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, expected: &[&str]) {
        let page = "# Architecture\n## The house\ntext\n## Trust\n";
        let found = check(&Tree::of(&[(PAGE, page), ("crates/a/src/a.rs", text)]));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.to_string().contains(part), "{finding}");
        }
    }

    #[test]
    fn a_section_that_is_there_may_be_cited() {
        check_text("//! See ARCHITECTURE.md, \"The house\", and \"more\".", &[]);
        check_text("// (ARCHITECTURE, \"Trust\") or ARCHITECTURE.md alone", &[]);
    }

    #[test]
    fn a_section_that_is_not_there_is_found() {
        // Joined here, so that this file cites nothing of the kind itself.
        let cite = |section: &str| format!("\n// {}, \"{section}\"", "ARCHITECTURE.md");
        check_text(
            &cite("The roof"),
            &["a.rs:2: ARCHITECTURE.md has no section \"The roof\""],
        );
        check_text(
            &cite("trust"),
            &["\"trust\", cite one of: Architecture, The house, Trust"],
        );
    }

    #[test]
    fn a_rule_of_a_list_that_is_not_here_is_found() {
        for list in ["SEC", "R-INT"] {
            check_text(
                &format!("a\n// never a wrong byte ({list}-{}).", 41),
                &["a.rs:2: "],
            );
        }
        check_text("SHA-256, R-2, SEC-, GLIBC_2-3, r-int-2, utf-8, R-a-1", &[]);
    }
}
