//! What a host may be in its cluster. The authority writes it into the certificate; nobody claims it for himself.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One office that a host may hold. A join token grants exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Exchanges pieces with its peers.
    Daemon,
    /// A daemon that is preferred for reading origins, and whose word counts for content without a digest.
    Seed,
    /// Draws the graph, hands out leases, enrols hosts.
    Scheduler,
}

/// Why a text is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is daemon, seed or scheduler")]
pub struct ParseRoleError;

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Daemon, Self::Seed, Self::Scheduler];

    /// Its name, in certificates too: the first label of `<role>.<cluster>.pantala`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Seed => "seed",
            Self::Scheduler => "scheduler",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|role| role.as_str() == text);
        named.ok_or(ParseRoleError)
    }
}

/// The roles of one host. One process may hold several, as `pantala up` does.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Everything in one process.
    pub const ALL: Self = Self(0b111);

    /// Whether `role` is among them.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }

    /// These and `role`.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | Self::bit(role))
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL
            .into_iter()
            .filter(move |role| self.contains(*role))
    }

    const fn bit(role: Role) -> u8 {
        match role {
            Role::Daemon => 1,
            Role::Seed => 2,
            Role::Scheduler => 4,
        }
    }
}

/// What a token for `role` makes of a host: a seed is a daemon too.
impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        let roles = Self::default().with(role);
        match role {
            Role::Seed => roles.with(Role::Daemon),
            Role::Daemon | Role::Scheduler => roles,
        }
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_daemon_and_nothing_is_more_than_it_was_granted() {
        assert!(Roles::from(Role::Seed).contains(Role::Daemon));
        assert!(!Roles::from(Role::Daemon).contains(Role::Seed));
        assert!(!Roles::from(Role::Seed).contains(Role::Scheduler));
        assert!(!Roles::from(Role::Scheduler).contains(Role::Daemon));
        assert_eq!(Roles::ALL.iter().count(), Role::ALL.len());
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("Seed".parse::<Role>().is_err());
    }
}
