//! What to evict when room is needed: whole tasks, least worth first.
//!
//! Worth is not age alone. What no other host is known to hold is kept longer, as the swarm would have to read the
//! origin again; what is incomplete serves fewer and goes earlier; what an operator marked as dear stays. Pinned tasks
//! and tasks in use are never touched, however great the need. No clock is read: time comes in.

use std::{cmp::Reverse, time::Duration};

use types::{ByteCount, Moment, TaskId};

/// How dear a task is to its owner, beside how recently it was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Goes before everything else: preheated on speculation, read ahead.
    Spare,
    /// What somebody asked for.
    #[default]
    Normal,
    /// Goes last: the operator wants it near.
    Dear,
}

/// A task on this host's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub task: TaskId,
    /// Bytes on disk that its eviction frees.
    pub bytes: ByteCount,
    /// When it was last read, here or by another host.
    pub last_used: Moment,
    /// In use at this moment: read, written, imported or sent.
    pub is_in_use: bool,
    /// Whether all of it is here.
    pub is_complete: bool,
    /// Copies that other hosts are known to hold.
    pub copies_elsewhere: u32,
    /// Its owner's opinion.
    pub class: Class,
}

/// What to evict, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eviction {
    /// The tasks, least worth first.
    pub tasks: Vec<TaskId>,
    /// What they free: at least what was needed, or nothing.
    pub freed: ByteCount,
}

/// By how much a copy ages slower when it is the swarm's last. A last copy unused for an hour weighs as much as one of
/// many unused for a quarter of an hour: a read of the origin costs more than a read of a neighbour, but not for ever.
const AGE_DIVISOR_LAST_COPY: u64 = 4;
/// With one other copy: losing one more host would make it the last.
const AGE_DIVISOR_SECOND_COPY: u64 = 2;
/// An incomplete task that nobody uses ages this much faster: it can serve only some reads, and is often an abandoned
/// one.
const AGE_FACTOR_INCOMPLETE: u64 = 4;
/// Added to every age, so that rarity also tells apart tasks that were just used.
const AGE_FLOOR: Duration = Duration::from_secs(60);

/// Chooses tasks that together free at least `need`; none if all that may go would not do, since what needs the room
/// would not get it, and the rest is gone for nothing.
///
/// Ties are broken by id, so that equal inputs give equal answers in whatever order they come. Nothing is chosen that
/// the need does not require: a task whose bytes are not missed, as later ones cover the need alone, is spared.
pub fn choose(candidates: &[Candidate], need: ByteCount, now: Moment) -> Eviction {
    if need == ByteCount::ZERO {
        return Eviction::default();
    }
    let mut order: Vec<&Candidate> = (candidates.iter())
        .filter(|candidate| !candidate.is_in_use)
        .filter(|candidate| candidate.bytes > ByteCount::ZERO)
        .collect();
    order.sort_unstable_by_key(|candidate| {
        (
            candidate.class,
            Reverse(weighted_age(candidate, now)),
            candidate.task,
        )
    });
    let mut freed = ByteCount::ZERO;
    let mut chosen = Vec::new();
    for candidate in order {
        if freed >= need {
            break;
        }
        freed = freed.saturating_add(candidate.bytes);
        chosen.push(candidate);
    }
    if freed < need {
        return Eviction::default();
    }
    spare_needless(&mut chosen, freed, need)
}

/// Age in nanoseconds, stretched or shrunk by what the copy is worth to the swarm.
fn weighted_age(candidate: &Candidate, now: Moment) -> u64 {
    let age = now.since(candidate.last_used).saturating_add(AGE_FLOOR);
    let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    if !candidate.is_complete {
        return age.saturating_mul(AGE_FACTOR_INCOMPLETE);
    }
    match candidate.copies_elsewhere {
        0 => age / AGE_DIVISOR_LAST_COPY,
        1 => age / AGE_DIVISOR_SECOND_COPY,
        _ => age,
    }
}

/// Gives back, from the most worth on, what was chosen before a large task made it needless.
fn spare_needless(chosen: &mut Vec<&Candidate>, mut freed: ByteCount, need: ByteCount) -> Eviction {
    for at in (0..chosen.len()).rev() {
        let without = freed.saturating_sub(chosen[at].bytes);
        if freed < ByteCount(u64::MAX) && without >= need {
            chosen.remove(at);
            freed = without;
        }
    }
    Eviction {
        tasks: chosen.iter().map(|candidate| candidate.task).collect(),
        freed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment(1_000_000 * 1_000_000_000);

    fn id(number: u8) -> TaskId {
        TaskId::from_bytes([number; 32])
    }

    /// A complete task of 10 bytes with many copies, unused for `minutes`.
    fn task(number: u8, minutes: u64) -> Candidate {
        Candidate {
            task: id(number),
            bytes: ByteCount(10),
            last_used: NOW - Duration::from_secs(60 * minutes),
            is_in_use: false,
            is_complete: true,
            copies_elsewhere: 9,
            class: Class::Normal,
        }
    }

    fn check(candidates: &[Candidate], need: u64, expected: &[u8]) {
        let chosen = choose(candidates, ByteCount(need), NOW).tasks;
        let expected: Vec<TaskId> = expected.iter().map(|number| id(*number)).collect();
        assert_eq!(chosen, expected);
    }

    #[test]
    fn the_longest_unused_goes_first() {
        check(&[task(1, 5), task(2, 50), task(3, 20)], 20, &[2, 3]);
        check(&[task(2, 5), task(1, 5)], 10, &[1]);
        check(&[task(1, 5)], 0, &[]);
    }

    #[test]
    fn a_last_copy_outlives_one_of_many() {
        let last = Candidate {
            copies_elsewhere: 0,
            ..task(1, 60)
        };
        check(&[last.clone(), task(2, 30)], 10, &[2]);
        check(&[last, task(2, 10)], 10, &[1]);
    }

    #[test]
    fn an_incomplete_idle_task_goes_early_and_a_dear_one_last() {
        let part = Candidate {
            is_complete: false,
            ..task(1, 10)
        };
        let dear = Candidate {
            class: Class::Dear,
            ..task(3, 9000)
        };
        check(&[dear, task(2, 30), part], 30, &[1, 2, 3]);
    }

    #[test]
    fn what_is_in_use_stays_and_nothing_goes_for_nothing() {
        let used = Candidate {
            is_in_use: true,
            ..task(2, 100)
        };
        let all = [used, task(3, 1), task(4, 1)];
        check(&all, 20, &[3, 4]);
        check(&all, 21, &[]);
        assert_eq!(choose(&all, ByteCount(21), NOW), Eviction::default());
    }

    #[test]
    fn a_small_task_is_spared_when_a_large_one_covers_the_need() {
        let large = Candidate {
            bytes: ByteCount(100),
            ..task(2, 50)
        };
        check(&[task(1, 60), large], 100, &[2]);
    }

    fn candidate() -> impl Strategy<Value = Candidate> {
        let flags = (prop::bool::weighted(0.3), any::<bool>());
        let class = prop_oneof![Just(Class::Spare), Just(Class::Normal), Just(Class::Dear)];
        let bytes = prop_oneof![Just(0), 0u64..1000, Just(u64::MAX)];
        (any::<u8>(), bytes, any::<u64>(), flags, 0u32..4, class).prop_map(
            |(number, bytes, last_used, (is_in_use, is_complete), copies, class)| Candidate {
                task: id(number),
                bytes: ByteCount(bytes),
                last_used: Moment(last_used),
                is_in_use,
                is_complete,
                copies_elsewhere: copies,
                class,
            },
        )
    }

    proptest! {
        #[test]
        fn it_frees_enough_if_there_is_enough_and_never_what_is_held(
            mut candidates in prop::collection::vec(candidate(), 0..40),
            need in 0u64..5000,
        ) {
            candidates.sort_by_key(|candidate| candidate.task);
            candidates.dedup_by_key(|candidate| candidate.task);
            let eviction = choose(&candidates, ByteCount(need), NOW);
            let free = |candidate: &&Candidate| !candidate.is_in_use;
            let sum = |all: Vec<&Candidate>| {
                all.iter().fold(ByteCount::ZERO, |sum, one| sum.saturating_add(one.bytes))
            };
            let chosen: Vec<&Candidate> =
                candidates.iter().filter(|one| eviction.tasks.contains(&one.task)).collect();
            prop_assert_eq!(chosen.len(), eviction.tasks.len());
            prop_assert!(chosen.iter().all(free));
            prop_assert_eq!(sum(chosen.clone()), eviction.freed);
            let all = sum(candidates.iter().filter(free).collect());
            let expected = if all < ByteCount(need) { ByteCount::ZERO } else { ByteCount(need) };
            prop_assert!(eviction.freed >= expected && (expected > ByteCount::ZERO || chosen.is_empty()));
            if eviction.freed < ByteCount(u64::MAX) {
                for one in chosen {
                    prop_assert!(eviction.freed.saturating_sub(one.bytes) < ByteCount(need));
                }
            }
            candidates.reverse();
            prop_assert_eq!(choose(&candidates, ByteCount(need), NOW), eviction);
        }
    }
}
