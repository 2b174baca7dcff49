//! The rules of the house that lints cannot see, one room each.
//!
//! | rule | what it holds |
//! | --- | --- |
//! | [`layering`] | a crate depends only on crates above it (ARCHITECTURE.md, "The house") |
//! | [`purity`] | pure modules have no clock, socket, file, thread, async or randomness of their own |
//! | [`size`] | files and functions stay small; the exceptions only shrink |
//! | [`vocabulary`] | one word per thing, and no name that means the name is not found yet |
//! | [`citations`] | what is cited is there: sections of ARCHITECTURE.md, and no numbers of rules in lists elsewhere |
//! | [`verifiers`] | certificates are checked by the stock verifiers |
//! | [`dialing`] | only the dialers open connections |
//! | [`workplace`] | no path of the machine a change was made on |
//! | [`marks`] | nothing is left unfinished |
//! | [`links`] | links between our pages lead somewhere |
//!
//! A rule is a function from the [`Tree`] to [`Finding`]s; [`source`] and [`paths`] are what they read Rust with.

mod citations;
mod dialing;
mod finding;
mod layering;
mod links;
mod marks;
mod paths;
mod purity;
mod size;
mod source;
#[cfg(test)]
mod testing;
mod tree;
mod verifiers;
mod vocabulary;
mod workplace;

use std::path::Path;

pub(crate) use self::finding::Finding;
use self::tree::Tree;

const RULES: &[fn(&Tree) -> Vec<Finding>] = &[
    layering::check,
    purity::check,
    size::check,
    vocabulary::check,
    dialing::check,
    workplace::check,
    marks::check,
    links::check,
    citations::check,
    verifiers::check,
];

/// Everything in the tree at `root` that breaks a rule, in order of path and line.
pub(crate) fn findings(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let tree = Tree::load(root)?;
    let mut all: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    all.sort();
    Ok(all)
}

/// Rewrites the ratchet of the tree at `root` downward: see [`size`].
pub(crate) fn lower_ratchet(root: &Path) -> anyhow::Result<()> {
    size::lower(root, &Tree::load(root)?)
}
