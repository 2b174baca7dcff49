//! How TLS is set up: 1.3 only, one signature algorithm, no resumption, no early data.
//!
//! Resumption is off because a resumed session does not look at certificates again: a revoked or expired host could go on
//! for as long as its ticket lives. Links are long, so that a full handshake each costs little.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::Resumption,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
    version::TLS13,
};
use rustls_pki_types::UnixTime;

use crate::{authority::Authority, certificate::Leaf, link::Protocol, node_key::NodeKey};

/// Makes aws-lc-rs the process-wide default for rustls, for libraries that ask for one. Our own links do not need it.
/// Calling it again changes nothing.
pub fn install_provider() {
    // An error means that a default is there already, which is what is wanted.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// The cryptography of links between hosts: three fast ciphers, post-quantum key exchange first, Ed25519 and nothing else
/// for signatures, so that no peer can make us verify something slow.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let stock = aws_lc_rs::default_provider();
        let mapping = stock.signature_verification_algorithms.mapping;
        let at = mapping
            .iter()
            .position(|(scheme, _)| *scheme == SignatureScheme::ED25519)
            .expect("aws-lc-rs knows Ed25519");
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
                aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
                aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![
                aws_lc_rs::kx_group::X25519MLKEM768,
                aws_lc_rs::kx_group::X25519,
            ],
            signature_verification_algorithms: WebPkiSupportedAlgorithms {
                all: mapping[at].1,
                mapping: &mapping[at..=at],
            },
            ..stock
        })
    };
    PROVIDER.get_or_init(make).clone()
}

/// A clock for verifiers that runs late by the configured grace, so that certificates live on for that long.
#[derive(Debug)]
struct LateClock(Duration);

impl TimeProvider for LateClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Duration::from_secs(UnixTime::now().as_secs());
        now.checked_sub(self.0).map(UnixTime::since_unix_epoch)
    }
}

/// Everything that a host's own side of a handshake consists of.
pub(crate) struct OwnSide<'a> {
    pub(crate) key: &'a NodeKey,
    pub(crate) leaf: &'a Leaf,
    pub(crate) authority: &'a Authority,
    pub(crate) expiry_grace: Duration,
}

impl OwnSide<'_> {
    /// The certificate with the authority's behind it, which joiners look for, and the key.
    fn credentials(&self) -> Arc<SingleCertAndKey> {
        let key = self.key.signer().to_tls();
        let chain = vec![self.leaf.der.clone(), self.authority.certificate()];
        Arc::new(CertifiedKey::new(chain, key).into())
    }

    /// For dialling: we show our certificate, the other side must be who we dialled.
    pub(crate) fn client(&self, protocol: Protocol) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has ciphers for TLS 1.3")
            .with_webpki_verifier(self.authority.server_verifier())
            .with_client_cert_resolver(self.credentials());
        config.time_provider = Arc::new(LateClock(self.expiry_grace));
        harden_client(&mut config, protocol);
        Arc::new(config)
    }

    /// For being dialled by hosts of the cluster: no certificate, no link.
    pub(crate) fn mutual_server(&self, protocols: &[Protocol]) -> Arc<ServerConfig> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.authority.roots(), provider())
                .build()
                .expect("there is one root and no revocation list to parse");
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has ciphers for TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.credentials());
        config.time_provider = Arc::new(LateClock(self.expiry_grace));
        harden_server(&mut config, protocols);
        Arc::new(config)
    }

    /// For being dialled by joiners, who have no certificate yet.
    pub(crate) fn anonymous_server(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has ciphers for TLS 1.3")
            .with_no_client_auth()
            .with_cert_resolver(self.credentials());
        harden_server(&mut config, &[Protocol::Enrol]);
        Arc::new(config)
    }
}

/// What all our client sides share.
pub(crate) fn harden_client(config: &mut ClientConfig, protocol: Protocol) {
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    config.resumption = Resumption::disabled();
    // The name would tell everybody on the way which host is dialled; one port serves one host, so nobody needs it.
    config.enable_sni = false;
}

fn harden_server(config: &mut ServerConfig, protocols: &[Protocol]) {
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.alpn().to_vec())
        .collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}
