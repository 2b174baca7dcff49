//! What origins say of public sources: one host looks, the others are told. Pure.
//!
//! The first host that asks is told to look itself; those that ask meanwhile wait until it has told. None of them waits
//! for long or for sure: each looks by itself when it has waited enough, so that nothing here needs a timer. What is
//! told may be wrong; who reads the content finds that out and says so, and then it is forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use control::Found;
use types::{HostId, Moment, Source};

/// What a host that asked is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nobody knows.
    LookYourself,
    /// Another host looked.
    Found(Found),
}

/// Looks under way and their answers, by source. The source asked for longest ago is forgotten first.
#[derive(Default)]
pub(crate) struct Looks {
    by_source: BTreeMap<Source, Look>,
    by_age: BTreeMap<u64, Source>,
    begun: u64,
}

struct Look {
    number: u64,
    state: State,
}

enum State {
    /// `host` was told to look at `since`; `waiting` asked after it.
    Asked {
        host: HostId,
        since: Moment,
        waiting: BTreeSet<HostId>,
    },
    Known {
        found: Found,
        at: Moment,
    },
}

impl Looks {
    /// Sources that are remembered.
    const SOURCES_MAX: usize = 4096;
    /// How long a host may look before the next one that asks is told to look too: as long as a host waits.
    const TERM: Duration = Duration::from_secs(1);
    /// How long the answer for a URL counts: its content may change.
    const URL_FRESH: Duration = Duration::from_secs(5);

    /// `host` asks. None: it waits for the host that looks.
    pub(crate) fn ask(&mut self, now: Moment, host: HostId, source: &Source) -> Option<Answer> {
        match self.by_source.get_mut(source).map(|look| &mut look.state) {
            // A blob is named by its digest: its length never changes.
            Some(State::Known { found, at })
                if matches!(source, Source::Blob { .. }) || now.since(*at) < Self::URL_FRESH =>
            {
                return Some(Answer::Found(found.clone()));
            }
            Some(State::Asked {
                host: looking,
                since,
                waiting,
            }) if *looking != host && now.since(*since) < Self::TERM => {
                waiting.insert(host);
                return None;
            }
            _ => {}
        }
        self.begin(now, host, source);
        Some(Answer::LookYourself)
    }

    fn begin(&mut self, now: Moment, host: HostId, source: &Source) {
        // Who waits for a host that is too slow goes on waiting: its answer may still come from the next one.
        let waiting = match self.forget(source) {
            Some(State::Asked { waiting, .. }) => waiting,
            _ => BTreeSet::new(),
        };
        self.begun += 1;
        let state = State::Asked {
            host,
            since: now,
            waiting,
        };
        let number = self.begun;
        self.by_source
            .insert(source.clone(), Look { number, state });
        self.by_age.insert(number, source.clone());
        if self.by_source.len() > Self::SOURCES_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_source.remove(&oldest);
        }
    }

    fn forget(&mut self, source: &Source) -> Option<State> {
        let look = self.by_source.remove(source)?;
        self.by_age.remove(&look.number);
        Some(look.state)
    }

    /// `host` tells what it saw. Gives those who waited for it and their answer. From a host that was not told to look
    /// it is news only if it contradicts what is known: that is forgotten then.
    pub(crate) fn told(
        &mut self,
        now: Moment,
        (host, source): (HostId, &Source),
        found: Option<Found>,
    ) -> Option<(BTreeSet<HostId>, Answer)> {
        let look = self.by_source.get_mut(source)?;
        match &mut look.state {
            State::Known { found: known, .. } => {
                if found.as_ref() != Some(known) {
                    self.forget(source);
                }
                None
            }
            State::Asked {
                host: looking,
                waiting,
                ..
            } if *looking == host => {
                let waiting = std::mem::take(waiting);
                let Some(found) = found else {
                    // The next one would hardly fare better, and nobody should wait for a row of failures.
                    self.forget(source);
                    return Some((waiting, Answer::LookYourself));
                };
                look.state = State::Known {
                    found: found.clone(),
                    at: now,
                };
                Some((waiting, Answer::Found(found)))
            }
            State::Asked { .. } => None,
        }
    }

    /// `host` is gone: of those who wait for it, one looks instead. Gives these, with what to look at.
    pub(crate) fn lost(&mut self, now: Moment, host: HostId) -> Vec<(HostId, Source)> {
        let mut heirs = Vec::new();
        for (source, look) in &mut self.by_source {
            if let State::Asked {
                host: looking,
                since,
                waiting,
            } = &mut look.state
            {
                waiting.remove(&host);
                if *looking == host
                    && let Some(heir) = waiting.pop_first()
                {
                    (*looking, *since) = (heir, now);
                    heirs.push((heir, source.clone()));
                }
            }
        }
        heirs
    }
}

#[cfg(test)]
mod tests {
    use types::{ByteCount, Digest};

    use super::*;

    const A: HostId = HostId::from_bytes([1; 32]);
    const B: HostId = HostId::from_bytes([2; 32]);
    const C: HostId = HostId::from_bytes([3; 32]);
    const SOON: Moment = Moment(1_000_000);

    fn url() -> Source {
        Source::Url("https://origin.example/file".to_owned())
    }

    fn blob() -> Source {
        Source::Blob {
            registry: "registry.example".parse().expect("a registry"),
            repository: "team/app".parse().expect("a repository"),
            digest: Digest::sha256([7; 32]),
        }
    }

    fn found(length: u64) -> Found {
        Found::of(ByteCount(length), None).expect("fit to travel")
    }

    fn is_found(answer: Option<Answer>, length: u64) -> bool {
        matches!(answer, Some(Answer::Found(told)) if told == found(length))
    }

    #[test]
    fn one_host_looks_and_the_others_are_told() {
        let mut looks = Looks::default();
        assert_eq!(looks.ask(SOON, A, &url()), Some(Answer::LookYourself));
        assert_eq!(looks.ask(SOON, B, &url()), None);
        assert_eq!(
            looks.told(SOON, (B, &url()), Some(found(1))),
            None,
            "nobody asked it"
        );
        let (waiting, answer) = looks.told(SOON, (A, &url()), Some(found(5))).expect("news");
        assert_eq!(waiting, BTreeSet::from([B]));
        assert!(is_found(Some(answer), 5));
        assert!(is_found(looks.ask(SOON, C, &url()), 5));
    }

    #[test]
    fn a_url_is_looked_at_again_after_seconds_and_a_blob_is_not() {
        let later = SOON + Looks::URL_FRESH;
        for (source, is_known) in [(url(), false), (blob(), true)] {
            let mut looks = Looks::default();
            looks.ask(SOON, A, &source);
            looks.told(SOON, (A, &source), Some(found(5)));
            assert_eq!(
                is_found(looks.ask(later, B, &source), 5),
                is_known,
                "{source}"
            );
        }
    }

    #[test]
    fn a_host_that_fails_or_is_slow_or_gone_holds_nobody_up() {
        let mut looks = Looks::default();
        looks.ask(SOON, A, &url());
        looks.ask(SOON, B, &url());
        let (waiting, answer) = looks.told(SOON, (A, &url()), None).expect("news");
        assert_eq!(
            (waiting, answer),
            (BTreeSet::from([B]), Answer::LookYourself)
        );

        looks.ask(SOON, A, &url());
        looks.ask(SOON, B, &url());
        let late = SOON + Looks::TERM;
        assert_eq!(looks.ask(late, C, &url()), Some(Answer::LookYourself));
        assert_eq!(looks.told(late, (A, &url()), Some(found(1))), None);
        let (waiting, _) = looks.told(late, (C, &url()), Some(found(5))).expect("news");
        assert_eq!(waiting, BTreeSet::from([B]), "it still waits");

        looks.ask(SOON, A, &blob());
        looks.ask(SOON, B, &blob());
        looks.ask(SOON, C, &blob());
        looks.lost(SOON, C);
        assert_eq!(looks.lost(SOON, A), [(B, blob())]);
        let (waiting, _) = looks
            .told(SOON, (B, &blob()), Some(found(5)))
            .expect("news");
        assert!(waiting.is_empty(), "who is gone waits for nothing");
    }

    #[test]
    fn an_answer_that_somebody_contradicts_is_forgotten() {
        let mut looks = Looks::default();
        looks.ask(SOON, A, &blob());
        looks.told(SOON, (A, &blob()), Some(found(5)));
        looks.told(SOON, (B, &blob()), Some(found(5)));
        assert!(
            is_found(looks.ask(SOON, C, &blob()), 5),
            "that was no contradiction"
        );
        looks.told(SOON, (B, &blob()), Some(found(6)));
        assert_eq!(looks.ask(SOON, C, &blob()), Some(Answer::LookYourself));
    }

    #[test]
    fn no_more_sources_are_remembered_than_the_bound() {
        let mut looks = Looks::default();
        let at = |number: usize| Source::Url(format!("https://origin.example/{number}"));
        for number in 0..Looks::SOURCES_MAX + 10 {
            looks.ask(SOON, A, &at(number));
            looks.ask(SOON, A, &at(number));
        }
        assert_eq!(
            (looks.by_source.len(), looks.by_age.len()),
            (Looks::SOURCES_MAX, Looks::SOURCES_MAX)
        );
        assert_eq!(
            looks.ask(SOON, B, &at(9)),
            Some(Answer::LookYourself),
            "the oldest are gone"
        );
        assert_eq!(looks.ask(SOON, B, &at(Looks::SOURCES_MAX)), None);
    }
}
