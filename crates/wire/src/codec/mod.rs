//! Frames and messages. Pure: bytes in, messages or a [`Violation`] out.
//!
//! A frame is `length: u32` (of what follows), `kind: u8`, payload; integers are little-endian. The largest payload of
//! each kind is known before anything is allocated. A kind with the bit [`Kind::MAY_IGNORE`] that a host does not know
//! is skipped; any other unknown kind ends the link.
//!
//! **Task numbers.** A number in a frame always belongs to the side that sent the frame, which bound it to a task with
//! its own `Open`; the answer to an `Open` is an `Open` with the answerer's own number, or a `Decline`. Each direction
//! is ordered, so a number means one task from `Open` to `Close` and may be used again afterwards. The two directions
//! share no state: what is still under way when one side closes is merely addressed to a task the other has left.
//!
//! **Layouts** travel as the content length alone, since the piece length follows from it ([`types::Layout::of`]).

mod assembly;
mod cursor;
mod decode;
mod encode;
mod inventory;
mod kind;
mod message;
mod runs;
mod tasks;
mod violation;
mod wish;

pub use assembly::{Assembly, Progress};
pub use decode::{Decoder, Received};
pub use encode::{encode, piece_header};
pub use inventory::Inventory;
pub use kind::{Kind, Prefix};
pub use message::{
    Data, DeclineReason, GoodbyeReason, Hello, Message, SlotHint, TaskNo, VERSION, VERSION_MIN,
};
pub use runs::{Runs, RunsError};
pub use violation::Violation;
pub use wish::Wish;

/// Bytes before the payload of every frame: length and kind.
pub const PREFIX_LENGTH: usize = 5;
/// The most content in one data frame, in bytes: 2 ms of a gigabit link, which is what a control frame may wait.
pub const DATA_MAX: usize = 256 << 10;
/// Bytes of a data frame's payload before the content: number, piece, offset, flags.
pub const DATA_HEADER_LENGTH: usize = 13;
/// The largest payload of any kind, in bytes: a full data frame, or an inventory of 2^21 pieces.
pub const PAYLOAD_MAX: usize = DATA_MAX + 64;
/// The largest list of revocations in a hello, in bytes.
pub const REVOCATIONS_MAX: usize = 64 << 10;
/// The longest certificate that is passed on, in bytes.
pub const CERTIFICATE_MAX: usize = 2048;
/// The most alternatives in one `Busy`.
pub const ALTERNATIVES_MAX: usize = 8;
