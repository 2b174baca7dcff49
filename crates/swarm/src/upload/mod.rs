//! One host's uploads: admission to a few slots, fairness among children and tasks, and what a super-seed reveals.
//!
//! A slot is a running transfer. Two slots keep a link full while a piece reaches its next holder soon: with more, each
//! piece takes longer to arrive and the swarm fills later. Requests that come while the slots are busy wait in a short
//! line; when the line is full too, the child is told `busy` and asks somebody else. Nobody is dripped to.

mod limit;
mod line;
mod super_seed;

pub use limit::RateLimit;
pub use line::{Refusal, Standing, Transfer, UploadPolicy, Uploads};
pub use super_seed::SuperSeed;
