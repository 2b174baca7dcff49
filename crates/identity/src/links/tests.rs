use std::time::SystemTime;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    Roles,
    certificate::{CertificateFault, LIFETIME},
    node_key::NodeKey,
    testing::Cluster,
};

async fn pipe() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialled.expect("connected"), accepted.expect("accepted").0)
}

type Outcome = (Result<SecureLink, LinkError>, Result<Accepted, LinkError>);

/// What both ends say when `client` dials `to` and `server` answers.
async fn shake(client: &Links, server: &Links, to: impl Into<Callee>) -> Outcome {
    shake_for(client, server, to, Protocol::Peer).await
}

async fn shake_for(
    client: &Links,
    server: &Links,
    to: impl Into<Callee>,
    protocol: Protocol,
) -> Outcome {
    let (ours, theirs) = pipe().await;
    tokio::join!(client.connect(ours, to, protocol), server.accept(theirs))
}

fn host_of(accepted: Accepted) -> SecureLink {
    match accepted {
        Accepted::Host(link) => link,
        Accepted::Joiner(_) => panic!("a joiner where a host is meant"),
    }
}

async fn echo(from: &mut SecureLink, to: &mut SecureLink, text: &[u8]) {
    from.write_all(text).await.expect("written");
    from.flush().await.expect("flushed");
    let mut read = vec![0; text.len()];
    to.read_exact(&mut read).await.expect("read");
    assert_eq!(read, text);
}

/// Links of a host that shows `leaf` in place of its own certificate.
fn impostor(identity: &Identity, leaf: Leaf) -> Links {
    let revocations = RevocationList::default();
    let (key, authority) = (identity.key().clone(), identity.authority().clone());
    Links::new(Identity::new(key, leaf, authority, revocations))
}

fn issued(cluster: &Cluster, roles: Roles, at: SystemTime) -> Identity {
    let identity = cluster.ca.identity_for(&NodeKey::ephemeral(), roles, at);
    identity.expect("a new host")
}

#[tokio::test]
async fn two_hosts_of_a_cluster_know_each_other_and_talk() {
    let cluster = Cluster::new("a");
    let (one, two) = (cluster.host(Role::Daemon), cluster.host(Role::Seed));
    let (client, server) = (Links::new(one.clone()), Links::new(two.clone()));
    let (dialled, accepted) = shake(&client, &server, two.host()).await;
    let (mut dialled, mut accepted) =
        (dialled.expect("a link"), host_of(accepted.expect("a link")));
    assert_eq!(dialled.remote().host, two.host());
    assert!(dialled.remote().roles.contains(Role::Seed));
    assert_eq!(accepted.remote().host, one.host());
    assert!(!accepted.remote().roles.contains(Role::Seed));
    assert_eq!(accepted.protocol(), Protocol::Peer);
    echo(&mut dialled, &mut accepted, b"there").await;
    echo(&mut accepted, &mut dialled, &[7; 100_000]).await;
}

#[tokio::test]
async fn only_the_host_that_was_dialled_may_answer() {
    let cluster = Cluster::new("a");
    let (one, two) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let (client, server) = (Links::new(one.clone()), Links::new(two));
    let (dialled, accepted) = shake(&client, &server, one.host()).await;
    assert!(matches!(dialled, Err(LinkError::WrongHost)), "{dialled:?}");
    assert!(accepted.is_err(), "the client has left");
}

#[tokio::test]
async fn hosts_of_another_cluster_are_strangers_even_under_the_same_name() {
    let (cluster, other) = (Cluster::new("a"), Cluster::new("a"));
    let (ours, theirs) = (cluster.host(Role::Daemon), other.host(Role::Daemon));
    let (here, there) = (Links::new(ours.clone()), Links::new(theirs.clone()));
    let (dialled, _) = shake(&here, &there, theirs.host()).await;
    assert!(
        matches!(dialled, Err(LinkError::ForeignCertificate)),
        "{dialled:?}"
    );
    // A client that does not care whom it talks to is refused as well.
    let blind = Identity::new(
        theirs.key().clone(),
        theirs.leaf().clone(),
        ours.authority().clone(),
        RevocationList::default(),
    );
    let (_, accepted) = shake(&Links::new(blind), &here, ours.host()).await;
    assert!(
        matches!(accepted, Err(LinkError::ForeignCertificate)),
        "{accepted:?}"
    );
}

#[tokio::test]
async fn a_self_made_certificate_with_all_the_right_names_is_refused() {
    let cluster = Cluster::new("a");
    let (victim, attacker) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let forged = self_signed(&attacker);
    let forger = impostor(&attacker, forged);
    let honest = Links::new(victim.clone());
    let (dialled, _) = shake(&honest, &forger, attacker.host()).await;
    assert!(
        matches!(dialled, Err(LinkError::ForeignCertificate)),
        "{dialled:?}"
    );
    let (_, accepted) = shake(&forger, &honest, victim.host()).await;
    assert!(
        matches!(accepted, Err(LinkError::ForeignCertificate)),
        "{accepted:?}"
    );
}

/// A certificate that reads like a real one but is signed by its own key.
fn self_signed(identity: &Identity) -> Leaf {
    let cluster = identity.cluster();
    let names = vec![
        names::of_host(identity.host(), cluster),
        names::of_role(Role::Daemon, cluster),
        names::of_role(Role::Scheduler, cluster),
    ];
    let params = rcgen::CertificateParams::new(names).expect("names");
    let forged = params.self_signed(identity.key().signer()).expect("signed");
    Leaf::read(forged.der()).expect("it reads well")
}

#[tokio::test]
async fn a_genuine_certificate_without_its_key_is_useless() {
    let cluster = Cluster::new("a");
    let (victim, attacker) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let thief = impostor(&attacker, victim.leaf().clone());
    let honest = Links::new(cluster.host(Role::Daemon));
    let (dialled, _) = shake(&honest, &thief, victim.host()).await;
    assert!(
        matches!(dialled, Err(LinkError::ForeignCertificate)),
        "{dialled:?}"
    );
    let (_, accepted) = shake(&thief, &honest, honest.identity().host()).await;
    assert!(
        matches!(accepted, Err(LinkError::ForeignCertificate)),
        "{accepted:?}"
    );
}

#[tokio::test]
async fn a_certificate_with_another_hosts_name_is_refused_though_the_authority_signed_it() {
    let cluster = Cluster::new("a");
    let (victim, attacker) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let der = cluster.ca.misissue(attacker.host(), victim.host());
    assert!(matches!(
        Leaf::read(&der),
        Err(CertificateFault::OtherKey { .. })
    ));
    let leaf = Leaf {
        der: der.into(),
        ..attacker.leaf().clone()
    };
    let forger = impostor(&attacker, leaf);
    let honest = Links::new(cluster.host(Role::Daemon));
    for (result, who) in [
        (
            shake(&honest, &forger, victim.host()).await.0.err(),
            "client",
        ),
        (
            shake(&forger, &honest, honest.identity().host())
                .await
                .1
                .err(),
            "server",
        ),
    ] {
        assert!(
            matches!(result, Some(LinkError::UnfitCertificate(_))),
            "{who}: {result:?}"
        );
    }
}

#[tokio::test]
async fn expired_certificates_are_refused_unless_a_grace_is_configured() {
    let cluster = Cluster::new("a");
    let hour = Duration::from_secs(3600);
    let old = issued(
        &cluster,
        Roles::from(Role::Daemon),
        SystemTime::now() - LIFETIME - hour,
    );
    let (old_links, host) = (Links::new(old.clone()), cluster.host(Role::Daemon));
    let strict = Links::new(host.clone());
    let (dialled, _) = shake(&strict, &old_links, old.host()).await;
    assert!(matches!(dialled, Err(LinkError::Expired)), "{dialled:?}");
    let (_, accepted) = shake(&old_links, &strict, host.host()).await;
    assert!(matches!(accepted, Err(LinkError::Expired)), "{accepted:?}");
    for (grace, is_taken) in [
        (hour / 2, false),
        (hour * 2, true),
        (ExpiryGrace::MAX, true),
    ] {
        let expiry_grace = ExpiryGrace::new(grace).expect("short enough");
        let lenient = Links::with_limits(
            host.clone(),
            LinkLimits {
                expiry_grace,
                ..LinkLimits::default()
            },
        );
        let (dialled, _) = shake(&lenient, &old_links, old.host()).await;
        assert_eq!(dialled.is_ok(), is_taken, "{grace:?} {dialled:?}");
        // A fresh certificate passes on a late clock too.
        let (dialled, _) = shake(&lenient, &strict, host.host()).await;
        assert!(dialled.is_ok(), "{dialled:?}");
    }
    assert!(ExpiryGrace::new(ExpiryGrace::MAX + hour).is_err());
}

#[tokio::test]
async fn clocks_may_differ_by_an_hour() {
    let cluster = Cluster::new("a");
    let server = Links::new(cluster.host(Role::Daemon));
    let now = SystemTime::now();
    let minute = Duration::from_secs(60);
    // As an authority whose clock is ahead, or behind, by almost an hour makes them.
    for at in [
        now + minute * 59,
        now - minute * 59,
        now - LIFETIME + minute,
    ] {
        let identity = issued(&cluster, Roles::from(Role::Daemon), at);
        let (dialled, accepted) =
            shake(&Links::new(identity), &server, server.identity().host()).await;
        assert!(
            dialled.is_ok() && accepted.is_ok(),
            "{dialled:?} {accepted:?}"
        );
    }
    let future = issued(&cluster, Roles::from(Role::Daemon), now + LIFETIME * 2);
    let (_, accepted) = shake(&Links::new(future), &server, server.identity().host()).await;
    assert!(
        matches!(accepted, Err(LinkError::NotValidYet)),
        "{accepted:?}"
    );
}

#[tokio::test]
async fn the_revoked_are_refused_both_ways_from_the_moment_the_list_is_learnt() {
    let cluster = Cluster::new("a");
    let (bad, good) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let (bad_links, links) = (Links::new(bad.clone()), Links::new(good.clone()));
    let (_, accepted) = shake(&bad_links, &links, good.host()).await;
    assert!(accepted.is_ok());
    let mut news = links.revocations();
    news.mark_unchanged();
    let list = cluster
        .ca
        .revoke(bad.host(), SystemTime::now())
        .expect("kept");
    assert_eq!(links.learn_revocations(list.as_bytes()), Ok(true));
    assert_eq!(links.learn_revocations(list.as_bytes()), Ok(false));
    assert_eq!(links.learn_revocations(b""), Ok(false));
    assert!(links.is_revoked(bad.host()));
    assert!(
        news.has_changed().expect("alive"),
        "holders of links are woken"
    );
    let (_, accepted) = shake(&bad_links, &links, good.host()).await;
    assert!(matches!(accepted, Err(LinkError::Revoked(host)) if host == bad.host()));
    let (dialled, _) = shake(&links, &bad_links, bad.host()).await;
    assert!(matches!(dialled, Err(LinkError::Revoked(host)) if host == bad.host()));
    let forged = Cluster::new("a").ca.signed_list(9, vec![good.host()]);
    assert!(links.learn_revocations(forged.as_bytes()).is_err());
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_nothing_but_enrolment() {
    let cluster = Cluster::new("a");
    let scheduler = cluster.host_with(Roles::ALL);
    let links = Links::new(scheduler.clone());
    for (offer, is_admitted) in [
        (vec![Protocol::Peer], false),
        (vec![Protocol::Control], false),
        (vec![Protocol::Peer, Protocol::Enrol], false),
        (vec![Protocol::Enrol, Protocol::Peer], true),
        (vec![Protocol::Enrol], true),
    ] {
        let (ours, theirs) = pipe().await;
        let config = anonymous_client(&scheduler, &offer);
        let name = names::to_verify(names::of_host(scheduler.host(), scheduler.cluster()));
        let (_, accepted) = tokio::join!(
            TlsConnector::from(config).connect(name, ours),
            links.accept(theirs)
        );
        match accepted {
            Ok(Accepted::Joiner(_)) => assert!(is_admitted, "{offer:?}"),
            Err(LinkError::NoCertificate) => assert!(!is_admitted, "{offer:?}"),
            other => panic!("{offer:?}: {other:?}"),
        }
    }
}

fn anonymous_client(known: &Identity, offer: &[Protocol]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(known.authority().roots())
        .with_no_client_auth();
    config.alpn_protocols = offer
        .iter()
        .map(|protocol| protocol.alpn().to_vec())
        .collect();
    Arc::new(config)
}

#[tokio::test]
async fn only_schedulers_serve_control_and_enrolment() {
    let cluster = Cluster::new("a");
    let daemon = Links::new(cluster.host(Role::Daemon));
    let scheduler = Links::new(cluster.host(Role::Scheduler));
    let caller = Links::new(cluster.host(Role::Daemon));
    let (dialled, accepted) = shake_for(
        &caller,
        &daemon,
        daemon.identity().host(),
        Protocol::Control,
    )
    .await;
    assert!(matches!(dialled, Err(LinkError::NoProtocol)), "{dialled:?}");
    assert!(
        matches!(accepted, Err(LinkError::NoProtocol)),
        "{accepted:?}"
    );
    let (dialled, _) = shake_for(&caller, &scheduler, Callee::Scheduler, Protocol::Control).await;
    assert_eq!(
        dialled.expect("a link").remote().host,
        scheduler.identity().host()
    );
    let (dialled, _) = shake(&caller, &daemon, Callee::Scheduler).await;
    assert!(matches!(dialled, Err(LinkError::WrongHost)), "{dialled:?}");
    let (ours, _theirs) = pipe().await;
    let enrol = caller
        .connect(ours, Callee::Scheduler, Protocol::Enrol)
        .await;
    assert!(matches!(enrol, Err(LinkError::NoProtocol)), "{enrol:?}");
}

#[tokio::test]
async fn only_daemons_exchange_pieces() {
    let cluster = Cluster::new("a");
    let daemon = Links::new(cluster.host(Role::Daemon));
    let scheduler = Links::new(cluster.host(Role::Scheduler));
    let (dialled, accepted) = shake(&daemon, &scheduler, scheduler.identity().host()).await;
    assert!(matches!(dialled, Err(LinkError::NoProtocol)), "{dialled:?}");
    assert!(
        matches!(accepted, Err(LinkError::NoProtocol)),
        "{accepted:?}"
    );
    let (_, accepted) = shake(&scheduler, &daemon, daemon.identity().host()).await;
    let role = Role::Daemon;
    assert!(
        matches!(accepted, Err(LinkError::WrongRole { role: lacking, .. }) if lacking == role),
        "{accepted:?}"
    );
}

#[tokio::test]
async fn plaintext_and_noise_are_refused() {
    let links = Links::new(Cluster::new("a").host(Role::Daemon));
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 100], &[0; 7]] {
        let (mut ours, theirs) = pipe().await;
        ours.write_all(bytes).await.expect("written");
        ours.shutdown().await.expect("ended");
        let refused = links.accept(theirs).await;
        assert!(
            matches!(refused, Err(LinkError::NotTls | LinkError::Io(_))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_handshake_that_drags_on_is_ended_on_both_sides() {
    let identity = Cluster::new("a").host(Role::Daemon);
    let handshake = Duration::from_millis(50);
    let links = Links::with_limits(
        identity.clone(),
        LinkLimits {
            handshake,
            ..LinkLimits::default()
        },
    );
    let (mut slow, theirs) = pipe().await;
    slow.write_all(&[0x16, 3, 1, 2])
        .await
        .expect("the start of a hello");
    let refused = links.accept(theirs).await;
    assert!(
        matches!(refused, Err(LinkError::TimedOut(_))),
        "{refused:?}"
    );
    let mut byte = [0];
    assert_eq!(
        slow.read(&mut byte).await.unwrap_or(0),
        0,
        "the stream is closed"
    );
    let (ours, _silent) = pipe().await;
    let refused = links.connect(ours, identity.host(), Protocol::Peer).await;
    assert!(
        matches!(refused, Err(LinkError::TimedOut(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn handshakes_beyond_the_limit_are_refused_at_once_and_places_come_back() {
    let identity = Cluster::new("a").host(Role::Daemon);
    let limits = LinkLimits {
        handshakes_max: 1,
        ..LinkLimits::default()
    };
    let links = Links::with_limits(identity.clone(), limits);
    let (_silent, theirs) = pipe().await;
    let mut first = Box::pin(links.accept(theirs));
    assert!(poll_once(&mut first).await.is_none());
    let (_other, theirs) = pipe().await;
    let refused = links.accept(theirs).await;
    assert!(matches!(refused, Err(LinkError::Crowded)), "{refused:?}");
    drop(first);
    let (dialled, accepted) = shake(&links, &links, identity.host()).await;
    assert!(dialled.is_ok() && accepted.is_ok());
}

/// Polls once, so that a future has begun.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let once = std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    });
    once.await
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let identity = Cluster::new("a").host_with(Roles::ALL);
    let links = Links::new(identity.clone());
    // Stock cryptography: our own provider has no cipher for TLS 1.2 at all.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("versions")
        .with_root_certificates(identity.authority().roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![Protocol::Enrol.alpn().to_vec()];
    let name = names::to_verify(names::of_host(identity.host(), identity.cluster()));
    let (ours, theirs) = pipe().await;
    let (dialled, accepted) = tokio::join!(
        TlsConnector::from(Arc::new(config)).connect(name, ours),
        links.accept(theirs)
    );
    assert!(dialled.is_err());
    assert!(matches!(accepted, Err(LinkError::OldTls)), "{accepted:?}");
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_links_while_old_ones_live_on() {
    let cluster = Cluster::new("a");
    let first = issued(
        &cluster,
        Roles::from(Role::Daemon),
        SystemTime::now() - LIFETIME / 2,
    );
    let server = Links::new(first.clone());
    let client = Links::new(cluster.host(Role::Daemon));
    let (dialled, accepted) = shake(&client, &server, first.host()).await;
    let (mut dialled, mut accepted) =
        (dialled.expect("a link"), host_of(accepted.expect("a link")));

    let asker = RemoteHost {
        host: first.host(),
        roles: first.roles(),
    };
    let answer = cluster
        .ca
        .renew(asker, SystemTime::now())
        .expect("a certificate");
    let second = first
        .renewed(&answer, SystemTime::now())
        .expect("a good answer");
    assert!(second.expires_at() > first.expires_at());
    assert!(server.adopt(second.clone()));

    echo(&mut dialled, &mut accepted, b"still here").await;
    let (dialled, _) = shake(&client, &server, first.host()).await;
    let dialled = dialled.expect("a link");
    let leaf = leaf_of(dialled.stream()).expect("a certificate");
    assert_eq!(leaf.expires_at, second.expires_at());
    assert!(
        !server.adopt(cluster.host(Role::Daemon)),
        "another host's identity is not taken"
    );
    assert_eq!(server.identity().expires_at(), second.expires_at());
}
