//! The content store on disk: what a host holds, and what of it may be believed.
//!
//! A data directory has one sparse file per task under `content/`, named by the task's 64 hexadecimal digits and
//! nothing else, one `index.redb` with everything known about them, and a `lock`. A piece is written and hashed in one
//! pass ([`PieceWriter`]); when its digest is right it is *marked*, and from then on it may be read and its bytes are
//! never written again. Marks reach the index in batches, about each second.
//!
//! What a crash may do follows from one order, *bytes before mark*:
//! - A killed process loses the marks of its last second. The page cache keeps every byte that a committed mark speaks
//!   of, so these are believed at once.
//! - A lost machine may keep a mark and lose its bytes. The index knows the boot it was written in; after an unclean
//!   end of that boot every piece is hashed again before its first use ([`Content::verify_run`], [`Store::scrub_step`]).
//! - Nothing invents a mark: whatever takes a mark back (a corrupt piece, a removed content) is committed before the
//!   bytes below it may change.
//!
//! Everything here blocks; callers use a blocking pool. The store decides nothing about *what* to evict: it lists what
//! nobody has a handle on ([`Store::make_room`]) and removes what it is told. Every failure of the disk is a
//! [`DiskError`], after which a caller may go on without the store, streaming.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

mod boot;
mod commit;
mod content;
mod directory;
mod entries;
mod fault;
mod index;
mod ledger;
mod marks;
mod open;
mod read;
mod record;
mod scrub;
mod signed;
mod store;
mod ticker;
mod writer;

pub use boot::BootId;
pub use content::{CompleteError, Content, NoteError, Noting, SegmentError};
pub use directory::UnsafeDirectory;
pub use fault::{DiskError, Limit};
pub use open::{OpenError, Recovery, StoreConfig};
pub use read::ReadError;
pub use record::RecordError;
pub use scrub::Scrubbed;
pub use store::{
    ContentInfo, Counters, CreateError, NewContent, RemoveError, Reserve, Store, Usage,
};
pub use writer::{PieceWriter, WriteError};

#[cfg(test)]
mod tests;
