//! What tasks cost this host, in words.

use std::{cmp::Reverse, time::Duration};

use gateway::local::{ExplainReport, SourceKind, SourceReport, WaitedReport};
use types::{Moment, Topology};

use super::local::wait;
use crate::account::{Account, Doing, Explained, Given, Giver, Reason, Standing};

/// Sources that are told of one by one: with some 300 bytes each they fit a frame of the socket.
const SOURCES_MAX: usize = 100;

/// `explained` as it is told `now`.
pub(super) fn report(explained: &Explained, now: Moment) -> ExplainReport {
    let account = &explained.account;
    let mut sources: Vec<SourceReport> = account.given.iter().map(given).collect();
    if account.local.0 > 0 {
        sources.push(SourceReport {
            from: SourceKind::Local,
            host: None,
            zone: None,
            pieces: 0,
            bytes: account.local.0,
            ms: 0,
            why: "it was here when the task began".into(),
        });
    }
    sources.sort_by_key(|source| Reverse((source.ms, source.bytes)));
    sources.truncate(SOURCES_MAX);
    let (ended, failed) = match &explained.standing {
        Standing::Live => (None, Vec::new()),
        Standing::Ended(at) => (Some(*at), Vec::new()),
        Standing::Failed(at, causes) => (Some(*at), causes.clone()),
    };
    ExplainReport {
        task: explained.task.to_string(),
        content: explained.source.clone(),
        digest: explained.digest.map(|digest| digest.to_string()),
        length: explained.length.0,
        held: explained.held.0,
        ended_seconds: ended.map(|at| now.since(at).as_secs()),
        failed,
        readers: account.readers,
        sources,
        waited: waited(account),
        waits: explained.waits.iter().map(wait).collect(),
        importer: importer(explained),
        efficiency: explained.efficiency,
    }
}

fn given((giver, given): (&Giver, &Given)) -> SourceReport {
    let (from, host, why) = match giver {
        Giver::Host(None) => (SourceKind::Peer, None, "many hosts had it".to_owned()),
        Giver::Host(Some(host)) => {
            let how = match (given.is_introduced, given.is_seed) {
                (true, true) => "a seed that the scheduler introduced",
                (true, false) => "a host that the scheduler introduced",
                (false, true) => "a seed that was linked with this host",
                (false, false) => "a host that was linked with this host",
            };
            let why = format!("{how}; it had these pieces and a place to send");
            (SourceKind::Peer, Some(host.to_string()), why)
        }
        Giver::Origin(reason) => (SourceKind::Origin, None, because(*reason).to_owned()),
    };
    let is_placed = host.is_some() && given.place != Topology::default();
    SourceReport {
        from,
        host,
        zone: is_placed.then(|| given.place.to_string()),
        pieces: given.pieces,
        bytes: given.bytes.0,
        ms: millis(given.time),
        why,
    }
}

const fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Lease => "the scheduler named this host importer: it read for all",
        Reason::Caretaker => "it was importer when the scheduler went away, and read on for all",
        Reason::Chosen => "no scheduler was there, and others chose this seed",
        Reason::Lone => "this host is alone: it is told of neither scheduler nor peers",
        Reason::Nobody => "the scheduler said that nobody imports it: this host read for itself",
        Reason::Blocked => "a reader waited, and nobody else had it in time",
    }
}

fn importer(explained: &Explained) -> String {
    let read = |reason: Reason| explained.account.given.contains_key(&Giver::Origin(reason));
    let imported = [
        Reason::Lease,
        Reason::Caretaker,
        Reason::Chosen,
        Reason::Lone,
    ];
    let alone = [Reason::Nobody, Reason::Blocked];
    if let Some(reason) = imported.into_iter().find(|reason| read(*reason)) {
        format!("yes: {}", because(reason))
    } else if explained.is_importer {
        "yes: it holds the lease, and has read nothing yet".into()
    } else if let Some(reason) = alone.into_iter().find(|reason| read(*reason)) {
        format!("no, but it read some of it: {}", because(reason))
    } else {
        "no: other hosts had it, or it was here".into()
    }
}

fn waited(account: &Account) -> Vec<WaitedReport> {
    let words = |doing: Doing| match doing {
        Doing::Proving => "the proof of the whole, by this host's own hash",
        Doing::Scheduler => "a scheduler that was away, or refused",
        Doing::OriginRest => "the origin, which failed or asked to be left alone",
        Doing::AnyHost => "any host to have it, or leave to read the origin",
        Doing::GivingWay => "what others on this host waited for, in the foreground",
        Doing::Fetching => "pieces that were asked for and have not come",
        Doing::Resting => "nothing",
    };
    let looked = ("its name, length and sources to be known", account.looked);
    let open = (words(Doing::Fetching), account.open());
    let rest = (account.waited.iter()).map(|(doing, time)| (words(*doing), *time));
    let all = rest.chain([looked, open]).map(|(on, time)| WaitedReport {
        on: on.to_owned(),
        ms: millis(time),
    });
    let mut all: Vec<WaitedReport> = all.filter(|wait| wait.ms > 0).collect();
    all.sort_by_key(|wait| Reverse(wait.ms));
    all
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use types::{ByteCount, HostId, TaskId, Visibility};

    use super::*;
    use crate::account::About;

    fn at(ms: u64) -> Moment {
        Moment::ZERO + Duration::from_millis(ms)
    }

    fn explained(account: Account, standing: Standing) -> ExplainReport {
        let explained = Explained {
            task: TaskId::from_bytes([1; 32]),
            digest: None,
            source: "https://h/f".into(),
            visibility: Visibility::Public,
            length: ByteCount::mib(4),
            held: ByteCount::mib(4),
            standing,
            is_importer: false,
            efficiency: None,
            account,
            waits: Vec::new(),
        };
        report(&explained, at(10_000))
    }

    #[test]
    fn sources_and_waits_come_in_the_order_of_what_they_cost() {
        let mut account = Account::new(at(0), ByteCount::mib(1));
        account.read(Duration::from_millis(70));
        let mib = ByteCount::mib(1);
        account.does(at(0), Doing::AnyHost);
        account.does(at(20), Doing::Fetching);
        let place = About {
            place: "eu/a/r1".parse().expect("a place"),
            is_introduced: true,
            is_seed: true,
        };
        let host = Giver::Host(Some(HostId::from_bytes([2; 32])));
        account.came(at(50), (host, place), mib);
        let origin = Giver::Origin(Reason::Blocked);
        account.came(at(90), (origin, About::default()), mib);
        let told = explained(account, Standing::Ended(at(7000)));
        let order = |source: &SourceReport| (source.from, source.ms, source.zone.clone());
        assert_eq!(
            told.sources.iter().map(order).collect::<Vec<_>>(),
            [
                (SourceKind::Origin, 40, None),
                (SourceKind::Peer, 30, Some("eu/a/r1".to_owned())),
                (SourceKind::Local, 0, None),
            ]
        );
        let waited: Vec<u64> = told.waited.iter().map(|wait| wait.ms).collect();
        assert_eq!(waited, [70, 20]);
        assert_eq!(told.ended_seconds, Some(3));
        assert!(told.importer.starts_with("no, but"), "{}", told.importer);
    }

    #[test]
    fn the_longest_report_fits_a_frame() {
        let mut account = Account::new(at(0), ByteCount::mib(1));
        let long = "a".repeat(63);
        for number in 0..=255 {
            let place = format!("{long}/{long}/{long}").parse().expect("a place");
            let about = About {
                place,
                is_introduced: true,
                is_seed: true,
            };
            let host = Giver::Host(Some(HostId::from_bytes([number; 32])));
            account.came(at(1), (host, about), ByteCount::mib(1));
        }
        let causes = vec!["\u{1}".repeat(500); 8];
        let told = explained(account, Standing::Failed(at(1), causes));
        let text = serde_json::to_vec(&told).expect("JSON");
        assert!(text.len() < 60 << 10, "{} bytes", text.len());
    }
}
