//! Who may know whom: each crate depends only on crates above it (ARCHITECTURE.md, "The house").

use toml::{Table, Value};

use super::{Finding, tree::Tree};

/// What a crate may depend on, among ours.
enum May {
    Only(&'static [&'static str]),
    AllAboveBut(&'static [&'static str]),
}

/// The crates from the ground up. A crate that is not here fails the check, so that its place is decided once.
const HOUSE: &[(&str, May)] = &[
    ("types", May::Only(&[])),
    ("swarm", May::Only(&["types"])),
    ("identity", May::Only(&["types"])),
    ("listen", May::Only(&["types"])),
    ("wire", May::Only(&["types", "swarm"])),
    ("store", May::Only(&["types"])),
    ("origin", May::Only(&["types", "listen"])),
    ("control", May::Only(&["types"])),
    (
        "scheduler",
        May::Only(&["types", "swarm", "identity", "listen", "control"]),
    ),
    ("gateway", May::Only(&["types", "listen"])),
    // A host needs no central service to work, so it knows none from the inside.
    ("daemon", May::AllAboveBut(&["scheduler"])),
    ("runtime", May::Only(&["types"])),
    ("simulator", May::Only(&["types", "swarm"])),
    ("pantala", May::AllAboveBut(&[])),
];

/// Tests may know more than the crate they test, so `dev-dependencies` are not here.
const SECTIONS: [&str; 2] = ["dependencies", "build-dependencies"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        if let Some(name) = path
            .strip_prefix("crates/")
            .and_then(|rest| rest.strip_suffix("/Cargo.toml"))
        {
            check_crate(path, name, text, &mut findings);
        }
    }
    findings
}

fn check_crate(path: &str, name: &str, text: &str, findings: &mut Vec<Finding>) {
    let Some(place) = HOUSE.iter().position(|(known, _)| *known == name) else {
        let what = format!(
            "crate {name} has no place in the house, put it into the table of xtask/src/tidy/layering.rs and of ARCHITECTURE.md"
        );
        return findings.push(Finding::new(path, 1, what));
    };
    let manifest = match text.parse::<Table>() {
        Ok(manifest) => manifest,
        Err(error) => {
            let what = format!("not readable as TOML: {}", error.message());
            return findings.push(Finding::new(path, 1, what));
        }
    };
    let declared = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str);
    if declared != Some(name) {
        let what = format!("the package is not called {name}, name it like its folder");
        findings.push(Finding::new(path, 1, what));
    }
    for (key, package) in dependencies(&manifest) {
        let is_ours = HOUSE.iter().any(|(known, _)| *known == package);
        if is_ours && !may(place, &package) {
            let what = format!(
                "{name} may not depend on {package} ({}), move what it needs up or define a trait that {package} implements",
                permission(place)
            );
            findings.push(Finding::new(path, line_of_key(text, &key), what));
        }
    }
}

fn may(place: usize, other: &str) -> bool {
    let above = HOUSE[..place].iter().any(|(name, _)| *name == other);
    match HOUSE[place].1 {
        May::Only(list) => list.contains(&other),
        May::AllAboveBut(list) => above && !list.contains(&other),
    }
}

fn permission(place: usize) -> String {
    match HOUSE[place].1 {
        May::Only([]) => "it may depend on none of ours".to_owned(),
        May::Only(list) => format!("it may on {}", list.join(", ")),
        May::AllAboveBut([]) => "it may on those above it".to_owned(),
        May::AllAboveBut(list) => format!("it may on those above it but {}", list.join(", ")),
    }
}

/// `(key, package)` of every dependency, those under `target` included.
fn dependencies(manifest: &Table) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let targets = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    for part in std::iter::once(manifest).chain(targets) {
        for section in SECTIONS {
            let listed = part.get(section).and_then(Value::as_table);
            for (key, value) in listed.into_iter().flatten() {
                let renamed = value.get("package").and_then(Value::as_str);
                found.push((key.clone(), renamed.unwrap_or(key).to_owned()));
            }
        }
    }
    found
}

/// Where `key` is written outside of `dev-dependencies`: `key = ...`, `key.workspace = ...` or `[dependencies.key]`.
fn line_of_key(text: &str, key: &str) -> usize {
    let mut in_tests = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            in_tests = line.contains("dev-dependencies");
        }
        let rest = line.strip_prefix(key);
        let is_entry = rest.is_some_and(|rest| rest.trim_start().starts_with(['=', '.']));
        let is_header = line.ends_with(&format!(".{key}]"));
        if !in_tests && (is_entry || is_header) {
            return number + 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_manifest(name: &str, rest: &str, expected: &[&str]) {
        let path = format!("crates/{name}/Cargo.toml");
        let text = format!("[package]\nname = \"{name}\"\n{rest}");
        let found = check(&Tree::of(&[(&path, &text)]));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expected) {
            assert!(finding.to_string().contains(part), "{finding}");
        }
    }

    #[test]
    fn a_crate_may_know_those_above_it() {
        check_manifest(
            "wire",
            "[dependencies]\ntypes.workspace = true\nswarm.workspace = true\n",
            &[],
        );
        check_manifest(
            "daemon",
            "[dependencies]\ngateway = { path = \"../gateway\" }\n",
            &[],
        );
        check_manifest(
            "gateway",
            "[dev-dependencies]\norigin.workspace = true\n",
            &[],
        );
    }

    #[test]
    fn a_crate_may_not_know_one_below_or_beside_it() {
        check_manifest(
            "gateway",
            "[dev-dependencies]\norigin.workspace = true\n[dependencies]\norigin.workspace = true\n",
            &[
                "crates/gateway/Cargo.toml:6: gateway may not depend on origin (it may on types, listen)",
            ],
        );
        check_manifest(
            "daemon",
            "[dependencies.scheduler]\nworkspace = true\n",
            &[":3: daemon may not"],
        );
        check_manifest(
            "origin",
            "[build-dependencies]\ndaemon.workspace = true\n",
            &["on daemon"],
        );
    }

    #[test]
    fn neither_a_new_name_nor_a_platform_hides_a_dependency() {
        check_manifest(
            "swarm",
            "[target.'cfg(unix)'.dependencies]\ndisk = { package = \"store\", path = \"../store\" }\n",
            &[":4: swarm may not depend on store"],
        );
    }

    #[test]
    fn a_crate_without_a_place_is_named() {
        check_manifest("extra", "", &["crate extra has no place"]);
    }

    #[test]
    fn permissions_never_point_down() {
        for (place, (name, may)) in HOUSE.iter().enumerate() {
            let (May::Only(list) | May::AllAboveBut(list)) = may;
            for other in *list {
                let above = HOUSE[..place].iter().any(|(known, _)| known == other);
                assert!(above, "{name} names {other}, which is not above it");
            }
        }
    }
}
