use std::fs;

use super::*;
use crate::certificate::CLOCK_SKEW;
use crate::{role::Role, testing::Cluster};

impl ClusterCa {
    /// A certificate by this authority with the names of one host for the key of another, which it never makes itself.
    pub(crate) fn misissue(&self, key: HostId, named: HostId) -> Vec<u8> {
        let cluster = self.authority.cluster();
        let names = vec![
            names::of_host(named, cluster),
            names::of_role(Role::Daemon, cluster),
        ];
        self.sign_names(key, names)
    }

    fn sign_names(&self, key: HostId, names: Vec<String>) -> Vec<u8> {
        let params = params(names, "misissued");
        let issuer = Issuer::from_ca_cert_der(&self.authority.certificate(), &self.signer);
        let issuer = issuer.expect("our own certificate");
        let certificate = params.signed_by(&PublicKey(*key.as_bytes()), &issuer);
        certificate.expect("a certificate").der().to_vec()
    }
}

type IsExpected = fn(&LoadFault) -> bool;

fn cluster_id(name: &str) -> ClusterId {
    name.parse().expect("a cluster name")
}

#[test]
fn an_authority_stays_the_same_across_starts() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let dir = place.path().join("ca");
    let first = ClusterCa::load_or_create(&dir, &cluster_id("a")).expect("a new one");
    let again = ClusterCa::load_or_create(&dir, &cluster_id("a")).expect("the same one");
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_eq!(again.authority().cluster(), &cluster_id("a"));
    let key = NodeKey::ephemeral();
    let leaf = again.make_leaf(key.host_id(), Role::Seed.into(), SystemTime::now());
    assert!(first.authority().vouches_for(&leaf, SystemTime::now()));
    assert!(!format!("{again:?}").contains("PRIVATE"));
}

#[test]
fn another_clusters_directory_is_refused() {
    let cluster = Cluster::new("a");
    let refused = ClusterCa::load_or_create(&cluster.place().join("ca"), &cluster_id("b"));
    let fault = refused.expect_err("another cluster's").fault;
    assert!(matches!(fault, LoadFault::OtherCluster(name) if name == "a"));
}

#[test]
fn an_authority_tells_its_cluster_and_a_look_makes_none() {
    let cluster = Cluster::new("a");
    let found = ClusterCa::cluster_in(&cluster.place().join("ca"));
    assert_eq!(found.expect("readable"), Some(cluster_id("a")));
    let nowhere = cluster.place().join("nowhere");
    assert_eq!(ClusterCa::cluster_in(&nowhere).expect("nothing"), None);
    assert!(!nowhere.exists());
}

#[test]
fn damaged_half_or_mixed_authorities_are_refused_and_left_as_they_are() {
    let (cluster, other) = (Cluster::new("a"), Cluster::new("a"));
    let file = cluster.place().join("ca").join(CA_FILE);
    let good = fs::read_to_string(&file).expect("a file");
    let foreign = fs::read_to_string(other.place().join("ca").join(CA_FILE)).expect("a file");
    let at = good.find("-----BEGIN CERTIFICATE").expect("a certificate");
    let foreign_at = foreign
        .find("-----BEGIN CERTIFICATE")
        .expect("a certificate");
    let leaf = pem::write("CERTIFICATE", &cluster.host(Role::Daemon).leaf().der);
    let mixed = format!("{}{}", &good[..at], &foreign[foreign_at..]);
    let host = format!("{}{}", &good[..at], leaf.as_str());
    let twice = format!("{good}{good}");
    let cases: [(&str, IsExpected); 8] = [
        ("", |fault| matches!(fault, LoadFault::Garbage)),
        ("\0\u{1}garbage", |fault| {
            matches!(fault, LoadFault::Garbage)
        }),
        (&good[..at], |fault| {
            matches!(fault, LoadFault::CertificateMissing)
        }),
        (&good[at..], |fault| matches!(fault, LoadFault::KeyMissing)),
        (&good[..good.len() - 30], |fault| {
            matches!(fault, LoadFault::Garbage | LoadFault::CertificateMissing)
        }),
        (&mixed, |fault| matches!(fault, LoadFault::OtherKey)),
        (&host, |fault| matches!(fault, LoadFault::BadCertificate(_))),
        (&twice, |fault| matches!(fault, LoadFault::TooMany)),
    ];
    for (bad, is_expected) in cases {
        fs::write(&file, bad).expect("damage");
        let refused = ClusterCa::load_or_create(&cluster.place().join("ca"), &cluster_id("a"));
        let error = refused.expect_err("a damaged authority");
        assert!(is_expected(&error.fault), "{bad}: {error}");
        assert_eq!(error.path, file);
        assert_eq!(fs::read_to_string(&file).expect("there"), bad);
    }
}

#[test]
fn what_is_left_of_an_authority_makes_no_new_one() {
    let cluster = Cluster::new("a");
    let dir = cluster.place().join("ca");
    cluster
        .ca
        .revoke(HostId::from_bytes([1; 32]), SystemTime::now())
        .expect("kept");
    fs::remove_file(dir.join(CA_FILE)).expect("lost");
    let refused = ClusterCa::load_or_create(&dir, &cluster_id("a")).expect_err("no key");
    assert!(matches!(refused.fault, LoadFault::KeyMissing), "{refused}");
    assert!(!dir.join(CA_FILE).exists());
}

#[test]
fn a_certificate_says_what_it_should_and_has_no_right_to_sign() {
    let cluster = Cluster::new("a");
    let host = HostId::from_bytes([9; 32]);
    let now = SystemTime::now();
    let leaf = cluster.ca.make_leaf(host, Role::Seed.into(), now);
    let next = cluster.ca.make_leaf(host, Role::Seed.into(), now);
    assert_ne!(leaf.der, next.der, "each has a serial number of its own");
    assert_eq!((leaf.host, leaf.roles), (host, Role::Seed.into()));
    assert_eq!(leaf.cluster, cluster_id("a"));
    let authority = cluster.ca.authority();
    assert!(authority.vouches_for(&leaf, now - CLOCK_SKEW));
    assert!(authority.vouches_for(&leaf, now + LIFETIME - CLOCK_SKEW));
    assert!(!authority.vouches_for(&leaf, now + LIFETIME + CLOCK_SKEW));
    assert!(Authority::from_der(&leaf.der).is_err());
    assert!(Leaf::read(authority.der()).is_err());
}

#[test]
fn the_authority_is_bound_to_names_of_its_cluster() {
    let cluster = Cluster::new("a");
    let host = HostId::from_bytes([9; 32]);
    let other = cluster_id("b");
    let names = vec![
        names::of_host(host, &other),
        names::of_role(Role::Daemon, &other),
    ];
    let der = cluster.ca.sign_names(host, names);
    let leaf = Leaf::read(&der).expect("it reads well");
    let verdict = rustls::client::danger::ServerCertVerifier::verify_server_cert(
        &*cluster.ca.authority().server_verifier(),
        &leaf.der,
        &[],
        &names::to_verify(names::of_host(host, &other)),
        &[],
        rustls_pki_types::UnixTime::now(),
    );
    assert!(
        verdict.is_err(),
        "even by name, webpki holds it to its name constraint"
    );
}

#[test]
fn the_revoked_get_no_certificate_and_lists_survive_a_restart() {
    let cluster = Cluster::new("a");
    let key = NodeKey::ephemeral();
    let now = SystemTime::now();
    assert_eq!(cluster.ca.revocations().expect("a list").number(), 0);
    let list = cluster.ca.revoke(key.host_id(), now).expect("kept");
    assert!(list.contains(key.host_id()));
    let again = ClusterCa::load_or_create(&cluster.place().join("ca"), &cluster_id("a"));
    let again = again.expect("the same one");
    assert_eq!(again.revocations().expect("a list"), list);
    let refused = again.identity_for(&key, Roles::ALL, now);
    assert!(matches!(refused, Err(IssueError::Revoked(host)) if host == key.host_id()));
}
