//! What a remote can break. Each names the rule, so that logs and blame are exact.

use types::{PieceIndex, TaskId};

use super::TaskNo;

/// A rule of the protocol that the remote broke. The link ends with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame without a kind.
    #[error("a frame of length zero")]
    EmptyFrame,
    /// A payload larger than its kind allows.
    #[error("a frame of kind {kind:#04x} with {length} bytes: the limit is {limit}")]
    FrameTooLong {
        /// The kind byte.
        kind: u8,
        /// The claimed payload length in bytes.
        length: u32,
        /// The largest payload of this kind.
        limit: u32,
    },
    /// A kind that this version does not know and may not skip.
    #[error("an unknown mandatory frame of kind {0:#04x}")]
    UnknownKind(u8),
    /// The payload ends before its fields do.
    #[error("a frame of kind {kind:#04x} that is too short")]
    Short {
        /// The kind byte.
        kind: u8,
    },
    /// The payload goes on after its fields.
    #[error("a frame of kind {kind:#04x} with bytes after its end")]
    Trailing {
        /// The kind byte.
        kind: u8,
    },
    /// The stream ended within a frame.
    #[error("the stream ended in the middle of a frame")]
    Truncated,
    /// A field holds a value that it cannot have.
    #[error("a frame with an impossible {0}")]
    Field(&'static str),
    /// Something came before the hello.
    #[error("the first frame is of kind {0:#04x}, not a hello")]
    HelloExpected(u8),
    /// A second hello.
    #[error("a second hello")]
    HelloAgain,
    /// More tasks open at once than one link may have.
    #[error("more than {0} open tasks")]
    TooManyTasks(usize),
    /// The number is bound to a task already.
    #[error("{0} is opened twice")]
    NumberTaken(TaskNo),
    /// The task is open under another number.
    #[error("task {0} is opened under two numbers")]
    TaskTaken(TaskId),
    /// A number that is bound to no task.
    #[error("{0} was never opened, or is closed")]
    NotOpen(TaskNo),
    /// No runs, or more than a message may list.
    #[error("a list of {0} runs")]
    RunCount(usize),
    /// A run of no pieces.
    #[error("a run of no pieces")]
    EmptyRun,
    /// A run or an index past the last piece of the task.
    #[error("{no} speaks of pieces up to {end}, but has {piece_count}")]
    BeyondLayout {
        /// The task's number.
        no: TaskNo,
        /// One past the last piece spoken of.
        end: u64,
        /// Pieces of the task.
        piece_count: u32,
    },
    /// The runs of one message name more pieces than the task has, so some twice.
    #[error("{no} names {named} pieces in one message, but has {piece_count}")]
    PiecesNamedTwice {
        /// The task's number.
        no: TaskNo,
        /// The sum over all runs.
        named: u64,
        /// Pieces of the task.
        piece_count: u32,
    },
    /// An inventory whose size does not fit the layout, or with a bit past the last piece.
    #[error("an inventory that does not fit {piece_count} pieces")]
    Inventory {
        /// Pieces of the task.
        piece_count: u32,
    },
    /// A segment that speaks of no piece, too many, or of some past the end.
    #[error("a segment that does not fit {no}")]
    Segment {
        /// The task's number.
        no: TaskNo,
    },
    /// Data that reaches past its piece, whose `last` flag lies, or that carries nothing.
    #[error(
        "data of {piece} at {offset} with {length} bytes, last {last}: the piece has {piece_length}"
    )]
    DataBounds {
        /// The piece.
        piece: PieceIndex,
        /// Offset within the piece.
        offset: u32,
        /// Bytes of content.
        length: u32,
        /// The flag of the frame.
        last: bool,
        /// Bytes of the piece.
        piece_length: u64,
    },
    /// Data that does not continue where the frame before it ended.
    #[error("data of {piece} at {found} instead of {expected}")]
    DataOrder {
        /// The piece.
        piece: PieceIndex,
        /// Where the next frame had to start.
        expected: u32,
        /// Where it started.
        found: u32,
    },
    /// Data that nobody asked for: judged and reported by the caller, who knows the wants.
    #[error("data of {0} that was not wanted")]
    DataUnwanted(PieceIndex),
}
