use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A graph together with the edges its changes tell of.
struct Told {
    graph: Graph,
    chance: Chance,
    edges: BTreeSet<(Seat, Seat)>,
    limit: u16,
    forbid: fn(Seat, Seat) -> bool,
}

impl Told {
    fn new(limit: u16, seed: u64) -> Self {
        Self {
            graph: Graph::default(),
            chance: Chance::seeded(seed),
            edges: BTreeSet::new(),
            limit,
            forbid: |_, _| false,
        }
    }

    fn apply(&mut self, seat: Seat, join: bool) {
        let mut changes = Vec::new();
        let forbid = self.forbid;
        let mut draw = Draw {
            chance: &mut self.chance,
            samples: 4,
            cost: |a: Seat, b: Seat| (!forbid(a, b)).then_some(a.0.abs_diff(b.0) % 3),
            changes: &mut changes,
        };
        if join {
            self.graph.join(seat, self.limit, &mut draw);
        } else {
            self.graph.leave(seat, &mut draw);
        }
        for change in changes {
            let [a, b] = change.ends;
            let edge = (a.min(b), a.max(b));
            let changed = if change.joined {
                assert!(!forbid(a, b), "a forbidden edge was drawn");
                self.edges.insert(edge)
            } else {
                self.edges.remove(&edge)
            };
            assert!(changed, "every change changes something");
        }
    }

    fn check(&self) {
        let mut seen = BTreeSet::new();
        for &a in self.graph.members() {
            let neighbours = self.graph.neighbours(a);
            assert!(neighbours.len() <= usize::from(self.limit));
            for &b in neighbours {
                assert!(a != b && self.graph.contains(b));
                assert!(self.graph.neighbours(b).contains(&a), "symmetric");
                assert_eq!(neighbours.iter().filter(|c| **c == b).count(), 1);
                seen.insert((a.min(b), a.max(b)));
            }
            let short = self.graph.nodes[a.at()].short_at;
            assert_eq!(short != NOWHERE, self.graph.room(a) > 0);
        }
        assert_eq!(seen, self.edges, "what was told is what is");
    }

    fn missing(&self) -> usize {
        let full = usize::from(self.limit).min(self.graph.members().len().saturating_sub(1));
        let degree = |seat: &Seat| self.graph.neighbours(*seat).len();
        (self.graph.members().iter())
            .map(|seat| full - degree(seat))
            .sum()
    }

    fn reached(&self) -> (usize, u32) {
        let Some(&start) = self.graph.members().first() else {
            return (0, 0);
        };
        let (mut seen, mut edge, mut steps) = (BTreeSet::from([start]), vec![start], 0);
        while !edge.is_empty() {
            let next: BTreeSet<Seat> = (edge.iter())
                .flat_map(|seat| self.graph.neighbours(*seat))
                .copied()
                .collect();
            edge = next.into_iter().filter(|seat| seen.insert(*seat)).collect();
            steps += u32::from(!edge.is_empty());
        }
        (seen.len(), steps)
    }
}

fn play(told: &mut Told, steps: &[(bool, u32)]) {
    for (join, seat) in steps {
        if *join != told.graph.contains(Seat(*seat)) {
            told.apply(Seat(*seat), *join);
            told.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_joins_and_leaves_keep_it_simple_symmetric_regular_and_connected(
        seed: u64,
        steps in prop::collection::vec((prop::bool::weighted(0.6), 0u32..90), 0..300),
    ) {
        let mut told = Told::new(12, seed);
        play(&mut told, &steps);
        prop_assert_eq!(told.reached().0, told.graph.members().len());
        prop_assert!(told.missing() <= 12, "{} ends are missing", told.missing());
    }

    #[test]
    fn forbidden_edges_are_never_drawn(
        seed: u64,
        steps in prop::collection::vec((prop::bool::weighted(0.6), 0u32..40), 0..200),
    ) {
        let mut told = Told::new(6, seed);
        told.forbid = |a, b| a.0 % 3 == 0 && b.0 % 3 == 0;
        play(&mut told, &steps);
    }
}

#[test]
fn few_members_are_a_complete_graph() {
    let mut told = Told::new(30, 1);
    for seat in 0..31 {
        told.apply(Seat(seat), true);
        assert_eq!(told.missing(), 0);
    }
    assert_eq!(told.edges.len(), 31 * 30 / 2);
}

#[test]
fn a_thousand_members_in_join_order_are_within_three_steps_of_each_other() {
    let mut told = Told::new(30, 7);
    for seat in 0..1000 {
        told.apply(Seat(seat), true);
    }
    told.check();
    assert_eq!(told.reached(), (1000, 3));
    assert!(told.missing() <= 30, "{}", told.missing());
    // The first members are not more central than the last: their neighbours are spread over all ages.
    for part in [0..100, 900..1000] {
        let old = (part
            .clone()
            .flat_map(|seat| told.graph.neighbours(Seat(seat))))
        .filter(|seat| seat.0 < 500)
        .count();
        assert!((900..2100).contains(&old), "{part:?}: {old} of 3000");
    }
}

#[test]
fn half_of_a_thousand_leave_and_the_rest_stay_close() {
    let mut told = Told::new(30, 3);
    for seat in 0..1000 {
        told.apply(Seat(seat), true);
    }
    for seat in (0..1000).step_by(2) {
        told.apply(Seat(seat), false);
    }
    told.check();
    assert_eq!(told.reached(), (500, 3));
    assert!(told.missing() <= 30, "{}", told.missing());
}
