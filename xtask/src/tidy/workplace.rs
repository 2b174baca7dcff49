//! The product stands alone: no file names a path of the machine where a change was made.

use super::{Finding, tree::Tree};

/// Written in two parts, so that this file does not find itself.
const WORKPLACES: [&str; 2] = [concat!("/wo", "rk/"), concat!("../sh", "ared")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (number, line) in text.lines().enumerate() {
            for place in WORKPLACES {
                if line
                    .match_indices(place)
                    .any(|(at, _)| is_root(&line[..at]))
                {
                    let what = format!("`{place}` is a path of somebody's machine, leave it out");
                    findings.push(Finding::new(path, number + 1, what));
                }
            }
        }
    }
    findings
}

/// Whether a path that follows `before` begins there, so that `$dir` and other folders may have one of that name.
fn is_root(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "_-.}$)/*".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_line(line: &str, expected: usize) {
        assert_eq!(
            check(&Tree::of(&[("a.sh", line)])).len(),
            expected,
            "{line}"
        );
    }

    #[test]
    fn a_path_of_the_machine_is_found() {
        check_line(concat!("cd /wo", "rk/main"), 1);
        check_line(concat!("source \"../sh", "ared/x\""), 1);
    }

    #[test]
    fn another_folder_of_that_name_is_not() {
        check_line(concat!("ls \"$dir/wo", "rk/a\" ${x}/wo", "rk/b"), 0);
        check_line("overlay workdir=/tmp/w", 0);
    }
}
