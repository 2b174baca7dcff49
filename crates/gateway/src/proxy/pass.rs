//! Requests that go on as they are, and answers that come back so.

use ::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use types::end_to_end;

use super::{
    Asked, Shared,
    dragonfly::{self, Fault},
    outside::{Outside, OutsideAnswer, OutsideError, OutsideRequest, PassedBody},
    refusal,
    tally::{Tally, Way},
};
use crate::http::{Answer, empty};

/// Answers with what the origin says.
pub(super) async fn answer(proxy: &Shared, asked: Asked, body: PassedBody) -> Answer {
    let request = OutsideRequest {
        method: asked.method,
        url: asked.target.url,
        headers: for_origin(&asked.headers),
        body,
    };
    match proxy.outside.relay(request).await {
        Ok(answer) => back(&proxy.tally, answer),
        Err(error) => refusal::outside(&error),
    }
}

/// Asks what `GET` would say of the whole.
pub(super) async fn head(
    outside: &dyn Outside,
    asked: &Asked,
) -> Result<OutsideAnswer, OutsideError> {
    let mut headers = for_origin(&asked.headers);
    // The answer is to speak of the whole.
    headers.remove(header::RANGE);
    headers.remove(header::IF_RANGE);
    let request = OutsideRequest {
        method: Method::HEAD,
        url: asked.target.url.clone(),
        headers,
        body: empty(),
    };
    outside.relay(request).await
}

/// What a request for the first byte brought.
pub(super) enum FirstByte {
    /// What would be said of the whole.
    Head(OutsideAnswer),
    /// The answer to a request for the whole, as an origin gives it that knows no ranges.
    Whole(OutsideAnswer),
    /// Nothing of use.
    Nothing,
}

/// Asks for the first byte, and so for what `GET` would say of the whole.
pub(super) async fn first_byte(
    outside: &dyn Outside,
    asked: &Asked,
) -> Result<FirstByte, OutsideError> {
    let mut headers = for_origin(&asked.headers);
    headers.remove(header::IF_RANGE);
    headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-0"));
    let request = OutsideRequest {
        method: Method::GET,
        url: asked.target.url.clone(),
        headers,
        body: empty(),
    };
    let mut answer = outside.relay(request).await?;
    Ok(match (answer.status, &answer.seen) {
        (StatusCode::PARTIAL_CONTENT, Some(seen)) => {
            answer.status = StatusCode::OK;
            answer.body = empty();
            answer.headers.remove(header::CONTENT_RANGE);
            let length = HeaderValue::from(seen.length.0);
            answer.headers.insert(header::CONTENT_LENGTH, length);
            FirstByte::Head(answer)
        }
        (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => FirstByte::Nothing,
        _ => FirstByte::Whole(answer),
    })
}

/// The origin's answer, as it comes.
pub(super) fn back(tally: &Tally, answer: OutsideAnswer) -> Answer {
    let is_fault = answer.status.is_client_error() || answer.status.is_server_error();
    let mut back = Response::new(answer.body);
    *back.status_mut() = answer.status;
    *back.headers_mut() = answer.headers;
    if is_fault {
        dragonfly::tell_fault(&mut back, Fault::Origin);
    }
    tally.counting(Way::Passed, back)
}

fn for_origin(headers: &HeaderMap) -> HeaderMap {
    let mut headers = end_to_end(headers);
    dragonfly::strip(&mut headers);
    // The server under us has answered it; a second one would not wait.
    headers.remove(header::EXPECT);
    headers.remove(header::HOST);
    for name in [header::AUTHORIZATION, header::COOKIE] {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
    headers
}
