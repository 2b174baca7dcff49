//! Whose certificates count: the system's roots and the operator's own. There is no way to trust without checking.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use types::HostPattern;

use crate::allowed::AllowedOrigin;

/// Why the certificates to trust could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file is missing or not PEM.
    #[error("reading the CA file {path}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What reading met.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// The file has no certificate in it.
    #[error("the CA file {path} holds no certificate", path = path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate in it cannot be a root, or the provider lacks a protocol version.
    #[error("setting up TLS with the CA file {path}", path = path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What rustls says of it.
        #[source]
        cause: rustls::Error,
    },
    /// The cryptography provider lacks the protocol versions we speak.
    #[error("setting up TLS")]
    Provider(#[source] rustls::Error),
}

/// The authorities of some hosts: `HOSTS=FILE`. No others count for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCa {
    /// Whose.
    pub hosts: HostPattern,
    /// PEM.
    pub file: PathBuf,
}

/// Why a text names no authorities of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an entry is HOST[:PORT]=FILE or *.DOMAIN[:PORT]=FILE with an absolute path, such as *.corp=/etc/pantala/corp-ca.pem"
)]
pub struct ParseHostCaError;

impl FromStr for HostCa {
    type Err = ParseHostCaError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (hosts, file) = text.split_once('=').ok_or(ParseHostCaError)?;
        let file = PathBuf::from(file);
        let hosts = hosts.parse().map_err(|_| ParseHostCaError)?;
        let is_absolute = file.is_absolute();
        is_absolute
            .then_some(Self { hosts, file })
            .ok_or(ParseHostCaError)
    }
}

/// Whose certificates count for whom.
pub(crate) struct Trust {
    all: Arc<ClientConfig>,
    own: Vec<(HostCa, Arc<ClientConfig>)>,
}

impl Trust {
    /// Those of `own` for their hosts, the first that matches; for all others those of `ca_files` and, if they are used, of
    /// the system.
    pub(crate) fn read(
        ca_files: &[PathBuf],
        use_system_roots: bool,
        own: Vec<HostCa>,
    ) -> Result<Self, RootsError> {
        let all = client_config(ca_files, use_system_roots)?;
        let own = own.into_iter().map(|own| {
            let config = client_config(std::slice::from_ref(&own.file), false)?;
            Ok((own, config))
        });
        let own = own.collect::<Result<_, RootsError>>()?;
        Ok(Self { all, own })
    }

    /// How `origin` is spoken to, and the file that its certificate must follow from, if it has one of its own.
    pub(super) fn of(&self, origin: &AllowedOrigin) -> (Arc<ClientConfig>, Option<&Path>) {
        let is_of = |own: &HostCa| own.hosts.matches(origin.host(), origin.port());
        match self.own.iter().find(|(own, _)| is_of(own)) {
            Some((own, config)) => (Arc::clone(config), Some(&own.file)),
            None => (Arc::clone(&self.all), None),
        }
    }
}

/// TLS as every origin is spoken to: HTTP/2 preferred, names and times checked.
fn client_config(
    ca_files: &[PathBuf],
    use_system_roots: bool,
) -> Result<Arc<ClientConfig>, RootsError> {
    let mut roots = RootCertStore::empty();
    if use_system_roots {
        let found = rustls_native_certs::load_native_certs();
        for cause in &found.errors {
            tracing::warn!(%cause, "some system root certificates could not be read");
        }
        let (taken, unfit) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(taken, unfit, "system root certificates read");
    }
    for path in ca_files {
        add_file(&mut roots, path)?;
    }
    if roots.is_empty() {
        tracing::warn!("no root certificate is known: no https origin can be reached");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Provider)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add_file(roots: &mut RootCertStore, path: &PathBuf) -> Result<(), RootsError> {
    let read = |cause| RootsError::Read {
        path: path.clone(),
        cause,
    };
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
        roots
            .add(certificate.map_err(read)?)
            .map_err(|cause| RootsError::Unfit {
                path: path.clone(),
                cause,
            })?;
    }
    if roots.len() == before {
        return Err(RootsError::Empty { path: path.clone() });
    }
    Ok(())
}
