use std::{num::NonZeroU32, time::Duration};

use proptest::prelude::*;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{Accepted, Bootstrap, LinkError, LinkLimits, Links, Role, testing::Cluster};

const HOUR: Duration = Duration::from_secs(3600);

fn token(cluster: &Cluster, role: Role, uses: u32) -> JoinToken {
    let uses = NonZeroU32::new(uses).expect("not zero");
    let minted = cluster.ca.tokens().mint(role, uses, HOUR).expect("a token");
    minted.text.expose().parse().expect("our own writing")
}

fn joiner(cluster: &Cluster, role: Role) -> Bootstrap {
    Bootstrap::new(token(cluster, role, 1), NodeKey::ephemeral())
}

#[test]
fn a_joiner_becomes_what_its_token_says() {
    let cluster = Cluster::new("a");
    let joiner = joiner(&cluster, Role::Seed);
    let now = SystemTime::now();
    let answer = cluster.ca.enrol(&joiner.request(), now).expect("admitted");
    let identity = joiner.accept(&answer, now).expect("a good answer");
    assert_eq!(identity.roles(), Role::Seed.into());
    assert_eq!(identity.cluster(), cluster.ca.authority().cluster());
    let again = cluster.ca.enrol(&joiner.request(), now);
    assert!(again.is_ok(), "a lost answer may be asked for again");
    let other = Bootstrap::new(cluster_token_of(&joiner), NodeKey::ephemeral());
    let replayed = cluster.ca.enrol(&other.request(), now);
    assert!(
        matches!(replayed, Err(EnrolError::Token(RedeemError::UsedUp))),
        "{replayed:?}"
    );
}

fn cluster_token_of(joiner: &Bootstrap) -> JoinToken {
    let text = String::from_utf8(joiner.request().token.expose().clone()).expect("text");
    text.parse().expect("a token")
}

#[test]
fn a_proof_fits_one_key_one_token_and_one_cluster() {
    let cluster = Cluster::new("a");
    let joiner = joiner(&cluster, Role::Daemon);
    let victim = NodeKey::ephemeral();
    let now = SystemTime::now();
    let good = joiner.request();
    let other = token(&cluster, Role::Scheduler, 1);
    let variants = [
        EnrolRequest {
            host: victim.host_id().as_bytes().to_vec(),
            ..good.clone()
        },
        EnrolRequest {
            nonce: vec![0; 32],
            ..good.clone()
        },
        EnrolRequest {
            proof: vec![0; 64],
            ..good.clone()
        },
        EnrolRequest {
            token: Secret::new(other.to_text().expose().clone().into_bytes()),
            ..good.clone()
        },
    ];
    for bad in variants {
        let refused = cluster.ca.enrol(&bad, now);
        assert!(matches!(refused, Err(EnrolError::BadProof)), "{refused:?}");
    }
    let elsewhere = Cluster::new("a").ca.enrol(&good, now);
    assert!(
        matches!(elsewhere, Err(EnrolError::BadProof)),
        "{elsewhere:?}"
    );
    assert!(cluster.ca.enrol(&good, now).is_ok(), "nothing was used up");
}

#[test]
fn the_revoked_can_neither_renew_nor_join_again() {
    let cluster = Cluster::new("a");
    let now = SystemTime::now();
    let joiner = joiner(&cluster, Role::Daemon);
    let answer = cluster.ca.enrol(&joiner.request(), now).expect("admitted");
    let identity = joiner.accept(&answer, now).expect("a good answer");
    let asker = RemoteHost {
        host: identity.host(),
        roles: identity.roles(),
    };
    cluster.ca.renew(asker, now).expect("renewed");
    cluster.ca.revoke(identity.host(), now).expect("kept");
    let renewal = cluster.ca.renew(asker, now);
    assert!(
        matches!(renewal, Err(IssueError::Revoked(_))),
        "{renewal:?}"
    );
    let return_ = Bootstrap::new(token(&cluster, Role::Daemon, 1), identity.key().clone());
    let refused = cluster.ca.enrol(&return_.request(), now);
    assert!(
        matches!(refused, Err(EnrolError::Issue(IssueError::Revoked(_)))),
        "{refused:?}"
    );
    let tokens = cluster.ca.tokens().list().expect("a list");
    assert!(
        tokens.iter().any(|token| token.uses_left == 1),
        "the second token is whole"
    );
}

#[test]
fn a_renewal_keeps_roles_and_brings_the_newest_revocations() {
    let cluster = Cluster::new("a");
    let identity = cluster.host(Role::Seed);
    let gone = cluster.host(Role::Daemon).host();
    let now = SystemTime::now();
    cluster.ca.revoke(gone, now).expect("kept");
    let asker = RemoteHost {
        host: identity.host(),
        roles: identity.roles(),
    };
    let answer = cluster.ca.renew(asker, now).expect("renewed");
    let renewed = identity.renewed(&answer, now).expect("a good answer");
    assert_eq!(renewed.roles(), identity.roles());
    assert!(renewed.revocations().contains(gone));
    let older = EnrolAnswer {
        revocations: Vec::new(),
        ..answer
    };
    let kept = renewed.renewed(&older, now).expect("a good answer");
    assert!(
        kept.revocations().contains(gone),
        "an older list replaces nothing"
    );
}

#[test]
fn answers_of_others_or_for_others_are_not_taken() {
    let (cluster, other) = (Cluster::new("a"), Cluster::new("a"));
    let now = SystemTime::now();
    let joiner = joiner(&cluster, Role::Daemon);
    let good = cluster.ca.enrol(&joiner.request(), now).expect("admitted");
    let foreign = other.host(Role::Daemon);
    let swapped = EnrolAnswer {
        authority: other.ca.authority().der().to_vec(),
        ..good.clone()
    };
    let swapped = joiner.accept(&swapped, now);
    assert!(
        matches!(swapped, Err(AnswerError::OtherAuthority)),
        "{swapped:?}"
    );
    let stranger = EnrolAnswer {
        certificate: cluster.host(Role::Daemon).leaf().der.to_vec(),
        ..good.clone()
    };
    let stranger = joiner.accept(&stranger, now);
    assert!(
        matches!(stranger, Err(AnswerError::OtherHost)),
        "{stranger:?}"
    );
    let host = HostId::from_bytes(joiner.request().host.try_into().expect("32 bytes"));
    let forged = other.ca.make_leaf(host, foreign.roles(), now);
    let forged = EnrolAnswer {
        certificate: forged.der.to_vec(),
        ..good.clone()
    };
    let forged = joiner.accept(&forged, now);
    assert!(matches!(forged, Err(AnswerError::NotValid)), "{forged:?}");
    let late = joiner.accept(&good, now + Duration::from_secs(100 * 3600));
    assert!(matches!(late, Err(AnswerError::NotValid)), "{late:?}");
    let garbled = joiner.accept(
        &EnrolAnswer {
            revocations: vec![1],
            ..good
        },
        now,
    );
    assert!(
        matches!(garbled, Err(AnswerError::Revocations(_))),
        "{garbled:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn hostile_messages_are_refused(
        host in proptest::collection::vec(any::<u8>(), 0..40),
        token in proptest::collection::vec(any::<u8>(), 0..200),
        bytes in proptest::collection::vec(any::<u8>(), 0..70),
    ) {
        let request = EnrolRequest { host, token: Secret::new(token), nonce: bytes.clone(), proof: bytes.clone() };
        prop_assert!(request.check(CaFingerprint([1; 32])).is_err());
        let answer = EnrolAnswer { certificate: bytes.clone(), authority: bytes.clone(), revocations: bytes.clone() };
        let pinned = CaFingerprint::of(&bytes);
        prop_assert!(answer.check(&NodeKey::ephemeral(), pinned, SystemTime::now()).is_err());
    }
}

/// What a joiner with `bootstrap` and the host with `links` say to each other.
async fn call(
    bootstrap: &Bootstrap,
    links: &Links,
) -> (
    Result<crate::SecureLink, LinkError>,
    Result<Accepted, LinkError>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (dialled, accepted) = (dialled.expect("connected"), accepted.expect("accepted").0);
    let limits = LinkLimits::default();
    tokio::join!(bootstrap.connect(dialled, &limits), links.accept(accepted))
}

#[tokio::test]
async fn the_first_link_of_a_joiner_ends_at_a_scheduler_of_its_tokens_cluster() {
    let cluster = Cluster::new("a");
    let scheduler = cluster.host(Role::Scheduler);
    let (dialled, accepted) = call(
        &joiner(&cluster, Role::Daemon),
        &Links::new(scheduler.clone()),
    )
    .await;
    assert_eq!(dialled.expect("a link").remote().host, scheduler.host());
    assert!(matches!(accepted, Ok(Accepted::Joiner(_))), "{accepted:?}");
}

#[tokio::test]
async fn a_joiner_takes_nobody_elses_word() {
    let (cluster, other) = (Cluster::new("a"), Cluster::new("a"));
    let joiner = joiner(&cluster, Role::Daemon);
    let (dialled, _) = call(&joiner, &Links::new(other.host(Role::Scheduler))).await;
    assert!(
        matches!(dialled, Err(LinkError::ForeignCertificate)),
        "{dialled:?}"
    );

    // Another cluster's host that shows our authority's certificate, which is public, behind its own.
    let foreign = other.host(Role::Scheduler);
    let (key, leaf) = (foreign.key().clone(), foreign.leaf().clone());
    let liar = Identity::new(
        key,
        leaf,
        cluster.ca.authority().clone(),
        RevocationList::default(),
    );
    let (dialled, _) = call(&joiner, &Links::new(liar)).await;
    assert!(
        matches!(dialled, Err(LinkError::ForeignCertificate)),
        "{dialled:?}"
    );

    // A daemon of the right cluster, with a door for joiners that its certificate does not allow it.
    let daemon = cluster.host(Role::Daemon);
    let mut leaf = daemon.leaf().clone();
    leaf.roles = Role::Scheduler.into();
    let (key, authority) = (daemon.key().clone(), daemon.authority().clone());
    let climber = Identity::new(key, leaf, authority, RevocationList::default());
    let (dialled, _) = call(&joiner, &Links::new(climber)).await;
    assert!(matches!(dialled, Err(LinkError::WrongHost)), "{dialled:?}");

    // An expired scheduler.
    let long_ago = SystemTime::now() - Duration::from_secs(80 * 3600);
    let old = cluster
        .ca
        .identity_for(&NodeKey::ephemeral(), Role::Scheduler.into(), long_ago);
    let (dialled, _) = call(&joiner, &Links::new(old.expect("a host"))).await;
    assert!(matches!(dialled, Err(LinkError::Expired)), "{dialled:?}");
}
