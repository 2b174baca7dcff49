//! The doors through which local consumers ask: from a consumer's request to a read.
//!
//! Nothing here knows the swarm, the store or the origin. The traits below say what a door needs, the daemon implements
//! them, and every door turns its own protocol into the same [`ContentAsk`]:
//!
//! - [`mirror`]: a registry mirror for container runtimes, over HTTP on loopback;
//! - [`proxy`]: a forward proxy for clients that know no mirror;
//! - [`local`]: the framed unix-socket API of `pantala get` and its sisters, with both of its ends;
//! - [`admin`]: metrics and health over HTTP.
//!
//! What is absent: no door writes a file for somebody else, none dials anybody, and no byte leaves one before the
//! reader said that it is verified. A transfer that breaks is visibly broken, never a short clean one.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

pub mod admin;
mod ask;
mod content;
mod http;
mod image;
pub mod local;
pub mod mirror;
pub mod proxy;
mod range;
mod reader;
#[cfg(test)]
mod testing;
mod upstream;

pub use ask::{Caller, Class, ContentAsk, OriginHeaders, ParseWantedError, Seen, Wanted};
pub use futures_util::future::BoxFuture;
pub use http::{BoxIo, Io, Limits, Names, Places, ServeError, bind};
pub use image::{ImageName, ParseImageError};
pub use range::AskedRange;
pub use reader::{
    Bound, ContentReader, Description, Efficiency, OpenError, Opened, Proof, ReadError,
    SourceBytes, VerifiedReader,
};
pub use upstream::{
    HeldManifest, ManifestAsk, ManifestName, Manifests, OriginAnswer, StaleManifest, Upstream,
    UpstreamBody, UpstreamError, UpstreamRequest, UpstreamResponse,
};
