//! OCI registries: manifests, blobs, and the relay that a registry mirror needs.
//!
//! A registry is asked without credentials or with what this host holds for it; a challenge is answered with a token
//! for the one repository asked. Stored credentials go to the registry itself and to its token server, nowhere
//! else.

mod authorize;
mod challenge;
mod client;
mod credentials;
mod keychain;
mod manifest;
mod pass;
mod token;

pub use authorize::AuthError;
pub(crate) use authorize::{Uses, Vault};
pub use client::{BlobHead, RegistryClient};
pub use credentials::{CredentialsError, ParseRealmError, TokenRealm};
pub use keychain::HelperError;
pub use manifest::{Manifest, ManifestError, ManifestHead, Reference};
pub use pass::{PassAnswer, PassBody, PassError, PassMethod, PassRequest};

#[cfg(test)]
mod tests;
