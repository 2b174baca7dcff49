//! The last good membership on disk: where hosts were when a scheduler last told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::{Deserialize, Serialize};
use types::{ClusterId, HostId};

/// Hosts by identity, with the addresses that the scheduler named. Bounded by [`Remembered::HOSTS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered(BTreeMap<HostId, Vec<SocketAddr>>);

/// What is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    cluster: String,
    hosts: BTreeMap<String, Vec<SocketAddr>>,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RememberedError {
    #[error("reading it")]
    Read(#[from] io::Error),
    #[error("it is no list of hosts")]
    Format(#[from] serde_json::Error),
    #[error("it is of version {0}, which this program does not know")]
    Version(u32),
    #[error("it is of cluster {0}")]
    Foreign(String),
}

impl Remembered {
    /// Hosts that are kept.
    pub(crate) const HOSTS_MAX: usize = 128;
    /// Addresses of each.
    const ADDRESSES_MAX: usize = 8;
    const VERSION: u32 = 1;
    /// Far more than the bounds above allow.
    const FILE_MAX: u64 = 1 << 20;

    /// Keeps `host`. True if that is news. Whoever is known keeps its place when all are taken.
    pub(crate) fn learn(&mut self, host: HostId, addresses: &[SocketAddr]) -> bool {
        let is_known = self.0.contains_key(&host);
        if !is_known && self.0.len() >= Self::HOSTS_MAX {
            return false;
        }
        let kept = addresses[..addresses.len().min(Self::ADDRESSES_MAX)].to_vec();
        self.0.insert(host, kept.clone()) != Some(kept)
    }

    /// All their addresses.
    pub(crate) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.0.values().flatten().copied().collect()
    }

    /// What was saved for `cluster`; nothing if nothing was.
    pub(crate) fn load(path: &Path, cluster: &ClusterId) -> Result<Self, RememberedError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(cause) => return Err(cause.into()),
        };
        let mut text = Vec::new();
        file.take(Self::FILE_MAX).read_to_end(&mut text)?;
        let written: Written = serde_json::from_slice(&text)?;
        if written.version != Self::VERSION {
            return Err(RememberedError::Version(written.version));
        }
        if written.cluster != cluster.as_str() {
            return Err(RememberedError::Foreign(written.cluster));
        }
        let mut remembered = Self::default();
        for (host, addresses) in &written.hosts {
            if let Ok(host) = host.parse() {
                remembered.learn(host, addresses);
            }
        }
        Ok(remembered)
    }

    /// Replaces what was saved, all of it or nothing, readable by this user alone. Blocks.
    pub(crate) fn save(&self, path: &Path, cluster: &ClusterId) -> io::Result<()> {
        let hosts = self.0.iter();
        let written = Written {
            version: Self::VERSION,
            cluster: cluster.to_string(),
            hosts: hosts
                .map(|(host, addresses)| (host.to_string(), addresses.clone()))
                .collect(),
        };
        let beside = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&serde_json::to_vec(&written)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn host(number: u8) -> HostId {
        HostId::from_bytes([number; 32])
    }

    #[test]
    fn what_was_saved_is_read_back_and_only_by_its_cluster() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("members");
        let (ours, other) = (
            "ours".parse().expect("a name"),
            "other".parse().expect("a name"),
        );
        let nothing = Remembered::load(&path, &ours).expect("no file is no error");
        assert_eq!(nothing, Remembered::default());
        let mut remembered = Remembered::default();
        assert!(remembered.learn(host(1), &["10.0.0.1:7470".parse().expect("an address")]));
        assert!(!remembered.learn(host(1), &["10.0.0.1:7470".parse().expect("an address")]));
        remembered.save(&path, &ours).expect("saved");
        remembered.save(&path, &ours).expect("saved again");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Remembered::load(&path, &ours).expect("read"), remembered);
        let foreign = Remembered::load(&path, &other);
        assert!(matches!(foreign, Err(RememberedError::Foreign(_))));
        fs::write(&path, b"{").expect("written");
        assert!(Remembered::load(&path, &ours).is_err());
    }

    #[test]
    fn the_list_is_bounded() {
        let mut remembered = Remembered::default();
        let many = vec!["10.0.0.1:1".parse().expect("an address"); 100];
        for number in 0..=255 {
            remembered.learn(host(number), &many);
        }
        assert_eq!(remembered.0.len(), Remembered::HOSTS_MAX);
        assert!(remembered.0.values().all(|each| each.len() == 8));
    }
}
