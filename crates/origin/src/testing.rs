//! Real servers on loopback for tests, as well or badly behaved as a test says.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use types::ByteRange;

use crate::{
    NameTable, Names, OriginConfig, Origins, Patience, Request, Resolved, RetryPolicy, Roots,
    SecretHeaders,
    body::{BodyStream, ReadError},
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case; repeated lines repeated.
    pub(crate) lines: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn line(&self, name: &str) -> Option<&str> {
        let (_, value) = self.lines.iter().find(|(one, _)| one == name)?;
        Some(value)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter(move |(one, _)| one == name)
            .map(|(_, value)| value.as_str())
    }

    /// The offsets of `Range: bytes=FIRST-LAST`, the last one excluded.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self
            .line("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some((first.parse().ok()?, last.parse::<usize>().ok()? + 1))
    }
}

/// What a server does to answer.
pub(crate) enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits a little: slow, but alive.
    Rest(Duration),
    /// Never sends another byte and keeps the connection.
    Stall,
}

/// An answer: head and body, then the connection closes.
pub(crate) fn reply(status: u16, lines: &[(&str, &str)], body: &[u8]) -> Vec<Step> {
    let has_length = lines
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut head = head(status, lines);
    if !has_length {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    vec![Step::Send(head.into_bytes()), Step::Send(body.to_vec())]
}

pub(crate) fn head(status: u16, lines: &[(&str, &str)]) -> String {
    let mut head = format!("HTTP/1.1 {status} Test\r\nconnection: close\r\n");
    for (name, value) in lines {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

/// A well-behaved file server's answer.
pub(crate) fn serve(seen: &Seen, content: &[u8], etag: &str) -> Vec<Step> {
    let total = content.len();
    let lines = [("etag", etag), ("accept-ranges", "bytes")];
    if seen.method == "HEAD" {
        let length = total.to_string();
        let lines = [lines[0], lines[1], ("content-length", &length)];
        return reply(200, &lines, b"");
    }
    match seen.range() {
        Some((first, end)) if end <= total => {
            let told = format!("bytes {first}-{}/{total}", end - 1);
            let lines = [lines[0], lines[1], ("content-range", &told)];
            reply(206, &lines, &content[first..end])
        }
        Some(_) => reply(416, &[("content-range", &format!("bytes */{total}"))], b""),
        None => reply(200, &lines, content),
    }
}

type Handler = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

/// A server on loopback. Its connections end with it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _accepting: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_with(None, Arc::new(answer)).await
    }

    pub(crate) async fn start_tls(
        tls: Arc<ServerConfig>,
        answer: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(TlsAcceptor::from(tls)), Arc::new(answer)).await
    }

    async fn start_with(tls: Option<TlsAcceptor>, answer: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer, record) = (tls.clone(), Arc::clone(&answer), Arc::clone(&record));
                connections.spawn(async move {
                    // A client may hang up at any time; tests look at what it saw, not at this side.
                    let _outcome = match tls {
                        None => converse(stream, answer.as_ref(), &record).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => converse(stream, answer.as_ref(), &record).await,
                            Err(cause) => Err(cause),
                        },
                    };
                });
            }
        });
        Self {
            address,
            seen,
            _accepting: accepting,
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// A URL at this server's address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A URL at a name that the test's table leads here.
    pub(crate) fn url_at(&self, base: &str, path: &str) -> String {
        format!("{base}:{}{path}", self.address.port())
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &Handler,
    record: &Mutex<Vec<Seen>>,
) -> io::Result<()> {
    let Some(seen) = read_request(&mut stream).await? else {
        return Ok(());
    };
    record.lock().push(seen.clone());
    let mut has_sent = false;
    for step in answer(&seen) {
        match step {
            // A HEAD has no body, whatever the handler says.
            Step::Send(_) if has_sent && seen.method == "HEAD" => {}
            Step::Send(bytes) => {
                has_sent = true;
                stream.write_all(&bytes).await?;
            }
            Step::Rest(pause) => tokio::time::sleep(pause).await,
            Step::Stall => std::future::pending().await,
        }
    }
    stream.shutdown().await
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut rows = text.split("\r\n");
    let mut first = rows.next().unwrap_or_default().split(' ');
    let mut next = || first.next().unwrap_or_default().to_owned();
    let (method, target) = (next(), next());
    let lines: Vec<(String, String)> = rows
        .filter_map(|row| row.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut seen = Seen {
        method,
        target,
        lines,
        body: String::new(),
    };
    let length = seen
        .line("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + length {
        stream.read_buf(&mut bytes).await?;
    }
    seen.body = String::from_utf8_lossy(&bytes[end..]).into_owned();
    Ok(Some(seen))
}

/// A certificate authority of the test's own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    pub(crate) fn ca_file(&self) -> std::path::PathBuf {
        self.file.path().to_owned()
    }

    /// A server for `names`; `shape` may spoil its certificate.
    pub(crate) fn server(
        &self,
        names: &[&str],
        shape: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        shape(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server_config(certificate.der().clone(), &key)
    }
}

/// A server that vouches for itself.
pub(crate) fn self_signed(name: &str) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    server_config(certificate.der().clone(), &key)
}

fn server_config(
    certificate: rustls_pki_types::CertificateDer<'static>,
    key: &KeyPair,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

/// A door that knows nobody but `origins`, trusts no system root, tries once and gives up early.
pub(crate) fn config(origins: &[String]) -> OriginConfig {
    OriginConfig {
        origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
        roots: Roots::Files,
        names: Some(table(&[])),
        patience: Patience {
            connect: Duration::from_secs(5),
            progress: Duration::from_secs(2),
        },
        retry: RetryPolicy::never(),
        ..OriginConfig::default()
    }
}

/// A door to these servers, each listed by its address in plain http.
pub(crate) fn door(servers: &[&Server]) -> Origins {
    Origins::new(config(&listed(servers))).unwrap()
}

pub(crate) fn listed(servers: &[&Server]) -> Vec<String> {
    servers.iter().map(|server| server.url("")).collect()
}

/// A strong entity tag.
pub(crate) const TAG: &str = "\"v1\"";

/// What nobody in particular asks.
pub(crate) fn request(url: &str) -> Request {
    Request::new(url, SecretHeaders::default()).unwrap()
}

pub(crate) fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

/// What `server` says of `/f`.
pub(crate) async fn resolved(door: &Origins, server: &Server) -> Resolved {
    door.resolve(&request(&server.url("/f?X-Amz-Signature=canary")))
        .await
        .unwrap()
}

/// Retries that do not make a test wait.
pub(crate) fn quick_retries(attempts: u32) -> RetryPolicy {
    RetryPolicy {
        attempts,
        pause: Duration::from_millis(1),
        ..RetryPolicy::default()
    }
}

/// Names that each lead to one address.
pub(crate) fn table(names: &[(&str, &str)]) -> Names {
    let table = names
        .iter()
        .fold(NameTable::default(), |table, (name, address)| {
            let address: IpAddr = address.parse().unwrap();
            table.with(name, vec![vec![address]])
        });
    Names::Table(Arc::new(table))
}

/// All bytes of a body.
pub(crate) async fn drain(mut body: BodyStream) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

/// Bytes that differ from their neighbours.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}
