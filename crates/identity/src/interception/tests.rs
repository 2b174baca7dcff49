use std::os::unix::fs::PermissionsExt;

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::io::duplex;
use tokio_rustls::TlsConnector;

use super::{record::FILE, *};

fn hosts(texts: &[&str]) -> Vec<HostPattern> {
    texts.iter().map(|text| text.parse().expect(text)).collect()
}

/// Whether a client that trusts the authority in `dir` takes its word for `host` when it wants `wanted`.
async fn is_taken(dir: &Path, speaker: &Interception, host: &str, wanted: &str) -> bool {
    let told = Interception::certificate_in(dir)
        .expect("read")
        .expect("made");
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(told.pem.as_bytes()).expect("a certificate");
    roots.add(root).expect("a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, server) = duplex(1 << 16);
    let name = ServerName::try_from(wanted.to_owned()).expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let (took, _) = tokio::join!(
        connector.connect(name, client),
        speaker.accept(host, server)
    );
    took.is_ok()
}

#[tokio::test]
async fn it_speaks_for_listed_hosts_and_is_believed_for_no_other() {
    let place = tempfile::tempdir().expect("a folder");
    let dir = place.path().join("interception");
    let speaker = Interception::open(&dir, &hosts(&["*.files.corp", "hub.test:8443"]));
    let speaker = speaker.expect("an authority");
    for host in ["a.files.corp", "b.a.files.corp", "hub.test"] {
        assert!(is_taken(&dir, &speaker, host, host).await, "{host}");
    }
    for host in ["evil.test", "files.corp.evil.test", "127.0.0.1", "::1"] {
        assert!(!is_taken(&dir, &speaker, host, host).await, "{host}");
    }
    assert!(!is_taken(&dir, &speaker, "hub.test", "a.files.corp").await);
    let addresses = Interception::open(&dir, &hosts(&["10.0.0.7"])).expect("another");
    assert!(is_taken(&dir, &addresses, "10.0.0.7", "10.0.0.7").await);
    for host in ["10.0.0.8", "hub.test"] {
        assert!(!is_taken(&dir, &addresses, host, host).await, "{host}");
    }
}

#[tokio::test]
async fn another_list_makes_another_authority_and_the_same_one_does_not() {
    let place = tempfile::tempdir().expect("a folder");
    let dir = place.path().join("interception");
    assert_eq!(Interception::certificate_in(&dir).expect("no fault"), None);
    let told = |texts: &[&str]| {
        let opened = Interception::open(&dir, &hosts(texts)).expect("an authority");
        let told = Interception::certificate_in(&dir)
            .expect("read")
            .expect("made");
        (opened, told)
    };
    let (first, before) = told(&["a.test"]);
    assert_eq!(told(&["a.test"]).1, before);
    assert_ne!(told(&["a.test", "b.test"]).1.pem, before.pem);
    // Who trusts the new one takes nothing of the old one.
    assert!(!is_taken(&dir, &first, "a.test", "a.test").await);
    let mode = std::fs::metadata(dir.join(FILE))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!format!("{before:?}").contains("PRIVATE"));
    std::fs::write(dir.join(FILE), b"{}").expect("a file");
    assert!(matches!(
        Interception::open(&dir, &hosts(&["a.test"])),
        Err(InterceptionError::Damaged(_))
    ));
}

#[test]
fn certificates_are_kept_for_a_while_and_not_too_many() {
    let place = tempfile::tempdir().expect("a folder");
    let speaker = Interception::open(&place.path().join("i"), &hosts(&["*.test"]));
    let speaker = speaker.expect("an authority").speaker();
    let now = SystemTime::now();
    let first = speaker.leaf("a.test", now).expect("a certificate");
    let leaf = |at| speaker.leaf("a.test", at).expect("a certificate");
    assert!(Arc::ptr_eq(&first, &leaf(now + LEAF_USE / 2)));
    assert!(!Arc::ptr_eq(&first, &leaf(now + LEAF_USE)));
    for at in 0..=LEAVES_MAX {
        speaker
            .leaf(&format!("h{at}.test"), now)
            .expect("a certificate");
    }
    assert_eq!(speaker.leaves.lock().expect("a lock").len(), LEAVES_MAX);
}

#[tokio::test]
async fn an_authority_near_its_end_is_succeeded_by_one_that_clients_could_be_told_of() {
    let place = tempfile::tempdir().expect("a folder");
    let (dir, listed) = (place.path().join("interception"), hosts(&["a.test"]));
    let told = || {
        let told = Interception::certificate_in(&dir).expect("read");
        told.expect("made")
    };
    let day = Duration::from_secs(24 * 3600);
    let made_at = SystemTime::now() - 795 * day;
    let speaker = Interception::open_at(&dir, &listed, made_at).expect("an authority");
    let first = told();
    assert_eq!(speaker.tend(made_at + day).expect("tended"), Tended::Same);
    assert_eq!(told(), first);

    let near = made_at + 771 * day;
    assert_eq!(speaker.tend(near).expect("tended"), Tended::Announced);
    let both = told();
    assert_eq!(both.pem, first.pem, "clients still trust the old one");
    let (_, next) = both.next.clone().expect("a successor");
    for _ in 0..2 {
        assert_eq!(speaker.tend(near + day).expect("tended"), Tended::Same);
        assert_eq!(told(), both);
    }
    let opened = Interception::open_at(&dir, &listed, near).expect("opened");
    assert!(is_taken(&dir, &opened, "a.test", "a.test").await);

    let later = made_at + 794 * day;
    assert_eq!(speaker.tend(later).expect("tended"), Tended::Replaced);
    assert_eq!((told().pem, told().next), (next, None));
    assert!(is_taken(&dir, &speaker, "a.test", "a.test").await);
    assert!(speaker.expires_at() > later + 700 * day);
    assert_eq!(speaker.tend(later).expect("tended"), Tended::Same);

    // Who slept through all of it begins anew.
    let much_later = later + 2000 * day;
    let opened = Interception::open_at(&dir, &listed, much_later).expect("opened");
    assert!(opened.expires_at() > much_later + 700 * day);
}
