//! How long the network takes to carry 10,000 hosts: two uploads and two downloads each, five million pieces.
//!
//! `cargo bench -p simulator --bench net_speed`, alone on the machine.
#![expect(clippy::unwrap_used, reason = "a measurement may stop")]

use std::time::Instant;

use simulator::{
    net::{FlowNo, LinkNo, Net},
    queue::Queue,
    rate::Rate,
};
use types::{ByteCount, Chance, Moment};

const HOSTS: usize = 10_000;
const PIECES: usize = 5_000_000;

fn main() {
    queue();
    for (name, mixed, pipe) in [
        ("equal hosts", false, false),
        ("mixed hosts", true, false),
        ("equal hosts, a pipe that a tenth crosses", false, true),
    ] {
        net(name, mixed, pipe);
    }
}

fn queue() {
    let mut chance = Chance::seeded(1);
    let mut queue = Queue::new();
    let from = Instant::now();
    for n in 0..1_000_000u64 {
        queue.push(Moment(chance.bits() >> 34), n);
    }
    for _ in 0..20_000_000 {
        let (at, n) = queue.pop().unwrap();
        queue.push(Moment(at.0 + (chance.bits() >> 36)), n);
    }
    println!(
        "queue: 20 million events, a million waiting: {:.1?}",
        from.elapsed()
    );
}

fn net(name: &str, mixed: bool, pipe: bool) {
    let mut chance = Chance::seeded(2);
    let mut net = Net::new();
    let rate = |n: usize| match n % 20 {
        0 if mixed => Rate::mbit(100),
        1..6 if mixed => Rate::mbit(2500),
        _ => Rate::mbit(1000),
    };
    let ups: Vec<LinkNo> = (0..HOSTS).map(|n| net.add_link(rate(n))).collect();
    let downs: Vec<LinkNo> = (0..HOSTS).map(|n| net.add_link(rate(n))).collect();
    let across = net.add_link(Rate::mbit(HOSTS as u64 / 20 * 1000));
    let mut free_ups: Vec<usize> = (0..HOSTS).chain(0..HOSTS).collect();
    let mut ends: Vec<(FlowNo, usize, usize)> = Vec::new();
    let start = |net: &mut Net, now, up: usize, down: usize| {
        let path = [ups[up], downs[down], across];
        let hops = if pipe && up.is_multiple_of(10) { 3 } else { 2 };
        net.start(now, &path[..hops], ByteCount::mib(4))
    };
    let from = Instant::now();
    chance.shuffle(&mut free_ups);
    for n in 0..2 * HOSTS {
        // A little apart, as arrivals are.
        let up = free_ups.pop().unwrap();
        let flow = start(&mut net, Moment(n as u64 * 10_000), up, n / 2);
        ends.push((flow, up, n / 2));
    }
    ends.sort_unstable();
    let mut by_flow: std::collections::BTreeMap<FlowNo, (usize, usize)> =
        ends.iter().map(|e| (e.0, (e.1, e.2))).collect();
    // A few free slots to draw from, so that the graph keeps changing.
    let (mut idle_ups, mut idle_downs) = (Vec::new(), Vec::new());
    for _ in 0..PIECES {
        let (now, flow) = net.next_completion().unwrap();
        net.finish(now).unwrap();
        let (up, down) = by_flow.remove(&flow).unwrap();
        idle_ups.push(up);
        idle_downs.push(down);
        if idle_ups.len() < 50 {
            continue;
        }
        let up = idle_ups.swap_remove(chance.below(50));
        let down = idle_downs.swap_remove(chance.below(50));
        by_flow.insert(start(&mut net, now, up, down), (up, down));
    }
    println!(
        "net, {name}: {PIECES} starts and ends: {:.1?}",
        from.elapsed()
    );
}
