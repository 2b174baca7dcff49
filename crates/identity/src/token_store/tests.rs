use std::{fs, num::NonZeroU32};

use super::*;
use crate::testing::Cluster;

const HOUR: Duration = Duration::from_secs(3600);

fn uses(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("not zero")
}

fn host(byte: u8) -> HostId {
    HostId::from_bytes([byte; 32])
}

/// A cluster, its store, and a token for `count` seeds.
fn minted(count: u32) -> (Cluster, TokenStore, JoinToken) {
    let cluster = Cluster::new("a");
    let store = cluster.ca.tokens();
    let minted = store.mint(Role::Seed, uses(count), HOUR).expect("a token");
    let token = minted.text.expose().parse().expect("our own writing");
    (cluster, store, token)
}

#[test]
fn a_token_admits_as_many_hosts_as_it_was_made_for() {
    let (_cluster, store, token) = minted(2);
    let now = SystemTime::now();
    for byte in [1, 2] {
        let role = store.redeem(&token, host(byte), now).expect("admitted");
        assert_eq!(role, Role::Seed);
    }
    let refused = store.redeem(&token, host(3), now).expect_err("used up");
    assert!(matches!(refused, RedeemError::UsedUp));
    assert_eq!(store.list().expect("a list")[0].uses_left, 0);
}

#[test]
fn a_host_whose_answer_was_lost_is_let_in_again_without_counting() {
    let (_cluster, store, token) = minted(1);
    let now = SystemTime::now();
    for _ in 0..3 {
        store.redeem(&token, host(1), now).expect("admitted");
    }
    let refused = store.redeem(&token, host(2), now).expect_err("used up");
    assert!(matches!(refused, RedeemError::UsedUp));
}

#[test]
fn expired_revoked_and_foreign_tokens_and_wrong_secrets_admit_nobody() {
    let (_cluster, store, token) = minted(1);
    let now = SystemTime::now();
    let late = store.redeem(&token, host(1), now + HOUR + HOUR);
    assert!(matches!(late, Err(RedeemError::Expired)));
    let guessed = JoinToken {
        secret: [0; 32].into(),
        ..token.clone()
    };
    let guessed = store.redeem(&guessed, host(1), now);
    assert!(matches!(guessed, Err(RedeemError::Unknown)));
    let foreign = JoinToken {
        fingerprint: CaFingerprint([0; 32]),
        ..token.clone()
    };
    let foreign = store.redeem(&foreign, host(1), now);
    assert!(matches!(foreign, Err(RedeemError::OtherCluster)));
    assert_eq!(store.list().expect("a list")[0].uses_left, 1);
    assert!(store.revoke(token.id()).expect("written"));
    assert!(!store.revoke(token.id()).expect("written"));
    let revoked = store.redeem(&token, host(1), now);
    assert!(matches!(revoked, Err(RedeemError::Unknown)));
}

#[test]
fn uses_are_counted_right_when_many_ask_at_once() {
    let (cluster, store, token) = minted(5);
    let now = SystemTime::now();
    let admitted: usize = std::thread::scope(|scope| {
        let ask = |byte: u8| {
            // Each through a store of its own, as another process would.
            let (store, token) = (cluster.ca.tokens(), token.clone());
            scope.spawn(move || usize::from(store.redeem(&token, host(byte), now).is_ok()))
        };
        let threads: Vec<_> = (0..20).map(ask).collect();
        let counts = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        counts.sum()
    });
    assert_eq!(admitted, 5);
    assert_eq!(store.list().expect("a list")[0].uses_left, 0);
}

#[test]
fn tokens_survive_a_restart_and_their_secrets_are_not_on_disk() {
    let (cluster, store, token) = minted(3);
    store
        .redeem(&token, host(1), SystemTime::now())
        .expect("admitted");
    let text = fs::read_to_string(cluster.place().join("ca").join(TOKENS_FILE)).expect("a file");
    let whole = token.to_text();
    let secret = whole.expose().split('.').nth(1).expect("three parts");
    assert!(!text.contains(secret));
    let name = cluster.ca.authority().cluster().clone();
    let again =
        crate::ClusterCa::load_or_create(&cluster.place().join("ca"), &name).expect("loaded");
    assert_eq!(
        again.tokens().list().expect("a list"),
        store.list().expect("a list")
    );
    let list = store.list().expect("a list");
    assert_eq!(
        (list[0].id, list[0].uses_left, list[0].role),
        (token.id(), 2, Role::Seed)
    );
}

#[test]
fn expired_tokens_are_cleared_when_the_next_one_is_made() {
    let (_cluster, store, first) = minted(1);
    let cleared = store.change(|book| {
        book.tokens[0].expires_at = 1;
        Ok::<_, ()>(())
    });
    assert!(matches!(cleared, Ok(Ok(()))));
    let second = store.mint(Role::Daemon, uses(1), HOUR).expect("a token");
    let ids: Vec<_> = store
        .list()
        .expect("a list")
        .iter()
        .map(|info| info.id)
        .collect();
    assert_eq!(ids, [second.id]);
    assert_ne!(first.id(), second.id);
}

#[test]
fn lifetimes_of_nothing_or_for_ever_are_refused() {
    let (_cluster, store, _) = minted(1);
    for bad in [Duration::ZERO, Duration::MAX] {
        let refused = store.mint(Role::Daemon, uses(1), bad);
        assert!(matches!(refused, Err(MintError::BadLifetime)), "{bad:?}");
    }
}

#[test]
fn a_damaged_file_is_an_error_and_is_not_written_over() {
    let (cluster, store, token) = minted(1);
    let file = cluster.place().join("ca").join(TOKENS_FILE);
    let good = fs::read_to_string(&file).expect("a file");
    let newer = good.replace("\"version\": 1", "\"version\": 2");
    let odd = good.replace("\"role\"", "\"roll\"");
    for bad in ["", "null", "{}", &good[..good.len() / 2], &newer, &odd] {
        fs::write(&file, bad).expect("damage");
        let refused = store.redeem(&token, host(1), SystemTime::now());
        assert!(matches!(refused, Err(RedeemError::Store(_))), "{bad}");
        assert!(store.mint(Role::Daemon, uses(1), HOUR).is_err(), "{bad}");
        assert_eq!(fs::read_to_string(&file).expect("there"), bad);
    }
}
