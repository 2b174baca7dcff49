//! The peer protocol: how two daemons speak once each has proved who it is.
//!
//! A link is any ordered stream of bytes whose remote `HostId` the caller already knows; TLS and certificates live in
//! `identity`. The rooms, from pure to moving:
//!
//! - [`codec`] (pure): frames, messages, and every bound on what a remote may say.
//! - [`settle`] (pure): which of two simultaneous dials stays.
//! - [`registry`] (pure): which links are open, and which idle one makes room.
//! - [`link`]: the hello exchange, one reader and one writer per connection, uploads frame by frame.
//!
//! Absent on purpose: matching of data to wants, slots, hashing. Those belong to the download and upload brains; this
//! crate hands them what was said, in order, and names what was broken.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

pub mod codec;
pub mod link;
pub mod registry;
pub mod settle;

pub use codec::{Assembly, Decoder, Hello, Inventory, Message, Runs, SlotHint, TaskNo, Violation};
pub use link::{Config, Event, HandshakeError, Link, LinkEnd, LinkReceiver, LinkSender};
