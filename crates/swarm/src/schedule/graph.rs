//! A random near-regular graph that stays random while members come and go. Pure combinatorics.
//!
//! A graph grown by letting each newcomer pick old members is old-heavy: distribution over it took 2.3 times the bound
//! in the fluid model, over a random regular one 1.08. So a newcomer splits random edges and takes both ends, and the
//! ends that a leaver orphans are joined with each other: every degree but the newcomer's stays what it was.
//! While there are members with room (at the start: all), a newcomer is joined to them directly, which makes the
//! complete graph of the first `degree + 1` members.

use types::Chance;

/// A member's place in one task. Numbers are used again after a member left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(pub(super) u32);

impl Seat {
    pub(super) const fn at(self) -> usize {
        self.0 as usize
    }
}

const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    neighbours: Vec<Seat>,
    /// Position in `live`, or `NOWHERE`.
    live_at: u32,
    /// Position in `short`, or `NOWHERE`.
    short_at: u32,
    /// Most neighbours.
    limit: u16,
}

/// What a member costs here, beside its neighbours' numbers.
#[cfg(test)]
pub(super) const NODE_BYTES: usize = size_of::<Node>();

/// An edge that came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) ends: [Seat; 2],
    pub(super) joined: bool,
}

/// How to draw edges: chance, and what edges are worth.
pub(super) struct Draw<'a, F> {
    pub(super) chance: &'a mut Chance,
    /// Candidates compared per edge.
    pub(super) samples: usize,
    /// The cost of an edge; `None` if it must not be.
    pub(super) cost: F,
    /// Filled with what changed, in order.
    pub(super) changes: &'a mut Vec<Change>,
}

/// What an edge is reckoned to cost that would not be drawn today: more than any other, so that it is split first.
const WORTHLESS: u32 = 1 << 16;

/// The graph. Invariants: symmetric, no loops, no double edges, no degree above its member's limit.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    live: Vec<Seat>,
    /// Members with fewer neighbours than their limit.
    short: Vec<Seat>,
}

impl Graph {
    /// Puts a member in, with at most `limit` neighbours, and draws its edges.
    pub(super) fn join<F>(&mut self, seat: Seat, limit: u16, draw: &mut Draw<'_, F>)
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        while self.nodes.len() <= seat.at() {
            self.nodes.push(Node {
                neighbours: Vec::new(),
                live_at: NOWHERE,
                short_at: NOWHERE,
                limit: 0,
            });
        }
        debug_assert!(!self.contains(seat), "a member joins once");
        let at = number(self.live.len());
        self.live.push(seat);
        let node = &mut self.nodes[seat.at()];
        (node.live_at, node.limit) = (at, limit);
        self.note_room(seat);
        self.fill(seat, draw);
    }

    /// Draws edges for a member until it has as many as it may, as far as can be.
    pub(super) fn fill<F>(&mut self, seat: Seat, draw: &mut Draw<'_, F>)
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        self.take_room(seat, draw);
        while self.room(seat) >= 2 {
            let Some((a, b)) = self.edge_to_split(seat, draw) else {
                break;
            };
            self.unlink(a, b, draw.changes);
            self.link(seat, a, draw.changes);
            self.link(seat, b, draw.changes);
        }
    }

    /// Takes a member out and joins the ends that its edges leave.
    pub(super) fn leave<F>(&mut self, seat: Seat, draw: &mut Draw<'_, F>)
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        if !self.contains(seat) {
            return;
        }
        let mut orphans = self.nodes[seat.at()].neighbours.clone();
        let left = orphans.clone();
        for other in &orphans {
            self.unlink(seat, *other, draw.changes);
        }
        self.take_out(seat);
        draw.chance.shuffle(&mut orphans);
        let mut unpaired = Vec::new();
        while let Some(one) = orphans.pop() {
            if let Some(at) = self.best_partner(one, &orphans, draw) {
                let other = orphans.swap_remove(at);
                self.link(one, other, draw.changes);
            } else {
                unpaired.push(one);
            }
        }
        while let Some(one) = unpaired.pop() {
            if let Some(other) = unpaired.last().copied()
                && self.switch(one, other, draw)
            {
                unpaired.pop();
            }
        }
        self.heal(&left, draw);
    }

    /// Takes everybody out, without changes to tell.
    pub(super) fn clear(&mut self) -> Vec<Seat> {
        self.nodes = Vec::new();
        self.short = Vec::new();
        std::mem::take(&mut self.live)
    }

    pub(super) fn contains(&self, seat: Seat) -> bool {
        self.nodes
            .get(seat.at())
            .is_some_and(|node| node.live_at != NOWHERE)
    }

    pub(super) fn neighbours(&self, seat: Seat) -> &[Seat] {
        self.nodes
            .get(seat.at())
            .map_or(&[], |node| &node.neighbours)
    }

    /// All members, in no particular order.
    pub(super) fn members(&self) -> &[Seat] {
        &self.live
    }

    fn room(&self, seat: Seat) -> usize {
        let node = &self.nodes[seat.at()];
        usize::from(node.limit).saturating_sub(node.neighbours.len())
    }

    fn may_link<F>(&self, a: Seat, b: Seat, draw: &Draw<'_, F>) -> Option<u32>
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        if a == b || self.neighbours(a).contains(&b) {
            return None;
        }
        (draw.cost)(a, b)
    }

    /// Joins `seat` to members with room: all of them if they are few, else the best of random samples.
    fn take_room<F>(&mut self, seat: Seat, draw: &mut Draw<'_, F>)
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        let look_at = usize::from(self.nodes[seat.at()].limit) * 4;
        let mut candidates: Vec<Seat> = if self.short.len() <= look_at {
            self.short.clone()
        } else {
            let mut drawn: Vec<Seat> = (0..look_at)
                .filter_map(|_| draw.chance.pick(&self.short).copied())
                .collect();
            drawn.sort_unstable();
            drawn.dedup();
            drawn
        };
        candidates.retain(|other| self.may_link(seat, *other, draw).is_some());
        while self.room(seat) > 0 {
            let Some(at) = self.best_partner(seat, &candidates, draw) else {
                break;
            };
            let other = candidates.swap_remove(at);
            self.link(seat, other, draw.changes);
        }
    }

    /// Joins members that lost an edge to others with room, if those are few. While they are many, the graph is small
    /// or full of pairs that may not meet, and looking at all of them at every leave would be slow and of no use.
    fn heal<F>(&mut self, seats: &[Seat], draw: &mut Draw<'_, F>)
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        for seat in seats {
            if self.room(*seat) > 0 && self.short.len() < usize::from(self.nodes[seat.at()].limit) {
                self.take_room(*seat, draw);
            }
        }
    }

    /// Where in `candidates` the cheapest of a few random partners for `seat` is.
    fn best_partner<F>(
        &self,
        seat: Seat,
        candidates: &[Seat],
        draw: &mut Draw<'_, F>,
    ) -> Option<usize>
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        if candidates.is_empty() {
            return None;
        }
        let start = draw.chance.below(candidates.len());
        let (before, after) = candidates.split_at(start);
        after
            .iter()
            .zip(start..)
            .chain(before.iter().zip(0..))
            .filter_map(|(other, at)| Some((self.may_link(seat, *other, draw)?, at)))
            .take(draw.samples)
            .min_by_key(|(cost, _)| *cost)
            .map(|(_, at)| at)
    }

    /// The best of a few random edges whose both ends may be joined to `seat`: the new edges should be cheap, and the
    /// lost one dear.
    fn edge_to_split<F>(&self, seat: Seat, draw: &mut Draw<'_, F>) -> Option<(Seat, Seat)>
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        let mut best: Option<(i64, (Seat, Seat))> = None;
        let mut found = 0;
        // In a small graph most members are neighbours already: there look only at those that are not.
        let strangers: Option<Vec<Seat>> =
            (self.live.len() <= 4 * usize::from(self.nodes[seat.at()].limit)).then(|| {
                let may = |other: &Seat| self.may_link(seat, *other, draw).is_some();
                self.live.iter().copied().filter(may).collect()
            });
        let pool = strangers.as_deref().unwrap_or(&self.live);
        for _ in 0..draw.samples * 4 {
            let Some(&a) = draw.chance.pick(pool) else {
                break;
            };
            let b = if strangers.is_some() {
                let ends = self.neighbours(a);
                let start = draw.chance.below(ends.len());
                (ends[start..].iter().chain(&ends[..start]))
                    .find(|b| pool.contains(b))
                    .copied()
            } else {
                draw.chance.pick(self.neighbours(a)).copied()
            };
            let Some(b) = b else { continue };
            let (Some(to_a), Some(to_b)) =
                (self.may_link(seat, a, draw), self.may_link(seat, b, draw))
            else {
                continue;
            };
            let lost = (draw.cost)(a, b).unwrap_or(WORTHLESS);
            let cost = i64::from(to_a) + i64::from(to_b) - i64::from(lost);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, (a, b)));
            }
            found += 1;
            if found == draw.samples {
                break;
            }
        }
        best.map(|(_, edge)| edge)
    }

    /// Gives two members that cannot be joined to each other one edge each, out of the middle of a third edge.
    fn switch<F>(&mut self, one: Seat, other: Seat, draw: &mut Draw<'_, F>) -> bool
    where
        F: Fn(Seat, Seat) -> Option<u32>,
    {
        for _ in 0..draw.samples * 4 {
            let Some(&x) = draw.chance.pick(&self.live) else {
                return false;
            };
            let Some(&y) = draw.chance.pick(self.neighbours(x)) else {
                continue;
            };
            if self.may_link(one, x, draw).is_some() && self.may_link(other, y, draw).is_some() {
                self.unlink(x, y, draw.changes);
                self.link(one, x, draw.changes);
                self.link(other, y, draw.changes);
                return true;
            }
        }
        false
    }

    fn link(&mut self, a: Seat, b: Seat, changes: &mut Vec<Change>) {
        self.nodes[a.at()].neighbours.push(b);
        self.nodes[b.at()].neighbours.push(a);
        self.note_room(a);
        self.note_room(b);
        changes.push(Change {
            ends: [a, b],
            joined: true,
        });
    }

    fn unlink(&mut self, a: Seat, b: Seat, changes: &mut Vec<Change>) {
        for (from, gone) in [(a, b), (b, a)] {
            let neighbours = &mut self.nodes[from.at()].neighbours;
            let at = neighbours.iter().position(|other| *other == gone);
            neighbours.swap_remove(at.expect("an edge has two ends"));
            self.note_room(from);
        }
        changes.push(Change {
            ends: [a, b],
            joined: false,
        });
    }

    /// Keeps `short` true for one member.
    fn note_room(&mut self, seat: Seat) {
        let has_room = self.room(seat) > 0;
        let at = self.nodes[seat.at()].short_at;
        if has_room && at == NOWHERE {
            self.nodes[seat.at()].short_at = number(self.short.len());
            self.short.push(seat);
        } else if !has_room && at != NOWHERE {
            self.short.swap_remove(at as usize);
            if let Some(moved) = self.short.get(at as usize) {
                self.nodes[moved.at()].short_at = at;
            }
            self.nodes[seat.at()].short_at = NOWHERE;
        }
    }

    fn take_out(&mut self, seat: Seat) {
        let node = &mut self.nodes[seat.at()];
        let at = std::mem::replace(&mut node.live_at, NOWHERE);
        node.limit = 0;
        node.neighbours = Vec::new();
        self.note_room(seat);
        self.live.swap_remove(at as usize);
        if let Some(moved) = self.live.get(at as usize) {
            self.nodes[moved.at()].live_at = at;
        }
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("fewer members than 2^32")
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
