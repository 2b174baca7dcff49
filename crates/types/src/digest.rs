//! A digest of whole content, as registries and users write it: `sha256:<64 hex>` or `blake3:<64 hex>`.

use std::{fmt, str::FromStr};

use crate::hex;

/// The hash functions that give content its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DigestAlgorithm {
    /// SHA-256, what OCI registries and model hubs name content by.
    Sha256,
    /// BLAKE3, what our piece tables fold to.
    Blake3,
}

impl DigestAlgorithm {
    /// The prefix before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }
}

/// A checked digest. Lower-case only, exact length: a digest that parses names one content and is safe in a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: DigestAlgorithm,
    bytes: [u8; 32],
}

impl Digest {
    /// A SHA-256 value.
    pub const fn sha256(bytes: [u8; 32]) -> Self {
        Self {
            algorithm: DigestAlgorithm::Sha256,
            bytes,
        }
    }

    /// A BLAKE3 value.
    pub const fn blake3(bytes: [u8; 32]) -> Self {
        Self {
            algorithm: DigestAlgorithm::Blake3,
            bytes,
        }
    }

    /// Which function made it.
    pub const fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The 32 bytes of the value.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// There is no colon.
    #[error("a digest looks like sha256:<64 hexadecimal digits>")]
    Shape,
    /// The function is not one of ours.
    #[error("the digest algorithm is not supported: use sha256 or blake3")]
    Algorithm,
    /// Wrong length, upper case, or not hexadecimal.
    #[error("a {algorithm} digest has exactly 64 lower-case hexadecimal digits")]
    Value {
        /// The algorithm that was named.
        algorithm: &'static str,
    },
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once(':').ok_or(ParseDigestError::Shape)?;
        let algorithm = [DigestAlgorithm::Sha256, DigestAlgorithm::Blake3]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or(ParseDigestError::Algorithm)?;
        let bytes = hex::decode(value).ok_or(ParseDigestError::Value {
            algorithm: algorithm.name(),
        })?;
        Ok(Self { algorithm, bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:", self.algorithm.name())?;
        hex::write(to, &self.bytes)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_prints_as_it_was_read() {
        assert_eq!(
            GOOD.parse::<Digest>()
                .map(|digest| digest.to_string())
                .as_deref(),
            Ok(GOOD)
        );
        let blake = GOOD.replace("sha256", "blake3");
        assert_eq!(
            blake.parse::<Digest>().map(|digest| digest.to_string()),
            Ok(blake)
        );
    }

    #[test]
    fn a_hostile_corpus_is_refused() {
        let hex = &GOOD[7..];
        let hostile = [
            String::new(),
            "sha256".into(),
            "sha256:".into(),
            ":".into(),
            hex.into(),
            format!("sha256:{}", &hex[..63]),
            format!("sha256:{hex}0"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            format!("sha512:{hex}{hex}"),
            format!("md5:{}", &hex[..32]),
            format!("sha256:{}..", &hex[..62]),
            format!("sha256:../{}", &hex[..61]),
            format!("sha256:{}\0", &hex[..63]),
            format!("sha256:{}/", &hex[..63]),
            format!("sha256:{}%2e", &hex[..61]),
            format!(" sha256:{hex}"),
            format!("sha256:{hex}\n"),
            format!("sha256::{hex}"),
            format!("sha256:{}é", &hex[..62]),
            format!("sha256+b64:{hex}"),
            "sha256:".to_owned() + &"+1".repeat(32),
        ];
        for text in hostile {
            assert!(
                text.parse::<Digest>().is_err(),
                "{text:?} was taken for a digest"
            );
        }
    }
}
