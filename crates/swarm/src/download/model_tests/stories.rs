//! What is told of the network, and what must hold at the end.

use super::*;

fn run_of(first: u32, count: u32) -> PieceRun {
    let first = PieceIndex(first);
    PieceRun { first, count }
}

/// A story with faults drawn from `seed`.
fn story(seed: u64) -> Net {
    let mut net = Net::new(seed);
    let hosts: Vec<HostNo> = (0..PEERS).map(HostNo).collect();
    for a in &hosts {
        for b in hosts.iter().filter(|b| *b > a) {
            let at = net.within(500);
            net.at(at, *a, Thing::Link(*b));
            for _ in 0..net.chance.below(3) {
                let at = net.within(3000);
                net.at(at, *a, Thing::Break(*b));
                net.at(at + ms(300), *a, Thing::Link(*b));
            }
        }
    }
    // Peer 5 lies or drips; peer 0 imports and dies, or its lease ends; peer 1 takes over. Peer 3 waits for nothing.
    match net.chance.below(3) {
        0 => net.peer(HostNo(5)).lies = true,
        1 => net.peer(HostNo(5)).drips = true,
        _ => {}
    }
    net.peer(HostNo(3)).class = Class::Background;
    net.failing = net.chance.below(2) * 5;
    let end = net.within(400);
    match net.chance.below(3) {
        0 => net.at(end, HostNo(0), Thing::Die),
        1 => net.at(end, HostNo(0), Thing::Cancelled),
        _ => {}
    }
    net.at(Moment::ZERO, HostNo(0), Thing::Lease(1));
    for second in 3..40 {
        let at = Moment::ZERO + ms(second * 1000);
        net.at(at, HostNo(1), Thing::Lease(2));
    }
    let pauses = net.within(1000);
    net.at(pauses, HostNo(2), Thing::Slots(0));
    net.at(pauses + ms(1000), HostNo(2), Thing::Slots(2));
    for host in hosts {
        match host.0 {
            4 => net.read(host, run_of(7, 9)),
            even if even % 2 == 0 => net.read(host, run_of(0, PIECES)),
            _ => net.drive(host, Event::WantAll(true)),
        }
    }
    net.run(Moment::ZERO + ms(60_000));
    net
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_story_ends_with_all_bytes_and_nothing_left_over(seed: u64) {
        let net = story(seed);
        let states: BTreeSet<&str> = net
            .peers
            .iter()
            .filter(|peer| !peer.is_dead)
            .map(|peer| match peer.download.state() {
                State::Complete => "complete",
                State::Cancelled => "cancelled",
                State::Fetching => "fetching",
                State::Failed(_) => "failed",
            })
            .collect();
        prop_assert!(!states.contains("fetching") && !states.contains("failed"), "{:?}", states);
        for peer in net.peers.iter().filter(|peer| !peer.is_dead) {
            // One that drips serves a request that came twice for ever: its own loss, and nobody waits for it.
            prop_assert!(peer.drips || peer.uploads.is_idle(), "{:?}", peer.uploads);
            prop_assert_eq!(peer.download.waits().count(), 0);
            if peer.download.state() == State::Complete {
                prop_assert_eq!(peer.download.reads(), (0, 0), "no import is left over");
            }
        }
        // Six peers need 24 pieces each; refusals and breaks cost some, never a storm.
        prop_assert!(net.requests < 3000, "{} requests", net.requests);
        // One copy, and what a dead importer had not passed on, and what readers whom nobody answers read on their own:
        // there are three, and any of them may be cut off for most of it.
        prop_assert!(net.origin_pieces <= 4 * PIECES, "{} pieces", net.origin_pieces);
    }

    #[test]
    fn readers_of_parts_get_them_from_one_importer_that_reads_each_once(seed: u64) {
        let mut net = Net::new(seed);
        net.is_calm = true;
        for (a, b) in [(0, 1), (0, 2), (1, 2)].map(|(a, b)| (HostNo(a), HostNo(b))) {
            let at = net.within(100);
            net.at(at, a, Thing::Link(b));
        }
        let first = net.chance.below(3);
        let runs = [run_of(0, 4), run_of(8, 6), run_of(16, 8)];
        let at = net.within(200);
        net.at(at, HostNo(0), Thing::Lease(1));
        for (host, at) in (0..3).map(HostNo).zip(0..) {
            let run = runs[(first + at) % runs.len()];
            net.read(host, run);
        }
        net.run(Moment::ZERO + ms(10_000));
        for host in (0..3).map(HostNo) {
            prop_assert_eq!(net.peer(host).download.state(), State::Complete, "{:?}", host);
        }
        prop_assert_eq!(net.origin_pieces, 18);
    }
}
