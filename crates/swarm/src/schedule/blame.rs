//! Who is accused by whom. One host's word lowers nobody; three unrelated ones do; time heals.

use std::collections::BTreeMap;

use types::{HostId, Moment};

use super::{event::Blame, hosts::Place, policy::Policy};

/// Reports kept per accused: more than any sensible number of voices, so that related ones do not crowd out others.
const REPORTS_MAX: usize = 16;

#[derive(Debug)]
struct Report {
    by: HostId,
    place: Place,
    at: Moment,
}

#[derive(Debug, Default)]
struct Record {
    reports: Vec<Report>,
    low_until: Option<Moment>,
}

/// The reports, by the accused's identity, so that leaving and joining again washes nobody.
#[derive(Debug, Default)]
pub(super) struct Blames(BTreeMap<HostId, Record>);

impl Blames {
    /// Takes a report of a host that stands at `place`.
    pub(super) fn report(&mut self, now: Moment, policy: &Policy, (blame, place): (&Blame, Place)) {
        let record = self.0.entry(blame.of).or_default();
        record.expire(now, policy);
        record.reports.retain(|report| report.by != blame.by);
        if record.reports.len() == REPORTS_MAX {
            record.reports.remove(0);
        }
        record.reports.push(Report {
            by: blame.by,
            place,
            at: now,
        });
        if record.unrelated() >= policy.blame_voices {
            record.low_until = Some(now + policy.blame_decay);
        }
    }

    /// Until when a host is lowered. Forgets what time has healed.
    pub(super) fn low_until(
        &mut self,
        now: Moment,
        policy: &Policy,
        of: &HostId,
    ) -> Option<Moment> {
        let record = self.0.get_mut(of)?;
        record.expire(now, policy);
        let until = record.low_until;
        if record.reports.is_empty() && until.is_none() {
            self.0.remove(of);
        }
        until
    }

    /// Makes room if there are more records than hosts can be: forgets what time has healed, then any.
    pub(super) fn bound(&mut self, now: Moment, policy: &Policy) {
        let most = policy.hosts_max;
        if self.0.len() > most {
            self.0.retain(|_, record| {
                record.expire(now, policy);
                record.low_until.is_some() || !record.reports.is_empty()
            });
        }
        while self.0.len() > most {
            self.0.pop_first();
        }
    }

    pub(super) fn reports(&self, of: &HostId) -> usize {
        self.0.get(of).map_or(0, |record| record.reports.len())
    }
}

impl Record {
    fn expire(&mut self, now: Moment, policy: &Policy) {
        self.reports
            .retain(|report| now < report.at + policy.blame_decay);
        self.low_until = self.low_until.filter(|until| now < *until);
    }

    /// How many reports come from hosts that do not stand in one rack, taken greedily, oldest first.
    fn unrelated(&self) -> usize {
        let mut voices: Vec<&Report> = Vec::new();
        for report in &self.reports {
            let same = |voice: &&Report| report.place.is_known_same_rack(&voice.place);
            if !voices.iter().any(same) {
                voices.push(report);
            }
        }
        voices.len()
    }
}
