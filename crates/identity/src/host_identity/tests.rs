use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use super::*;
use crate::{certificate::LIFETIME, role::Role, testing::Cluster};

type IsExpected = fn(&LoadFault) -> bool;

/// A host with all its files in a directory of its own.
fn saved(cluster: &Cluster, name: &str) -> (PathBuf, Identity) {
    let dir = cluster.place().join(name);
    let key = NodeKey::load_or_create(&dir).expect("a key");
    let identity = cluster
        .ca
        .identity_for(&key, Role::Daemon.into(), SystemTime::now());
    let identity = identity.expect("a new host");
    identity.save(&dir).expect("saved");
    (dir, identity)
}

fn fault(dir: &Path) -> LoadFault {
    Identity::load(dir).expect_err("a fault").fault
}

#[test]
fn an_identity_survives_a_restart_with_its_revocations() {
    let cluster = Cluster::new("a");
    let (dir, identity) = saved(&cluster, "host");
    let gone = HostId::from_bytes([3; 32]);
    let list = cluster.ca.revoke(gone, SystemTime::now()).expect("kept");
    identity
        .clone()
        .with_revocations(list)
        .save(&dir)
        .expect("saved");
    let again = Identity::load(&dir)
        .expect("no fault")
        .expect("an identity");
    assert_eq!(again.host(), identity.host());
    assert_eq!(again.roles(), identity.roles());
    assert_eq!(again.expires_at(), identity.expires_at());
    assert!(again.revocations().contains(gone));
    assert!(again.renew_at() < again.expires_at());
    for entry in fs::read_dir(&dir).expect("a directory") {
        let mode = entry
            .expect("an entry")
            .metadata()
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
}

#[test]
fn a_new_host_has_none_and_a_key_alone_is_half_of_one() {
    let cluster = Cluster::new("a");
    let dir = cluster.place().join("host");
    assert!(Identity::load(&dir).expect("no fault").is_none());
    NodeKey::load_or_create(&dir).expect("a key");
    assert!(matches!(fault(&dir), LoadFault::CertificateMissing));
}

#[test]
fn an_expired_identity_still_loads() {
    let cluster = Cluster::new("a");
    let dir = cluster.place().join("host");
    let key = NodeKey::load_or_create(&dir).expect("a key");
    let long_ago = SystemTime::now() - LIFETIME * 3;
    let old = cluster
        .ca
        .identity_for(&key, Role::Daemon.into(), long_ago)
        .expect("a host");
    old.save(&dir).expect("saved");
    let loaded = Identity::load(&dir)
        .expect("no fault")
        .expect("an identity");
    assert!(loaded.expires_at() < SystemTime::now());
}

#[test]
fn halves_mixtures_and_damage_are_named() {
    let (cluster, other) = (Cluster::new("a"), Cluster::new("a"));
    let (dir, identity) = saved(&cluster, "host");
    let (second, _) = saved(&cluster, "second");
    let (crt, key) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
    let good = fs::read_to_string(&crt).expect("a file");
    let at = good.rfind("-----BEGIN").expect("two certificates");
    let others = fs::read_to_string(second.join(CERTIFICATE_FILE)).expect("a file");
    let authority = pem::write("CERTIFICATE", other.ca.authority().der());
    let mixed = format!("{}{}", &good[..at], authority.as_str());
    let swapped = format!("{}{}", &good[at..], &good[..at]);
    let with_key = format!("{good}{}", fs::read_to_string(&key).expect("a file"));
    let misissued = cluster
        .ca
        .misissue(identity.host(), other.host(Role::Daemon).host());
    let misnamed = format!(
        "{}{}",
        pem::write("CERTIFICATE", &misissued).as_str(),
        &good[at..]
    );
    let cases: [(&str, IsExpected); 8] = [
        ("", |fault| matches!(fault, LoadFault::Garbage)),
        ("garbage", |fault| matches!(fault, LoadFault::Garbage)),
        (&good[..at], |fault| matches!(fault, LoadFault::Garbage)),
        (&others, |fault| matches!(fault, LoadFault::OtherKey)),
        (&mixed, |fault| matches!(fault, LoadFault::OtherAuthority)),
        (&swapped, |fault| {
            matches!(fault, LoadFault::BadCertificate(_))
        }),
        (&with_key, |fault| matches!(fault, LoadFault::TooMany)),
        (&misnamed, |fault| {
            matches!(fault, LoadFault::BadCertificate(_))
        }),
    ];
    for (bad, is_expected) in cases {
        fs::write(&crt, bad).expect("damage");
        let fault = fault(&dir);
        assert!(is_expected(&fault), "{bad}: {fault}");
        assert_eq!(fs::read_to_string(&crt).expect("there"), bad);
    }
    fs::write(&crt, &good).expect("mended");
    fs::write(dir.join(REVOCATIONS_FILE), b"?").expect("damage");
    assert!(matches!(fault(&dir), LoadFault::Garbage));
    fs::remove_file(dir.join(REVOCATIONS_FILE)).expect("mended");
    assert!(Identity::load(&dir).is_ok());
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("a mode");
    assert!(matches!(fault(&dir), LoadFault::NotPrivate(0o644)));
    fs::remove_file(&key).expect("lost");
    assert!(matches!(fault(&dir), LoadFault::KeyMissing));
}

#[test]
fn an_identity_is_saved_only_beside_its_own_key() {
    let cluster = Cluster::new("a");
    let (dir, _) = saved(&cluster, "host");
    let stranger = cluster.host(Role::Daemon);
    let refused = stranger.save(&dir).expect_err("another key");
    assert!(matches!(refused.fault, LoadFault::OtherKey));
    let refused = stranger
        .save(&cluster.place().join("empty"))
        .expect_err("no key");
    assert!(matches!(refused.fault, LoadFault::KeyMissing));
}

#[test]
fn no_flipped_bit_makes_a_host_somebody_else() {
    let cluster = Cluster::new("a");
    let (dir, identity) = saved(&cluster, "host");
    for name in [CERTIFICATE_FILE, KEY_FILE] {
        let file = dir.join(name);
        let good = fs::read(&file).expect("a file");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&file, &bad).expect("damage");
            // A bit in the padding of a last line may not matter; nothing may matter in silence.
            if let Ok(loaded) = Identity::load(&dir) {
                let loaded = loaded.expect("the files are there");
                assert_eq!(loaded.host(), identity.host(), "{name} {at}");
                assert_eq!(loaded.leaf().der, identity.leaf().der, "{name} {at}");
            }
            assert_eq!(fs::read(&file).expect("there"), bad);
        }
        fs::write(&file, &good).expect("mended");
    }
}
