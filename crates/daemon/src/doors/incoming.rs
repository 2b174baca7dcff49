//! What comes of an origin's stream that goes past store and swarm: counted, in batches, hashed on its way.

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use gateway::ReadError;
use origin::BodyStream;
use sha2::{Digest as _, Sha256};
use types::{ByteCount, Digest, DigestAlgorithm};

use crate::{metrics::Metrics, task::From};

/// How much comes at once at most, beside one chunk of the stream.
const BATCH_MAX: usize = 256 << 10;

/// The stream did not give what it announced.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenStream {
    #[error("the origin's stream is over after byte {0}")]
    Over(u64),
    #[error("the origin gave more than the {0} bytes it announced")]
    Longer(u64),
    #[error("only a part was read: it proves nothing about the whole")]
    Part,
}

impl std::convert::From<BrokenStream> for ReadError {
    fn from(broken: BrokenStream) -> Self {
        Self::NoSource(broken.into())
    }
}

/// A stream under way.
pub(super) struct Incoming {
    stream: Option<BodyStream>,
    /// The offset of its first byte.
    start: u64,
    metrics: Metrics,
}

impl Incoming {
    pub(super) fn new(stream: BodyStream, metrics: Metrics) -> Self {
        Self {
            start: stream.start(),
            stream: Some(stream),
            metrics,
        }
    }

    /// The offset of its first byte.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Ends it: nothing more comes.
    pub(super) fn end(&mut self) {
        self.stream = None;
    }

    /// The next chunk, with those that are here already; none at the end. Dropped early, nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let Some(stream) = &mut self.stream else {
            return Ok(None);
        };
        let broken = |error: origin::ReadError| ReadError::NoSource(error.into());
        let first = match stream.next().await.transpose() {
            Ok(Some(first)) => first,
            ended => {
                self.stream = None;
                return ended.map_err(broken);
            }
        };
        let mut bytes = BytesMut::from(first);
        while bytes.len() < BATCH_MAX {
            // Only what is here already: nothing is awaited, so nothing taken can be lost.
            match stream.next().now_or_never() {
                Some(Some(Ok(chunk))) => bytes.extend_from_slice(&chunk),
                Some(Some(Err(error))) => {
                    self.stream = None;
                    return Err(broken(error));
                }
                Some(None) => {
                    self.stream = None;
                    break;
                }
                None => break,
            }
        }
        let length = ByteCount(bytes.len() as u64);
        self.metrics.body(From::Origin, length);
        self.metrics.unleased(length);
        Ok(Some(bytes.freeze()))
    }
}

/// Hashes what comes, if anybody needs that.
pub(super) enum Hasher {
    Nothing,
    Sha256(Box<Sha256>),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// For what must be `expected`, if that is known; else for who asks what it is, if `is_asked`.
    pub(super) fn of(expected: Option<Digest>, is_asked: bool) -> Self {
        match expected.map(|digest| digest.algorithm()) {
            None if !is_asked => Self::Nothing,
            None | Some(DigestAlgorithm::Sha256) => Self::Sha256(Box::default()),
            Some(DigestAlgorithm::Blake3) => Self::Blake3(Box::default()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// The digest of what came so far, unless it should have been `expected`; none if nobody needed it.
    pub(super) fn proof(&self, expected: Option<Digest>) -> Result<Option<Digest>, ReadError> {
        let found = match self {
            Self::Nothing if expected.is_some() => return Err(BrokenStream::Part.into()),
            Self::Nothing => return Ok(None),
            Self::Sha256(hasher) => Digest::sha256(hasher.as_ref().clone().finalize().into()),
            Self::Blake3(hasher) => Digest::blake3(*hasher.finalize().as_bytes()),
        };
        match expected {
            Some(expected) if expected != found => Err(ReadError::Corrupt {
                expected,
                found: Some(found),
                origin: None,
            }),
            _ => Ok(Some(found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_needs_is_hashed() {
        let digest_of = |expected, is_asked| {
            let mut hasher = Hasher::of(expected, is_asked);
            hasher.update(b"abc");
            hasher.proof(expected)
        };
        let part = Hasher::of(None, false).proof(Some(Digest::sha256([1; 32])));
        assert!(part.is_err(), "what was not hashed proves nothing");
        let right = Digest::sha256(Sha256::digest(b"abc").into());
        assert_eq!(digest_of(None, false).expect("nothing is known"), None);
        assert_eq!(digest_of(None, true).expect("it is asked for"), Some(right));
        for is_asked in [false, true] {
            let proof = digest_of(Some(right), is_asked).expect("it is right");
            assert_eq!(proof, Some(right));
            let wrong = digest_of(Some(Digest::sha256([1; 32])), is_asked);
            assert!(matches!(wrong, Err(ReadError::Corrupt { .. })));
        }
    }
}
