use proptest::prelude::*;

use super::{exact::max_min, *};

/// One change to a network: what, and two numbers that pick to what.
type Step = (u8, usize, u64);

/// The network under test beside what it should be.
struct Pair {
    net: Net,
    links: Vec<LinkNo>,
    capacities: Vec<f64>,
    flows: Vec<(FlowNo, Vec<usize>, f64)>,
    now: Moment,
    started: f64,
    carried: f64,
}

impl Pair {
    fn new(rates: &[u64]) -> Self {
        let mut net = Net::new();
        Self {
            links: rates.iter().map(|&rate| net.add_link(Rate(rate))).collect(),
            capacities: rates.iter().map(|&rate| rate as f64).collect(),
            net,
            flows: Vec::new(),
            now: Moment::ZERO,
            started: 0.0,
            carried: 0.0,
        }
    }

    fn start(&mut self, pick: usize, bytes: u64) {
        let count = self.links.len();
        let mut path: Vec<usize> = (0..=pick % 4)
            .map(|hop| (pick / 4 + hop * (1 + pick % 5)) % count)
            .collect();
        path.sort_unstable();
        path.dedup();
        let links: Vec<LinkNo> = path.iter().map(|&link| self.links[link]).collect();
        let flow = self.net.start(self.now, &links, ByteCount(bytes));
        self.flows.push((flow, path, bytes as f64));
        self.started += bytes as f64;
    }

    fn step(&mut self, (what, pick, amount): Step) {
        match what {
            0..=4 if self.flows.len() < 20 => self.start(pick, 1 + amount * 1000),
            5 if !self.flows.is_empty() => {
                let (flow, ..) = self.flows.swap_remove(pick % self.flows.len());
                let left = self.net.cancel(self.now, flow).expect("it runs");
                self.started -= left.0 as f64;
                assert_eq!(self.net.cancel(self.now, flow), None);
            }
            6 => {
                let link = pick % self.links.len();
                let rate = 1 + amount * 10;
                self.net.set_rate(self.now, self.links[link], Rate(rate));
                self.capacities[link] = rate as f64;
            }
            _ => self.finish_next(),
        }
    }

    fn finish_next(&mut self) {
        let Some((at, flow)) = self.net.next_completion() else {
            return;
        };
        let seconds = at.since(self.now).as_secs_f64();
        self.carried += self
            .flows
            .iter()
            .map(|f| self.net.rate(f.0).expect("it runs") * seconds)
            .sum::<f64>();
        self.now = at;
        assert_eq!(self.net.finish(at), Some(flow));
        self.flows.retain(|held| held.0 != flow);
    }

    /// Every rate is near the exact one, and no link carries more than it can.
    fn check(&mut self) {
        let paths: Vec<Vec<usize>> = self.flows.iter().map(|flow| flow.1.clone()).collect();
        let exact = max_min(&self.capacities, &paths);
        let rates: Vec<f64> = self
            .flows
            .iter()
            .map(|f| self.net.rate(f.0).expect("it runs"))
            .collect();
        for (rate, exact) in rates.iter().zip(&exact) {
            assert!(
                (rate - exact).abs() <= 0.01 * exact,
                "{rates:?} should be {exact:?} on {paths:?}"
            );
        }
        for (link, capacity) in self.capacities.iter().enumerate() {
            let load: f64 = (paths.iter().zip(&rates))
                .filter(|f| f.0.contains(&link))
                .map(|f| f.1)
                .sum();
            assert!(
                load <= capacity * 1.005,
                "link {link} carries {load} of {capacity}"
            );
            let kept = self.net.load(self.links[link]);
            assert!(
                (load - kept).abs() <= 1e-6 * capacity,
                "kept {kept}, is {load}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn after_each_change_the_rates_are_max_min_fair(
        rates in prop::collection::vec(prop_oneof![Just(1000u64), 1u64..100_000], 1..=12),
        steps in prop::collection::vec((0u8..10, 0usize..1000, 0u64..1000), 1..60),
    ) {
        let mut pair = Pair::new(&rates);
        for step in steps {
            pair.step(step);
            pair.check();
        }
    }

    #[test]
    fn every_byte_started_is_carried_or_given_back(
        rates in prop::collection::vec(1u64..100_000, 1..=12),
        steps in prop::collection::vec((prop_oneof![0u8..6, Just(9)], 0usize..1000, 0u64..1000), 1..60),
    ) {
        let mut pair = Pair::new(&rates);
        for step in steps {
            pair.step(step);
        }
        while !pair.flows.is_empty() {
            pair.finish_next();
        }
        prop_assert!((pair.started - pair.carried).abs() <= 1e-3 * pair.started + 100.0,
            "{} started, {} carried", pair.started, pair.carried);
    }
}

#[test]
fn a_flow_takes_its_bytes_over_the_slowest_link() {
    let mut net = Net::new();
    let (up, down) = (net.add_link(Rate(1000)), net.add_link(Rate(500)));
    let flow = net.start(Moment::ZERO, &[up, down], ByteCount(1000));
    assert_eq!(net.next_completion(), Some((Moment(2_000_000_000), flow)));
    assert_eq!(
        net.remaining(Moment(500_000_000), flow),
        Some(ByteCount(750))
    );
    assert_eq!(net.finish(Moment(1_999_999_999)), None);
    assert_eq!(net.finish(Moment(2_000_000_000)), Some(flow));
    assert_eq!((net.next_completion(), net.running()), (None, 0));
}

#[test]
fn a_dead_link_holds_its_flows_until_it_lives_again() {
    let mut net = Net::new();
    let link = net.add_link(Rate(1000));
    let flow = net.start(Moment::ZERO, &[link], ByteCount(1000));
    net.set_rate(Moment(500_000_000), link, Rate(0));
    assert_eq!(net.next_completion(), None);
    assert_eq!(net.finish(Moment(900_000_000_000)), None);
    net.set_rate(Moment(900_000_000_000), link, Rate(500));
    assert_eq!(net.next_completion(), Some((Moment(901_000_000_000), flow)));
}

#[test]
fn a_flow_without_bytes_ends_at_once() {
    let mut net = Net::new();
    let link = net.add_link(Rate(1000));
    let flow = net.start(Moment(7), &[link], ByteCount::ZERO);
    assert_eq!(net.finish(Moment(7)), Some(flow));
}

#[test]
fn a_mesh_that_never_rests_stays_max_min_fair() {
    const HOSTS: usize = 60;
    let rates: Vec<u64> = (0..2 * HOSTS as u64)
        .map(|n| 1_000_000 * (1 + n % 7))
        .collect();
    let mut pair = Pair::new(&rates);
    let mut chance = types::Chance::seeded(3);
    for step in 0..4000 {
        if pair.flows.len() >= 3 * HOSTS {
            pair.finish_next();
        }
        let path = vec![chance.below(HOSTS), HOSTS + chance.below(HOSTS)];
        let links: Vec<LinkNo> = path.iter().map(|&link| pair.links[link]).collect();
        let bytes = 1 + chance.below(4_000_000) as u64;
        let flow = pair.net.start(pair.now, &links, ByteCount(bytes));
        pair.flows.push((flow, path, bytes as f64));
        if step % 250 == 249 {
            pair.check();
        }
    }
}

#[test]
fn a_crowded_link_carries_what_the_exact_solution_would() {
    let capacities: Vec<f64> = (0..=600u64)
        .map(|n| {
            if n == 0 {
                600e6
            } else {
                (1 + n % 40) as f64 * 1e5
            }
        })
        .collect();
    let mut net = Net::new();
    let links: Vec<LinkNo> = capacities
        .iter()
        .map(|&c| net.add_link(Rate(c as u64)))
        .collect();
    let mut chance = types::Chance::seeded(1);
    let mut flows = Vec::new();
    let mut now = Moment::ZERO;
    for step in 0..3000 {
        let down = 1 + chance.below(600);
        let bytes = ByteCount::kib(1 + chance.below(400) as u64);
        flows.push((
            net.start(now, &[links[0], links[down]], bytes),
            vec![0, down],
        ));
        if flows.len() > 500 {
            let (at, over) = net.next_completion().expect("some flow moves");
            now = at;
            assert_eq!(net.finish(now), Some(over));
            flows.retain(|flow| flow.0 != over);
        }
        if step % 600 == 599 {
            let paths: Vec<_> = flows.iter().map(|flow| flow.1.clone()).collect();
            let exact: f64 = max_min(&capacities, &paths).iter().sum();
            let load = net.load(links[0]);
            assert!(
                (load - exact).abs() < 0.015 * exact,
                "step {step}: {load}, not {exact}"
            );
        }
    }
}
