//! Small rooms: a file up to 600 lines, a function up to 80, and a ratchet for what is larger.
//!
//! `xtask/ratchet.toml` lists the exceptions with their size. An entry must match the tree, so that it can only be
//! lowered; [`lower`] does that. Raising one, or adding one, is an edit by hand that a reviewer sees.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{
    Finding,
    source::{closing, line_of},
    tree::Tree,
};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;
const RATCHET: &str = "xtask/ratchet.toml";

/// Lines of what is larger than the limits: files by path, functions by `path::name` (the largest of that name).
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Ratchet {
    files: BTreeMap<String, usize>,
    functions: BTreeMap<String, usize>,
}

/// Something measured, and where it is.
struct Room {
    path: String,
    line: usize,
    lines: usize,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let ratchet = match read(tree) {
        Ok(ratchet) => ratchet,
        Err(error) => return vec![Finding::new(RATCHET, 1, format!("{error:#}"))],
    };
    let files = Limit {
        noun: "file",
        lines_max: FILE_LINES_MAX,
        remedy: "give its second idea a file of its own",
    };
    let functions = Limit {
        noun: "function",
        lines_max: FUNCTION_LINES_MAX,
        remedy: "leave the branches here and move the leaves out",
    };
    let mut findings = files.check(&files_of(tree), &ratchet.files);
    findings.extend(functions.check(&functions_of(tree), &ratchet.functions));
    findings
}

/// Writes the ratchet anew: every entry at most what it was, and gone once it is within the limit.
pub(super) fn lower(root: &Path, tree: &Tree) -> anyhow::Result<()> {
    let mut ratchet = read(tree)?;
    lower_entries(&mut ratchet.files, &files_of(tree), FILE_LINES_MAX);
    lower_entries(
        &mut ratchet.functions,
        &functions_of(tree),
        FUNCTION_LINES_MAX,
    );
    let head = "# Files and functions above the limits of xtask/src/tidy/size.rs. Sizes only go down:\n\
                # `cargo xtask tidy --update` lowers them.\n\n";
    let text = toml::to_string(&ratchet).context("writing the ratchet")?;
    fs::write(root.join(RATCHET), format!("{head}{text}")).context(format!("writing {RATCHET}"))
}

fn lower_entries(
    entries: &mut BTreeMap<String, usize>,
    rooms: &BTreeMap<String, Room>,
    lines_max: usize,
) {
    entries.retain(|name, lines| {
        let now = rooms.get(name).map_or(0, |room| room.lines);
        *lines = now.min(*lines);
        now > lines_max
    });
}

fn read(tree: &Tree) -> anyhow::Result<Ratchet> {
    tree.text(RATCHET).map_or_else(
        || Ok(Ratchet::default()),
        |text| toml::from_str(text).context("not readable"),
    )
}

struct Limit {
    noun: &'static str,
    lines_max: usize,
    remedy: &'static str,
}

impl Limit {
    fn check(
        &self,
        rooms: &BTreeMap<String, Room>,
        entries: &BTreeMap<String, usize>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let Self {
            noun,
            lines_max,
            remedy,
        } = self;
        for (name, room) in rooms {
            let allowed = entries.get(name).copied().unwrap_or(*lines_max);
            if room.lines > allowed.max(*lines_max) {
                let what = format!(
                    "{noun} of {} lines, {allowed} are allowed: {remedy}",
                    room.lines
                );
                findings.push(Finding::new(&room.path, room.line, what));
            }
        }
        for (name, allowed) in entries {
            let now = rooms.get(name).map_or(0, |room| room.lines);
            if now < *allowed {
                let what = format!(
                    "{name} has {now} lines, not {allowed}: run `cargo xtask tidy --update`"
                );
                findings.push(Finding::new(RATCHET, 1, what));
            }
        }
        findings
    }
}

fn files_of(tree: &Tree) -> BTreeMap<String, Room> {
    let room = |(path, lines): (&str, usize)| {
        let room = Room {
            path: path.to_owned(),
            line: 1,
            lines,
        };
        (path.to_owned(), room)
    };
    tree.sources()
        .map(|(path, source)| room((path, source.lines())))
        .collect()
}

fn functions_of(tree: &Tree) -> BTreeMap<String, Room> {
    let mut rooms: BTreeMap<String, Room> = BTreeMap::new();
    for (path, source) in tree.sources() {
        for (name, line, lines) in functions(source.code()) {
            let key = format!("{path}::{name}");
            if rooms.get(&key).is_none_or(|room| room.lines < lines) {
                rooms.insert(
                    key,
                    Room {
                        path: path.to_owned(),
                        line,
                        lines,
                    },
                );
            }
        }
    }
    rooms
}

/// `(name, line, lines)` of each function with a body, from its `fn` to its closing brace.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = code[at + 3..].trim_start();
        let name = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        if name.is_empty() {
            continue;
        }
        if let Some(open) = body(code, at) {
            let first = line_of(code, at);
            let last = line_of(code, closing(code, open));
            found.push((name, first, last - first + 1));
        }
    }
    found
}

/// Where the body of the function at `start` opens; none for one that is only declared.
fn body(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, lines: usize) -> String {
        let filler = "    call(\"}\"); // }\n".repeat(lines - 2);
        format!("fn {name}<const N: usize>(a: [u8; 3]) -> bool {{\n{filler}}}\n")
    }

    fn check_tree(files: &[(&str, &str)], expected: &[&str]) {
        let found = check(&Tree::of(files));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.to_string().contains(part), "{finding}");
        }
    }

    #[test]
    fn small_rooms_are_fine() {
        check_tree(&[("a.rs", &function("f", FUNCTION_LINES_MAX))], &[]);
        check_tree(&[("a.rs", &"\n".repeat(FILE_LINES_MAX))], &[]);
    }

    #[test]
    fn large_rooms_are_not() {
        let text = format!("\n{}", function("f", 81));
        check_tree(
            &[("a.rs", &text)],
            &["a.rs:2: function of 81 lines, 80 are allowed"],
        );
        check_tree(
            &[("a.rs", &"\n".repeat(601))],
            &["a.rs:1: file of 601 lines"],
        );
    }

    #[test]
    fn functions_are_counted_one_by_one() {
        let text =
            "trait T { fn a(&self); }\nfn b() {\n}\nlet c: fn (u8) = |x| {};\nasync fn d() {}";
        assert_eq!(functions(text), [("b", 2, 2), ("d", 5, 1)]);
    }

    #[test]
    fn an_exception_must_match() {
        let text = function("f", 90);
        let with = |lines: usize| format!("[functions]\n\"a.rs::f\" = {lines}\n");
        check_tree(&[("a.rs", &text), (RATCHET, &with(90))], &[]);
        check_tree(
            &[("a.rs", &text), (RATCHET, &with(89))],
            &["90 lines, 89 are allowed"],
        );
        check_tree(
            &[("a.rs", &text), (RATCHET, &with(91))],
            &["has 90 lines, not 91"],
        );
        check_tree(&[(RATCHET, &with(91))], &["has 0 lines, not 91"]);
        check_tree(&[(RATCHET, "[files]\nx = \"y\"")], &["not readable"]);
    }

    #[test]
    fn the_ratchet_goes_down_and_never_up() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("xtask")).expect("folder");
        let texts = [function("f", 85), function("f", 95), function("f", 20)];
        let ratchet = "[functions]\n\"a.rs::f\" = 90\n\"b.rs::f\" = 90\n\"c.rs::f\" = 90\n";
        let names = ["a.rs", "b.rs", "c.rs"];
        let mut files: Vec<(&str, &str)> = names
            .into_iter()
            .zip(texts.iter().map(String::as_str))
            .collect();
        files.push((RATCHET, ratchet));
        lower(dir.path(), &Tree::of(&files)).expect("lowered");
        let written = fs::read_to_string(dir.path().join(RATCHET)).expect("written");
        let written: Ratchet = toml::from_str(&written).expect("readable");
        let left: Vec<(String, usize)> = written.functions.into_iter().collect();
        assert_eq!(
            left,
            [("a.rs::f".to_owned(), 85), ("b.rs::f".to_owned(), 90)]
        );
    }
}
