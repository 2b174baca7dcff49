//! Pieces that were asked of other hosts, and what has come of each.
//!
//! A piece has one writer at a time. It is owned here and not by the link that fills it, so that whoever withdraws a
//! request frees the piece for others at once, in the middle of it too; the link finds its writer gone and drops the
//! rest as it comes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use store::PieceWriter;
use types::{HostId, PieceIndex, PieceRun};

/// A writer as its link uses it: taken out by whoever ends it.
pub(crate) type Slot = Mutex<Option<PieceWriter>>;

/// By who was asked for what; a slot once a part of it came.
type Slots = BTreeMap<(HostId, PieceIndex), Option<Arc<Slot>>>;

/// The pieces of one task that may come, each from the host that was asked for it.
#[derive(Default)]
pub(crate) struct Awaited(Mutex<Slots>);

impl Awaited {
    /// The pieces of `run` were asked of `host`.
    pub(crate) fn expect(&self, host: HostId, run: PieceRun) {
        let before: Vec<_> = {
            let mut awaited = self.0.lock();
            let pieces = run.pieces();
            pieces
                .filter_map(|piece| awaited.insert((host, piece), None))
                .collect()
        };
        // A writer gives its room back as it goes, which is not to be waited for under the lock.
        drop(before);
    }

    /// The pieces of `run` are not needed of `host` any more, or will not come.
    pub(crate) fn withdraw(&self, host: HostId, run: PieceRun) {
        self.drop_where(|of, piece| of == host && run.contains(piece));
    }

    /// Nothing more comes from `host`.
    pub(crate) fn leave(&self, host: HostId) {
        self.drop_where(|of, _| of == host);
    }

    /// Nothing more comes.
    pub(crate) fn clear(&self) {
        drop(std::mem::take(&mut *self.0.lock()));
    }

    fn drop_where(&self, is_meant: impl Fn(HostId, PieceIndex) -> bool) {
        let mut gone = Vec::new();
        self.0.lock().retain(|(host, piece), slot| {
            let is_kept = !is_meant(*host, *piece);
            if !is_kept {
                gone.extend(slot.take());
            }
            is_kept
        });
        drop(gone);
    }

    /// Whether `piece` was asked of `host` and not withdrawn since.
    pub(crate) fn is_expected(&self, host: HostId, piece: PieceIndex) -> bool {
        self.0.lock().contains_key(&(host, piece))
    }

    /// Keeps the writer of a piece whose first bytes came. A piece that was withdrawn meanwhile has none.
    pub(crate) fn receive(
        &self,
        host: HostId,
        piece: PieceIndex,
        writer: PieceWriter,
    ) -> Weak<Slot> {
        let slot = Arc::new(Mutex::new(Some(writer)));
        let weak = Arc::downgrade(&slot);
        let kept = match self.0.lock().get_mut(&(host, piece)) {
            Some(place) => place.replace(slot),
            None => Some(slot),
        };
        drop(kept);
        weak
    }

    /// All of `piece` came from `host`: its writer, if it has one. False if it was withdrawn before.
    pub(crate) fn finish(&self, host: HostId, piece: PieceIndex) -> (bool, Option<PieceWriter>) {
        let place = self.0.lock().remove(&(host, piece));
        let is_expected = place.is_some();
        (
            is_expected,
            place.flatten().and_then(|slot| slot.lock().take()),
        )
    }

    /// Takes `piece` away from every host that is sending it: it comes from elsewhere now. Waits for a write under way.
    pub(crate) fn displace(&self, piece: PieceIndex) {
        let slots: Vec<_> = {
            let mut awaited = self.0.lock();
            let of_piece = awaited.iter_mut().filter(|((_, of), _)| *of == piece);
            of_piece.filter_map(|(_, slot)| slot.take()).collect()
        };
        for slot in slots {
            drop(slot.lock().take());
        }
    }
}
