//! Pure modules: same arguments, same answer, on every machine and in the simulator.
//!
//! Time comes in as `Moment`, chance as `Chance`; maps are sorted, since a randomly seeded one makes two runs differ.

use super::{
    Finding,
    paths::{CodePath, uses},
    tree::Tree,
};

/// What is pure: the beginning of a path, and why.
const PURE: &[(&str, &str)] = &[
    ("crates/types/src/", "every crate builds on it"),
    ("crates/swarm/src/", "the simulator runs the same brains"),
    (
        "crates/simulator/src/",
        "a seed must give the same run again",
    ),
    ("crates/wire/src/codec", "bytes in, messages out"),
];

const CLOCKS: [&str; 2] = ["Instant", "SystemTime"];
const RANDOM_MAPS: [&str; 4] = ["HashMap", "HashSet", "RandomState", "DefaultHasher"];
const OUTSIDE: [&str; 6] = ["fs", "net", "thread", "process", "env", "os"];
/// Addresses are values like any other; only sockets reach the network.
const ADDRESSES: [&str; 6] = [
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
];
const CRATES: [(&str, &str); 4] = [
    ("tokio", "take what it would bring as an argument"),
    ("rand", "take a seeded types::Chance as an argument"),
    ("getrandom", "take a seeded types::Chance as an argument"),
    ("rustix", "leave system calls to the shell"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    uses(tree, |path, used| {
        let (_, reason) = PURE.iter().find(|(start, _)| path.starts_with(start))?;
        let (what, remedy) = impurity(used)?;
        Some(format!("{what} in a pure module ({reason}), {remedy}"))
    })
}

/// What is impure about a path, and what to do instead.
fn impurity(used: &CodePath) -> Option<(String, &'static str)> {
    let named = |names: &[&'static str]| names.iter().find(|name| used.contains(&[name])).copied();
    if let Some(name) = named(&CLOCKS) {
        return Some((name.to_owned(), "take the time as types::Moment"));
    }
    if let Some(name) = named(&RANDOM_MAPS) {
        return Some((name.to_owned(), "use BTreeMap, BTreeSet or a sorted Vec"));
    }
    let is_address = used
        .parts
        .get(2)
        .is_some_and(|name| ADDRESSES.contains(&&**name));
    let is_outside = |name: &&&str| used.starts_with(&["std", **name]) && !is_address;
    if let Some(name) = OUTSIDE.iter().find(is_outside) {
        return Some((
            format!("std::{name}"),
            "decide here and let the shell do it",
        ));
    }
    if let Some((name, remedy)) = CRATES
        .iter()
        .find(|(name, _)| used.starts_with(&[name]) && used.parts.len() > 1)
    {
        return Some(((*name).to_owned(), remedy));
    }
    let is_async = used.parts == ["async"] || used.parts == ["await"];
    is_async.then(|| {
        (
            "async code".to_owned(),
            "make it a state machine that the shell drives",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::says;

    fn check_at(path: &str, text: &str, expected: &[&str]) {
        says(check, (path, text), expected);
    }

    #[test]
    fn a_pure_module_may_count_and_sort() {
        let text = "use std::{collections::BTreeMap, time::Duration};\n// std::fs, HashMap\nfn f() { \"tokio::spawn\"; }\n";
        check_at("crates/swarm/src/lib.rs", text, &[]);
        check_at(
            "crates/swarm/src/lib.rs",
            "use std::net::{IpAddr, SocketAddr};",
            &[],
        );
    }

    #[test]
    fn clocks_files_and_random_maps_are_found_however_they_are_imported() {
        let text =
            "use std::{collections::{BTreeMap, HashMap},\n time::{Duration, Instant}, fs};\n";
        let expected = [":1: HashMap in a pure", ":2: Instant in", ":2: std::fs"];
        check_at("crates/types/src/a.rs", text, &expected);
        check_at(
            "crates/types/src/a.rs",
            "fn f() { std::net::lookup(); }",
            &["std::net"],
        );
        check_at(
            "crates/types/src/a.rs",
            "use rand::Rng; let tokio = 1;",
            &["rand in"],
        );
        check_at(
            "crates/types/src/a.rs",
            "async fn f() { g().await }",
            &["async", "async"],
        );
    }

    #[test]
    fn only_the_codec_of_wire_is_pure() {
        let text = "use std::fs;";
        check_at("crates/wire/src/send.rs", text, &[]);
        check_at("crates/wire/src/codec.rs", text, &["std::fs"]);
        check_at("crates/wire/src/codec/frame.rs", text, &["std::fs"]);
    }

    #[test]
    fn tests_of_a_pure_module_may_do_anything() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        check_at("crates/swarm/src/lib.rs", text, &[]);
        check_at("crates/swarm/src/a/tests.rs", "use std::fs;", &[]);
    }
}
