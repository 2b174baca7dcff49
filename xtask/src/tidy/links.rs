//! Links between pages lead somewhere: to a file or folder of the tree, and to a heading that is there.
//!
//! Links to other sites are not followed: a check that needs the network fails for reasons of its own.

use super::{Finding, tree::Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in targets(text) {
            if let Some(what) = broken(tree, path, target) {
                findings.push(Finding::new(path, line, what));
            }
        }
    }
    findings
}

/// Why the link `target` on the page `from` leads nowhere.
fn broken(tree: &Tree, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        from.to_owned()
    } else {
        match resolve(from, file) {
            Some(path) if tree.has(&path) => path,
            _ => {
                return Some(format!(
                    "link to {target}, which is not in the tree, mend or remove it"
                ));
            }
        }
    };
    let page = tree.text(&path).filter(|_| path.ends_with(".md"))?;
    let missing = !heading.is_empty() && !headings(page).iter().any(|known| known == heading);
    missing.then(|| format!("link to {target}, but {path} has no such heading, mend the link"))
}

/// `file` as seen from the page `from`, or none if it leaves the tree.
fn resolve(from: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = match file.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').collect(),
    };
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// `(line, target)` of each link and picture outside of code.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, content) in prose(text) {
        // Every second part between backticks is code.
        for part in content.split('`').step_by(2) {
            let behind = part.split("](").skip(1);
            let links = behind.filter_map(|rest| rest.split_once(')'));
            found.extend(links.map(|(target, _)| {
                let target = target.split_whitespace().next().unwrap_or_default();
                (line, target.trim_matches(['<', '>']))
            }));
            if let Some((label, target)) = part.split_once("]: ")
                && label.starts_with('[')
            {
                found.push((line, target.split_whitespace().next().unwrap_or_default()));
            }
        }
    }
    found
}

/// Lines outside of fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((number + 1, line))
    })
}

/// The names that GitHub and most viewers give to the headings of a page.
fn headings(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let plain: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let is_repeat = |name: &&String| **name == plain || name.starts_with(&format!("{plain}-"));
        let repeats = names.iter().filter(is_repeat).count();
        names.push(if names.contains(&plain) {
            format!("{plain}-{repeats}")
        } else {
            plain
        });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_page(text: &str, expected: &[&str]) {
        let other = "# One thing\n## `code`, and more\n## Twice\n## Twice\n";
        let tree = Tree::of(&[("docs/a.md", text), ("docs/b.md", other), ("src/c.rs", "")]);
        let found = check(&tree);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.to_string().contains(part), "{finding}");
        }
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        check_page(
            "[b](b.md) ![c](../src/c.rs) [d](../src) [e](/src/c.rs \"title\")",
            &[],
        );
        check_page("[x](https://example.test/) [y](mailto:a@example.test)", &[]);
        check_page(
            "# Here\n[h](#here) [b](b.md#one-thing) [c](b.md#code-and-more) [t](b.md#twice-1)",
            &[],
        );
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        check_page("\n[b](gone.md)", &["docs/a.md:2: link to gone.md"]);
        check_page(
            "[b](b.md#gone) [c](#gone)",
            &["b.md has no such heading", "docs/a.md has no"],
        );
        check_page("[out](../../x)\n[ref]: gone.md", &["../../x", "gone.md"]);
    }

    #[test]
    fn code_has_no_links() {
        check_page("`[a](gone.md)`\n```\n[b](gone.md)\n```\n", &[]);
    }
}
