//! Requests that go on as they are, and answers that come back so.

use ::http::{HeaderMap, Method, Response, header};

use super::{
    Asked,
    dragonfly::{self, Fault},
    outside::{Outside, OutsideAnswer, OutsideError, OutsideRequest, PassedBody},
    refusal,
};
use crate::http::{Answer, empty, end_to_end};

/// Answers with what the origin says.
pub(super) async fn answer(outside: &dyn Outside, asked: Asked, body: PassedBody) -> Answer {
    let request = OutsideRequest {
        method: asked.method,
        url: asked.target.url,
        headers: for_origin(&asked.headers),
        body,
    };
    match outside.relay(request).await {
        Ok(answer) => back(answer),
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

/// The origin's answer, as it comes.
pub(super) fn back(answer: OutsideAnswer) -> Answer {
    let is_fault = answer.status.is_client_error() || answer.status.is_server_error();
    let mut back = Response::new(answer.body);
    *back.status_mut() = answer.status;
    *back.headers_mut() = end_to_end(&answer.headers);
    if is_fault {
        dragonfly::tell_fault(&mut back, Fault::Origin);
    }
    back
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
