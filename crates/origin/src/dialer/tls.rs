//! Whose certificates count: the system's roots and the operator's own. There is no way to trust without checking.

use std::{path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject};

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

/// TLS as every origin is spoken to: HTTP/2 preferred, names and times checked.
pub(crate) fn client_config(
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
