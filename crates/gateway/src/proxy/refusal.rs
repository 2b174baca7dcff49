//! Our own errors: a line of text, and whose fault it is. Causes go to the log.

use ::http::{HeaderValue, Response, StatusCode, header};
use tracing::debug;

use super::{
    dragonfly::{self, Fault},
    outside::OutsideError,
    tally::Reason,
};
use crate::http::{Answer, full};

fn refuse(status: StatusCode, (fault, reason): (Fault, Reason), told: &str) -> Answer {
    let mut answer = Response::new(full(format!("pantala: {told}\n")));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    dragonfly::tell_fault(&mut answer, fault);
    answer.extensions_mut().insert(reason);
    answer
}

/// Ends the connection after the answer: what follows a refused head may be anything.
pub(super) fn closing(mut answer: Answer) -> Answer {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

/// A request that means nothing, or two things.
pub(super) fn malformed(told: &str) -> Answer {
    closing(refuse(
        StatusCode::BAD_REQUEST,
        (Fault::Policy, Reason::Malformed),
        told,
    ))
}

/// A client that may not ask.
pub(super) fn stranger() -> Answer {
    let told = "this proxy does not serve your address: see proxy.clients";
    closing(refuse(
        StatusCode::FORBIDDEN,
        (Fault::Policy, Reason::Stranger),
        told,
    ))
}

/// A rule says no.
pub(super) fn by_rule(at: usize) -> Answer {
    let told = format!("refused by rule {} of proxy.rules", at + 1);
    closing(refuse(
        StatusCode::FORBIDDEN,
        (Fault::Policy, Reason::Rule),
        &told,
    ))
}

/// An origin that gave no answer.
pub(super) fn outside(error: &OutsideError) -> Answer {
    debug!(error = error as &dyn std::error::Error, "not passed on");
    match error {
        OutsideError::Policy(reason) => {
            let told = format!("refused by policy: {reason}");
            refuse(
                StatusCode::FORBIDDEN,
                (Fault::Policy, Reason::Policy),
                &told,
            )
        }
        OutsideError::Unreachable(_) => {
            let told = "the origin cannot be reached";
            refuse(
                StatusCode::BAD_GATEWAY,
                (Fault::Own, Reason::Unreachable),
                told,
            )
        }
    }
}
