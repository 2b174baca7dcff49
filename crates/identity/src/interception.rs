//! The authority in whose name the proxy speaks for listed hosts to clients of this machine.
//!
//! It is made here, by each installation for itself, and its key never leaves its file (mode 0600). Its certificate is
//! constrained to the listed hosts, so that who trusts it trusts it for nobody else. Another list makes another authority with
//! another key, which clients are to be told anew; one whose end is near gets a successor ([`record`]), which clients can be
//! told of before it takes over.

mod record;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use types::HostPattern;

use self::record::{named, valid};
use crate::{load_error::LoadError, private_dir::PrivateDir};

const LEAF_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A host's certificate is made anew after this.
const LEAF_USE: Duration = Duration::from_secs(3 * 24 * 3600);
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

/// What of an authority is for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterceptionCertificate {
    /// For whom it speaks.
    pub hosts: Vec<String>,
    /// Until when.
    pub expires_at: SystemTime,
    /// As clients take it.
    pub pem: String,
    /// The certificate of who takes over next, and until when that is good.
    pub next: Option<(SystemTime, String)>,
}

/// What became of an authority whose end may be near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tended {
    /// Nothing.
    Same,
    /// It has a successor, which clients should be told of.
    Announced,
    /// The successor has taken over.
    Replaced,
}

/// Speaks TLS in the name of listed hosts.
pub struct Interception {
    dir: PathBuf,
    hosts: Vec<HostPattern>,
    speaker: Mutex<Arc<Speaker>>,
}

/// One authority, and the certificates that it made.
struct Speaker {
    certificate: String,
    has_successor: bool,
    expires_at: SystemTime,
    issuer: Issuer<'static, KeyPair>,
    /// One key for all hosts: it never outlives this process.
    leaf_key: KeyPair,
    leaves: Mutex<BTreeMap<String, (Arc<ServerConfig>, SystemTime)>>,
}

impl Interception {
    /// The authority for `hosts` in `dir`, made there unless it is. Every host has a name or an address.
    pub fn open(dir: &Path, hosts: &[HostPattern]) -> Result<Self, InterceptionError> {
        Self::open_at(dir, hosts, SystemTime::now())
    }

    fn open_at(
        dir: &Path,
        hosts: &[HostPattern],
        now: SystemTime,
    ) -> Result<Self, InterceptionError> {
        let record = record::settle(&PrivateDir::open_or_create(dir)?, hosts, now)?;
        Ok(Self {
            dir: dir.to_owned(),
            hosts: hosts.to_vec(),
            speaker: Mutex::new(Arc::new(Speaker::of(&record)?)),
        })
    }

    /// Gives an authority whose end is near at `now` a successor, and lets that take over in time. Reads and writes files.
    pub fn tend(&self, now: SystemTime) -> Result<Tended, InterceptionError> {
        let before = self.speaker();
        if before.expires_at > now + record::SUCCEEDED {
            return Ok(Tended::Same);
        }
        let record = record::settle(&PrivateDir::open_or_create(&self.dir)?, &self.hosts, now)?;
        let after = Speaker::of(&record)?;
        let tended = if after.certificate != before.certificate {
            Tended::Replaced
        } else if after.has_successor && !before.has_successor {
            Tended::Announced
        } else {
            return Ok(Tended::Same);
        };
        *self.speaker.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        Ok(tended)
    }

    /// Until when it is good.
    pub fn expires_at(&self) -> SystemTime {
        self.speaker().expires_at
    }

    fn speaker(&self) -> Arc<Speaker> {
        let speaker = self.speaker.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&speaker)
    }

    /// The certificate in `dir`; none if there is none. Nothing is made.
    pub fn certificate_in(
        dir: &Path,
    ) -> Result<Option<InterceptionCertificate>, InterceptionError> {
        if !dir.exists() {
            return Ok(None);
        }
        let record = record::read(&PrivateDir::open_or_create(dir)?)?;
        Ok(record.map(|record| InterceptionCertificate {
            expires_at: record.current.expires_at(),
            hosts: record.hosts.clone(),
            pem: record.current.certificate.clone(),
            next: record
                .next
                .map(|next| (next.expires_at(), next.certificate.clone())),
        }))
    }

    /// Agrees on TLS with a client that wants `host`: HTTP/1.1 within. Errors: it wants another host, or does not trust
    /// the certificate. Dropped early, the stream is.
    pub async fn accept<S: AsyncRead + AsyncWrite + Send + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<S>> {
        let config = self.speaker().leaf(host, SystemTime::now());
        let config = config.map_err(io::Error::other)?;
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Speaker {
    fn of(record: &record::Record) -> Result<Self, InterceptionError> {
        let authority = &record.current;
        let key = KeyPair::from_pem(&authority.key)?;
        Ok(Self {
            certificate: authority.certificate.clone(),
            has_successor: record.next.is_some(),
            expires_at: authority.expires_at(),
            issuer: Issuer::from_ca_cert_pem(&authority.certificate, key)?,
            leaf_key: KeyPair::generate()?,
            leaves: Mutex::default(),
        })
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

#[cfg(test)]
mod tests;
