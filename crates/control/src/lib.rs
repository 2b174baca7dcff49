//! The control plane as it travels: what hosts and schedulers say to each other, and the streams it travels on.
//!
//! A host keeps one stream to one scheduler ([`Session`]); everything about all its tasks goes through it, in batches.
//! The protobuf schema (`proto/control.proto`) stays inside this crate: bytes become [`HostMessage`] and
//! [`SchedulerMessage`] in one place (`decode`), with every list, length and address bounded and checked, and a side
//! that breaks a bound loses its stream. Links are made and proven by the caller; this crate knows no certificate. A
//! link without a proven host ([`serve_joiner`]) reaches the enrolment call and nothing else.
//!
//! Queues are bounded and nothing in them is dropped: a slow reader slows the writer down.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

mod admin;
mod batch;
mod client;
mod decode;
mod encode;
mod encode_admin;
mod host_message;
mod proto;
mod scheduler_message;
mod server;
mod session;
#[cfg(test)]
mod tests;

pub use admin::{EnrolAnswer, EnrolRequest, HostView};
pub use client::{CallError, ControlClient, ControlReceiver, ControlSender, SendError};
pub use decode::Malformed;
pub use host_message::{
    Ask, CanImport, Found, Have, HostMessage, Inventory, Join, LeaseClaim, LeaseFailed,
    OriginFailure, Progress,
};
pub use scheduler_message::{
    FailCause, Introduce, Lease, Neighbour, Recruit, Refusal, SchedulerMessage, Term,
};
pub use server::{Answer, Caller, Denied, Handler, Incoming, Joiners, serve_host, serve_joiner};
pub use session::{Connector, Disconnected, Event, Session, SessionConfig};

/// A message and the moment its host sent it at, by the host's own clock. Each message of a stream has a larger one
/// than the message before. Schedulers only ever echo it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// When.
    pub sent: types::Moment,
    /// What.
    pub message: HostMessage,
}
