//! The names in certificates: `<host id>.<cluster>.pantala`, `<role>.<cluster>.pantala` and `<cluster>.pantala`.
//!
//! They are DNS names so that the stock WebPKI verifier compares them; nobody ever resolves one. A host id has 52 letters
//! and a role at most 9, so that the two cannot be confused.

use rustls_pki_types::ServerName;
use types::{ClusterId, HostId};

use crate::role::Role;

const SUFFIX: &str = "pantala";

/// What a name in a certificate stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The host itself.
    Host(HostId, ClusterId),
    /// A role of it.
    Role(Role, ClusterId),
    /// The authority of a cluster.
    Cluster(ClusterId),
}

impl Name {
    /// Reads a name; `None` if it is none of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut labels = text.strip_suffix(SUFFIX)?.strip_suffix('.')?.rsplit('.');
        let cluster = labels.next()?.parse().ok()?;
        let first = labels.next();
        if labels.next().is_some() {
            return None;
        }
        match first {
            None => Some(Self::Cluster(cluster)),
            Some(first) => match first.parse() {
                Ok(host) => Some(Self::Host(host, cluster)),
                Err(_) => Some(Self::Role(first.parse().ok()?, cluster)),
            },
        }
    }
}

pub(crate) fn of_cluster(cluster: &ClusterId) -> String {
    format!("{cluster}.{SUFFIX}")
}

pub(crate) fn of_host(host: HostId, cluster: &ClusterId) -> String {
    format!("{host}.{cluster}.{SUFFIX}")
}

pub(crate) fn of_role(role: Role, cluster: &ClusterId) -> String {
    format!("{role}.{cluster}.{SUFFIX}")
}

/// The same for the verifier.
pub(crate) fn to_verify(name: String) -> ServerName<'static> {
    ServerName::try_from(name).expect("labels of checked letters and lengths make a DNS name")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_read_back_and_suit_the_verifier(
            bytes: [u8; 32],
            cluster in "[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?",
        ) {
            let cluster: ClusterId = cluster.parse().expect("the pattern of a cluster name");
            let host = HostId::from_bytes(bytes);
            let name = of_host(host, &cluster);
            prop_assert_eq!(Name::parse(&name), Some(Name::Host(host, cluster.clone())));
            to_verify(name);
            for role in Role::ALL {
                let name = of_role(role, &cluster);
                prop_assert_eq!(Name::parse(&name), Some(Name::Role(role, cluster.clone())));
                to_verify(name);
            }
            prop_assert_eq!(Name::parse(&of_cluster(&cluster)), Some(Name::Cluster(cluster)));
        }

        #[test]
        fn hostile_names_do_not_panic(text in ".*") {
            let _ = Name::parse(&text);
            let _ = Name::parse(&format!("{text}.pantala"));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for bad in [
            "",
            "pantala",
            ".pantala",
            "a.b.c.pantala",
            "root.a.pantala",
            "a.pantala.",
            "A.pantala",
            "apantala",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }
}
