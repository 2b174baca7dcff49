//! The files of the repository as the rules see them: tracked or about to be, text only, each read once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, ensure};

use super::source::Source;

/// Text files by their path from the root, with `/` between folders.
pub(crate) struct Tree {
    texts: BTreeMap<String, String>,
    sources: BTreeMap<String, Source>,
    paths: BTreeSet<String>,
}

impl Tree {
    /// Asks git for the files at `root`, so that build output and ignored files do not count, but new files do before
    /// they are added. A file that git knows and the disk does not is left out, as is one that is not UTF-8.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root)
            .output()
            .context("asking git for the files")?;
        ensure!(
            listed.status.success(),
            "git ls-files: {}",
            String::from_utf8_lossy(&listed.stderr).trim()
        );
        let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
        let mut tree = Self::empty();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            let path = root.join(name);
            if !path.exists() {
                continue;
            }
            tree.paths.insert(name.to_owned());
            if path.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                tree.texts.insert(name.to_owned(), text);
            }
        }
        tree.read_sources();
        Ok(tree)
    }

    /// A tree of these `(path, text)` pairs, for tests of the rules.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::empty();
        for (path, text) in files {
            tree.paths.insert((*path).to_owned());
            tree.texts.insert((*path).to_owned(), (*text).to_owned());
        }
        tree.read_sources();
        tree
    }

    fn empty() -> Self {
        Self {
            texts: BTreeMap::new(),
            sources: BTreeMap::new(),
            paths: BTreeSet::new(),
        }
    }

    fn read_sources(&mut self) {
        for (path, text) in &self.texts {
            if path.ends_with(".rs") {
                self.sources.insert(path.clone(), Source::read(text));
            }
        }
        let test_only: Vec<String> = self
            .sources
            .iter()
            .flat_map(|(path, source)| {
                let folder = children_folder(path);
                let names = source.test_modules().iter();
                names.map(move |name| format!("{folder}{name}"))
            })
            .collect();
        for (path, source) in &mut self.sources {
            let inside = |module: &String| {
                path.strip_prefix(module.as_str())
                    .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            if is_test_path(path) || test_only.iter().any(inside) {
                source.blank();
            }
        }
    }

    /// Every text file.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (&**path, &**text))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Every Rust file.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(path, source)| (&**path, source))
    }

    /// Whether `path` is a file here or a folder with one.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.paths.contains(path)
            || self
                .paths
                .range(folder.clone()..)
                .next()
                .is_some_and(|next| next.starts_with(&folder))
    }
}

/// Where `mod child;` written in the file `path` is looked for, with the final `/`.
fn children_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.trim_end_matches(".rs");
    match (folder, stem) {
        ("", "mod" | "lib" | "main") => String::new(),
        ("", _) => format!("{stem}/"),
        (_, "mod" | "lib" | "main") => format!("{folder}/"),
        _ => format!("{folder}/{stem}/"),
    }
}

fn is_test_path(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path
            .split('/')
            .any(|part| matches!(part, "tests" | "benches" | "fuzz" | "examples"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_files_count_and_ignored_ones_do_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &[u8]| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("folder");
            fs::write(path, text).expect("file");
        };
        write(".gitignore", b"/target\n");
        write("target/built.rs", b"");
        write("crates/a/src/lib.rs", b"#[cfg(test)]\nmod peers;\n");
        write("crates/a/src/peers.rs", b"use std::fs;\n");
        write("picture.png", &[0xff, 0xfe, 0]);
        let done = Command::new("git")
            .args(["init", "-q"])
            .current_dir(dir.path())
            .status()
            .expect("git");
        assert!(done.success());
        let tree = Tree::load(dir.path()).expect("a tree");
        let texts: Vec<&str> = tree.texts().map(|(path, _)| path).collect();
        assert_eq!(
            texts,
            [".gitignore", "crates/a/src/lib.rs", "crates/a/src/peers.rs"]
        );
        assert!(tree.has("picture.png") && tree.has("crates/a") && !tree.has("target"));
        let live: Vec<String> = tree.sources().map(|(_, s)| s.live().to_owned()).collect();
        assert!(!live[1].contains("std"), "a module for tests only is blank");
    }

    #[test]
    fn a_child_module_is_found_beside_or_below_its_parent() {
        assert_eq!(children_folder("crates/a/src/lib.rs"), "crates/a/src/");
        assert_eq!(children_folder("crates/a/src/b/mod.rs"), "crates/a/src/b/");
        assert_eq!(children_folder("crates/a/src/b.rs"), "crates/a/src/b/");
    }
}
