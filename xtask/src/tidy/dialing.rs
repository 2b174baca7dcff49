//! Only the dialers open connections: a guard that can be walked around guards nothing.
//!
//! `origin::dialer` checks every address it connects to; the peer and control dialers connect only to members of the
//! cluster. Anything else that dials would reach addresses that nobody checked.

use super::{
    Finding,
    paths::{CodePath, uses},
    tree::Tree,
};

/// Who may dial: the beginning of a path, and why.
const DIALERS: &[(&str, &str)] = &[
    ("crates/origin/src/dial", "the guarded door to the outside"),
    (
        "crates/daemon/src/dial",
        "connects to members of the cluster",
    ),
    (
        "crates/pantala/src/dial",
        "the doctor tries what the operator configured",
    ),
];

/// Types whose use is dialing.
const TYPES: [&str; 3] = ["TcpSocket", "UdpSocket", "HttpConnector"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    uses(tree, |path, used| {
        let is_dialer = DIALERS.iter().any(|(start, _)| path.starts_with(start));
        let is_meant = !is_dialer && path.starts_with("crates/");
        let what = dialing(used).filter(|_| is_meant)?;
        Some(format!(
            "{what} outside of the dialers, take a connection from one of them or from the caller"
        ))
    })
}

fn dialing(used: &CodePath) -> Option<String> {
    let connects = used
        .parts
        .windows(2)
        .find(|pair| pair[0] == "TcpStream" && pair[1].starts_with("connect"));
    if let Some(pair) = connects {
        return Some(pair.join("::"));
    }
    let name = TYPES.iter().find(|name| used.contains(&[name]))?;
    Some((*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::finds;

    fn check_at(path: &str, text: &str, expected: usize) {
        finds(check, (path, text), expected);
    }

    #[test]
    fn dialers_dial_and_others_do_not() {
        let text = "fn f() { tokio::net::TcpStream::connect(a).await }";
        check_at("crates/origin/src/dialer.rs", text, 0);
        check_at("crates/origin/src/dialer/connect.rs", text, 0);
        check_at("crates/origin/src/lib.rs", text, 1);
        check_at(
            "crates/store/src/lib.rs",
            "TcpStream::connect_timeout(&a, t)",
            1,
        );
        check_at(
            "crates/pantala/src/main.rs",
            "use tokio::net::{TcpListener, TcpSocket};",
            1,
        );
        check_at(
            "crates/control/src/lib.rs",
            "let c = HttpConnector::new();",
            1,
        );
    }

    #[test]
    fn tests_and_listeners_are_free() {
        check_at("crates/wire/tests/link.rs", "TcpStream::connect(a)", 0);
        check_at(
            "crates/wire/src/lib.rs",
            "#[cfg(test)] mod t { TcpStream::connect(a) }",
            0,
        );
        check_at(
            "crates/wire/src/lib.rs",
            "TcpListener::bind(a); fn f(s: TcpStream) {}",
            0,
        );
    }
}
