//! What a consumer is told when an origin or a task fails.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use gateway::{OpenError, OriginAnswer, ReadError};
use http::{HeaderMap, StatusCode};
use origin::{AskError, ManifestError, PassAnswer};

use crate::task::TaskError;

/// The most of a refusal's body that is relayed.
const BODY_MAX: usize = 8 << 10;

/// What an origin's failure means to who opens.
pub(super) fn of_ask(error: AskError) -> OpenError {
    if let AskError::Refused(refused) = &error {
        return OpenError::Policy(refused.to_string());
    }
    match (error.status().map(|status| status.as_u16()), &error) {
        (Some(404 | 410), _) => OpenError::NotFound(error.into()),
        (Some(401 | 403), _) => {
            let status = error.status().unwrap_or(StatusCode::FORBIDDEN);
            OpenError::Denied(Box::new(OriginAnswer {
                status,
                headers: HeaderMap::new(),
                body: Bytes::new(),
            }))
        }
        (Some(429), _) | (_, AskError::Paused { .. } | AskError::Crowded { .. }) => busy(error),
        (Some(503), _) if error.retry_after().is_some() => busy(error),
        _ => OpenError::Unavailable(error.into()),
    }
}

fn busy(error: AskError) -> OpenError {
    OpenError::OriginBusy {
        retry_after: error.retry_after(),
        cause: error.into(),
    }
}

/// What a failed read of a manifest means to who asked.
pub(super) fn of_manifest(error: ManifestError) -> OpenError {
    match error {
        ManifestError::Ask(error) => of_ask(error),
        other => OpenError::Unavailable(other.into()),
    }
}

/// What a failed read means to who opens.
pub(super) fn of_read(error: origin::ReadError) -> OpenError {
    match error {
        origin::ReadError::Ask(error) => of_ask(error),
        other => OpenError::Unavailable(other.into()),
    }
}

/// What a task's failure means to who opens it.
pub(crate) fn of_task(error: &Arc<TaskError>) -> OpenError {
    if let TaskError::Origin { cause, .. } = &**error {
        if let Some(ask) = cause.downcast_ref::<AskError>() {
            return of_ask(ask.clone());
        }
        if let Some(read) = cause.downcast_ref::<origin::ReadError>() {
            return of_read(read.clone());
        }
    }
    OpenError::Unavailable(Arc::clone(error).into())
}

/// What a task's failure means to who reads it.
pub(super) fn while_reading(error: Arc<TaskError>) -> ReadError {
    match &*error {
        TaskError::Corrupt {
            expected,
            found,
            origin,
        } => ReadError::Corrupt {
            expected: *expected,
            found: *found,
            origin: Some(origin.clone()),
        },
        TaskError::Voided => ReadError::Voided,
        TaskError::Store(_) | TaskError::Broke => ReadError::Store(io::Error::other(error)),
        TaskError::Stopping => ReadError::Stopping,
        TaskError::Origin { .. } | TaskError::NoSource { .. } | TaskError::Stalled { .. } => {
            ReadError::NoSource(error.into())
        }
    }
}

/// A registry's own refusal, to be relayed as it came. None if it was no refusal.
pub(super) async fn relayed(mut answer: PassAnswer) -> Option<OriginAnswer> {
    if !matches!(answer.status.as_u16(), 401 | 403) {
        return None;
    }
    let mut body = BytesMut::new();
    while let Some(Ok(chunk)) = answer.body.next().await {
        if body.len() + chunk.len() > BODY_MAX {
            // A cut-off body is worse than none.
            body.clear();
            break;
        }
        body.extend_from_slice(&chunk);
    }
    answer.headers.remove(http::header::CONTENT_LENGTH);
    Some(OriginAnswer {
        status: answer.status,
        headers: answer.headers,
        body: body.freeze(),
    })
}
