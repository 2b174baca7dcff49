//! Whether an answer is the content that was asked for. Looks at status and headers only, before any byte of the body.

use http::StatusCode;
use types::{ByteRange, Validator};

use super::error::ReadError;
use crate::{ask::Answer, header, shown::ShownUrl};

/// What an answer must be to be the content.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) length: Option<u64>,
    pub(crate) validator: Option<Validator>,
    /// Content that is named by its digest is checked by that later on, and needs no validator.
    pub(crate) has_digest: bool,
}

/// A judged answer: the bytes it will give, as far as that is known.
pub(super) struct Judged {
    pub(super) is_whole: bool,
    pub(super) start: u64,
    pub(super) end: Option<u64>,
}

/// Judges an answer to a request for `wanted`, or for everything.
pub(super) fn judge(
    answer: &Answer,
    wanted: Option<ByteRange>,
    expected: &Expected,
) -> Result<Judged, ReadError> {
    let url = ShownUrl::of(&answer.url);
    let headers = &answer.headers;
    let judged = match (answer.status, wanted) {
        (StatusCode::PARTIAL_CONTENT, Some(wanted)) => {
            let told = header::content_range(headers)
                .filter(|told| told.range == wanted)
                .ok_or_else(|| ReadError::WrongRange {
                    url: url.clone(),
                    wanted,
                })?;
            let is_other =
                matches!((told.total, expected.length), (Some(told), Some(was)) if told != was);
            if is_other || !is_same_version(answer, told.total.or(expected.length), expected) {
                return Err(ReadError::Changed { url });
            }
            Judged {
                is_whole: false,
                start: wanted.start(),
                end: Some(wanted.end()),
            }
        }
        (StatusCode::OK, _) => {
            let length = header::content_length(headers);
            if !is_same_version(answer, length.or(expected.length), expected) {
                return Err(ReadError::Changed { url });
            }
            Judged {
                is_whole: true,
                start: 0,
                end: expected.length.or(length),
            }
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(wanted)) => {
            return Err(ReadError::OutOfRange { url, wanted });
        }
        (StatusCode::PRECONDITION_FAILED, _) => return Err(ReadError::Changed { url }),
        _ => return Err(answer.as_error().into()),
    };
    if header::is_encoded(headers) {
        return Err(ReadError::Encoded { url });
    }
    match (header::content_length(headers), judged.end) {
        (Some(told), Some(end)) if told != end - judged.start => Err(ReadError::WrongLength {
            url,
            told,
            expected: end - judged.start,
        }),
        _ => Ok(judged),
    }
}

/// Whether the answer bears the validator that was resolved. None at all is as bad as another one: an error page has
/// none.
fn is_same_version(answer: &Answer, length: Option<u64>, expected: &Expected) -> bool {
    let Some(was) = &expected.validator else {
        return true;
    };
    // An origin that began to send entity tags still tells the old date, and the other way round.
    let now = match was {
        Validator::ETag(_) => header::validator(&answer.headers, None),
        Validator::Modified { .. } => {
            let mut only_date = answer.headers.clone();
            only_date.remove(http::header::ETAG);
            header::validator(&only_date, length)
        }
    };
    now.as_ref() == Some(was)
}
