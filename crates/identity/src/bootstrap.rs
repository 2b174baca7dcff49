//! The first link of a host that has a join token and nothing else.
//!
//! The token pins the cluster's authority by the hash of its certificate. The scheduler sends that certificate behind its
//! own; the joiner looks for it there by the hash, and from then on everything is WebPKI with that one root: chain,
//! validity, purpose, and the name that only a scheduler's certificate has. Nothing is taken on first sight.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{verify_tls12_signature, verify_tls13_signature},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;

use crate::{
    authority::{Authority, CaFingerprint},
    enrolment::{AnswerError, EnrolAnswer, EnrolRequest},
    host_identity::Identity,
    link::{Protocol, SecureLink},
    link_error::LinkError,
    links::{Dial, LinkLimits},
    names,
    node_key::NodeKey,
    role::Role,
    tls,
    token::JoinToken,
};

/// A host on its way into a cluster.
#[derive(Debug)]
pub struct Bootstrap {
    token: JoinToken,
    key: NodeKey,
}

impl Bootstrap {
    /// A host with this key, invited by this token.
    pub fn new(token: JoinToken, key: NodeKey) -> Self {
        Self { token, key }
    }

    /// Makes a link to whoever answers on `tcp`, if it is a scheduler of the token's cluster. It may carry the token.
    ///
    /// Errors: [`LinkError`]. Dropped early, the stream is closed.
    pub async fn connect(
        &self,
        tcp: TcpStream,
        limits: &LinkLimits,
    ) -> Result<SecureLink, LinkError> {
        let fingerprint = self.token.fingerprint();
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has ciphers for TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedAuthority(fingerprint)))
            .with_no_client_auth();
        tls::harden_client(&mut config, Protocol::Enrol);
        let dial = Dial {
            config: Arc::new(config),
            // Which name is asked for follows from the authority, see below; this one is only a placeholder that no
            // certificate has.
            name: ServerName::try_from("scheduler.pantala").expect("a DNS name"),
            protocol: Protocol::Enrol,
        };
        dial.through(tcp, limits.handshake).await
    }

    /// The request to send. Each has a nonce of its own; sending one again, or a new one after a lost answer, does not
    /// use the token up twice.
    pub fn request(&self) -> EnrolRequest {
        EnrolRequest::new(&self.token, &self.key)
    }

    /// Checks the answer. The identity is in memory only: `save` it beside the key.
    pub fn accept(&self, answer: &EnrolAnswer, now: SystemTime) -> Result<Identity, AnswerError> {
        answer.check(&self.key, self.token.fingerprint(), now)
    }
}

/// Accepts what rustls' WebPKI verifier accepts for a scheduler under the one authority with this fingerprint.
#[derive(Debug)]
struct PinnedAuthority(CaFingerprint);

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates
            .iter()
            .find(|certificate| CaFingerprint::of(certificate) == self.0)
            .ok_or(CertificateError::UnknownIssuer)?;
        let authority = Authority::from_der(pinned).map_err(|_| CertificateError::BadEncoding)?;
        let scheduler = names::to_verify(names::of_role(Role::Scheduler, authority.cluster()));
        let stock = authority.server_verifier();
        stock.verify_server_cert(end_entity, &[], &scheduler, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &tls::provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &tls::provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
