//! Asking the daemon for an image's manifest.

use tokio::io::AsyncReadExt;
use types::Digest;

use super::{Client, ClientError, next};
use crate::{
    HeldManifest,
    local::{
        frame::FrameError,
        message::{Failure, FailureCode, ManifestRequest, Reply, Request},
    },
    upstream::{MANIFEST_MAX, digest_of},
};

impl Client {
    /// The manifest of an image, or the index of its platforms, checked against its digest.
    pub async fn manifest(&self, request: ManifestRequest) -> Result<HeldManifest, ClientError> {
        let mut stream = self.ask(Request::Manifest(request)).await?;
        let Reply::Manifest {
            media_type,
            digest,
            length,
        } = next(&mut stream).await?
        else {
            return Err(FrameError::Unexpected("no manifest").into());
        };
        let digest = digest.parse::<Digest>();
        let digest = digest.map_err(|_| FrameError::Unexpected("a malformed digest"))?;
        let capacity = usize::try_from(length).ok();
        let capacity = capacity.filter(|length| *length <= MANIFEST_MAX);
        let capacity = capacity.ok_or(FrameError::Unexpected("a manifest that is too long"))?;
        let mut bytes = vec![0; capacity];
        let read = stream.read_exact(&mut bytes).await;
        read.map_err(FrameError::Io)?;
        let found = digest_of(digest.algorithm(), &bytes);
        if found != digest {
            let message = format!("the manifest is {found}, not {digest}");
            let failure = Failure::new(FailureCode::Corrupt, message);
            return Err(ClientError::Failed(failure));
        }
        Ok(HeldManifest {
            digest,
            media_type,
            bytes: bytes.into(),
        })
    }
}
