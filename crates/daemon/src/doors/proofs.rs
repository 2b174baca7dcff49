//! Who has shown lately that a registry gives him a private blob: pure, bounded, and never for long.
//!
//! A proof is one caller's, for one blob of one repository of one registry. What another repository, another registry or
//! another caller was told proves nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use types::{ByteCount, CallerId, Digest, Moment, RegistryHost, RepoName};

/// How long the origin's word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofPolicy {
    /// After it gave: who loses his rights there gets nothing here from then on.
    pub granted: Duration,
    /// After it refused. Short: who was refused may get his rights in the next moment.
    pub refused: Duration,
    /// Proofs that are kept; who comes next takes the place of the one that ends first, who is asked for anew.
    pub most: usize,
}

impl ProofPolicy {
    /// The longest that a grant may count.
    pub const GRANTED_MAX: Duration = Duration::from_secs(300);
    const REFUSED_MAX: Duration = Duration::from_secs(10);
    /// Some 6 MiB at most, when all are refusals as long as may be.
    const MOST: usize = 4096;

    /// A policy whose grants count for `granted`, 5 minutes at most.
    pub fn of(granted: Duration) -> Self {
        let granted = granted.min(Self::GRANTED_MAX);
        Self {
            granted,
            refused: granted.min(Self::REFUSED_MAX),
            most: Self::MOST,
        }
    }
}

impl Default for ProofPolicy {
    fn default() -> Self {
        Self::of(Self::GRANTED_MAX)
    }
}

/// Whose right to what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) caller: CallerId,
    pub(super) registry: RegistryHost,
    pub(super) repository: RepoName,
    pub(super) digest: Digest,
}

/// What the origin said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict<R> {
    /// Yes, and how long the blob is.
    Granted(ByteCount),
    /// No, in these words.
    Refused(R),
}

/// The origin's word, when it was asked for, and until when it counts.
#[derive(Debug)]
struct Proof<R> {
    verdict: Verdict<R>,
    asked: Moment,
    end: Moment,
}

/// The proofs.
#[derive(Debug)]
pub(super) struct Proofs<R> {
    policy: ProofPolicy,
    by_claim: BTreeMap<Claim, Proof<R>>,
    by_end: BTreeSet<(Moment, Claim)>,
}

impl<R: Clone> Proofs<R> {
    pub(super) fn new(policy: ProofPolicy) -> Self {
        Self {
            policy,
            by_claim: BTreeMap::new(),
            by_end: BTreeSet::new(),
        }
    }

    /// What counts of `claim` at `now`.
    pub(super) fn verdict(&self, claim: &Claim, now: Moment) -> Option<Verdict<R>> {
        let proof = self.by_claim.get(claim)?;
        (now < proof.end).then(|| proof.verdict.clone())
    }

    /// The origin gave nobody's credentials the content since `denied`: what it said of `claim` before counts no more.
    pub(super) fn doubt(&mut self, claim: &Claim, denied: Moment) {
        if self
            .by_claim
            .get(claim)
            .is_some_and(|proof| proof.asked <= denied)
        {
            self.forget(claim);
        }
    }

    /// Notes what the origin said to a question that was put at `asked`: it counts from then, since the rights may have
    /// been lost right after; no longer than what was shown is good for, which `lasts` from then on if that is known.
    pub(super) fn note(
        &mut self,
        claim: Claim,
        verdict: Verdict<R>,
        (asked, lasts): (Moment, Option<Duration>),
    ) {
        let counts_for = match verdict {
            Verdict::Granted(_) => self.policy.granted,
            Verdict::Refused(_) => self.policy.refused,
        };
        let end = asked + lasts.map_or(counts_for, |lasts| lasts.min(counts_for));
        self.forget(&claim);
        while self.by_claim.len() >= self.policy.most
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.by_claim.remove(&first);
        }
        self.by_end.insert((end, claim.clone()));
        let proof = Proof {
            verdict,
            asked,
            end,
        };
        self.by_claim.insert(claim, proof);
    }

    /// The origin's last word on `claim` counts no more.
    pub(super) fn forget(&mut self, claim: &Claim) {
        if let Some(proof) = self.by_claim.remove(claim) {
            self.by_end.remove(&(proof.end, claim.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use types::CallerKey;

    use super::*;

    const YES: Verdict<&str> = Verdict::Granted(ByteCount(7));
    const NO: Verdict<&str> = Verdict::Refused("no");
    const START: Moment = Moment::ZERO;

    fn claim(caller: &str, registry: &str, repository: &str, digest: u8) -> Claim {
        let key = CallerKey::new([1; 32]);
        Claim {
            caller: key.caller([("authorization", caller.as_bytes())]),
            registry: registry.parse().expect("a registry"),
            repository: repository.parse().expect("a repository"),
            digest: Digest::sha256([digest; 32]),
        }
    }

    fn ann() -> Claim {
        claim("ann", "r.example", "team/app", 1)
    }

    #[test]
    fn a_proof_is_one_callers_for_one_blob_of_one_repository_of_one_registry() {
        let (mut proofs, now) = (Proofs::new(ProofPolicy::default()), START);
        proofs.note(ann(), YES, (now, None));
        assert_eq!(proofs.verdict(&ann(), now), Some(YES));
        for other in [
            claim("bob", "r.example", "team/app", 1),
            claim("ann", "evil.example", "team/app", 1),
            claim("ann", "r.example", "team/other", 1),
            claim("ann", "r.example", "team/app", 2),
        ] {
            assert_eq!(proofs.verdict(&other, now), None, "{other:?}");
        }
    }

    #[test]
    fn a_grant_counts_for_five_minutes_at_most_and_a_refusal_for_less() {
        for (asked_for, granted, refused) in [(3600, 300, 10), (300, 300, 10), (4, 4, 4)] {
            let policy = ProofPolicy::of(Duration::from_secs(asked_for));
            let (mut proofs, now) = (Proofs::new(policy), START);
            for (verdict, lasts) in [(YES, granted), (NO, refused)] {
                proofs.note(ann(), verdict.clone(), (now, None));
                let at = |millis| now + Duration::from_millis(millis);
                assert_eq!(proofs.verdict(&ann(), at(lasts * 1000 - 1)), Some(verdict));
                assert_eq!(proofs.verdict(&ann(), at(lasts * 1000)), None);
            }
        }
    }

    #[test]
    fn no_grant_outlives_what_was_shown_for_it() {
        let (mut proofs, now) = (Proofs::new(ProofPolicy::default()), START);
        for (lasts, is_known) in [(0, false), (7, true), (3600, true)] {
            proofs.note(ann(), YES, (now, Some(Duration::from_secs(lasts))));
            assert_eq!(proofs.verdict(&ann(), now).is_some(), is_known);
            let end = now + Duration::from_secs(lasts.min(300));
            assert_eq!(proofs.verdict(&ann(), end), None);
        }
    }

    #[test]
    fn the_last_word_counts() {
        let (mut proofs, now) = (Proofs::new(ProofPolicy::default()), START);
        proofs.note(ann(), YES, (now, None));
        proofs.note(ann(), NO, (now, None));
        assert_eq!(proofs.verdict(&ann(), now), Some(NO));
        proofs.forget(&ann());
        assert_eq!(proofs.verdict(&ann(), now), None);
        assert!(proofs.by_claim.is_empty() && proofs.by_end.is_empty());
    }

    #[test]
    fn a_word_from_before_a_denial_counts_no_more_and_one_from_after_does() {
        let (mut proofs, now) = (Proofs::new(ProofPolicy::default()), START);
        let denied = now + Duration::from_secs(30);
        proofs.note(ann(), YES, (now, None));
        proofs.doubt(&ann(), denied);
        assert_eq!(proofs.verdict(&ann(), denied), None);
        let after = denied + Duration::from_millis(1);
        proofs.note(ann(), YES, (after, None));
        proofs.doubt(&ann(), denied);
        assert_eq!(proofs.verdict(&ann(), after), Some(YES));
    }

    #[test]
    fn a_flood_of_callers_drives_out_what_ends_first_and_no_more_is_kept() {
        let policy = ProofPolicy {
            most: 4,
            ..ProofPolicy::default()
        };
        let (mut proofs, now) = (Proofs::new(policy), START);
        proofs.note(ann(), YES, (now, None));
        for one in 0..50 {
            let stranger = claim(&format!("bob {one}"), "r.example", "team/app", 1);
            proofs.note(stranger, NO, (now, None));
        }
        assert_eq!(proofs.verdict(&ann(), now), Some(YES), "refusals end first");
        assert_eq!((proofs.by_claim.len(), proofs.by_end.len()), (4, 4));
    }
}
