//! What a task cost this host: where its bytes came from, and what its time went to. Pure.
//!
//! Time counts to where the piece came from that ended it, so that the parts sum to the whole; what passed while nothing
//! was asked of anybody is waiting, for what it waited for. An account goes on when its task leaves memory and is taken up
//! again.

use std::{collections::BTreeMap, time::Duration};

use gateway::Efficiency;
use types::{ByteCount, Digest, HostId, Moment, TaskId, Topology, Visibility};

use crate::handle::Wait;

/// Hosts that one account names; what more of them gave counts together.
const HOSTS_MAX: usize = 64;
/// Accounts of tasks that left memory. Some 2 KB each where many hosts gave something.
const ENDED_MAX: usize = 256;

/// What a task does, or waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// Nothing that anybody waits for.
    #[default]
    Resting,
    /// Pieces were asked of somebody.
    Fetching,
    /// The whole is hashed while a reader waits for that.
    Proving,
    /// Waiting for a scheduler that is away or refused.
    Scheduler,
    /// Leaving an origin alone that failed or asked for it.
    OriginRest,
    /// Waiting for somebody to have it, or for leave to read the origin.
    AnyHost,
    /// Giving way to what others wait for.
    GivingWay,
}

/// Why this host read the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The scheduler named it importer.
    Lease,
    /// It was importer when the scheduler went away.
    Caretaker,
    /// No scheduler was there, and it is the seed that others prefer.
    Chosen,
    /// It knows neither scheduler nor peers.
    Lone,
    /// The scheduler said that nobody imports it.
    Nobody,
    /// A reader waited, and nobody else had it in time.
    Blocked,
}

/// Who gave pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Giver {
    /// Another host; none for those beyond the number that an account names.
    Host(Option<HostId>),
    /// The origin.
    Origin(Reason),
}

/// What somebody gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Verified pieces.
    pub pieces: u32,
    /// Their bytes.
    pub bytes: ByteCount,
    /// The time that ended with them.
    pub time: Duration,
    /// Where a host stands, if the scheduler said so.
    pub place: Topology,
    /// Whether the scheduler introduced it, rather than a link that was there.
    pub is_introduced: bool,
    /// Whether its certificate says that it is a seed.
    pub is_seed: bool,
}

/// What a host is, beside its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) place: Topology,
    pub(crate) is_introduced: bool,
    pub(crate) is_seed: bool,
}

/// The account of one task.
#[derive(Clone, Debug)]
pub struct Account {
    /// Up to when time was counted.
    since: Moment,
    doing: Doing,
    /// What passed since the last piece came, and no piece has ended yet.
    open: Duration,
    /// Local readers that it had.
    pub readers: u32,
    /// What was here at first.
    pub local: ByteCount,
    /// Who gave what.
    pub given: BTreeMap<Giver, Given>,
    /// Time in which nothing came or was asked for.
    pub waited: BTreeMap<Doing, Duration>,
    /// Time until its length and its sources were known, for the reader that waited longest.
    pub looked: Duration,
}

impl Account {
    /// A task that begins with `local` bytes.
    pub(crate) fn new(now: Moment, local: ByteCount) -> Self {
        Self {
            since: now,
            doing: Doing::Resting,
            open: Duration::ZERO,
            readers: 0,
            local,
            given: BTreeMap::new(),
            waited: BTreeMap::new(),
            looked: Duration::ZERO,
        }
    }

    /// It was taken up again: what passed meanwhile was nobody's.
    pub(crate) fn resumed(mut self, now: Moment) -> Self {
        (self.since, self.doing) = (now, Doing::Resting);
        self.open = Duration::ZERO;
        self
    }

    /// A local reader came, after it had looked for so long.
    pub(crate) fn read(&mut self, looked: Duration) {
        self.readers = self.readers.saturating_add(1);
        self.looked = self.looked.max(looked);
    }

    /// What it did until `now`, and does from now on.
    pub(crate) fn does(&mut self, now: Moment, doing: Doing) {
        self.count(now);
        if doing == Doing::Resting {
            // Nobody waits for what is under way.
            self.open = Duration::ZERO;
        }
        self.doing = doing;
    }

    /// A verified piece came.
    pub(crate) fn came(&mut self, now: Moment, (giver, about): (Giver, About), bytes: ByteCount) {
        self.count(now);
        let time = std::mem::take(&mut self.open);
        let is_new = !self.given.contains_key(&giver);
        let giver = match giver {
            Giver::Host(_) if is_new && self.given.len() >= HOSTS_MAX => Giver::Host(None),
            giver => giver,
        };
        let given = self.given.entry(giver).or_default();
        given.pieces = given.pieces.saturating_add(1);
        given.bytes = given.bytes.saturating_add(bytes);
        given.time += time;
        if giver != Giver::Host(None) {
            given.place = about.place;
            given.is_introduced |= about.is_introduced;
            given.is_seed = about.is_seed;
        }
    }

    fn count(&mut self, now: Moment) {
        let passed = now.since(self.since);
        self.since = now;
        match self.doing {
            Doing::Resting => {}
            Doing::Fetching => self.open += passed,
            other => *self.waited.entry(other).or_default() += passed,
        }
    }

    /// Whether there is anything to tell of.
    fn is_something(&self) -> bool {
        self.readers > 0 || !self.given.is_empty()
    }

    /// What passed since the last piece came, while others were asked for.
    pub fn open(&self) -> Duration {
        self.open
    }
}

/// How a task stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It is in memory.
    Live,
    /// Nobody used it any more.
    Ended(Moment),
    /// It failed, with the chain of causes.
    Failed(Moment, Vec<String>),
}

/// What is told of a task.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Which.
    pub task: TaskId,
    /// What its whole hashes to, if it is known by that.
    pub digest: Option<Digest>,
    /// Where it comes from, without secrets.
    pub source: String,
    /// Who may know of it.
    pub visibility: Visibility,
    /// Bytes of the content.
    pub length: ByteCount,
    /// Bytes of it that are here.
    pub held: ByteCount,
    /// How it stands.
    pub standing: Standing,
    /// Whether this host holds the lease now.
    pub is_importer: bool,
    /// How near it came to what is possible, once measured.
    pub efficiency: Option<Efficiency>,
    /// What it cost.
    pub account: Account,
    /// What it waits for now, the longest wait first.
    pub waits: Vec<Wait>,
}

/// Tasks that left memory, the oldest first.
#[derive(Default)]
pub(crate) struct Ended(std::collections::VecDeque<Explained>);

impl Ended {
    /// Keeps what is to be told of `ended`, and forgets the oldest beyond a bound.
    pub(crate) fn keep(&mut self, ended: Explained) {
        self.0.retain(|one| one.task != ended.task);
        if !ended.account.is_something() {
            return;
        }
        if self.0.len() >= ENDED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(ended);
    }

    /// The account of `task`, which is taken up again.
    pub(crate) fn take(&mut self, task: &TaskId) -> Option<Explained> {
        let at = self.0.iter().position(|one| one.task == *task)?;
        self.0.remove(at)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Explained> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: ByteCount = ByteCount::mib(1);

    fn at(ms: u64) -> Moment {
        Moment::ZERO + Duration::from_millis(ms)
    }

    fn host(number: u8) -> Giver {
        Giver::Host(Some(HostId::from_bytes([number; 32])))
    }

    fn by(giver: Giver) -> (Giver, About) {
        (giver, About::default())
    }

    fn millis(account: &Account, giver: Giver) -> u128 {
        account.given[&giver].time.as_millis()
    }

    #[test]
    fn time_counts_to_whoever_ended_it_and_waiting_to_what_it_waited_for() {
        let mut account = Account::new(at(0), ByteCount::ZERO);
        account.does(at(10), Doing::AnyHost);
        account.does(at(60), Doing::Fetching);
        account.came(at(100), by(host(1)), MIB);
        account.came(at(130), by(Giver::Origin(Reason::Blocked)), MIB);
        account.does(at(130), Doing::Fetching);
        account.came(at(150), by(host(1)), MIB);
        account.does(at(150), Doing::Resting);
        account.does(at(900), Doing::Resting);
        assert_eq!(millis(&account, host(1)), 60);
        assert_eq!(millis(&account, Giver::Origin(Reason::Blocked)), 30);
        assert_eq!(account.waited[&Doing::AnyHost].as_millis(), 50);
        assert_eq!(account.given[&host(1)].bytes, ByteCount::mib(2));
        let all: Duration = (account.given.values().map(|given| given.time))
            .chain(account.waited.values().copied())
            .sum();
        assert_eq!(all.as_millis(), 140, "all but what nobody waited for");
    }

    #[test]
    fn an_account_names_so_many_hosts_and_counts_the_others() {
        let mut account = Account::new(at(0), ByteCount::ZERO);
        for number in 0..200 {
            account.came(at(1), by(host(number)), MIB);
        }
        assert_eq!(account.given.len(), HOSTS_MAX + 1);
        assert_eq!(account.given[&Giver::Host(None)].pieces, 136);
        let bytes: u64 = account.given.values().map(|given| given.bytes.0).sum();
        assert_eq!(bytes, 200 << 20);
    }

    fn explained(number: u8, readers: u32) -> Explained {
        let mut account = Account::new(at(0), ByteCount::ZERO);
        account.readers = readers;
        Explained {
            task: TaskId::from_bytes([number; 32]),
            digest: None,
            source: "https://h/f".into(),
            visibility: Visibility::Public,
            length: MIB,
            held: MIB,
            standing: Standing::Ended(at(1)),
            is_importer: false,
            efficiency: None,
            account,
            waits: Vec::new(),
        }
    }

    #[test]
    fn a_bounded_number_of_tasks_is_remembered_each_once() {
        let mut ended = Ended::default();
        ended.keep(explained(0, 0));
        assert_eq!(ended.all().count(), 0, "nobody read it, nothing came");
        for number in 0..=255 {
            ended.keep(explained(number, 1));
        }
        ended.keep(explained(7, 2));
        assert_eq!(ended.all().count(), ENDED_MAX);
        assert_eq!(ended.all().last().map(|one| one.account.readers), Some(2));
        assert!(ended.take(&TaskId::from_bytes([7; 32])).is_some());
        assert!(ended.take(&TaskId::from_bytes([7; 32])).is_none());
    }

    #[test]
    fn what_passed_while_it_was_out_of_memory_is_nobodys() {
        let mut account = Account::new(at(0), ByteCount::ZERO);
        account.does(at(0), Doing::AnyHost);
        let mut account = account.resumed(at(5000));
        account.does(at(5010), Doing::Fetching);
        account.came(at(5030), by(host(1)), MIB);
        assert_eq!(account.waited, BTreeMap::new());
        assert_eq!(millis(&account, host(1)), 20);
    }
}
