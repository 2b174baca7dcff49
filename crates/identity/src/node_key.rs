//! A host's own key: made on the host, kept on the host. Its public half is the host's identity.

use std::{fmt, path::Path, sync::Arc};

use types::{HostId, Signature};

use crate::{
    load_error::{LoadError, LoadFault},
    pem,
    private_dir::PrivateDir,
    signer::{PublicKey, Signer},
};

/// Where the key lies in a host's directory.
pub(crate) const KEY_FILE: &str = "host.key";
/// Where the certificate lies, with the authority's behind it.
pub(crate) const CERTIFICATE_FILE: &str = "host.crt";

/// The private key of this host. Clones share it.
#[derive(Clone)]
pub struct NodeKey(Arc<Signer>);

impl NodeKey {
    /// The key in `dir`, made there (with the directory) if this host has none yet.
    ///
    /// Errors: all of [`LoadFault`]. With a certificate already there, a missing key is an error and no new one is made.
    pub fn load_or_create(dir: &Path) -> Result<Self, LoadError> {
        let dir = PrivateDir::open_or_create(dir)?;
        let lock = dir.lock()?;
        if let Some(key) = Self::read(&dir)? {
            return Ok(key);
        }
        if dir.read(CERTIFICATE_FILE)?.is_some() {
            return Err(LoadFault::KeyMissing.at(dir.path_of(KEY_FILE)));
        }
        let signer = Signer::generate();
        lock.write(KEY_FILE, signer.to_pem().as_bytes())?;
        Ok(Self(Arc::new(signer)))
    }

    /// The key in an open directory; `None` if there is none.
    pub(crate) fn read(dir: &PrivateDir) -> Result<Option<Self>, LoadError> {
        let Some(text) = dir.read(KEY_FILE)? else {
            return Ok(None);
        };
        let signer = pem::read(&text).and_then(|blocks| {
            match (&blocks.keys[..], &blocks.certificates[..]) {
                ([key], []) => Signer::from_pkcs8(key),
                ([], _) => Err(LoadFault::Garbage),
                _ => Err(LoadFault::TooMany),
            }
        });
        let signer = signer.map_err(|fault| fault.at(dir.path_of(KEY_FILE)))?;
        Ok(Some(Self(Arc::new(signer))))
    }

    /// A key that is kept nowhere.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn ephemeral() -> Self {
        Self(Arc::new(Signer::generate()))
    }

    /// Who this host is.
    pub fn host_id(&self) -> HostId {
        HostId::from_bytes(self.0.public().0)
    }

    /// Signs a statement. It must open with a domain string of its own kind, as `types::Segment::statement` does, so
    /// that a signature for one purpose serves no other.
    pub fn sign(&self, statement: &[u8]) -> Signature {
        self.0.sign_statement(statement)
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.0
    }
}

/// Whether `host` signed `statement`.
pub fn verify(host: HostId, statement: &[u8], signature: &Signature) -> bool {
    PublicKey(*host.as_bytes()).verify(statement, signature)
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "NodeKey({:?})", self.host_id())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_stays_the_same_across_starts_and_its_signatures_verify() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("host");
        let key = NodeKey::load_or_create(&dir).expect("a new key");
        let again = NodeKey::load_or_create(&dir).expect("the same key");
        assert_eq!(key.host_id(), again.host_id());
        let signature = again.sign(b"statement");
        assert!(verify(key.host_id(), b"statement", &signature));
        assert!(!verify(key.host_id(), b"another", &signature));
        assert!(!verify(
            HostId::from_bytes([7; 32]),
            b"statement",
            &signature
        ));
        let printed = format!("{key:?}");
        assert!(printed.len() < 20, "{printed}");
    }

    #[test]
    fn two_first_starts_at_once_agree_on_one_key() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("host");
        let hosts: Vec<_> = std::thread::scope(|scope| {
            let start = || NodeKey::load_or_create(&dir).expect("a key").host_id();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        assert!(hosts.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn damaged_keys_are_named_and_never_replaced() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("host");
        NodeKey::load_or_create(&dir).expect("a new key");
        let file = dir.join(KEY_FILE);
        let good = fs::read_to_string(&file).expect("the key");
        let twice = format!("{good}{good}");
        let ec = pem::write("PRIVATE KEY", b"not PKCS #8 at all");
        for bad in [
            "",
            "garbage",
            &good[..good.len() / 2],
            &twice,
            ec.as_str(),
            &good.replace("PRIVATE KEY", "CERTIFICATE"),
        ] {
            fs::write(&file, bad).expect("damage");
            let refused = NodeKey::load_or_create(&dir).expect_err("a damaged key");
            assert_eq!(refused.path, file);
            assert_eq!(fs::read_to_string(&file).expect("still there"), bad);
        }
    }

    #[test]
    fn a_certificate_without_its_key_makes_no_new_key() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = place.path().join("host");
        NodeKey::load_or_create(&dir).expect("a new key");
        fs::rename(dir.join(KEY_FILE), dir.join(CERTIFICATE_FILE)).expect("a swap");
        let refused = NodeKey::load_or_create(&dir).expect_err("no key");
        assert!(matches!(refused.fault, LoadFault::KeyMissing));
        assert!(!dir.join(KEY_FILE).exists());
    }
}
