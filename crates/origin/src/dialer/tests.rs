//! The dialer over real sockets: where names lead, what certificates say.

mod via;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    AskError, NameTable, Names, Origins, Refused, Request, ResolveError, SecretHeaders,
    testing::{Authority, Server, config, content, self_signed, serve, table},
};

const TAG: &str = "\"v1\"";

async fn look(door: &Origins, url: &str) -> Result<crate::Resolved, AskError> {
    let request = Request::new(url, SecretHeaders::default()).unwrap();
    door.resolve(&request).await.map_err(|error| match error {
        ResolveError::Ask(ask) => ask,
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let server = Server::start(|seen| serve(seen, &content(10), TAG)).await;
    let port = server.address.port();
    let addresses: [IpAddr; 2] = [
        "127.0.0.1".parse().unwrap(),
        "169.254.169.254".parse().unwrap(),
    ];
    let names = NameTable::default()
        .with("rebind.test", vec![vec![addresses[0]], vec![addresses[1]]])
        .with("loop.test", vec![vec![addresses[0]]]);
    let names = Arc::new(names);
    let mut config = config(&[
        format!("http://rebind.test:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("https://loop.test:{port}"),
    ]);
    config.names = Some(Names::Table(Arc::clone(&names)));
    let door = Origins::new(config).unwrap();
    let url = server.url_at("http://rebind.test", "/f");
    look(&door, &url).await.unwrap();
    // The connection of the first answer was closed by the server, so this dials anew and looks the name up again.
    let error = look(&door, &url).await.unwrap_err();
    assert!(
        matches!(&error, AskError::Refused(Refused::Local { address, .. }) if *address == addresses[1]),
        "{error:?}"
    );
    assert_eq!(names.lookups("rebind.test"), 2);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_listed_name_does_not_open_this_host() {
    let server = Server::start(|seen| serve(seen, &content(10), TAG)).await;
    let url = server.url_at("http://evil.test", "/f");
    let mut config = config(&[server.url_at("http://evil.test", "")]);
    config.names = Some(table(&[("evil.test", "127.0.0.1")]));
    let error = look(&Origins::new(config).unwrap(), &url)
        .await
        .unwrap_err();
    assert!(
        matches!(error, AskError::Refused(Refused::Local { .. })),
        "{error:?}"
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn what_is_not_listed_is_not_even_looked_up() {
    let names =
        Arc::new(NameTable::default().with("secret.test", vec![vec!["1.1.1.1".parse().unwrap()]]));
    let mut config = config(&["https://good.test".to_owned()]);
    config.names = Some(Names::Table(Arc::clone(&names)));
    config.listed_only = true;
    let door = Origins::new(config).unwrap();
    for url in ["https://secret.test/", "http://secret.test/"] {
        let error = look(&door, url).await.unwrap_err();
        assert!(
            matches!(error, AskError::Refused(Refused::Unlisted { .. })),
            "{error:?}"
        );
    }
    assert_eq!(names.lookups("secret.test"), 0);
}

#[tokio::test]
async fn private_addresses_are_refused_with_the_line_that_allows_them() {
    let mut config = config(&[]);
    config.names = Some(table(&[("registry.corp", "10.1.2.3")]));
    let door = Origins::new(config).unwrap();
    let error = look(&door, "https://registry.corp:5000/v2/?t=canary")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("add it: --origin registry.corp:5000"),
        "{error}"
    );
    assert!(error.is_permanent());
}

#[tokio::test]
async fn a_dead_first_address_does_not_keep_from_the_second() {
    let server = Server::start(|seen| serve(seen, &content(10), TAG)).await;
    let port = server.address.port();
    // 127.0.0.2 refuses at once: nobody listens there.
    let both = vec!["127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    let mut config = config(&[
        format!("http://two.test:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.2:{port}"),
    ]);
    config.names = Some(Names::Table(Arc::new(
        NameTable::default().with("two.test", vec![both]),
    )));
    let door = Origins::new(config).unwrap();
    look(&door, &server.url_at("http://two.test", "/f"))
        .await
        .unwrap();
}

/// What a door that trusts `authority` says of a server with this certificate, reached as `https://tls.test`.
async fn look_over_tls(
    authority: &Authority,
    tls: Arc<rustls::ServerConfig>,
) -> Result<crate::Resolved, AskError> {
    let server = Server::start_tls(tls, |seen| serve(seen, &content(10), TAG)).await;
    let port = server.address.port();
    let mut config = config(&[format!("tls.test:{port}"), format!("127.0.0.1:{port}")]);
    config.names = Some(table(&[("tls.test", "127.0.0.1")]));
    config.ca_files = vec![authority.ca_file()];
    let door = Origins::new(config).unwrap();
    look(&door, &server.url_at("https://tls.test", "/f")).await
}

#[tokio::test]
async fn only_certificates_that_are_right_in_every_way_are_taken() {
    let authority = Authority::new();
    let good = authority.server(&["tls.test"], |_| {});
    assert!(look_over_tls(&authority, good).await.is_ok());
    let expired = authority.server(&["tls.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let bad = [
        ("another name", authority.server(&["other.test"], |_| {})),
        ("expired", expired),
        ("self-signed", self_signed("tls.test")),
        (
            "another authority",
            Authority::new().server(&["tls.test"], |_| {}),
        ),
    ];
    for (name, tls) in bad {
        let error = look_over_tls(&authority, tls).await.expect_err(name);
        assert!(matches!(error, AskError::Tls { .. }), "{name}: {error:?}");
        assert!(error.is_permanent(), "{name}");
    }
}

/// Answers each request on one HTTP/2 connection with its version, and counts connections.
async fn http2_server(
    tls: Arc<rustls::ServerConfig>,
    listener: tokio::net::TcpListener,
    connections: Arc<AtomicUsize>,
) {
    let mut tls = rustls::ServerConfig::clone(&tls);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let stream = acceptor.accept(stream).await.unwrap();
        let answer =
            hyper::service::service_fn(async |request: http::Request<hyper::body::Incoming>| {
                let version = format!("{:?}", request.version());
                http::Response::builder()
                    .header("etag", TAG)
                    .header("content-type", version)
                    .body(http_body_util::Empty::<bytes::Bytes>::new())
            });
        // One connection is all that is expected; its end is the client's to choose.
        let _end = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .serve_connection(hyper_util::rt::TokioIo::new(stream), answer)
            .await;
    }
}

#[tokio::test]
async fn http2_is_spoken_where_offered_and_its_connection_is_shared() {
    let authority = Authority::new();
    let tls = authority.server(&["tls.test"], |_| {});
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(http2_server(tls, listener, Arc::clone(&connections)));
    let mut config = config(&[format!("tls.test:{port}"), format!("127.0.0.1:{port}")]);
    config.names = Some(table(&[("tls.test", "127.0.0.1")]));
    config.ca_files = vec![authority.ca_file()];
    let door = Origins::new(config).unwrap();
    for path in ["a", "b", "c"] {
        let found = look(&door, &format!("https://tls.test:{port}/{path}"))
            .await
            .unwrap();
        assert_eq!(found.content_type.as_deref(), Some("HTTP/2.0"));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    door.close().await;
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let authority = Authority::new();
    let plain = Server::start(|seen| serve(seen, &content(10), TAG)).await;
    let target = plain.url("/f");
    let tls = authority.server(&["tls.test"], |_| {});
    let server = Server::start_tls(tls, move |_| {
        crate::testing::reply(302, &[("location", &target)], b"")
    })
    .await;
    let port = server.address.port();
    let mut config = config(&[
        format!("tls.test:{port}"),
        format!("127.0.0.1:{port}"),
        plain.url(""),
    ]);
    config.names = Some(table(&[("tls.test", "127.0.0.1")]));
    config.ca_files = vec![authority.ca_file()];
    let door = Origins::new(config).unwrap();
    let error = look(&door, &server.url_at("https://tls.test", "/f"))
        .await
        .unwrap_err();
    assert!(matches!(error, AskError::Redirect { .. }), "{error:?}");
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn a_ca_file_without_a_certificate_is_refused_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut config = config(&[]);
    config.ca_files = vec![file.path().to_owned()];
    assert!(Origins::new(config).is_err());
}
