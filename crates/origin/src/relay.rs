//! What local clients ask of origins themselves, sent on as it is: requests of any kind, and tunnels.
//!
//! The dialer and its addresses guard it as all else. What is absent: budgets, redirects and tries of ours, since it is
//! the client that asks, and would ask the same without us.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use types::{ByteCount, Validator, end_to_end};
use url::Url;

use crate::{
    allowed::{AllowedOrigin, Scheme},
    ask::{AskError, explain},
    header,
    origins::Origins,
    shown::ShownUrl,
};

/// How long an answer may take to begin: as long as a client of ours may take to read it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(600);

/// The body of a client's request.
pub type RelayBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A connection for a tunnel.
pub type TunnelStream = Pin<Box<dyn Tunnel>>;

/// A stream of bytes both ways.
pub trait Tunnel: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Tunnel for S {}

/// A client's request to an origin.
pub struct Relay {
    /// Any.
    pub method: Method,
    /// With its query, as the client wrote it.
    pub url: Url,
    /// Without those of the client's connection.
    pub headers: HeaderMap,
    /// As it comes.
    pub body: RelayBody,
}

/// An origin's answer: any status is one.
pub struct Relayed {
    /// As it came.
    pub status: StatusCode,
    /// Without those of the connection.
    pub headers: HeaderMap,
    /// As it comes.
    pub body: Incoming,
}

impl Relayed {
    /// The length and the version of the content that it speaks of, if it says both, strongly, and of the bytes
    /// themselves. Of the whole, where it brings a part.
    pub fn version(&self) -> Option<(ByteCount, Validator)> {
        if header::is_encoded(&self.headers) {
            return None;
        }
        let length = match self.status {
            StatusCode::OK => header::content_length(&self.headers),
            StatusCode::PARTIAL_CONTENT => {
                header::content_range(&self.headers).and_then(|told| told.total)
            }
            _ => None,
        }?;
        let validator = header::validator(&self.headers, Some(length))?;
        Some((ByteCount(length), validator))
    }
}

/// A body that notes when it moved last.
struct Moving {
    body: RelayBody,
    moves: Arc<Mutex<Instant>>,
}

impl Body for Moving {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            *self.moves.lock() = Instant::now();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What `asked` comes to; nothing once it stood still for too long. Until an answer begins it is the client's body that
/// moves, of which the last part went out at `moved`: uploads take as long as they take.
async fn answer_of<A>(
    asked: impl Future<Output = A>,
    moved: &Mutex<Instant>,
    patience: Duration,
) -> Option<A> {
    let mut asked = pin!(asked);
    loop {
        let until = *moved.lock() + patience;
        match timeout_at(until, &mut asked).await {
            Ok(answer) => return Some(answer),
            Err(_) if *moved.lock() + patience > until => {}
            Err(_) => return None,
        }
    }
}

impl Origins {
    /// Sends a client's request on. Dropped early, the request is cancelled.
    ///
    /// Errors: the policy refuses the origin, or there is no answer.
    pub async fn relay(&self, relay: Relay) -> Result<Relayed, AskError> {
        let Relay {
            method,
            url,
            headers,
            body,
        } = relay;
        let origin = AllowedOrigin::of(&url).map_err(|cause| AskError::Url {
            url: ShownUrl::of(&url),
            cause,
        })?;
        let policy = &self.0.clients.policy;
        policy.check_origin(&origin)?;
        // Below 1024 are mail servers and the like, which take a request for something else.
        if origin.port() < 1024 && ![80, 443].contains(&origin.port()) && !policy.lists(&origin) {
            return Err(crate::Refused::Port { origin }.into());
        }
        let moved = Arc::new(Mutex::new(Instant::now()));
        let moves = Arc::clone(&moved);
        let mut request = Request::new(Moving { body, moves }.boxed_unsync());
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().map_err(|_| AskError::Unsendable {
            url: ShownUrl::of(&url),
        })?;
        *request.headers_mut() = headers;
        // The connection makes its own.
        request.headers_mut().remove(http::header::HOST);
        if let Some(authorization) = self.0.clients.authorization(&origin) {
            let headers = request.headers_mut();
            headers.insert(http::header::PROXY_AUTHORIZATION, authorization.clone());
        }
        let answered = answer_of(self.0.relays.request(request), &moved, ANSWER_PATIENCE).await;
        let answered = answered.ok_or_else(|| AskError::Stalled {
            url: ShownUrl::of(&url),
            waited: ANSWER_PATIENCE,
        })?;
        let response: Response<Incoming> = answered.map_err(|cause| explain(&url, cause))?;
        let (parts, body) = response.into_parts();
        Ok(Relayed {
            status: parts.status,
            headers: end_to_end(&parts.headers),
            body,
        })
    }

    /// A connection to `host` (a name, or an address without brackets), for bytes that are not ours to read. A port other
    /// than 443 must be among `ports`, or the host be listed with it.
    pub async fn tunnel(
        &self,
        (host, port): (&str, u16),
        ports: &[u16],
    ) -> Result<TunnelStream, AskError> {
        let reach = &self.0.clients;
        let secure = AllowedOrigin::https(host, port).map_err(|_| {
            let host = host.to_owned();
            AskError::Lookup(crate::LookupError::Nowhere { host })
        })?;
        let plain = secure.clone().with_scheme(Scheme::Http);
        // Whoever lists a host with plain text lists it for tunnels too.
        let origin = if reach.policy.prefers_plain(&secure) {
            plain
        } else {
            secure
        };
        if port != 443 && !ports.contains(&port) && !reach.policy.lists(&origin) {
            return Err(crate::Refused::Port { origin }.into());
        }
        Ok(Box::pin(
            reach.connect(&origin).await.map_err(AskError::from)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        Refused,
        testing::{Server, config, door, reply, table},
    };

    #[tokio::test]
    async fn an_upload_takes_as_long_as_it_moves_and_no_longer() {
        let patience = Duration::from_secs(1);
        let moved = Mutex::new(Instant::now());
        let begun = Instant::now();
        let uploads = async {
            for _ in 0..15 {
                tokio::time::sleep(patience / 10).await;
                *moved.lock() = Instant::now();
            }
            std::future::pending::<()>().await;
        };
        assert_eq!(answer_of(uploads, &moved, patience).await, None);
        assert!(begun.elapsed() >= patience * 5 / 2, "it moved until then");
        let answers = std::future::ready(7);
        assert_eq!(answer_of(answers, &moved, patience).await, Some(7));
    }

    fn relay(method: Method, url: &str, body: &'static str) -> Relay {
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", "other"), ("cookie", "a=b")] {
            headers.append(name, value.parse().unwrap());
        }
        Relay {
            method,
            url: url.parse().unwrap(),
            headers,
            body: Full::new(Bytes::from_static(body.as_bytes()))
                .map_err(|never| match never {})
                .boxed_unsync(),
        }
    }

    #[tokio::test]
    async fn a_request_is_sent_on_as_it_is() {
        let server = Server::start(|seen| {
            let location = [
                ("location", "http://169.254.169.254/"),
                ("set-cookie", "a=1"),
                ("keep-alive", "x-hop"),
            ];
            reply(302, &location, seen.body.as_bytes())
        })
        .await;
        let door = door(&[&server]);
        let url = server.url("/a%2Fb?sig=1&x=%41");
        let answer = door
            .relay(relay(Method::POST, &url, "hello"))
            .await
            .unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["set-cookie"]),
            (302, &"a=1".parse().unwrap())
        );
        assert!(!answer.headers.contains_key("keep-alive"));
        assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "hello");
        let seen = &server.seen()[0];
        assert_eq!(
            (&*seen.method, &*seen.target),
            ("POST", "/a%2Fb?sig=1&x=%41")
        );
        assert_eq!(seen.line("host"), url.split('/').nth(2));
        assert_eq!(seen.line("cookie"), Some("a=b"));
    }

    #[tokio::test]
    async fn a_part_tells_of_the_whole() {
        let server = Server::start(|_| {
            let lines = [("etag", "\"a\""), ("content-range", "bytes 0-0/7")];
            reply(206, &lines, b"x")
        })
        .await;
        let url = server.url("/");
        let answer = door(&[&server]).relay(relay(Method::GET, &url, "")).await;
        let told = answer.unwrap().version();
        assert_eq!(told, Some((ByteCount(7), Validator::ETag("\"a\"".into()))));
    }

    #[tokio::test]
    async fn clients_reach_what_the_policy_lets_them() {
        let server = Server::start(|_| reply(200, &[], b"")).await;
        let port = server.address.port();
        let mut strict = config(&[
            format!("http://listed.test:{port}"),
            format!("http://127.0.0.1:{port}"),
        ]);
        strict.names = Some(table(&[
            ("listed.test", "127.0.0.1"),
            ("evil.test", "127.0.0.1"),
        ]));
        let door = Origins::new(strict).unwrap();
        for host in [
            "evil.test",
            "127.0.0.2",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "10.0.0.1",
        ] {
            let url = format!("http://{host}:{port}/");
            let refused = door.relay(relay(Method::GET, &url, "")).await;
            assert!(matches!(refused, Err(AskError::Refused(_))), "{host}");
            let name = host.trim_matches(['[', ']']);
            let refused = door.tunnel((name, 443), &[]).await;
            assert!(matches!(refused, Err(AskError::Refused(_))), "{host}");
        }
        assert!(server.seen().is_empty());
        let refused = door
            .relay(relay(Method::GET, "http://1.1.1.1:25/", ""))
            .await;
        assert!(matches!(
            refused,
            Err(AskError::Refused(Refused::Port { .. }))
        ));
        let url = format!("http://listed.test:{port}/");
        assert_eq!(
            door.relay(relay(Method::GET, &url, ""))
                .await
                .unwrap()
                .status,
            200
        );
    }

    #[tokio::test]
    async fn a_tunnel_leads_to_443_and_to_listed_ports() {
        let server = Server::start(|_| reply(200, &[], b"hello")).await;
        let port = server.address.port();
        let door = door(&[&server]);
        let refused = door.tunnel(("example.com", 25), &[8443]).await;
        assert!(matches!(
            refused,
            Err(AskError::Refused(Refused::Port { .. }))
        ));
        let mut stream = door.tunnel(("127.0.0.1", port), &[]).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
