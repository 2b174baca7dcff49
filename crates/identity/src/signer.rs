//! An Ed25519 key pair: what a host and a cluster's authority both have.
//!
//! Ed25519 for all: it is small, fast, deterministic, and one fixed key type means that a handshake never spends time on
//! a huge key that somebody sends us.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rcgen::{PKCS_ED25519, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls_pki_types::PrivatePkcs8KeyDer;
use types::Signature;
use zeroize::Zeroizing;

use crate::{load_error::LoadFault, pem};

/// A key pair. `Debug` shows nothing of it.
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// The public half, in the shape in which certificates are made for it.
#[derive(Clone, Copy)]
pub(crate) struct PublicKey(pub(crate) [u8; 32]);

impl Signer {
    /// A new key.
    pub(crate) fn generate() -> Self {
        let pair = Ed25519KeyPair::generate()
            .expect("a key needs nothing but entropy, without which the library aborts");
        Self::of(pair)
    }

    fn of(pair: Ed25519KeyPair) -> Self {
        let public = pair.public_key().as_ref().try_into();
        let public = PublicKey(public.expect("an Ed25519 public key has 32 bytes"));
        Self { pair, public }
    }

    /// Reads PKCS #8.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, LoadFault> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        pair.map(Self::of).map_err(|_| LoadFault::BadKey)
    }

    /// PKCS #8 version 1, which older tools read too.
    fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let der = self.pair.to_pkcs8v1();
        let der = der.expect("a key that exists can be written down");
        Zeroizing::new(der.as_ref().to_vec())
    }

    /// For a file.
    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        pem::write("PRIVATE KEY", &self.pkcs8())
    }

    /// For rustls.
    pub(crate) fn to_tls(&self) -> Arc<dyn rustls::sign::SigningKey> {
        let der = self.pkcs8();
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(&der[..]));
        key.expect("an Ed25519 key in PKCS #8")
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs; the same statement always gives the same signature.
    pub(crate) fn sign_statement(&self, statement: &[u8]) -> Signature {
        let signature = self.pair.sign(statement);
        let signature = signature.as_ref().try_into();
        signature.expect("an Ed25519 signature has 64 bytes")
    }
}

impl PublicKey {
    /// Whether the holder of the private half signed `statement`.
    pub(crate) fn verify(&self, statement: &[u8], signature: &Signature) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(statement, signature).is_ok()
    }
}

/// The parts of a statement, each after its length, so that no two lists of parts share one encoding.
pub(crate) fn statement(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    for part in parts {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

impl fmt::Debug for Signer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("[key]")
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        &self.public.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.sign_statement(message).to_vec())
    }
}
