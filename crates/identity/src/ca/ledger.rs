//! Whom the authority has thrown out, and when: the record behind the signed lists.
//!
//! The record keeps everybody for ever, since a revoked key must not get a certificate again. A list that hosts pass on
//! needs only those whose last certificate may still be taken for valid, so that lists stay short.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use types::HostId;

use crate::{
    ca::RevokeError,
    certificate::{CLOCK_SKEW, LIFETIME},
    links::ExpiryGrace,
    load_error::{LoadError, LoadFault},
    private_dir::PrivateDir,
    revocation::RevocationList,
};

pub(crate) const LEDGER_FILE: &str = "revocations.json";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    /// In the order in which they were thrown out; the number of the list is how many there are.
    revoked: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    host: String,
    /// Seconds since 1970.
    at: u64,
}

/// The record, read.
pub(crate) struct Ledger {
    revoked: Vec<(HostId, u64)>,
}

impl Ledger {
    pub(crate) fn load(dir: &Path) -> Result<Self, LoadError> {
        Self::read(&PrivateDir::open_or_create(dir)?)
    }

    fn read(dir: &PrivateDir) -> Result<Self, LoadError> {
        let Some(text) = dir.read(LEDGER_FILE)? else {
            return Ok(Self {
                revoked: Vec::new(),
            });
        };
        let fault = |fault: LoadFault| fault.at(dir.path_of(LEDGER_FILE));
        let file: File = serde_json::from_slice(&text).map_err(|_| fault(LoadFault::Garbage))?;
        if file.version != VERSION {
            return Err(fault(LoadFault::UnknownVersion(file.version)));
        }
        let read = |entry: &Entry| entry.host.parse().map(|host| (host, entry.at));
        let revoked = file.revoked.iter().map(read).collect::<Result<_, _>>();
        let revoked = revoked.map_err(|_| fault(LoadFault::Garbage))?;
        Ok(Self { revoked })
    }

    /// Adds `host` unless it is there, on disk when this returns.
    pub(crate) fn revoke(dir: &Path, host: HostId, now: SystemTime) -> Result<Self, RevokeError> {
        let dir = PrivateDir::open_or_create(dir)?;
        let lock = dir.lock()?;
        let mut ledger = Self::read(&dir)?;
        if !ledger.contains(host) {
            let since = now.duration_since(SystemTime::UNIX_EPOCH);
            let at = since.map_or(0, |since| since.as_secs());
            ledger.revoked.push((host, at));
            if ledger.still_dangerous().len() > RevocationList::HOSTS_MAX {
                return Err(RevokeError::TooMany);
            }
            lock.write(LEDGER_FILE, &ledger.to_json())?;
        }
        Ok(ledger)
    }

    fn to_json(&self) -> Vec<u8> {
        let entry = |(host, at): &(HostId, u64)| Entry {
            host: host.to_string(),
            at: *at,
        };
        let file = File {
            version: VERSION,
            revoked: self.revoked.iter().map(entry).collect(),
        };
        serde_json::to_vec_pretty(&file).expect("texts and numbers always become JSON")
    }

    pub(crate) fn contains(&self, host: HostId) -> bool {
        self.revoked.iter().any(|(revoked, _)| *revoked == host)
    }

    /// Everybody in it, and since when.
    pub(crate) fn revoked(&self) -> Vec<(HostId, SystemTime)> {
        let since = |at: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at));
        let told = self.revoked.iter();
        told.map(|(host, at)| (*host, since(*at).unwrap_or(SystemTime::UNIX_EPOCH)))
            .collect()
    }

    /// The number of the list: it grows with each host thrown out, and with nothing else.
    pub(crate) fn number(&self) -> u64 {
        self.revoked.len() as u64
    }

    /// Whose certificates may still pass somewhere, ascending. Counted from the last revocation and not from now, so
    /// that one number always stands for one list.
    pub(crate) fn still_dangerous(&self) -> Vec<HostId> {
        const DANGER: Duration = LIFETIME
            .saturating_add(ExpiryGrace::MAX)
            .saturating_add(CLOCK_SKEW)
            .saturating_add(CLOCK_SKEW);
        let latest = self.revoked.iter().map(|(_, at)| *at).max().unwrap_or(0);
        let since = latest.saturating_sub(DANGER.as_secs());
        let recent = self.revoked.iter().filter(|(_, at)| *at >= since);
        let mut hosts: Vec<_> = recent.map(|(host, _)| *host).collect();
        hosts.sort_unstable();
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(byte: u8) -> HostId {
        HostId::from_bytes([byte; 32])
    }

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3600)
    }

    #[test]
    fn the_thrown_out_stay_out_but_leave_the_list_once_their_certificates_are_dead() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("ca");
        Ledger::revoke(&dir, host(2), at(1000)).expect("kept");
        Ledger::revoke(&dir, host(1), at(1010)).expect("kept");
        let twice = Ledger::revoke(&dir, host(1), at(1020)).expect("kept");
        assert_eq!(twice.number(), 2);
        assert_eq!(twice.still_dangerous(), [host(1), host(2)]);
        Ledger::revoke(&dir, host(3), at(1150)).expect("kept");
        let ledger = Ledger::load(&dir).expect("kept");
        assert_eq!(ledger.number(), 3);
        assert_eq!(ledger.still_dangerous(), [host(1), host(3)]);
        assert!(ledger.contains(host(2)));
    }

    #[test]
    fn a_list_that_would_be_too_long_is_refused_and_the_record_stays() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("ca");
        let number = |n: usize| {
            let mut bytes = [9; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            (HostId::from_bytes(bytes), 3600)
        };
        let full = Ledger {
            revoked: (0..RevocationList::HOSTS_MAX).map(number).collect(),
        };
        let opened = PrivateDir::open_or_create(&dir).expect("a directory");
        let lock = opened.lock().expect("a lock");
        lock.write(LEDGER_FILE, &full.to_json()).expect("kept");
        drop(lock);
        let refused = Ledger::revoke(&dir, host(1), at(1));
        assert!(matches!(refused, Err(RevokeError::TooMany)));
        assert!(!Ledger::load(&dir).expect("kept").contains(host(1)));
        Ledger::revoke(&dir, host(1), at(1000)).expect("the others are dead by then");
    }

    #[test]
    fn a_damaged_record_is_an_error_and_is_not_written_over() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("ca");
        Ledger::revoke(&dir, host(1), at(1)).expect("kept");
        let file = dir.join(LEDGER_FILE);
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"version":2,"revoked":[]}"#,
            r#"{"version":1,"revoked":[{"host":"x","at":1}]}"#,
        ] {
            std::fs::write(&file, bad).expect("damage");
            assert!(Ledger::load(&dir).is_err(), "{bad}");
            assert!(Ledger::revoke(&dir, host(2), at(2)).is_err(), "{bad}");
            assert_eq!(std::fs::read_to_string(&file).expect("there"), bad);
        }
    }
}
