//! Answers one `get`: the descriptor first, then how far its bytes are verified.

use std::os::fd::AsFd;

use ::http::{HeaderName, HeaderValue};
use tokio::net::UnixStream;
use types::{ByteRange, Digest};

use super::{
    descriptor,
    frame::{self, FrameError},
    message::{Failure, FailureCode, GetRequest, HeaderLine, OpenedReply, Reply},
    server::AnswerError,
};
use crate::{
    AskedRange, Caller, Class, ContentAsk, ContentReader, Opened, OriginHeaders, Proof, ReadError,
    VerifiedReader, Wanted,
};

/// Answers until the client leaves; the reader lives as long, so that the bytes stay while they are copied.
pub(super) async fn answer(
    content: &dyn ContentReader,
    stream: &mut UnixStream,
    (request, caller): (GetRequest, Caller),
) -> Result<(), AnswerError> {
    let ask = ask(request, caller)?;
    let opened = tokio::select! {
        opened = content.open(&ask) => opened.map_err(|error| Failure::from(&error))?,
        () = gone(stream) => return Ok(()),
    };
    let Opened {
        description,
        mut reader,
    } = opened;
    let whole = ByteRange::whole(description.length);
    let range = match ask.range {
        None => whole,
        Some(range) => range.within(description.length).ok_or_else(|| {
            let message = format!("the range lies beyond the content's {} bytes", whole.end());
            Failure::new(FailureCode::BadRequest, message)
        })?,
    };
    // Before the first frame: afterwards the client waits for the descriptor and nothing else.
    let file = reader
        .descriptor()
        .map_err(|error| Failure::of(FailureCode::Internal, &error))?;
    let opened = Reply::Opened(OpenedReply {
        task: description.task.to_string(),
        length: whole.end(),
        start: range.start(),
        end: range.end(),
        content_type: description.content_type,
    });
    frame::write(stream, &opened).await?;
    descriptor::send(stream, file.as_fd())
        .await
        .map_err(FrameError::Io)?;
    drop(file);
    follow(&mut *reader, (range, whole), stream).await?;
    gone(stream).await;
    Ok(())
}

/// Tells how far bytes are verified, to the end and its proof; from the start again if what it told is void. Ends early
/// when the client leaves.
async fn follow(
    reader: &mut dyn VerifiedReader,
    (range, whole): (ByteRange, ByteRange),
    stream: &mut UnixStream,
) -> Result<(), AnswerError> {
    let mut at = range.start();
    loop {
        let next = tokio::select! {
            next = next(reader, at, (range, whole)) => next,
            () = gone(stream) => return Ok(()),
        };
        match next {
            Ok(Next::Verified(ready)) if ready.start() > at || ready.end() <= at => {
                let message = format!("the reader said {ready} is ready, byte {at} was asked for");
                return Err(Failure::new(FailureCode::Internal, message).into());
            }
            Ok(Next::Verified(ready)) => {
                let end = ready.end().min(range.end());
                let verified = Reply::Verified {
                    start: at,
                    end,
                    sources: reader.sources(),
                };
                frame::write(stream, &verified).await?;
                at = end;
            }
            Ok(Next::Done(digest)) => {
                let done = Reply::Done {
                    digest: digest.map(|digest| digest.to_string()),
                    sources: reader.sources(),
                    efficiency: reader.efficiency(),
                    unshared: reader.is_unshared(),
                };
                return Ok(frame::write(stream, &done).await?);
            }
            Err(ReadError::Voided) => {
                frame::write(stream, &Reply::Voided).await?;
                at = range.start();
            }
            Err(error) => return Err(Failure::from(&error).into()),
        }
    }
}

/// What a client is told next.
enum Next {
    Verified(ByteRange),
    Done(Option<Digest>),
}

async fn next(
    reader: &mut dyn VerifiedReader,
    at: u64,
    (range, whole): (ByteRange, ByteRange),
) -> Result<Next, ReadError> {
    if at < range.end() {
        return reader.ready(at).await.map(Next::Verified);
    }
    let digest = if range == whole {
        reader.finish(Proof::OwnDigest).await?
    } else {
        None
    };
    Ok(Next::Done(digest))
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
    let headers = headers(request.headers)?;
    Ok(ContentAsk {
        wanted,
        range,
        caller,
        headers,
        class: if request.background {
            Class::Ahead
        } else {
            Class::Waiting
        },
        prefetch: false,
        proof: Proof::OwnDigest,
    })
}

/// The lines meant for the origin.
pub(super) fn headers(lines: Vec<HeaderLine>) -> Result<OriginHeaders, Failure> {
    let bad = |message: &str| Failure::new(FailureCode::BadRequest, message);
    let mut headers = OriginHeaders::default();
    for line in lines {
        let name =
            HeaderName::try_from(line.name).map_err(|_| bad("a header's name is invalid"))?;
        let value = HeaderValue::try_from(line.value.0.expose().as_str())
            .map_err(|_| bad("a header's value is invalid"))?;
        if !headers.push(name, &value) {
            return Err(bad("too many headers"));
        }
    }
    Ok(headers)
}
