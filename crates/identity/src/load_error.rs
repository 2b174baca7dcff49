//! Why keys or certificates could not be loaded or kept, and what a person does about it.
//!
//! There is one error for all files of this crate, since the answer is always the same: stop, name the file, say what
//! to do. Nothing here is ever repaired by making new keys: that would change who the host, or the cluster, is.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::certificate::CertificateFault;

/// A file of keys, certificates, tokens or revocations that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("using {}: {fault}; {}", path.display(), fault.remedy())]
pub struct LoadError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: LoadFault,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    /// The operating system said no.
    #[error("{doing} it failed: {cause}")]
    Io {
        /// The step.
        doing: &'static str,
        /// Its answer.
        #[source]
        cause: io::Error,
    },
    /// Others may read or change it. The permission bits are given.
    #[error("its permissions are {0:o}, so that others can get at it")]
    NotPrivate(u32),
    /// It belongs to another user, whose number is given.
    #[error("it belongs to user {0}")]
    WrongOwner(u32),
    /// A symbolic link, a pipe, a directory in place of a file, or the other way round.
    #[error("it is a link or not of the right kind")]
    WrongKind,
    /// Longer than any file of ours.
    #[error("it is too long")]
    TooLong,
    /// Neither PEM of the right kinds nor our JSON.
    #[error("its contents are damaged")]
    Garbage,
    /// Written by a version whose format we do not know.
    #[error("its format version is {0}")]
    UnknownVersion(u32),
    /// There is no key where there is other key material.
    #[error("the private key is missing, but what belongs to it is there")]
    KeyMissing,
    /// There is a key without its certificate.
    #[error("there is a private key, but not the certificate for it")]
    CertificateMissing,
    /// Several keys or certificates where one is meant.
    #[error("it holds more keys or certificates than it should")]
    TooMany,
    /// Not an Ed25519 key.
    #[error("the private key is not an Ed25519 key in PKCS #8 form")]
    BadKey,
    /// The certificate's contents do not fit us.
    #[error("the certificate is unfit: {0}")]
    BadCertificate(#[source] CertificateFault),
    /// The certificate is for another key.
    #[error("the certificate belongs to another private key")]
    OtherKey,
    /// The authority beside the certificate did not sign it.
    #[error("the certificate was not signed by the cluster authority beside it")]
    OtherAuthority,
    /// It belongs to the cluster that is named.
    #[error("it belongs to the cluster {0}")]
    OtherCluster(String),
}

impl LoadFault {
    /// What to do about it, as a fragment for a person.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "check the path, the disk and the rights of the user that Pantala runs as"
            }
            Self::NotPrivate(_) => "find out who saw it, then `chmod go-rwx` it",
            Self::WrongOwner(_) => "run Pantala as that user, or `chown` it",
            Self::WrongKind => "put the plain file or directory itself there",
            Self::TooLong | Self::Garbage | Self::BadKey | Self::TooMany => {
                "restore it from a backup; a host may instead empty its directory and join again with a new token"
            }
            Self::UnknownVersion(_) => "run the version of Pantala that wrote it, or a newer one",
            Self::KeyMissing => {
                "restore the key from a backup; a host may instead empty its directory and join again with a new token"
            }
            Self::CertificateMissing => {
                "join the cluster with a token, or restore the certificate from a backup"
            }
            Self::BadCertificate(_) | Self::OtherKey | Self::OtherAuthority => {
                "remove the certificate and join the cluster again with a new token"
            }
            Self::OtherCluster(_) => {
                "name that cluster with --cluster or in the configuration, or use another directory"
            }
        }
    }

    /// Says which file it is about.
    pub(crate) fn at(self, path: impl AsRef<Path>) -> LoadError {
        LoadError {
            path: path.as_ref().to_owned(),
            fault: self,
        }
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io {
            doing,
            cause: errno.into(),
        }
    }
}
