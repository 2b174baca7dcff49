//! Sections of ARCHITECTURE.md that Rust files cite are there: `ARCHITECTURE.md, "The house"`.

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
}
