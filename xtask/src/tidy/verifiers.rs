//! Certificates are checked by the stock verifiers. rustls has one way around them, `dangerous()`, and one room
//! may take it: a host that does not know its authority's key yet compares the fingerprint in its join token.

use super::{
    Finding,
    paths::{CodePath, uses},
    tree::Tree,
};

/// The room.
const ALLOWED: &str = "crates/identity/src/bootstrap.rs";

/// What a verifier of one's own is made with.
const NAMES: [&str; 2] = ["dangerous", "DangerousClientConfigBuilder"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    uses(tree, |path, used| {
        let name = named(used).filter(|_| path != ALLOWED)?;
        Some(format!(
            "{name} outside of {ALLOWED}, use a configuration with the stock verifier"
        ))
    })
}

fn named(used: &CodePath) -> Option<&'static str> {
    NAMES.into_iter().find(|name| used.contains(&[name]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::testing::finds;

    fn check_at(path: &str, text: &str, expected: usize) {
        finds(check, (path, text), expected);
    }

    #[test]
    fn a_verifier_of_ones_own_is_found_wherever_it_is_made() {
        let text = "let c = ClientConfig::builder()\n    .dangerous()\n    .with_custom(v);";
        check_at(ALLOWED, text, 0);
        check_at("crates/origin/src/dialer/tls.rs", text, 1);
        check_at(
            "crates/wire/src/a.rs",
            "use rustls::client::danger::DangerousClientConfigBuilder;",
            1,
        );
    }

    #[test]
    fn words_that_only_look_alike_are_free() {
        check_at(
            "crates/a/src/a.rs",
            "ledger.still_dangerous(); // dangerous()",
            0,
        );
    }
}
