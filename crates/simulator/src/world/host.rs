//! One host of the world: its brains, and what a daemon keeps beside them.

use std::collections::BTreeMap;

use swarm::{
    HostNo,
    download::{Download, DownloadPolicy},
    upload::{RateLimit, Transfer, UploadPolicy, Uploads},
};
use types::{Chance, Epoch, HostId, Layout, Moment, PieceSet};

use super::{clock::HostClock, import::Lanes};
use crate::net::FlowNo;

/// A host and all that is lost when it dies, but for `pieces` on its disk.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) download: Download,
    pub(super) uploads: Uploads,
    pub(super) clock: HostClock,
    /// Whether its process lives.
    pub(super) is_up: bool,
    /// Whether its stream to the scheduler is open.
    pub(super) is_joined: bool,
    /// No message passes until then.
    pub(super) stalled_until: Moment,
    pub(super) lies: bool,
    /// The piece its reader needs next.
    pub(super) head: u32,
    /// Neighbours it has opened the task to, with the number of pieces it had then.
    pub(super) links: BTreeMap<HostNo, u32>,
    /// What it sends now.
    pub(super) outgoing: Vec<(Transfer, FlowNo)>,
    /// What comes in from other hosts now.
    pub(super) incoming: Vec<FlowNo>,
    /// What it reads from the origin now.
    pub(super) imports: Lanes,
    /// The last report of an import: epoch, pieces imported and left.
    pub(super) report: Option<(Epoch, u32, u32)>,
    /// The wake-up that counts, in true time; others in the queue are out of date.
    pub(super) tick_at: Moment,
    pub(super) finished: Option<Moment>,
    pub(super) is_killed: bool,
}

impl Host {
    pub(super) fn new(layout: Layout, have: PieceSet, chance: Chance) -> Self {
        Self {
            download: Download::new(layout, have, DownloadPolicy::default(), chance),
            uploads: Uploads::new(UploadPolicy::default(), RateLimit::new(None, Moment::ZERO)),
            clock: HostClock::default(),
            is_up: false,
            is_joined: false,
            stalled_until: Moment::ZERO,
            lies: false,
            head: 0,
            links: BTreeMap::new(),
            outgoing: Vec::new(),
            incoming: Vec::new(),
            imports: Lanes::default(),
            report: None,
            tick_at: Moment::NEVER,
            finished: None,
            is_killed: false,
        }
    }
}

/// The identity of a host: its number, spelt out.
pub(super) fn id_of(host: HostNo) -> HostId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&host.0.to_be_bytes());
    HostId::from_bytes(bytes)
}

/// The host of an identity that [`id_of`] gave.
pub(super) fn number_of(id: &HostId) -> HostNo {
    let mut number = [0; 4];
    number.copy_from_slice(&id.as_bytes()[..4]);
    HostNo(u32::from_be_bytes(number))
}
