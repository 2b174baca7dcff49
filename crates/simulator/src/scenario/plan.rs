//! From a scenario to single hosts, the links between them, and the bound that physics sets them.

use types::{Chance, Moment};

use super::Scenario;
use crate::{
    bound::Distribution,
    net::{HOPS_MAX, LinkNo, Net},
    rate::Rate,
};

/// One host: receiving ones come first, then the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// Its way up.
    pub up: Rate,
    /// Its way down.
    pub down: Rate,
    /// Index of its zone; 0 where there are none.
    pub zone: usize,
    /// When it asks for the content; seeds are there from the start.
    pub arrives: Moment,
    /// Whether it only imports and uploads.
    pub is_seed: bool,
}

impl Scenario {
    /// Every host. Groups, zones and arrivals are drawn independently: a zone has its part of each group.
    pub fn host_plans(&self) -> Vec<HostPlan> {
        let mut chance = Chance::seeded(self.seed);
        let hosts = self.hosts as usize;
        let base = HostPlan {
            up: self.up,
            down: self.down,
            zone: 0,
            arrives: Moment::ZERO,
            is_seed: false,
        };
        let mut plans = vec![base; hosts];
        let mut order: Vec<usize> = (0..hosts).collect();
        chance.fork().shuffle(&mut order);
        let mut drawn = order.iter();
        for group in &self.groups {
            for &host in drawn.by_ref().take(group.hosts as usize) {
                (plans[host].up, plans[host].down) = (group.up, group.down);
            }
        }
        chance.fork().shuffle(&mut order);
        let mut drawn = order.iter();
        for (number, zone) in self.zones.iter().enumerate() {
            for &host in drawn.by_ref().take(zone.hosts as usize) {
                plans[host].zone = number;
            }
        }
        let mut chance = chance.fork();
        for plan in &mut plans {
            plan.arrives = Moment::ZERO + self.arrivals.mul_f64(chance.fraction());
        }
        plans.extend((0..self.seeds as usize).map(|seed| HostPlan {
            zone: seed % self.zones.len().max(1),
            is_seed: true,
            ..base
        }));
        plans
    }

    /// What the bound is computed from, faults aside.
    pub fn distribution(&self, plans: &[HostPlan]) -> Distribution {
        let slowest = plans
            .iter()
            .filter(|plan| !plan.is_seed)
            .map(|plan| plan.down)
            .min();
        Distribution {
            bytes: self.layout.length().0,
            piece_bytes: self.layout.piece_length().0,
            hosts: u64::from(self.hosts),
            importers_receive: self.seeds == 0,
            origin_rate: self.origin_rate.per_second(),
            down_rate_min: slowest.unwrap_or(self.down).per_second(),
            up_rate_sum: plans.iter().map(|plan| plan.up.per_second()).sum(),
            up_rate_typical: self.up.per_second(),
            zone_rate_min: self.zone_rate_min(),
        }
    }

    /// The slowest way into a zone from all others, infinite if the origin reaches every zone without a pipe.
    fn zone_rate_min(&self) -> f64 {
        let Some(origin) = self.origin_zone else {
            return f64::INFINITY;
        };
        (0..self.zones.len())
            .filter(|&zone| zone != origin && self.zones[zone].hosts > 0)
            .map(|zone| {
                (0..self.zones.len())
                    .filter(|&other| other != zone)
                    .map(|other| {
                        self.pipe_rate(other, zone)
                            .map_or(f64::INFINITY, Rate::per_second)
                    })
                    .sum()
            })
            .fold(f64::INFINITY, f64::min)
    }

    /// The rate from zone to zone: all pipes that say so, no limit if none does.
    fn pipe_rate(&self, from: usize, to: usize) -> Option<Rate> {
        let pipes = self
            .pipes
            .iter()
            .filter(|pipe| (pipe.from, pipe.to) == (from, to));
        pipes
            .map(|pipe| pipe.rate)
            .reduce(|a, b| Rate(a.0.saturating_add(b.0)))
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The origin.
    Origin,
    /// A host, as an index into the plans.
    Host(usize),
}

/// The links of a scenario in a [`Net`].
#[derive(Clone, Debug)]
pub struct Wiring {
    origin: LinkNo,
    origin_zone: Option<usize>,
    ups: Vec<LinkNo>,
    downs: Vec<LinkNo>,
    zones: Vec<usize>,
    zone_count: usize,
    /// By sender's zone, then receiver's.
    pipes: Vec<Option<LinkNo>>,
}

/// The links that a flow crosses, for [`Net::start`].
#[derive(Clone, Copy, Debug)]
pub struct Path {
    links: [LinkNo; HOPS_MAX],
    count: usize,
}

impl std::ops::Deref for Path {
    type Target = [LinkNo];

    fn deref(&self) -> &[LinkNo] {
        &self.links[..self.count]
    }
}

impl Wiring {
    /// Adds the links of `scenario` to `net`.
    pub fn new(scenario: &Scenario, plans: &[HostPlan], net: &mut Net) -> Self {
        let count = scenario.zones.len();
        let mut pipes = vec![None; count * count];
        for pipe in &scenario.pipes {
            let rate = scenario.pipe_rate(pipe.from, pipe.to).unwrap_or(pipe.rate);
            pipes[pipe.from * count + pipe.to].get_or_insert_with(|| net.add_link(rate));
        }
        Self {
            origin: net.add_link(scenario.origin_rate),
            origin_zone: scenario.origin_zone,
            ups: plans.iter().map(|plan| net.add_link(plan.up)).collect(),
            downs: plans.iter().map(|plan| net.add_link(plan.down)).collect(),
            zones: plans.iter().map(|plan| plan.zone).collect(),
            zone_count: count,
            pipes,
        }
    }

    /// The way from `from` to host `to`.
    pub fn path(&self, from: End, to: usize) -> Path {
        let down = self.downs[to];
        let mut path = Path {
            links: [down; HOPS_MAX],
            count: 2,
        };
        path.links[0] = self.up(from);
        let pipe = self
            .zone(from)
            .and_then(|zone| self.pipe(zone, self.zones[to]));
        if let Some(pipe) = pipe {
            path.links[2] = pipe;
            path.count = 3;
        }
        path
    }

    /// The way up of a sender.
    pub fn up(&self, of: End) -> LinkNo {
        match of {
            End::Origin => self.origin,
            End::Host(host) => self.ups[host],
        }
    }

    /// The way down of a host.
    pub fn down(&self, host: usize) -> LinkNo {
        self.downs[host]
    }

    /// The zone of a sender; none for an origin beside all zones.
    pub fn zone(&self, of: End) -> Option<usize> {
        match of {
            End::Origin => self.origin_zone,
            End::Host(host) => Some(self.zones[host]),
        }
    }

    fn pipe(&self, from: usize, to: usize) -> Option<LinkNo> {
        self.pipes
            .get(from * self.zone_count + to)
            .copied()
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::{BindingTerm, bound};

    fn scenario(text: &str) -> Scenario {
        text.parse().unwrap_or_else(|error| panic!("{error:?}"))
    }

    #[test]
    fn groups_zones_and_arrivals_are_drawn_from_the_seed() {
        let text = r#"
            hosts = 100
            seeds = 2
            arrivals = "over 10s"
            groups = ["5% at 0.1x", "3 at up 10Mbit down 2Gbit"]
            zones = ["a 30%", "b"]
        "#;
        let plans = scenario(text).host_plans();
        assert_eq!(plans.len(), 102);
        let with = |up| {
            plans
                .iter()
                .filter(|plan| plan.up == Rate::mbit(up))
                .count()
        };
        assert_eq!([with(1000), with(100), with(10)], [94, 5, 3]);
        let hosts_of = |zone| {
            plans
                .iter()
                .filter(|plan| plan.zone == zone && !plan.is_seed)
                .count()
        };
        assert_eq!([hosts_of(0), hosts_of(1)], [30, 70]);
        assert_eq!([plans[100].zone, plans[101].zone], [0, 1]);
        assert!(
            plans
                .iter()
                .all(|plan| plan.arrives <= Moment(10_000_000_000))
        );
        assert_eq!(plans, scenario(text).host_plans());
        assert_ne!(plans, scenario(&format!("seed = 2\n{text}")).host_plans());
    }

    #[test]
    fn the_bound_knows_groups_seeds_and_zones() {
        let check = |text: &str, binding, seconds: f64| {
            let scenario = scenario(&format!(
                "content = \"1GB\"\nrate = \"1GB/s\"\norigin_rate = \"10GB/s\"\n{text}"
            ));
            let bound = bound(&scenario.distribution(&scenario.host_plans()));
            assert_eq!(
                (bound.binding, bound.fluid.as_secs_f64()),
                (binding, seconds),
                "{text}"
            );
        };
        check("hosts = 50", BindingTerm::SlowestDownload, 1.0);
        check(
            "hosts = 50\ngroups = [\"10% at 0.1x\"]",
            BindingTerm::SlowestDownload,
            10.0,
        );
        check(
            "hosts = 4\nseeds = 0\nup = \"0.5GB/s\"",
            BindingTerm::Uploads,
            1.5,
        );
        let zones =
            "zones = [\"a\", \"b\"]\npipes = [\"a and b at 100MB/s\", \"a to b at 0.1GB/s\"]\n";
        check(zones, BindingTerm::SlowestDownload, 1.0);
        check(
            &format!("{zones}origin_zone = \"a\""),
            BindingTerm::ZonePipe,
            5.0,
        );
    }

    #[test]
    fn a_path_crosses_a_pipe_only_between_zones_that_have_one() {
        let scenario = scenario(
            r#"
            hosts = 2
            zones = ["a 1", "b 1"]
            pipes = ["a to b at 100Mbit"]
            "#,
        );
        let plans = scenario.host_plans();
        let mut net = Net::new();
        let wiring = Wiring::new(&scenario, &plans, &mut net);
        let (a, b) = if plans[0].zone == 0 { (0, 1) } else { (1, 0) };
        assert_eq!(wiring.path(End::Host(a), b).len(), 3);
        assert_eq!(
            wiring.path(End::Host(b), a)[..],
            [wiring.up(End::Host(b)), wiring.down(a)]
        );
        assert_eq!(
            wiring.path(End::Origin, b)[..],
            [wiring.up(End::Origin), wiring.down(b)]
        );
    }

    #[test]
    fn hosts_that_all_read_from_the_origin_end_when_its_rate_says() {
        let scenario = scenario(
            r#"
            hosts = 40
            content = "100MB"
            rate = "100MB/s"
            origin_rate = "400MB/s"
            zones = ["a 10", "b"]
            origin_zone = "b"
            pipes = ["b to a at 10MB/s"]
            "#,
        );
        let plans = scenario.host_plans();
        let mut net = Net::new();
        let wiring = Wiring::new(&scenario, &plans, &mut net);
        for host in 0..40 {
            let path = wiring.path(End::Origin, host);
            net.start(Moment::ZERO, &path, scenario.layout.length());
        }
        let mut ends = Vec::new();
        while let Some((at, _)) = net.next_completion() {
            net.finish(at).expect("it ends now");
            ends.push(at.since(Moment::ZERO).as_millis());
        }
        // The pipe gives ten hosts 1 MB/s each, the origin gives thirty the other 390.
        assert_eq!(ends[..30], [7692; 30]);
        assert_eq!(ends[30..], [100_000; 10]);
    }
}
