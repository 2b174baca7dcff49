//! Why there is no link, said so that a person or a retry can act on it.

use std::{io, time::Duration};

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use types::HostId;

use crate::{certificate::CertificateFault, link::Protocol, role::Role};

/// A handshake that ended without a link. The TCP stream is closed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Slow, silent, or a stranger holding the line.
    #[error("the handshake did not end within {0:?}")]
    TimedOut(Duration),
    /// Too many handshakes at once; the caller may come again.
    #[error("too many handshakes are under way already, in all or from the same place")]
    Crowded,
    /// The other side speaks none of our protocols, or not the one asked for.
    #[error("the two sides have no protocol in common; compare their versions and roles")]
    NoProtocol,
    /// The other side offers TLS 1.2 or older only.
    #[error("the other side does not speak TLS 1.3")]
    OldTls,
    /// Not TLS: plaintext, or noise.
    #[error("the other side does not speak TLS")]
    NotTls,
    /// A client without a certificate where one is needed.
    #[error("the other side showed no certificate; hosts join the cluster with a token first")]
    NoCertificate,
    /// Another cluster's, or a self-made one.
    #[error("the other side's certificate was not signed by the authority of this cluster")]
    ForeignCertificate,
    /// Beyond its 72 hours, and the grace.
    #[error("the other side's certificate has expired; it must renew it, or join again")]
    Expired,
    /// From the future.
    #[error("the other side's certificate is not valid yet; compare the clocks of both hosts")]
    NotValidYet,
    /// A genuine certificate, but of somebody else than was dialled.
    #[error("another host answered than the one that was dialled")]
    WrongHost,
    /// Genuine by its signature, unfit by its contents.
    #[error("the other side's certificate is unfit: {0}")]
    UnfitCertificate(#[source] CertificateFault),
    /// Some other fault of a certificate or of its use.
    #[error("the other side's certificate was refused: {0}")]
    BadCertificate(String),
    /// Thrown out.
    #[error("the host {0} was revoked")]
    Revoked(HostId),
    /// A host that may not serve what was asked of it.
    #[error("the host {host} is no {role}, which {protocol:?} needs")]
    WrongRole {
        /// Who.
        host: HostId,
        /// What it lacks.
        role: Role,
        /// For this.
        protocol: Protocol,
    },
    /// The other side gave up and said why.
    #[error("the other side refused: {0}")]
    Refused(String),
    /// TLS went wrong in some other way.
    #[error("the handshake failed: {0}")]
    Tls(String),
    /// The TCP stream.
    #[error("the connection failed during the handshake")]
    Io(#[source] io::Error),
}

impl LinkError {
    /// Sorts what tokio-rustls reports; rustls' errors travel inside an `io::Error`.
    pub(crate) fn of(cause: io::Error) -> Self {
        let inner = cause.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(error) => Self::of_tls(error),
            None => Self::Io(cause),
        }
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(fault) => Self::of_certificate(fault),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::NoApplicationProtocol
            | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::NoProtocol,
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => Self::OldTls,
            Error::AlertReceived(alert) => Self::Refused(format!("{alert:?}")),
            other => Self::Tls(other.to_string()),
        }
    }

    fn of_certificate(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::ForeignCertificate
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongHost
            }
            other => Self::BadCertificate(other.to_string()),
        }
    }
}
