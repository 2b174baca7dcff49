//! Answers a request for an image's manifest: one frame that tells of it, then its bytes.

use tokio::{io::AsyncWriteExt, net::UnixStream};

use super::{
    LocalService,
    frame::{self, FrameError},
    get::headers,
    message::{Failure, FailureCode, ManifestRequest, Reply},
    server::AnswerError,
};
use crate::{Caller, ImageName, ManifestAsk};

pub(super) async fn answer(
    service: &dyn LocalService,
    stream: &mut UnixStream,
    (request, caller): (ManifestRequest, Caller),
) -> Result<(), AnswerError> {
    let image = request.image.parse::<ImageName>();
    let image = image.map_err(|error| Failure::of(FailureCode::BadRequest, &error))?;
    let ask = ManifestAsk {
        name: image.name,
        registry: image.registry,
        repository: image.repository,
        caller,
        headers: headers(request.headers)?,
    };
    let manifest = service.manifest(&ask).await;
    let manifest = manifest.map_err(|error| Failure::from(&error))?;
    let told = Reply::Manifest {
        media_type: manifest.media_type,
        digest: manifest.digest.to_string(),
        length: manifest.bytes.len() as u64,
    };
    frame::write(stream, &told).await?;
    stream
        .write_all(&manifest.bytes)
        .await
        .map_err(FrameError::Io)?;
    Ok(())
}
