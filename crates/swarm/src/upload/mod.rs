//! One host's uploads: admission to a few slots, fairness among children and tasks, and what a super-seed reveals.
//!
//! A slot is a running transfer. Two slots keep a link full while a piece reaches its next holder soon: with more, each
//! piece takes longer to arrive and the swarm fills later. When a transfer is about to end, its slot is kept for the
//! next request of the same child, so that no round trip lies between the two. Who comes while all slots are busy is
//! told `busy` and asks somebody else; it is told first when there is room again. Nobody is dripped to.

mod limit;
mod line;
mod served;
mod super_seed;
mod tell;

pub use limit::RateLimit;
pub use line::{Refusal, Standing, Transfer, UploadPolicy, Uploads};
pub use super_seed::SuperSeed;
pub use tell::in_turns;
