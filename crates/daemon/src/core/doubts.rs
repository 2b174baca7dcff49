//! A whole that does not have its digest: its table is void, everything is read again, and who was wrong is named.
//!
//! Which pieces were wrong shows only once the right ones are here. Until then whoever vouched for any of them is not
//! believed for this task, and the scheduler lets somebody else import it. A host that was right is believed again
//! afterwards; and when two readings give the same, or read after read is wrong, it is the origin that is, and nobody
//! here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use swarm::{HostNo, download::Event as Swarm};
use types::{Digest, HostId, Moment, PieceDigest, PieceIndex, PieceTable, TaskId};
use wire::Message;

use super::{Core, lanes::Lanes, runs_of};
use crate::task::TaskError;

/// A void table: each piece's digest, and whose word it was.
pub(super) type Void = Vec<(PieceDigest, HostId)>;

/// What is remembered of wholes that were wrong, beyond the jobs that found it out.
#[derive(Default)]
pub(super) struct Doubts(BTreeMap<TaskId, Doubt>);

struct Doubt {
    /// When the last one was found.
    at: Moment,
    voids: Vec<Void>,
    /// Whose word does not count for the task.
    liars: BTreeSet<HostId>,
}

/// Whether two readings gave the same, so that it is the origin that gives it: each piece was read by two hosts, or
/// twice by this one, `me`. Of others one alone may have made it up, as often as it likes. What was not whole tells
/// nothing.
fn agree(me: HostId, one: &Void, other: &Void) -> bool {
    let confirms = |((digest, signer), (again, second)): (&(_, HostId), &(_, HostId))| {
        digest == again && (signer != second || *signer == me)
    };
    !one.is_empty() && one.len() == other.len() && one.iter().zip(other).all(confirms)
}

impl Doubts {
    /// Tasks that are remembered; beyond it the one found out longest ago is forgotten.
    const TASKS_MAX: usize = 64;
    /// How long one is remembered.
    const KEPT_FOR: Duration = Duration::from_secs(3600);
    /// How often a content is read before its origin is found to be wrong: one importer may lie, and another host's
    /// way to the origin may be broken.
    const READS_MAX: usize = 3;

    /// Takes a void table, whose `suspects` are not believed from now on. Whether to read once more: not if two readings
    /// gave the same, or there were too many.
    fn note(
        &mut self,
        (now, me): (Moment, HostId),
        task: TaskId,
        (void, suspects): (Void, &BTreeSet<HostId>),
    ) -> bool {
        self.expire(now);
        let doubt = self.0.entry(task).or_insert_with(|| Doubt {
            at: now,
            voids: Vec::new(),
            liars: BTreeSet::new(),
        });
        doubt.at = now;
        doubt.liars.extend(suspects);
        let is_agreed = doubt.voids.iter().any(|other| agree(me, other, &void));
        doubt.voids.push(void);
        let goes_on = !is_agreed && doubt.voids.len() < Self::READS_MAX;
        if self.0.len() > Self::TASKS_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, doubt)| doubt.at)
        {
            let oldest = *oldest.0;
            self.0.remove(&oldest);
        }
        goes_on
    }

    /// Whose word does not count for `task`.
    pub(super) fn liars(&mut self, now: Moment, task: &TaskId) -> BTreeSet<HostId> {
        self.expire(now);
        let doubt = self.0.get(task);
        doubt.map(|doubt| doubt.liars.clone()).unwrap_or_default()
    }

    /// The right table is here: who vouched for which wrong pieces. They stay liars; the others are believed again.
    fn judge(&mut self, task: &TaskId, right: &PieceTable) -> BTreeMap<HostId, Vec<PieceIndex>> {
        let mut wrong: BTreeMap<HostId, Vec<PieceIndex>> = BTreeMap::new();
        let Some(doubt) = self.0.get_mut(task) else {
            return wrong;
        };
        for void in doubt.voids.drain(..) {
            for ((digest, signer), (piece, good)) in void.iter().zip((0..).zip(right.digests())) {
                if digest != good {
                    wrong.entry(*signer).or_default().push(PieceIndex(piece));
                }
            }
        }
        doubt.liars.retain(|liar| wrong.contains_key(liar));
        if doubt.liars.is_empty() {
            self.0.remove(task);
        }
        wrong
    }

    /// Nobody in particular was wrong.
    fn forget(&mut self, task: &TaskId) {
        self.0.remove(task);
    }

    fn expire(&mut self, now: Moment) {
        self.0.retain(|_, doubt| now < doubt.at + Self::KEPT_FOR);
    }
}

impl Core {
    /// The whole hashes to `found`: nothing of it may be believed.
    pub(super) fn whole_is_wrong(&mut self, task: TaskId, (expected, found): (Digest, Digest)) {
        let Some((void, suspects)) = self.void(task) else {
            return;
        };
        tracing::error!(task = ?task, %expected, %found, ?suspects, "the whole does not match the digest it was asked by: it is void");
        self.read_again(task, (expected, Some(found)), (void, &suspects));
    }

    /// The origin gave this host other bytes than somebody vouched for. Which are right, only a whole can tell: what
    /// came so far is void.
    pub(super) fn origin_disagrees(&mut self, task: TaskId, expected: Digest) {
        let Some((void, suspects)) = self.void(task) else {
            return;
        };
        tracing::error!(task = ?task, %expected, ?suspects, "the origin gives other bytes than an importer vouched for: what came is void");
        self.read_again(task, (expected, None), (void, &suspects));
    }

    /// Takes back everything of a live task: its table, with whose word each piece was, and who is suspected now.
    fn void(&mut self, task: TaskId) -> Option<(Void, BTreeSet<HostId>)> {
        let me = self.parts.signer.key.host_id();
        let job = self.jobs.get_mut(&task)?;
        let content = &job.task.content;
        let (table, seal) = (content.table(), content.seal());
        let signers = job.task.table.write().void(me);
        job.void();
        let digests = table.iter().flat_map(PieceTable::digests).copied();
        let signer = |piece| signers.get(&PieceIndex(piece)).copied().unwrap_or(me);
        let void: Void = (0..)
            .zip(digests)
            .map(|(piece, digest)| (digest, signer(piece)))
            .collect();
        let mut suspects: BTreeSet<HostId> = signers.into_values().collect();
        let root = table.map(|table| table.root());
        suspects.extend(
            seal.filter(|seal| Some(seal.root) == root)
                .map(|seal| seal.signer),
        );
        suspects.remove(&me);
        job.is_sealed = false;
        if std::mem::take(&mut job.is_held) {
            self.scheduling.holds_no_more(task);
        }
        Some((void, suspects))
    }

    /// Begins anew without the word of the suspects, or finds that it is the origin that is wrong.
    fn read_again(
        &mut self,
        task: TaskId,
        (expected, found): (Digest, Option<Digest>),
        (void, suspects): (Void, &BTreeSet<HostId>),
    ) {
        let (now, me) = (self.parts.clock.now(), self.parts.signer.key.host_id());
        suspects
            .iter()
            .for_each(|of| self.scheduling.doubt(task, *of));
        if self.doubts.note((now, me), task, (void, suspects)) {
            return self.restart(task);
        }
        self.doubts.forget(&task);
        let origin = self
            .jobs
            .get(&task)
            .map(|job| job.task.spec.source.to_string());
        let origin = origin.unwrap_or_default();
        let wrong = TaskError::Corrupt {
            expected,
            found,
            origin,
        };
        self.fail(task, wrong);
    }

    /// Begins a live task anew. Its readers stay, and those that were given bytes are told; its neighbours are told that
    /// nothing is here.
    pub(super) fn restart(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        job.is_asked = false;
        job.imports.values().for_each(Lanes::cancel);
        job.imports.clear();
        job.task.restarted();
        let all = job.task.spec.layout.all();
        let hosts: Vec<HostNo> = self.peers.connected().map(|(host, _)| host).collect();
        for host in hosts {
            if let Some(link) = self.peers.link_mut(host) {
                link.unsealed(&task);
            }
            let runs = runs_of(all);
            self.peers
                .say(host, &task, |no| Message::Missing { no, runs });
        }
        self.measure_again(task);
        self.drive(task, Swarm::VoidAll);
        self.prove(task);
        self.ask_scheduler(task);
        self.give_way();
    }

    /// The whole is right: whoever vouched for another one before is named, and nobody else stays suspected.
    pub(super) fn whole_is_right(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let Some(right) = job.task.content.table() else {
            return;
        };
        let me = self.parts.signer.key.host_id();
        let wrong = self.doubts.judge(&task, &right);
        let liars: BTreeSet<HostId> = wrong.keys().copied().filter(|host| *host != me).collect();
        for (host, pieces) in &wrong {
            let (count, first) = (pieces.len(), pieces.first());
            if *host == me {
                tracing::warn!(task = ?task, count, ?first, "what this host had read from the origin was wrong");
            } else {
                tracing::warn!(%host, task = ?task, count, ?first, "an importer vouched for wrong pieces");
                self.scheduling.blame(*host);
            }
        }
        job.task.table.write().believe_all_but(liars);
    }
}

#[cfg(test)]
mod tests {
    use types::{ByteCount, Layout};

    use super::*;

    fn host(name: u8) -> HostId {
        HostId::from_bytes([name; 32])
    }

    fn void(pieces: &[(u8, u8)]) -> Void {
        let one =
            |(digest, signer): &(u8, u8)| (PieceDigest::from_bytes([*digest; 32]), host(*signer));
        pieces.iter().map(one).collect()
    }

    const ME: u8 = 9;

    fn note(doubts: &mut Doubts, at: u64, pieces: &[(u8, u8)]) -> bool {
        let suspects = pieces.iter().map(|(_, signer)| host(*signer));
        let suspects = suspects.filter(|signer| *signer != host(ME)).collect();
        let task = TaskId::from_bytes([1; 32]);
        doubts.note((Moment(at), host(ME)), task, (void(pieces), &suspects))
    }

    #[test]
    fn only_who_vouched_for_a_wrong_piece_stays_a_liar() {
        let (mut doubts, task) = (Doubts::default(), TaskId::from_bytes([1; 32]));
        assert!(note(&mut doubts, 1, &[(1, 1), (2, 2), (7, 2)]));
        assert_eq!(doubts.liars(Moment(2), &task), [host(1), host(2)].into());
        let layout = Layout::custom(ByteCount::mib(3), ByteCount::mib(1)).expect("a layout");
        let right = [1, 2, 3].map(|digest| PieceDigest::from_bytes([digest; 32]));
        let right = PieceTable::new(&layout, right.to_vec()).expect("a table");
        let wrong = doubts.judge(&task, &right);
        assert_eq!(wrong, BTreeMap::from([(host(2), vec![PieceIndex(2)])]));
        assert_eq!(doubts.liars(Moment(3), &task), [host(2)].into());
        let later = Moment(3) + Doubts::KEPT_FOR;
        assert!(doubts.liars(later, &task).is_empty());
    }

    #[test]
    fn what_the_origin_gives_this_host_twice_is_not_read_a_third_time() {
        let mut doubts = Doubts::default();
        assert!(note(&mut doubts, 1, &[(1, ME)]));
        assert!(!note(&mut doubts, 2, &[(1, ME)]));
    }

    #[test]
    fn what_two_hosts_read_alike_is_what_the_origin_gives() {
        let again = |first: &[(u8, u8)], second: &[(u8, u8)]| {
            let mut doubts = Doubts::default();
            assert!(note(&mut doubts, 1, first));
            note(&mut doubts, 2, second)
        };
        assert!(!again(&[(1, 1), (2, 1)], &[(1, ME), (2, ME)]));
        assert!(!again(&[(1, 1), (2, 3)], &[(1, 2), (2, 1)]));
        assert!(!again(&[(1, 1), (2, ME)], &[(1, 2), (2, ME)]));
        assert!(again(&[(1, 1), (2, 1)], &[(1, ME), (3, ME)]), "they differ");
        assert!(
            again(&[(1, 1), (2, 2)], &[(1, ME), (2, 2)]),
            "one said it twice"
        );
        assert!(again(&[], &[]), "nothing was whole");
    }

    #[test]
    fn no_content_is_read_for_ever() {
        let mut doubts = Doubts::default();
        let others = [[(1, 1)], [(2, 2)], [(3, 3)]];
        assert_eq!(
            others.map(|void| note(&mut doubts, 1, &void)),
            [true, true, false]
        );
    }
}
