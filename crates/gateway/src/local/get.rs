//! Answers one `get`: the descriptor first, then how far its bytes are verified.

use std::os::fd::AsFd;

use ::http::{HeaderName, HeaderValue};
use tokio::net::UnixStream;
use types::{ByteRange, Digest};

use super::{
    descriptor,
    frame::{self, FrameError},
    message::{Failure, FailureCode, GetRequest, OpenedReply, Reply},
};
use crate::{
    AskedRange, Caller, Class, ContentAsk, ContentReader, Opened, OriginHeaders, Proof, Wanted,
};

/// Answers until the client leaves; the reader lives as long, so that the bytes stay while they are copied.
pub(super) async fn answer(
    content: &dyn ContentReader,
    stream: &mut UnixStream,
    (request, caller): (GetRequest, Caller),
) -> Result<Result<(), Failure>, FrameError> {
    let ask = match ask(request, caller) {
        Ok(ask) => ask,
        Err(failure) => return Ok(Err(failure)),
    };
    let opened = tokio::select! {
        opened = content.open(&ask) => opened,
        () = gone(stream) => return Ok(Ok(())),
    };
    match opened {
        Ok(opened) => send(opened, &ask, stream).await,
        Err(error) => Ok(Err(Failure::from(&error))),
    }
}

async fn send(
    mut opened: Opened,
    ask: &ContentAsk,
    stream: &mut UnixStream,
) -> Result<Result<(), Failure>, FrameError> {
    let whole = ByteRange::whole(opened.description.length);
    let Some(range) = ask
        .range
        .map_or(Some(whole), |range| range.within(opened.description.length))
    else {
        let message = format!("the range lies beyond the content's {} bytes", whole.end());
        return Ok(Err(Failure::new(FailureCode::BadRequest, message)));
    };
    // Before the first frame: afterwards the client waits for the descriptor and nothing else.
    let file = match opened.reader.descriptor() {
        Ok(file) => file,
        Err(error) => return Ok(Err(Failure::of(FailureCode::Internal, &error))),
    };
    let reply = Reply::Opened(OpenedReply {
        task: opened.description.task.to_string(),
        length: whole.end(),
        start: range.start(),
        end: range.end(),
        content_type: opened.description.content_type.clone(),
    });
    frame::write(stream, &reply).await?;
    descriptor::send(stream, file.as_fd()).await?;
    drop(file);
    let mut at = range.start();
    while at < range.end() {
        let ready = tokio::select! {
            ready = opened.reader.ready(at) => ready,
            () = gone(stream) => return Ok(Ok(())),
        };
        let end = match ready {
            Ok(ready) if ready.start() <= at && ready.end() > at => ready.end().min(range.end()),
            Ok(ready) => {
                let message = format!("the reader said {ready} is ready, byte {at} was asked for");
                return Ok(Err(Failure::new(FailureCode::Internal, message)));
            }
            Err(error) => return Ok(Err(Failure::from(&error))),
        };
        frame::write(stream, &Reply::Verified { start: at, end }).await?;
        at = end;
    }
    let digest = if range == whole {
        let finished = tokio::select! {
            finished = opened.reader.finish(Proof::OwnDigest) => finished,
            () = gone(stream) => return Ok(Ok(())),
        };
        match finished {
            Ok(digest) => digest.map(|digest| digest.to_string()),
            Err(error) => return Ok(Err(Failure::from(&error))),
        }
    } else {
        None
    };
    let sources = opened.reader.sources();
    frame::write(stream, &Reply::Done { digest, sources }).await?;
    gone(stream).await;
    Ok(Ok(()))
}

/// Waits until the client closes the connection, or says more than it may.
async fn gone(stream: &UnixStream) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

fn ask(request: GetRequest, caller: Caller) -> Result<ContentAsk, Failure> {
    let bad = |message: &str| Failure::new(FailureCode::BadRequest, message);
    let asked_digest = request
        .digest
        .map(|digest| digest.parse::<Digest>())
        .transpose()
        .map_err(|error| Failure::of(FailureCode::BadRequest, &error))?;
    let wanted = request.reference.0.expose().parse::<Wanted>();
    let mut wanted = wanted.map_err(|error| Failure::of(FailureCode::BadRequest, &error))?;
    match &mut wanted {
        Wanted::Url { digest, tag, .. } => {
            *digest = asked_digest;
            *tag = request.tag;
        }
        Wanted::Blob { digest, .. } => {
            if asked_digest.is_some_and(|asked| asked != *digest) {
                return Err(bad("the digest differs from the reference's"));
            }
        }
    }
    let range = match request.range.as_deref() {
        Some(text) => Some(AskedRange::parse(text).ok_or_else(|| {
            bad("a range looks like bytes=0-1023, bytes=1024- or bytes=-1024, one at a time")
        })?),
        None => None,
    };
    let mut headers = OriginHeaders::default();
    for line in request.headers {
        let name =
            HeaderName::try_from(line.name).map_err(|_| bad("a header's name is invalid"))?;
        let value = HeaderValue::try_from(line.value.0.expose().as_str())
            .map_err(|_| bad("a header's value is invalid"))?;
        if !headers.push(name, &value) {
            return Err(bad("too many headers"));
        }
    }
    Ok(ContentAsk {
        wanted,
        range,
        caller,
        headers,
        class: Class::Waiting,
    })
}
