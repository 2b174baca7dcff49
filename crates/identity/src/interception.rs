//! The authority in whose name the proxy speaks for listed hosts to clients of this machine.
//!
//! It is made here, by each installation for itself, and its key never leaves its file (mode 0600). Its certificate is
//! constrained to the listed hosts, so that who trusts it trusts it for nobody else. Another list, or an end that is near,
//! makes another authority with another key, which clients are to be told anew.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use types::HostPattern;
use zeroize::{Zeroize, Zeroizing};

use crate::{load_error::LoadError, private_dir::PrivateDir};

const FILE: &str = "authority.json";
const VERSION: u32 = 1;
/// Clients take no server certificate that is good for longer than 825 days; its authority needs no more either.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(800 * 24 * 3600);
/// An authority with less left is replaced at the next start.
const AUTHORITY_REST: Duration = Duration::from_secs(30 * 24 * 3600);
const LEAF_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A host's certificate is made anew after this.
const LEAF_USE: Duration = Duration::from_secs(3 * 24 * 3600);
/// Clocks of clients may be behind by this.
const DATED_BACK: Duration = Duration::from_secs(24 * 3600);
/// Hosts whose certificates are kept; the oldest gives way.
const LEAVES_MAX: usize = 256;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum InterceptionError {
    /// Its file.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its file holds something else.
    #[error(
        "the authority in {0} is damaged; remove that folder, and clients are told of a new one"
    )]
    Damaged(String),
    /// A name that no certificate can have.
    #[error("making a certificate for the proxy")]
    Make(#[from] rcgen::Error),
    /// TLS cannot be set up with it.
    #[error("setting up TLS with the proxy's certificate")]
    Tls(#[from] rustls::Error),
}

/// As it is kept.
#[derive(serde::Serialize, serde::Deserialize)]
struct Record {
    version: u32,
    /// For whom it speaks, as they are listed.
    hosts: Vec<String>,
    /// Seconds since 1970.
    expires_at: u64,
    certificate: String,
    key: String,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// What of an authority is for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterceptionCertificate {
    /// For whom it speaks.
    pub hosts: Vec<String>,
    /// Until when.
    pub expires_at: SystemTime,
    /// As clients take it.
    pub pem: String,
}

/// Speaks TLS in the name of listed hosts.
pub struct Interception {
    issuer: Issuer<'static, KeyPair>,
    /// One key for all hosts: it never outlives this process.
    leaf_key: KeyPair,
    leaves: Mutex<BTreeMap<String, (Arc<ServerConfig>, SystemTime)>>,
}

impl Interception {
    /// The authority for `hosts` in `dir`, made there unless it is. Every host has a name or an address.
    pub fn open(dir: &Path, hosts: &[HostPattern]) -> Result<Self, InterceptionError> {
        let opened = PrivateDir::open_or_create(dir)?;
        let lock = opened.lock()?;
        let now = SystemTime::now();
        let listed: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let held = read(&opened)?
            .filter(|held| held.hosts == listed && expires_at(held) > now + AUTHORITY_REST);
        let record = match held {
            Some(held) => held,
            None => {
                let made = make(hosts, listed, now)?;
                let text = Zeroizing::new(serde_json::to_vec(&made).expect("texts and numbers"));
                lock.write(FILE, &text)?;
                made
            }
        };
        let key = KeyPair::from_pem(&record.key)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(&record.certificate, key)?,
            leaf_key: KeyPair::generate()?,
            leaves: Mutex::default(),
        })
    }

    /// The certificate in `dir`; none if there is none. Nothing is made.
    pub fn certificate_in(
        dir: &Path,
    ) -> Result<Option<InterceptionCertificate>, InterceptionError> {
        if !dir.exists() {
            return Ok(None);
        }
        let record = read(&PrivateDir::open_or_create(dir)?)?;
        Ok(record.map(|record| InterceptionCertificate {
            expires_at: expires_at(&record),
            hosts: record.hosts.clone(),
            pem: record.certificate.clone(),
        }))
    }

    /// Agrees on TLS with a client that wants `host`: HTTP/1.1 within. Errors: it wants another host, or does not trust
    /// the certificate. Dropped early, the stream is.
    pub async fn accept<S: AsyncRead + AsyncWrite + Send + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<S>> {
        let config = self.leaf(host, SystemTime::now());
        let config = config.map_err(io::Error::other)?;
        TlsAcceptor::from(config).accept(stream).await
    }

    fn leaf(&self, host: &str, now: SystemTime) -> Result<Arc<ServerConfig>, InterceptionError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((config, made_at)) = leaves.get(host)
            && now.duration_since(*made_at).is_ok_and(|age| age < LEAF_USE)
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.make_leaf(host, now)?);
        leaves.insert(host.to_owned(), (Arc::clone(&config), now));
        if leaves.len() > LEAVES_MAX {
            let oldest = leaves.iter().min_by_key(|(_, (_, made_at))| *made_at);
            let oldest = oldest.map(|(host, _)| host.clone());
            oldest.and_then(|host| leaves.remove(&host));
        }
        Ok(config)
    }

    fn make_leaf(&self, host: &str, now: SystemTime) -> Result<ServerConfig, InterceptionError> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name = named("Pantala proxy");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = valid(now, LEAF_LIFETIME);
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(self.leaf_key.serialize_der().into());
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(OneHost {
                host: host.to_owned(),
                key: Arc::new(CertifiedKey::new(vec![leaf.der().clone()], key)),
            }));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The certificate of one host, for who wants no other.
#[derive(Debug)]
struct OneHost {
    host: String,
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name();
        let is_same = wanted.is_none_or(|name| name.eq_ignore_ascii_case(&self.host));
        is_same.then(|| Arc::clone(&self.key))
    }
}

fn read(dir: &PrivateDir) -> Result<Option<Record>, InterceptionError> {
    let damaged = || InterceptionError::Damaged(dir.path_of(FILE).display().to_string());
    let Some(text) = dir.read(FILE)? else {
        return Ok(None);
    };
    let record: Record = serde_json::from_slice(&text).map_err(|_| damaged())?;
    let is_whole = CertificateDer::from_pem_slice(record.certificate.as_bytes()).is_ok();
    if record.version != VERSION || !is_whole {
        return Err(damaged());
    }
    Ok(Some(record))
}

fn expires_at(record: &Record) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(record.expires_at)
}

fn make(
    hosts: &[HostPattern],
    listed: Vec<String>,
    now: SystemTime,
) -> Result<Record, InterceptionError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Pantala proxy of this machine");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(constraints(hosts));
    (params.not_before, params.not_after) = valid(now, AUTHORITY_LIFETIME);
    let certificate = params.self_signed(&key)?;
    let expires_at = (now + AUTHORITY_LIFETIME).duration_since(SystemTime::UNIX_EPOCH);
    Ok(Record {
        version: VERSION,
        hosts: listed,
        expires_at: expires_at.unwrap_or_default().as_secs(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// The listed hosts and, of the other kind of names, nobody: a list of names alone would leave every address open.
fn constraints(hosts: &[HostPattern]) -> NameConstraints {
    let address = |address: IpAddr| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits))
    };
    let permitted: Vec<GeneralSubtree> = hosts
        .iter()
        .filter_map(|hosts| match (hosts.address(), hosts.domain()) {
            (Some(own), _) => Some(address(own)),
            (None, Some(domain)) => Some(GeneralSubtree::DnsName(domain.to_owned())),
            (None, None) => None,
        })
        .collect();
    let has = |is_kind: fn(&GeneralSubtree) -> bool| permitted.iter().any(is_kind);
    let mut excluded = Vec::new();
    if !has(|subtree| matches!(subtree, GeneralSubtree::DnsName(_))) {
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    if !has(|subtree| matches!(subtree, GeneralSubtree::IpAddress(_))) {
        excluded.extend([
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ]);
    }
    NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: excluded,
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn valid<T: From<SystemTime>>(now: SystemTime, lifetime: Duration) -> (T, T) {
    ((now - DATED_BACK).into(), (now + lifetime).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
    use tokio::io::duplex;
    use tokio_rustls::TlsConnector;

    use super::*;

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
        let speaker = speaker.expect("an authority");
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
}
