//! The proxy over real connections, as clients see it: a real origin and real content behind scripted doors.

mod heads;
mod hostile;
mod registry;
mod requests;
mod tally;
mod tunnels;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use ::http::{HeaderMap, StatusCode};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use types::{ByteCount, Validator};

use super::{Outside, OutsideAnswer, OutsideError, OutsideRequest, Parts, Proxy, Rules, Tally};
use crate::{
    Limits, Places, Seen, bind,
    http::{BoxIo, full},
    mirror::Backends,
    testing::{Shared, TestContent, TestRegistry},
};

/// A request that went on.
#[derive(Clone, Debug)]
struct Sent {
    method: String,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// How an origin takes `HEAD`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToHead {
    #[default]
    Answer,
    Status(u16),
    /// It says nothing at all.
    Silence,
}

/// An origin that answers from a script, and tells what it was asked.
struct Origin {
    content: Vec<u8>,
    lines: Mutex<Vec<(&'static str, &'static str)>>,
    status: Mutex<u16>,
    is_away: Mutex<bool>,
    /// What `HEAD` gets in place of an answer like that of `GET`.
    to_head: Mutex<ToHead>,
    sent: Mutex<Vec<Sent>>,
    tunnels: Mutex<Vec<(String, u16)>>,
    echo: SocketAddr,
}

impl Outside for Origin {
    fn relay(&self, request: OutsideRequest) -> BoxFuture<'_, Result<OutsideAnswer, OutsideError>> {
        Box::pin(async move {
            let body = request
                .body
                .collect()
                .await
                .map_err(OutsideError::Unreachable)?;
            let method = request.method.to_string();
            let is_first_byte = request
                .headers
                .get("range")
                .is_some_and(|range| range == "bytes=0-0");
            self.sent.lock().expect("a lock").push(Sent {
                method: method.clone(),
                url: request.url.to_string(),
                headers: request.headers,
                body: body.to_bytes().to_vec(),
            });
            if *self.is_away.lock().expect("a lock") {
                return Err(OutsideError::Unreachable("scripted".into()));
            }
            let mut status = *self.status.lock().expect("a lock");
            let to_head = *self.to_head.lock().expect("a lock");
            match to_head {
                ToHead::Status(other) if method == "HEAD" => status = other,
                ToHead::Silence if method == "HEAD" => std::future::pending().await,
                _ => {}
            }
            let mut headers = HeaderMap::new();
            for (name, value) in self.lines.lock().expect("a lock").iter() {
                headers.append(*name, value.parse().expect("a value"));
            }
            headers.insert("content-length", self.content.len().into());
            let etag = headers.get("etag").and_then(|value| value.to_str().ok());
            let seen = etag.map(|etag| Seen {
                length: ByteCount(self.content.len() as u64),
                validator: Validator::ETag(etag.to_owned()),
            });
            let mut body = match &*method {
                "HEAD" => Vec::new(),
                _ => self.content.clone(),
            };
            if is_first_byte && to_head != ToHead::Answer && status == 200 {
                (status, body) = (206, body[..1].to_vec());
                let place = format!("bytes 0-0/{}", self.content.len());
                headers.insert("content-range", place.parse().expect("a value"));
                headers.insert("content-length", 1.into());
            }
            Ok(OutsideAnswer {
                status: StatusCode::from_u16(status).expect("a status"),
                headers,
                body: full(body),
                seen,
            })
        })
    }

    fn tunnel<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<BoxIo, OutsideError>> {
        Box::pin(async move {
            self.tunnels
                .lock()
                .expect("a lock")
                .push((host.to_owned(), port));
            if port != 443 {
                return Err(OutsideError::Policy("a port".into()));
            }
            let stream = TcpStream::connect(self.echo).await;
            let stream = stream.map_err(|error| OutsideError::Unreachable(error.into()))?;
            Ok(Box::new(stream) as BoxIo)
        })
    }
}

struct Harness {
    address: SocketAddr,
    content: Arc<TestContent>,
    origin: Arc<Origin>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    tally: Tally,
    registry: Arc<TestRegistry>,
}

impl Harness {
    /// A proxy with these rules before an origin of `length` bytes.
    async fn of(length: usize, rules: &[&str]) -> Self {
        Self::with(length, rules, Places::new(10)).await
    }

    async fn with(length: usize, rules: &[&str], places: Places) -> Self {
        let limits = Limits {
            head_max: 16 << 10,
            ..Limits::default()
        };
        Self::within(length, rules, (places, limits)).await
    }

    async fn within(length: usize, rules: &[&str], (places, limits): (Places, Limits)) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut tasks = JoinSet::new();
        let echo = tokio::net::TcpListener::bind(any).await.expect("a port");
        let content = Arc::new(TestContent::of(length));
        let origin = Arc::new(Origin {
            content: content.bytes.clone(),
            lines: Mutex::new(vec![("etag", "\"v1\""), ("x-own", "1")]),
            status: Mutex::new(200),
            is_away: Mutex::default(),
            to_head: Mutex::default(),
            sent: Mutex::default(),
            tunnels: Mutex::default(),
            echo: echo.local_addr().expect("an address"),
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
        });
        let tally = Tally::default();
        let registry = Arc::new(TestRegistry::default());
        let rules = rules.iter().map(|rule| rule.parse().expect("a rule"));
        let proxy = Proxy::new(Parts {
            backends: Backends {
                content: Arc::new(Shared(Arc::clone(&content))),
                upstream: Arc::clone(&registry) as _,
                manifests: Arc::clone(&registry) as _,
            },
            outside: Arc::clone(&origin) as _,
            interceptor: Some(Arc::new(Plain)),
            intercepted: vec!["open.test".parse().expect("a host")],
            rules: Rules::new(rules.collect()),
            admits: Arc::new(|address| address.is_loopback()),
            places,
            tally: tally.clone(),
        });
        let listener = bind(any).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        tasks.spawn(proxy.serve(listener, limits, stop.clone()));
        Self {
            address,
            content,
            origin,
            stop,
            tasks,
            tally,
            registry,
        }
    }

    /// Sends these very bytes and reads until the end of the connection.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        // A refusal may close before all of it is written.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks for a URL with these lines.
    async fn ask(&self, method: &str, url: &str, lines: &[&str]) -> String {
        let host = url.split('/').nth(2).unwrap_or_default();
        let mut request =
            format!("{method} {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for line in lines {
            request.push_str(line);
            request.push_str("\r\n");
        }
        self.raw((request + "\r\n").as_bytes()).await
    }

    fn sent(&self) -> Vec<Sent> {
        self.origin.sent.lock().expect("a lock").clone()
    }

    fn asks(&self) -> usize {
        self.content.asks.lock().expect("a lock").len()
    }

    fn say(&self, lines: &[(&'static str, &'static str)]) {
        *self.origin.lines.lock().expect("a lock") = lines.to_vec();
    }
}

/// Who opens no TLS at all: what is within is read as it is.
struct Plain;

impl super::Intercept for Plain {
    fn accept<'a>(
        &'a self,
        _host: &'a str,
        stream: BoxIo,
    ) -> BoxFuture<'a, std::io::Result<BoxIo>> {
        Box::pin(async move { Ok(stream) })
    }
}
