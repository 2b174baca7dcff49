//! Any story of hosts, messages, deaths and restarts, told to the brain and to a model of the hosts.
//!
//! The hosts have clocks of their own, of different rates; messages are delayed, in order, by up to seconds; streams
//! break while hosts live on; the scheduler restarts. The model does what the events' documentation asks of a host.

mod world;

use proptest::prelude::*;

use self::world::World;
use super::CanImport;

const HOSTS: u8 = 9;
const TASKS: u8 = 3;

#[derive(Clone, Debug)]
enum Step {
    Ask(u8, u8, CanImport),
    Import(u8, u8),
    Receive(u8, u8),
    Finish(u8, u8),
    Leave(u8, u8),
    Fail(u8, u8, bool),
    Goodbye(u8),
    Crash(u8),
    Cut(u8),
    Join(u8),
    Blame(u8, u8),
    Wait(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (host, task) = (0..HOSTS, 0..TASKS);
    let rights = prop_oneof![
        1 => Just(CanImport::No),
        3 => Just(CanImport::Anonymous),
        2 => Just(CanImport::Credentialed)
    ];
    let at = (host.clone(), task);
    prop_oneof![
        12 => (at.clone(), rights).prop_map(|((h, t), r)| Step::Ask(h, t, r)),
        8 => at.clone().prop_map(|(h, t)| Step::Import(h, t)),
        8 => at.clone().prop_map(|(h, t)| Step::Receive(h, t)),
        3 => at.clone().prop_map(|(h, t)| Step::Finish(h, t)),
        3 => at.clone().prop_map(|(h, t)| Step::Leave(h, t)),
        2 => (at, any::<bool>()).prop_map(|((h, t), p)| Step::Fail(h, t, p)),
        1 => host.clone().prop_map(Step::Goodbye),
        2 => host.clone().prop_map(Step::Crash),
        2 => host.clone().prop_map(Step::Cut),
        6 => host.clone().prop_map(Step::Join),
        2 => (host.clone(), host).prop_map(|(a, b)| Step::Blame(a, b)),
        14 => (1u64..1500).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_story_keeps_one_importer_growing_epochs_agreeing_ends_and_bounded_memory(
        seed: u64,
        steps in prop::collection::vec(step(), 0..160),
    ) {
        let mut world = World::new(seed);
        for step in steps {
            world.play(step);
        }
        world.settle();
        world.end_well();
    }
}
