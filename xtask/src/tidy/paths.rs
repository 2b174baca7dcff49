//! Finds the paths in Rust code: `a::b::c`, with `use a::{b, c::d}` written out as `a::b` and `a::c::d`.

use super::{Finding, tree::Tree};

/// A path and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CodePath {
    pub(crate) line: usize,
    pub(crate) parts: Vec<String>,
}

impl CodePath {
    /// Whether `parts` follow each other somewhere in the path.
    pub(crate) fn contains(&self, parts: &[&str]) -> bool {
        self.parts.windows(parts.len()).any(|some| some == parts)
    }

    /// Whether the path begins with `parts`.
    pub(crate) fn starts_with(&self, parts: &[&str]) -> bool {
        self.parts.len() >= parts.len() && self.parts.iter().zip(parts).all(|(a, b)| a == b)
    }
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Join,
    Open,
    Close,
    Other,
}

/// What `told` says of each path that live Rust code uses: it is given the file and the path.
pub(crate) fn uses(tree: &Tree, told: impl Fn(&str, &CodePath) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.sources() {
        for used in paths(source.live()) {
            if let Some(what) = told(path, &used) {
                findings.push(Finding::new(path, used.line, what));
            }
        }
    }
    findings
}

/// All paths of `code`, single words included, in order.
fn paths(code: &str) -> Vec<CodePath> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match tokens[at].1 {
            Token::Word(_) => follow(&tokens, at, &[], &mut found),
            _ => at + 1,
        };
    }
    found
}

/// Reads the path at `at` behind `prefix`, and returns where it ends.
fn follow(
    tokens: &[(usize, Token<'_>)],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<CodePath>,
) -> usize {
    let line = tokens[at].0;
    let mut parts = prefix.to_vec();
    loop {
        if let Some((_, Token::Word(word))) = tokens.get(at) {
            parts.push((*word).to_owned());
            at += 1;
        }
        match tokens.get(at..) {
            Some([(_, Token::Join), (_, Token::Word(_)), ..]) => at += 1,
            Some([(_, Token::Join), (_, Token::Open), ..]) => {
                return group(tokens, at + 2, &parts, found);
            }
            _ => break,
        }
    }
    found.push(CodePath { line, parts });
    at
}

/// Reads `b, c::d}` behind `prefix`.
fn group(
    tokens: &[(usize, Token<'_>)],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<CodePath>,
) -> usize {
    while let Some((_, token)) = tokens.get(at) {
        at = match token {
            Token::Close => return at + 1,
            // What it is called here does not change what it is.
            Token::Word("as") => at + 2,
            Token::Word(_) => follow(tokens, at, prefix, found),
            _ => at + 1,
        };
    }
    at
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut all = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '\n' => {
                line += 1;
                1
            }
            c if c.is_whitespace() => c.len_utf8(),
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                all.push((line, Token::Word(&rest[..length])));
                length
            }
            ':' if rest.starts_with("::") => {
                all.push((line, Token::Join));
                2
            }
            c => {
                let token = match c {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::Other,
                };
                all.push((line, token));
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, expected: &str) {
        let found: Vec<String> = paths(code)
            .iter()
            .map(|path| format!("{}@{}", path.parts.join("::"), path.line))
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn a_path_is_read_over_spaces_and_lines() {
        check("a::b ::\nc(d)", "a::b::c@1 d@2");
        check("x.y; z", "x@1 y@1 z@1");
    }

    #[test]
    fn groups_are_written_out() {
        check(
            "use a::{b, c::{d, e},\n f as g, self};",
            "use@1 a::b@1 a::c::d@1 a::c::e@1 a::f@2 a::self@2",
        );
        check("use a::{b}; h", "use@1 a::b@1 h@1");
    }
}
