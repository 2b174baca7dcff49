//! A join token as a person carries it: `id.secret.fingerprint`.
//!
//! The id finds the token, the secret proves that the bearer was invited, and the fingerprint lets the joiner know the
//! cluster's authority before it trusts anything.

use std::{fmt, str::FromStr};

use types::{Secret, hex};

use crate::authority::CaFingerprint;

/// Which token; not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub(crate) [u8; 8]);

impl FromStr for TokenId {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self).ok_or(ParseTokenError)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{self}")
    }
}

/// A whole token. It has no `Display`, so that it cannot be printed by mistake.
#[derive(Clone, Debug)]
pub struct JoinToken {
    pub(crate) id: TokenId,
    pub(crate) secret: Secret<[u8; 32]>,
    pub(crate) fingerprint: CaFingerprint,
}

/// Why a text is no token. It does not repeat the text, which may be a secret with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a join token has the form id.secret.fingerprint, in hexadecimal digits; copy it whole")]
pub struct ParseTokenError;

impl JoinToken {
    /// Which token it is.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// The authority it invites to.
    pub fn fingerprint(&self) -> CaFingerprint {
        self.fingerprint
    }

    /// The text to hand over, once.
    pub(crate) fn to_text(&self) -> Secret<String> {
        let secret = Secret::new(hex::encode(self.secret.expose()));
        let mut text = String::with_capacity(160);
        for part in [&self.id.to_string(), ".", secret.expose(), "."] {
            text.push_str(part);
        }
        text.push_str(&self.fingerprint.to_string());
        Secret::new(text)
    }
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(ParseTokenError);
        let token = Self {
            id: next()?.parse()?,
            secret: hex::decode(next()?).ok_or(ParseTokenError)?.into(),
            fingerprint: next()?.parse()?,
        };
        match parts.next() {
            None => Ok(token),
            Some(_) => Err(ParseTokenError),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(id: [u8; 8], secret: [u8; 32], fingerprint: [u8; 32]) -> JoinToken {
        JoinToken {
            id: TokenId(id),
            secret: secret.into(),
            fingerprint: CaFingerprint(fingerprint),
        }
    }

    proptest! {
        #[test]
        fn a_token_reads_back(id: [u8; 8], secret: [u8; 32], fingerprint: [u8; 32]) {
            let text = token(id, secret, fingerprint).to_text();
            let read: JoinToken = text.expose().parse().expect("our own writing");
            prop_assert_eq!(read.id, TokenId(id));
            prop_assert_eq!(read.secret.expose(), &secret);
            prop_assert_eq!(read.fingerprint, CaFingerprint(fingerprint));
        }

        #[test]
        fn hostile_texts_do_not_panic(text in ".*") {
            prop_assert!(text.parse::<JoinToken>().is_err());
        }
    }

    #[test]
    fn other_spellings_are_refused_and_nothing_secret_prints() {
        let token = token([1; 8], [2; 32], [3; 32]);
        let text = token.to_text().expose().clone();
        assert!(!format!("{token:?}").contains("0202"));
        for bad in [
            &text[1..],
            &text.to_uppercase().replace('0', "A"),
            &format!("{text}."),
            &format!(" {text}"),
        ] {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
        }
    }
}
