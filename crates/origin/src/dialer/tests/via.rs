//! Origins behind a proxy that an operator names, and authorities of some hosts.

use std::net::SocketAddr;

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::*;
use crate::{HostCa, OriginConfig, UpstreamProxy};

/// A proxy that answers each head with `says` and, where that begins a tunnel, leads to `origin` whatever is asked for.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Proxy {
    async fn start(says: &'static str, origin: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = Arc::clone(&heads);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let record = Arc::clone(&record);
                tunnels.spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = client.read_u8().await else {
                            return;
                        };
                        head.push(byte);
                    }
                    record.lock().push(String::from_utf8(head).unwrap());
                    let _ = client.write_all(says.as_bytes()).await;
                    if let Some(origin) = origin {
                        let mut origin = TcpStream::connect(origin).await.unwrap();
                        let _ = copy_bidirectional(&mut client, &mut origin).await;
                    }
                });
            }
        });
        Self {
            address,
            heads,
            _serving: serving,
        }
    }

    /// A door behind it that lists `origins` and can look up nothing.
    fn before(&self, origins: &[&str]) -> OriginConfig {
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let mut config = config(&origins);
        config.proxy = Some(UpstreamProxy {
            at: UpstreamProxy::parse_place(&format!("http://{}", self.address)).unwrap(),
            bypass: Vec::new(),
            credentials_file: None,
        });
        config
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\nX-By: a\r\n\r\n";

fn credentials(config: &mut OriginConfig) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "us:er\n").unwrap();
    let proxy = config.proxy.as_mut().unwrap();
    proxy.credentials_file = Some(file.path().to_owned());
    file
}

/// `us:er`
const SHOWN: &str = "Basic dXM6ZXI=";

#[tokio::test]
async fn tls_goes_through_a_tunnel_of_the_proxy_which_looks_the_name_up() {
    let authority = Authority::new();
    let tls = authority.server(&["tls.test"], |_| {});
    let server = Server::start_tls(tls, |seen| serve(seen, &content(10), TAG)).await;
    let proxy = Proxy::start(ESTABLISHED, Some(server.address)).await;
    let mut config = proxy.before(&["tls.test"]);
    config.ca_files = vec![authority.ca_file()];
    let _file = credentials(&mut config);
    let door = Origins::new(config).unwrap();
    look(&door, "https://tls.test/f").await.unwrap();
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with("CONNECT tls.test:443 HTTP/1.1\r\n"),
        "{heads:?}"
    );
    assert!(heads[0].contains(&format!("Proxy-Authorization: {SHOWN}\r\n")));
    let seen = &server.seen()[0];
    assert_eq!(
        (&*seen.target, seen.line("proxy-authorization")),
        ("/f", None)
    );
}

#[tokio::test]
async fn plain_urls_are_asked_of_the_proxy_whole() {
    // It is asked as a server is: the one that stands for it tells of all lines.
    let proxy = Server::start(|seen| serve(seen, &content(10), TAG)).await;
    let mut config = config(&["http://plain.test:81".into()]);
    config.proxy = Some(UpstreamProxy {
        at: UpstreamProxy::parse_place(&proxy.url("")).unwrap(),
        bypass: Vec::new(),
        credentials_file: None,
    });
    let _file = credentials(&mut config);
    let door = Origins::new(config).unwrap();
    look(&door, "http://plain.test:81/f?a").await.unwrap();
    let seen = &proxy.seen()[0];
    assert_eq!(seen.target, "http://plain.test:81/f?a");
    assert_eq!(seen.line("host"), Some("plain.test:81"));
    assert_eq!(seen.line("proxy-authorization"), Some(SHOWN));
}

#[tokio::test]
async fn only_what_is_listed_is_asked_for_behind_a_proxy() {
    let proxy = Proxy::start(ESTABLISHED, None).await;
    let door = Origins::new(proxy.before(&["listed.test"])).unwrap();
    for url in [
        "https://other.test/",
        "https://1.1.1.1/",
        "https://listed.test:444/",
    ] {
        let error = look(&door, url).await.unwrap_err();
        assert!(
            matches!(&error, AskError::Refused(Refused::Behind { .. })),
            "{url}: {error:?}"
        );
        assert!(error.to_string().contains("--origin"), "{error}");
    }
    let refused = door.tunnel(("other.test", 443), &[]).await;
    assert!(matches!(
        refused,
        Err(AskError::Refused(Refused::Behind { .. }))
    ));
    // This host and its link are not behind it.
    for url in ["https://127.0.0.1/", "https://localhost/"] {
        let error = look(&door, url).await.unwrap_err();
        assert!(
            matches!(&error, AskError::Refused(Refused::Local { .. })),
            "{url}: {error:?}"
        );
    }
    assert!(proxy.heads().is_empty());
}

#[tokio::test]
async fn what_is_bypassed_is_dialled_itself_and_a_proxy_at_a_metadata_service_is_not() {
    let server = Server::start(|seen| serve(seen, &content(10), TAG)).await;
    let port = server.address.port();
    let near = format!("http://near.test:{port}");
    let local = format!("http://127.0.0.1:{port}");
    let proxy = Proxy::start(ESTABLISHED, None).await;
    let mut config = proxy.before(&[&near, &local, "far.test"]);
    config.names = Some(table(&[
        ("near.test", "127.0.0.1"),
        ("proxy.test", "169.254.169.254"),
    ]));
    let upstream = config.proxy.as_mut().unwrap();
    upstream.bypass = vec!["near.test".parse().unwrap()];
    let door = Origins::new(config.clone()).unwrap();
    look(&door, &format!("{near}/f")).await.unwrap();
    assert!(proxy.heads().is_empty());
    config.proxy.as_mut().unwrap().at =
        UpstreamProxy::parse_place("http://proxy.test:3128").unwrap();
    let door = Origins::new(config).unwrap();
    let error = look(&door, "https://far.test/f").await.unwrap_err();
    assert!(
        matches!(&error, AskError::Refused(Refused::Local { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_a_proxy_says_instead_is_told_with_a_next_step() {
    for (says, told, is_permanent) in [
        (
            "HTTP/1.1 407 x\r\n\r\n",
            "origin.proxy_credentials_file",
            true,
        ),
        (
            "HTTP/1.1 401 x\r\n\r\n",
            "origin.proxy_credentials_file",
            true,
        ),
        ("HTTP/1.1 403 x\r\n\r\n", "origin.proxy_bypass", true),
        ("HTTP/1.1 503 x\r\n\r\n", "it answered 503", false),
        ("220 mail.test ESMTP\r\n\r\n", "no HTTP", true),
        ("HTTP/1.1 200 OK\r\nX: y\r\n", "broke", false),
    ] {
        let proxy = Proxy::start(says, None).await;
        let door = Origins::new(proxy.before(&["a.test"])).unwrap();
        let error = look(&door, "https://a.test/").await.unwrap_err();
        assert_eq!(error.is_permanent(), is_permanent, "{says:?}");
        let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(
            chain.contains("origin.proxy") && chain.contains(told),
            "{says:?}: {chain}"
        );
    }
}

#[tokio::test]
async fn a_clients_tunnel_goes_through_the_proxy_and_loses_no_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(
        "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-early\r\n",
        Some(listener.local_addr().unwrap()),
    )
    .await;
    let door = Origins::new(proxy.before(&["git.test:22"])).unwrap();
    let mut stream = door.tunnel(("git.test", 22), &[]).await.unwrap();
    let mut seen = [0; 15];
    stream.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"SSH-2.0-early\r\n");
    assert!(proxy.heads()[0].starts_with("CONNECT git.test:22 "));
}

#[tokio::test]
async fn a_host_with_an_authority_of_its_own_is_believed_by_that_one_alone() {
    let (own, all) = (Authority::new(), Authority::new());
    for (name, authority, is_taken) in [
        ("own.test", &own, true),
        ("own.test", &all, false),
        ("other.test", &all, true),
        ("other.test", &own, false),
    ] {
        let tls = authority.server(&[name], |_| {});
        let server = Server::start_tls(tls, |seen| serve(seen, &content(10), TAG)).await;
        let port = server.address.port();
        let mut config = config(&[format!("{name}:{port}"), format!("127.0.0.1:{port}")]);
        config.names = Some(table(&[(name, "127.0.0.1")]));
        config.ca_files = vec![all.ca_file()];
        let entry = format!("*.none.test={0}", own.ca_file().display());
        let second = format!("own.test={}", own.ca_file().display());
        config.host_cas = [entry, second]
            .map(|text| text.parse::<HostCa>().unwrap())
            .into();
        let door = Origins::new(config).unwrap();
        let found = look(&door, &server.url_at(&format!("https://{name}"), "/f")).await;
        assert_eq!(found.is_ok(), is_taken, "{name}: {found:?}");
        let Err(error) = found else { continue };
        let hint = match name {
            "own.test" => own.ca_file().display().to_string(),
            _ => "origin.ca_files".to_owned(),
        };
        assert!(error.to_string().contains(&hint), "{error}");
    }
    for text in ["a", "a=b", "=/a", "a b=/c"] {
        assert!(text.parse::<HostCa>().is_err(), "{text}");
    }
}
