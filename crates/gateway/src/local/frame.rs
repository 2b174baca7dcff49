//! Frames of the local socket: a length of four bytes, the most significant first, and so many bytes of JSON.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame, without its length: what a header line of an origin with several tokens needs, and nothing like
/// what would hurt a daemon.
pub(crate) const FRAME_MAX: usize = 64 << 10;

/// Why a frame was not taken or not sent.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end went away in the middle, or the socket broke.
    #[error("the local socket broke")]
    Io(#[from] io::Error),
    /// Longer than allowed.
    #[error("a frame of {length} bytes is longer than {FRAME_MAX}")]
    TooLong {
        /// What it said.
        length: usize,
    },
    /// Not what this version says.
    #[error("a frame is not understood")]
    Content(#[from] serde_json::Error),
    /// Something else was due.
    #[error("the other end sent {0}")]
    Unexpected(&'static str),
}

/// The bytes of `message`, length included.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    let prefix = u32::try_from(length)
        .ok()
        .filter(|_| length <= FRAME_MAX)
        .ok_or(FrameError::TooLong { length })?;
    bytes[..4].copy_from_slice(&prefix.to_be_bytes());
    Ok(bytes)
}

/// Sends one frame. Dropped early, the stream is of no more use.
pub(crate) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    to.write_all(&encode(message)?).await?;
    Ok(())
}

/// Reads the bytes of one frame and not one more; `None` if the other end closed before it.
///
/// Dropped early, the stream is of no more use.
pub(crate) async fn read_bytes(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Vec<u8>>, FrameError> {
    let mut prefix = [0; 4];
    if from.read(&mut prefix[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut prefix[1..]).await?;
    let length = u32::from_be_bytes(prefix) as usize;
    if length > FRAME_MAX {
        return Err(FrameError::TooLong { length });
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(Some(bytes))
}

/// Reads one frame; `None` if the other end closed before it.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    match read_bytes(from).await? {
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::local::message::{Hello, Reply, Request};

    /// Reads one frame from bytes that are all there.
    fn taken<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<Option<T>, FrameError> {
        read(&mut bytes).now_or_never().expect("no wait")
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let hello = Hello {
            version: 1,
            request: Request::Status,
        };
        let bytes = encode(&hello).expect("a frame");
        let read = taken::<Hello>(&bytes)
            .expect("a frame")
            .expect("not the end");
        assert!(matches!(read.request, Request::Status));
        assert!(taken::<Hello>(&[]).expect("the end").is_none());
        for cut in 1..bytes.len() {
            assert!(taken::<Hello>(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_long_frame_is_neither_sent_nor_waited_for() {
        assert!(matches!(
            encode(&"x".repeat(FRAME_MAX)),
            Err(FrameError::TooLong { .. })
        ));
        for length in [FRAME_MAX as u32 + 1, u32::MAX] {
            assert!(matches!(
                taken::<Hello>(&length.to_be_bytes()),
                Err(FrameError::TooLong { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = taken::<Hello>(&bytes);
            let _ = taken::<Reply>(&bytes);
            let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
            framed.extend(&bytes);
            let _ = taken::<Hello>(&framed);
        }

        #[test]
        fn hostile_json_is_refused_without_harm(
            depth in 0usize..30_000,
            text in r#"\{"version":[0-9]{1,22},"request":(\{"[a-z_]{1,12}":(null|\[\]|\{\}|"x")\}|"[a-z_]{0,12}")\}"#,
        ) {
            let mut framed = (text.len() as u32).to_be_bytes().to_vec();
            framed.extend(text.as_bytes());
            let _ = taken::<Hello>(&framed);
            let nested = "[".repeat(depth);
            let mut framed = (nested.len() as u32).to_be_bytes().to_vec();
            framed.extend(nested.as_bytes());
            prop_assert!(taken::<Hello>(&framed).is_err());
        }
    }
}
