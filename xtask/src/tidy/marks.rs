//! Nothing is left unfinished: no marks for later, no stubs, no switched-off tests.

use super::{Finding, tree::Tree};

/// Looked for as whole words, in comments too. Written in two parts, so that this file does not find itself.
const WORDS: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
];

/// Looked for in Rust code, tests included.
const STUBS: [&str; 4] = ["dbg!", "todo!", "unimplemented!", "#[ignore"];

/// Kinds of files that hold code; pages may speak of such marks.
const ENDINGS: [&str; 9] = [
    ".rs", ".sh", ".py", ".toml", ".yaml", ".yml", ".proto", "Makefile", "/run",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        if !ENDINGS.iter().any(|end| path.ends_with(end)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            if let Some(word) = words.find(|word| WORDS.contains(word)) {
                let what =
                    format!("{word}: do it now, or leave it out and say so where it is missed");
                findings.push(Finding::new(path, number + 1, what));
            }
        }
    }
    for (path, source) in tree.sources() {
        for (number, line) in source.code().lines().enumerate() {
            for stub in STUBS.iter().filter(|stub| has_token(line, stub)) {
                let what = format!("{stub} is unfinished work, finish it or take it out");
                findings.push(Finding::new(path, number + 1, what));
            }
        }
    }
    findings
}

fn has_token(line: &str, token: &str) -> bool {
    line.match_indices(token)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::finds;

    fn check_at(path: &str, text: &str, expected: usize) {
        finds(check, (path, text), expected);
    }

    #[test]
    fn marks_are_found_in_comments_and_scripts() {
        check_at("a.rs", concat!("// TO", "DO: later\nlet x = 1;"), 1);
        check_at("a.sh", concat!("# X", "XX\nmktemp a.XXXXXX"), 1);
        check_at("a.md", concat!("no TO", "DO here"), 0);
    }

    #[test]
    fn stubs_are_found_in_code_only() {
        check_at(
            "a.rs",
            "fn f() { dbg!(1); }\n#[ignore = \"slow\"]\nfn g() {}",
            2,
        );
        check_at("a.rs", "// dbg!(1)\nlet s = \"todo!\";", 0);
        check_at("a.rs", "my_todo!()", 0);
    }
}
