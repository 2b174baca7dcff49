//! A whole cluster in a temporary directory, for the tests of crates that need real links.
//!
//! Nothing here is weaker than the real thing: the authority, the keys and the certificates are made the ordinary way.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use crate::{ca::ClusterCa, host_identity::Identity, node_key::NodeKey, role::Role, role::Roles};

/// An authority and the place where its files are. The files go when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The authority.
    pub ca: ClusterCa,
    place: PathBuf,
}

impl Cluster {
    /// A new cluster.
    ///
    /// # Panics
    /// If the name is no cluster name, or the temporary directory cannot be used.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = format!("pantala-cluster-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(place);
        // A process before us may have had our number and have been killed.
        match std::fs::remove_dir_all(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
        let name = name.parse().expect("a cluster name");
        let ca = ClusterCa::load_or_create(&place.join("ca"), &name).expect("a new authority");
        Self { ca, place }
    }

    /// The authority anew from its files.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn reopened(&self) -> ClusterCa {
        let name = self.ca.authority().cluster();
        ClusterCa::load_or_create(&self.place.join("ca"), name).expect("the same authority")
    }

    /// A new host with a role.
    ///
    /// # Panics
    /// If the authority's files cannot be read.
    pub fn host(&self, role: Role) -> Identity {
        self.host_with(Roles::from(role))
    }

    /// A new host with several roles.
    ///
    /// # Panics
    /// If the authority's files cannot be read.
    pub fn host_with(&self, roles: Roles) -> Identity {
        let key = NodeKey::ephemeral();
        let identity = self.ca.identity_for(&key, roles, SystemTime::now());
        identity.expect("a new host has not been revoked")
    }

    /// The same host with a certificate that is made `later`, for a role.
    ///
    /// # Panics
    /// If it was revoked, or the authority's files cannot be read.
    pub fn again(&self, of: &Identity, (role, later): (Role, Duration)) -> Identity {
        let at = SystemTime::now() + later;
        let identity = self.ca.identity_for(of.key(), Roles::from(role), at);
        identity.expect("it has not been revoked")
    }

    /// A directory of this cluster, for more files.
    pub fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory, which somebody else clears.
        let _ = std::fs::remove_dir_all(&self.place);
    }
}
