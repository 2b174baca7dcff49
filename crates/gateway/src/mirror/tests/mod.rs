//! The mirror over real connections, as clients see it.

mod blobs;
mod hostile;
mod manifests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Backends, Mirror, Registries};
use crate::{
    HeldManifest, Limits, OpenError, OriginAnswer, Places, Proof, StaleManifest, bind,
    testing::{Scripted, Shared, TestContent, TestRegistry},
};

struct Harness {
    address: SocketAddr,
    content: Arc<TestContent>,
    registry: Arc<TestRegistry>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Harness {
    async fn of(length: usize) -> Self {
        Self::with(TestContent::of(length), Limits::default()).await
    }

    async fn with(content: TestContent, limits: Limits) -> Self {
        let (content, registry) = (Arc::new(content), Arc::new(TestRegistry::default()));
        let backends = Backends {
            content: Arc::new(Shared(Arc::clone(&content))),
            upstream: registry.clone(),
            manifests: registry.clone(),
        };
        let registries = Registries {
            known: vec!["quay.io".parse().expect("a host")],
            default: Some("docker.io".parse().expect("a host")),
            any: true,
        };
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Mirror::new(backends, registries).serve(listener, limits, stop.clone()));
        Self {
            address,
            content,
            registry,
            stop,
            tasks,
        }
    }

    fn blob(&self) -> String {
        format!("/v2/a/blobs/{}?ns=quay.io", self.content.digest)
    }

    /// Sends these very bytes and reads until the end of the connection.
    async fn raw(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut bytes = Vec::new();
        // A reset is an end like any other: what counts is which bytes came.
        let _ = stream.read_to_end(&mut bytes).await;
        Reply::of(&bytes)
    }

    async fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Reply {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for line in headers {
            request.push_str(line);
            request.push_str("\r\n");
        }
        self.raw(&(request + "\r\n")).await
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn of(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map_or(bytes.len(), |at| at + 4);
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head
            .get(9..12)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        Self {
            status,
            head,
            body: bytes[end..].to_vec(),
        }
    }

    /// All lines of a header, joined by `|`.
    fn header(&self, name: &str) -> String {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let values: Vec<&str> = lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect();
        values.join("|")
    }

    /// The head without its date, sorted.
    fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self
            .head
            .lines()
            .filter(|line| !line.starts_with("date:"))
            .collect();
        lines.sort_unstable();
        lines
    }

    fn is_complete(&self) -> bool {
        self.header("content-length") == self.body.len().to_string()
    }
}

fn sha(bytes: &[u8]) -> types::Digest {
    types::Digest::sha256(Sha256::digest(bytes).into())
}

/// One request over HTTP/2.
async fn h2(
    mirror: &Harness,
    method: &str,
    target: &str,
) -> Result<(StatusCode, Bytes), hyper::Error> {
    h2_at(mirror, method, ("localhost", target)).await
}

async fn h2_at(
    mirror: &Harness,
    method: &str,
    (host, target): (&str, &str),
) -> Result<(StatusCode, Bytes), hyper::Error> {
    let stream = TcpStream::connect(mirror.address).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a handshake");
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{host}{target}"))
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?;
    Ok((status, body.to_bytes()))
}
