//! The join tokens that a cluster has given out, and how often each may still be used.
//!
//! The store is a file in the authority's directory and nothing else: each call locks the directory, reads, decides,
//! writes. So a command line and a running scheduler see the same tokens, and a use is counted once whoever asks. Secrets
//! are kept only as keyed hashes; a leaked file admits nobody.

use std::{
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use types::{HostId, Secret};

use crate::{
    authority::CaFingerprint,
    load_error::{LoadError, LoadFault},
    private_dir::{Locked, PrivateDir},
    role::Role,
    token::{JoinToken, TokenId},
};

pub(crate) const TOKENS_FILE: &str = "tokens.json";
const VERSION: u32 = 1;
/// More tokens than anybody gives out by hand; a bound on the file.
const TOKENS_MAX: usize = 1000;
/// How many hosts a token remembers as admitted, so that one whose answer was lost may ask again. Losses come soon after
/// the use; a bound on the file.
const ADMITTED_MAX: usize = 32;

/// The tokens of one cluster. Clones work on the same file.
#[derive(Clone, Debug)]
pub struct TokenStore {
    dir: PathBuf,
    fingerprint: CaFingerprint,
}

/// A token just made.
#[derive(Debug)]
pub struct MintedToken {
    /// To list or revoke it by.
    pub id: TokenId,
    /// The token. It is nowhere else: shown once, then gone.
    pub text: Secret<String>,
}

/// What may be known of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Which one.
    pub id: TokenId,
    /// What it makes of a host.
    pub role: Role,
    /// How many hosts it may still admit.
    pub uses_left: u32,
    /// After this it admits nobody.
    pub expires_at: SystemTime,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// No time to live, or an end beyond all calendars.
    #[error("a token must live for some time, and end some day")]
    BadLifetime,
    /// Too many already.
    #[error("there are {TOKENS_MAX} tokens already; revoke those that nobody needs")]
    TooMany,
    /// The file.
    #[error("keeping the token failed")]
    Store(#[from] LoadError),
}

/// Why a token admits nobody.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// No token has this id and this secret. The two are one answer, so that nobody learns which ids exist.
    #[error("there is no such join token; it may have been revoked, or copied incompletely")]
    Unknown,
    /// Too late.
    #[error("the join token has expired; ask for a new one")]
    Expired,
    /// It has admitted as many hosts as it was meant for.
    #[error("the join token is used up; ask for a new one")]
    UsedUp,
    /// It invites to another cluster.
    #[error("the join token is for another cluster")]
    OtherCluster,
    /// The file.
    #[error("looking up the join token failed")]
    Store(#[from] LoadError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    version: u32,
    tokens: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    id: String,
    role: Role,
    /// BLAKE3 in key derivation mode, over the id and the secret.
    secret_hash: String,
    uses_left: u32,
    /// Seconds since 1970.
    expires_at: u64,
    /// The hosts admitted last.
    admitted: Vec<String>,
}

impl TokenStore {
    pub(crate) fn new(dir: PathBuf, fingerprint: CaFingerprint) -> Self {
        Self { dir, fingerprint }
    }

    /// Makes a token that lets `uses` hosts in with `role`, for `ttl` from now. It is on disk when this returns.
    pub fn mint(
        &self,
        role: Role,
        uses: NonZeroU32,
        ttl: Duration,
    ) -> Result<MintedToken, MintError> {
        let now = seconds(SystemTime::now());
        let expires_at = now
            .checked_add(ttl.as_secs())
            .filter(|end| *end > now && time(*end).is_some());
        let expires_at = expires_at.ok_or(MintError::BadLifetime)?;
        let (id, secret) = (TokenId(random()), Secret::new(random()));
        let token = JoinToken {
            id,
            secret,
            fingerprint: self.fingerprint,
        };
        let record = Record {
            id: id.to_string(),
            role,
            secret_hash: hash(&token).to_hex().to_string(),
            uses_left: uses.get(),
            expires_at,
            admitted: Vec::new(),
        };
        let minted = self.change(|book| {
            book.tokens.retain(|token| token.expires_at > now);
            if book.tokens.len() >= TOKENS_MAX {
                return Err(MintError::TooMany);
            }
            book.tokens.push(record);
            Ok(())
        })?;
        minted.map(|()| MintedToken {
            id,
            text: token.to_text(),
        })
    }

    /// Every token that has not been cleared away, the oldest first. Expired ones go when the next one is made.
    pub fn list(&self) -> Result<Vec<TokenInfo>, LoadError> {
        let dir = PrivateDir::open_or_create(&self.dir)?;
        let book = Book::read(&dir)?;
        let infos = book.tokens.iter().map(|record| {
            Some(TokenInfo {
                id: record.id.parse().ok()?,
                role: record.role,
                uses_left: record.uses_left,
                expires_at: time(record.expires_at)?,
            })
        });
        let infos: Option<_> = infos.collect();
        infos.ok_or_else(|| LoadFault::Garbage.at(dir.path_of(TOKENS_FILE)))
    }

    /// Ends a token at once. `false` if there was none.
    pub fn revoke(&self, id: TokenId) -> Result<bool, LoadError> {
        let id = id.to_string();
        let revoked = self.change(|book| {
            let before = book.tokens.len();
            book.tokens.retain(|token| token.id != id);
            if book.tokens.len() < before {
                Ok(())
            } else {
                Err(())
            }
        })?;
        Ok(revoked.is_ok())
    }

    /// Counts one use of `token` by `host` and says what it grants; the count is on disk when this returns.
    ///
    /// A host that was just admitted by it is let in again without counting: its answer may have been lost on the way.
    pub fn redeem(
        &self,
        token: &JoinToken,
        host: HostId,
        now: SystemTime,
    ) -> Result<Role, RedeemError> {
        if token.fingerprint != self.fingerprint {
            return Err(RedeemError::OtherCluster);
        }
        self.change(|book| book.redeem(token, host, seconds(now)))?
    }

    /// Reads, applies `change`, and writes if it succeeded; nobody else changes the file meanwhile.
    fn change<T, E>(
        &self,
        change: impl FnOnce(&mut Book) -> Result<T, E>,
    ) -> Result<Result<T, E>, LoadError> {
        let dir = PrivateDir::open_or_create(&self.dir)?;
        let lock = dir.lock()?;
        let mut book = Book::read(&dir)?;
        let changed = change(&mut book);
        if changed.is_ok() {
            book.write(&lock)?;
        }
        Ok(changed)
    }
}

impl Book {
    fn read(dir: &PrivateDir) -> Result<Self, LoadError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Some(text) = dir.read(TOKENS_FILE)? else {
            let (version, tokens) = (VERSION, Vec::new());
            return Ok(Self { version, tokens });
        };
        let fault = |fault: LoadFault| fault.at(dir.path_of(TOKENS_FILE));
        let Version { version } =
            serde_json::from_slice(&text).map_err(|_| fault(LoadFault::Garbage))?;
        if version != VERSION {
            return Err(fault(LoadFault::UnknownVersion(version)));
        }
        serde_json::from_slice(&text).map_err(|_| fault(LoadFault::Garbage))
    }

    fn write(&self, lock: &Locked<'_>) -> Result<(), LoadError> {
        let text = serde_json::to_vec_pretty(self).expect("texts and numbers always become JSON");
        lock.write(TOKENS_FILE, &text)
    }

    fn redeem(&mut self, token: &JoinToken, host: HostId, now: u64) -> Result<Role, RedeemError> {
        let id = token.id.to_string();
        let presented = hash(token);
        let record = self.tokens.iter_mut().find(|record| {
            // blake3 compares hashes in constant time.
            record.id == id
                && blake3::Hash::from_hex(&record.secret_hash).is_ok_and(|kept| kept == presented)
        });
        let record = record.ok_or(RedeemError::Unknown)?;
        if record.expires_at <= now {
            return Err(RedeemError::Expired);
        }
        let host = host.to_string();
        if record.admitted.contains(&host) {
            return Ok(record.role);
        }
        record.uses_left = record.uses_left.checked_sub(1).ok_or(RedeemError::UsedUp)?;
        if record.admitted.len() >= ADMITTED_MAX {
            record.admitted.remove(0);
        }
        record.admitted.push(host);
        Ok(record.role)
    }
}

fn hash(token: &JoinToken) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("pantala 2026 join token secret");
    hasher.update(&token.id.0).update(token.secret.expose());
    hasher.finalize()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has entropy, or the library aborts");
    bytes
}

fn seconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
