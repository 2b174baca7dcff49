//! A task as the rest of the daemon sees it: its content, the digests its pieces are checked by, and news of it.
//!
//! The core decides about it, links write into it, imports too, readers wait on it. What they share is here and small:
//! short locks over plain data, never held while waiting.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use gateway::Efficiency;
use identity::Links;
use parking_lot::{Mutex, RwLock};
use store::{Content, NewContent, Reserve};
use tokio::sync::watch;
use types::{Digest, HostId, Layout, PieceIndex, Seal, Segment, Source, TaskId, Visibility};

use crate::{
    reception::Awaited,
    table::{Accepted, Table},
    unnamed::{Aside, Unnamed},
};

/// What a task is about: enough to start it anywhere.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Its identity.
    pub task: TaskId,
    /// How the content is cut.
    pub layout: Layout,
    /// What the whole must hash to, if it is known by a digest.
    pub digest: Option<Digest>,
    /// Where it can be imported from.
    pub source: Source,
    /// Who may have it: hosts of the cluster in any case; what is private only who has shown his right to it there.
    pub visibility: Visibility,
}

impl TaskSpec {
    /// Whether its digest is its name, so that whoever reads it holds the whole against that. Of other content only a seed's
    /// word counts.
    pub fn is_by_digest(&self) -> bool {
        (self.digest).is_some_and(|digest| digest.names(&self.task, Some(&self.source)))
    }

    /// As the store takes it.
    pub(crate) fn new_content(&self, reserve: Reserve) -> NewContent {
        NewContent {
            task: self.task,
            layout: self.layout,
            digest: self.digest,
            source: Some(self.source.clone()),
            visibility: self.visibility,
            name: Some(self.source.to_string()),
            reserve,
        }
    }
}

/// Whether `signer`'s word, which was accepted when it came, counts still: it was not thrown out, and where no digest names
/// the content it is a seed. Who is named importer is told anew after each start, and is not asked for here.
pub(crate) fn counts(links: &Links, is_by_digest: bool, signer: &HostId) -> bool {
    match is_by_digest {
        true => !links.is_revoked(*signer),
        false => links.is_seed(signer),
    }
}

/// A seal of who was thrown out ends no answer and is shown to nobody; another's may take its place.
fn forget_seal_of_revoked(links: &Links, content: &Content) {
    if content
        .seal()
        .is_some_and(|seal| links.is_revoked(seal.signer))
    {
        content.forget_seal();
    }
}

/// What followed from whose word counts now.
pub(crate) struct Judged {
    /// Words that counted do not any more.
    pub(crate) has_lost: bool,
    /// Words that did not count do now.
    pub(crate) has_won: bool,
    /// Nothing that is here may be used.
    pub(crate) is_stale: bool,
}

/// Where a task stands, for those who wait on it.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Changes with every piece, so that waiting for a change is enough.
    pub pieces: u32,
    /// The digest of the whole, computed on this host; set once everything is here and checked.
    pub proven: Option<Digest>,
    /// Everything is here and folds to the root that a seed sealed.
    pub sealed: bool,
    /// How often everything turned out wrong and began anew: what readers were given before is void.
    pub voids: u32,
    /// A reader needs the digest computed on this host.
    pub digest_wanted: bool,
    /// Why it can't go on.
    pub failed: Option<Arc<TaskError>>,
}

/// Why a task ended without its content.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The origin refused.
    #[error("reading {origin}")]
    Origin {
        /// The source, without secrets.
        origin: String,
        /// What it said.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody has it, and this host may not read the origin.
    #[error("no live host has the content, and none may read {origin}")]
    NoSource {
        /// The source, without secrets.
        origin: String,
    },
    /// Nothing moved for too long.
    #[error("no source gave a byte for {seconds} s; see `pantala task` for what it waited for")]
    Stalled {
        /// How long.
        seconds: u64,
    },
    /// The whole does not have its digest, from whatever source.
    #[error("what {origin} gives does not match {expected}")]
    Corrupt {
        /// What it was asked by.
        expected: Digest,
        /// What the whole hashed to here, if it did.
        found: Option<Digest>,
        /// The source, without secrets.
        origin: String,
    },
    /// What a reader was given turned out wrong, or nobody who counts vouches for it any more; all is read again, and the
    /// reader may begin anew.
    #[error("what was read so far is void: it is not right, or who vouched for it was thrown out")]
    Voided,
    /// The store can't take it.
    #[error("storing the content")]
    Store(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// A part of this daemon panicked at it.
    #[error("a part of the daemon broke off; its log says where: please report it")]
    Broke,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Where verified bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum From {
    /// They were here when the task began.
    Store,
    /// Another host.
    Peer,
    /// The origin.
    Origin,
}

/// A running task.
pub struct Task {
    /// What it is about.
    pub spec: TaskSpec,
    /// Its bytes. Holding it protects them from eviction.
    pub content: Content,
    /// The digests its pieces are checked by, with who signed them.
    pub table: RwLock<Table>,
    /// Pieces that were asked for, by whom they were asked of: anything else that comes is dropped.
    pub(crate) awaited: Awaited,
    /// Who is a seed, and who was thrown out.
    links: Links,
    /// Hosts that the scheduler named importers of it: their word counts for its pieces.
    importers: RwLock<BTreeSet<HostId>>,
    /// Words of hosts that nobody named yet.
    unnamed: Mutex<Unnamed>,
    /// What the origin said when it refused last, unless a piece came since.
    refusal: Mutex<Option<Arc<dyn std::error::Error + Send + Sync>>>,
    efficiency: Mutex<Option<Efficiency>>,
    news: watch::Sender<News>,
    is_by_digest: bool,
    is_unshared: AtomicBool,
    has_lost_words: AtomicBool,
    local: AtomicU64,
    peer: AtomicU64,
    origin: AtomicU64,
}

impl Task {
    /// Importers that one task may have had.
    const IMPORTERS_MAX: usize = 256;

    /// A task over `content`, whose held pieces count as local. It takes up the stored words that count, but those of `liars`.
    pub fn new(
        spec: TaskSpec,
        content: Content,
        (links, liars): (Links, BTreeSet<HostId>),
    ) -> Self {
        forget_seal_of_revoked(&links, &content);
        let segments = content.segments();
        let is_by_digest = spec.is_by_digest();
        let (counting, lost): (Vec<Segment>, Vec<Segment>) =
            (segments.into_iter()).partition(|word| counts(&links, is_by_digest, &word.signer));
        let held = |piece| content.digest_of(piece);
        let is_seed = |host: &HostId| links.is_seed(host);
        let table = Table::stored(counting.into_iter(), liars, is_seed, held);
        let have = content.have();
        let local = have
            .iter()
            .map(|piece| spec.layout.length_of(piece).0)
            .sum();
        Self {
            is_by_digest,
            is_unshared: AtomicBool::new(false),
            has_lost_words: AtomicBool::new(!lost.is_empty()),
            links,
            spec,
            content,
            table: RwLock::new(table),
            awaited: Awaited::default(),
            importers: RwLock::default(),
            unnamed: Mutex::default(),
            refusal: Mutex::default(),
            efficiency: Mutex::default(),
            news: watch::Sender::new(News::default()),
            local: AtomicU64::new(local),
            peer: AtomicU64::new(0),
            origin: AtomicU64::new(0),
        }
    }

    /// News from now on.
    pub fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// Tells those who wait.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut News)) {
        self.news.send_modify(change);
    }

    /// Counts a verified piece.
    pub(crate) fn counted(&self, piece: PieceIndex, from: From) {
        let bytes = self.spec.layout.length_of(piece).0;
        let counter = match from {
            From::Store => &self.local,
            From::Peer => &self.peer,
            From::Origin => &self.origin,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes how near it came to its bound, which is known when the last piece is.
    pub(crate) fn measured(&self, told: Efficiency) {
        *self.efficiency.lock() = Some(told);
    }

    /// How near it came to its bound, if it was measured.
    pub(crate) fn efficiency(&self) -> Option<Efficiency> {
        *self.efficiency.lock()
    }

    /// A piece came: tells those who wait.
    pub(crate) fn verified(&self) {
        // Whatever the origin said, it goes on.
        *self.refusal.lock() = None;
        self.tell(|news| news.pieces = news.pieces.wrapping_add(1));
    }

    /// Everything is void and begins anew. What was measured was not its content.
    pub(crate) fn restarted(&self) {
        self.awaited.clear();
        *self.efficiency.lock() = None;
        self.tell(|news| {
            news.voids = news.voids.wrapping_add(1);
            (news.proven, news.sealed) = (None, false);
        });
    }

    /// Keeps a segment whose signature was checked, for the pieces to come and for a restart.
    pub(crate) fn keep_segment(&self, segment: Arc<Segment>) {
        let is_seed = |host: &HostId| self.links.is_seed(host);
        let held = |piece| self.content.digest_of(piece);
        let accepted = (self.table.write()).accept(Arc::clone(&segment), is_seed, held);
        if accepted == Accepted::New
            && let Err(cause) = self.content.put_segment(Segment::clone(&segment), is_seed)
        {
            tracing::debug!(task = ?self.spec.task, error = &cause as &dyn std::error::Error, "a segment was not stored");
        }
    }

    /// Whether `signer` may vouch for pieces: a seed, or, where the whole is hashed against a digest in the end, a host that
    /// the scheduler named its importer; nobody who was thrown out.
    pub(crate) fn may_sign(&self, signer: &HostId) -> bool {
        let is_named = self.is_by_digest && self.has_named(signer);
        self.links.is_seed(signer) || (is_named && !self.links.is_revoked(*signer))
    }

    /// Whose word counts has changed. Forgets words that count no more, and takes up stored ones that do by now.
    pub(crate) fn judge_again(&self) -> Judged {
        forget_seal_of_revoked(&self.links, &self.content);
        let counts = |signer: &HostId| counts(&self.links, self.is_by_digest, signer);
        let lost = self.table.write().forget(counts);
        let has_lost = !lost.is_empty();
        if has_lost {
            self.has_lost_words.store(true, Ordering::Relaxed);
        }
        let mut has_won = false;
        // With a digest every word that is stored counts, unless its signer was thrown out, for good.
        if !self.is_by_digest {
            let is_seed = |host: &HostId| self.links.is_seed(host);
            let held = |piece| self.content.digest_of(piece);
            for word in self.content.segments() {
                if counts(&word.signer) {
                    let accepted = self.table.write().accept(Arc::new(word), is_seed, held);
                    has_won |= accepted == Accepted::New;
                }
            }
        }
        Judged {
            has_lost,
            has_won,
            is_stale: self.is_stale(lost),
        }
    }

    /// Whether nothing that is here may be used, now that the words of these signers for these pieces count no more: no digest
    /// names it, and no other word says the same of what is held. Who was thrown out may have made it up; of anybody else
    /// a whole is kept, and a part would be made up with another's reading.
    fn is_stale(&self, lost: Vec<(PieceIndex, HostId)>) -> bool {
        let is_open = |(piece, _): &(PieceIndex, HostId)| {
            self.content.digest_of(*piece).is_some() && !self.is_vouched(*piece)
        };
        let mut open = lost.into_iter().filter(is_open).peekable();
        let is_any = open.peek().is_some();
        let mut revoked = open.map(|(_, signer)| self.links.is_revoked(signer));
        !self.is_by_digest && is_any && (!self.content.has_all() || revoked.any(|is| is))
    }

    /// The same of what was taken up from the store.
    pub(crate) fn was_stale(&self) -> bool {
        if self.is_by_digest || !self.has_lost_words.load(Ordering::Relaxed) {
            return false;
        }
        let words = self.content.segments().into_iter();
        let lost = words.filter(|word| !counts(&self.links, self.is_by_digest, &word.signer));
        let pieces = lost.flat_map(|word| {
            let said = word.run().pieces().zip(word.digests.clone());
            said.map(move |(piece, digest)| (piece, digest, word.signer))
                .collect::<Vec<_>>()
        });
        let made_of = pieces.filter(|(piece, digest, _)| {
            let held = self.content.digest_of(*piece);
            held == Some(*digest)
        });
        self.is_stale(made_of.map(|(piece, _, signer)| (piece, signer)).collect())
    }

    /// Sets aside a well-signed segment that `from` passed on, if there is room: its signer may be named yet.
    pub(crate) fn set_aside(&self, segment: Arc<Segment>, from: HostId, aside: &Aside) {
        if let Some(place) = aside.place(from, segment.digests.len()) {
            self.unnamed.lock().keep(segment, place);
        }
    }

    /// Keeps what was set aside of signers that may sign by now.
    pub(crate) fn take_back(&self) {
        let named = self.unnamed.lock().take(|signer| self.may_sign(signer));
        named.into_iter().for_each(|word| self.keep_segment(word));
    }

    /// Keeps a seal that was checked, unless there is one: a second one says the same, or the own hash will tell.
    pub(crate) fn keep_seal(&self, seal: Seal) -> bool {
        if self.content.seal().is_some() {
            return false;
        }
        match self.content.put_seal(seal) {
            Ok(()) => {
                self.tell(|_| {});
                true
            }
            Err(cause) => {
                tracing::debug!(task = ?self.spec.task, error = &cause as &dyn std::error::Error, "a seal was not stored");
                false
            }
        }
    }

    /// Whether a reader needs the digest computed on this host.
    pub(crate) fn is_digest_wanted(&self) -> bool {
        self.news.borrow().digest_wanted
    }

    /// A reader will need the digest computed on this host: hashing does not wait.
    pub(crate) fn want_digest(&self) {
        self.news
            .send_if_modified(|news| !std::mem::replace(&mut news.digest_wanted, true));
    }

    /// The scheduler named `host` its importer. Bounded: beyond it the word of further ones does not count.
    pub(crate) fn name_importer(&self, host: HostId) {
        let mut importers = self.importers.write();
        if importers.len() < Self::IMPORTERS_MAX {
            importers.insert(host);
        }
    }

    /// Whether any of `hosts` was named an importer of it.
    pub(crate) fn has_named_any(&self, hosts: &BTreeSet<HostId>) -> bool {
        self.importers
            .read()
            .iter()
            .any(|host| hosts.contains(host))
    }

    /// Whether the scheduler named `host` an importer of it.
    pub(crate) fn has_named(&self, host: &HostId) -> bool {
        self.importers.read().contains(host)
    }

    /// See [`TaskSpec::is_by_digest`].
    pub(crate) fn is_by_digest(&self) -> bool {
        self.is_by_digest
    }

    /// Whether somebody whom others believe vouches for `piece`.
    pub(crate) fn is_vouched(&self, piece: PieceIndex) -> bool {
        self.table.read().segment_of(piece).is_some()
    }

    /// Whether others may count on the whole, once it is here: its digest is its name, and no word for it was lost, or
    /// somebody whom they believe vouches for each piece.
    pub(crate) fn is_for_others(&self) -> bool {
        let has_lost_words = self.has_lost_words.load(Ordering::Relaxed);
        let is_whole = || (self.table.read()).is_whole(self.spec.layout.piece_count());
        (self.is_by_digest && !has_lost_words) || is_whole()
    }

    /// A part of it was read for this host alone: no seed vouches for it, and no digest names it.
    pub(crate) fn unshared(&self) {
        self.is_unshared.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    pub fn is_unshared(&self) -> bool {
        self.is_unshared.load(Ordering::Relaxed)
    }

    /// Keeps what the origin said last, to be told if the task fails for it.
    pub(crate) fn origin_failed(&self, cause: Arc<dyn std::error::Error + Send + Sync>) {
        *self.refusal.lock() = Some(cause);
    }

    /// Whether the origin refused since the last piece came.
    pub(crate) fn has_origin_failed(&self) -> bool {
        self.refusal.lock().is_some()
    }

    /// The failure of a task whose origin refused.
    pub(crate) fn origin_failure(&self) -> TaskError {
        let origin = self.spec.source.to_string();
        match self.refusal.lock().clone() {
            Some(cause) => TaskError::Origin { origin, cause },
            None => TaskError::NoSource { origin },
        }
    }

    /// Verified bytes by where they came from: local, peer, origin.
    pub fn bytes(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.local), read(&self.peer), read(&self.origin))
    }
}
