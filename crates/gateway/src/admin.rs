//! The admin door: `/metrics`, `/healthz` and `/readyz`, on loopback unless an operator chose otherwise.
//!
//! It only reads, and what it says holds no id of content or host.

use std::sync::Arc;

use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    Limits,
    http::{self, Answer, Client, Handler, full},
};

/// What the admin door shows.
pub trait Vitals: Send + Sync + 'static {
    /// All metrics in the OpenMetrics text format, ended by `# EOF`.
    fn metrics(&self) -> BoxFuture<'_, String>;

    /// What is broken beyond repair, one line each: the process should be restarted. Empty when healthy.
    fn ailments(&self) -> BoxFuture<'_, Vec<String>>;

    /// What is still missing before consumers can be served, one line each. Empty when ready.
    fn missing(&self) -> BoxFuture<'_, Vec<String>>;
}

/// The admin door.
pub struct Admin<V>(Arc<V>);

impl<V: Vitals> Admin<V> {
    /// A door that shows `vitals`.
    pub fn new(vitals: Arc<V>) -> Self {
        Self(vitals)
    }

    /// Answers requests on `listener` until `stop`.
    pub async fn serve(self, listener: TcpListener, limits: Limits, stop: CancellationToken) {
        http::serve(("status page", listener), Arc::new(self), limits, stop).await;
    }
}

impl<V: Vitals> Handler for Admin<V> {
    fn answer<'a>(&'a self, request: Request<Incoming>, client: Client) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            if let Err(error) = http::check(http::Form::Own, &client.names, &request) {
                return text(error.status(), &[error.to_string()]);
            }
            if ![Method::GET, Method::HEAD].contains(request.method()) {
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, &["read only".into()]);
                let allow = HeaderValue::from_static("GET, HEAD");
                answer.headers_mut().insert(header::ALLOW, allow);
                return answer;
            }
            match request.uri().path() {
                "/metrics" => metrics(self.0.metrics().await),
                "/healthz" => state(&self.0.ailments().await),
                "/readyz" => state(&self.0.missing().await),
                _ => text(
                    StatusCode::NOT_FOUND,
                    &["/metrics, /healthz, /readyz".into()],
                ),
            }
        })
    }
}

fn metrics(text: String) -> Answer {
    let mut answer = Response::new(full(text));
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    answer
}

fn state(complaints: &[String]) -> Answer {
    if complaints.is_empty() {
        text(StatusCode::OK, &["ok".into()])
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, complaints)
    }
}

fn text(status: StatusCode, lines: &[String]) -> Answer {
    let mut answer = Response::new(full(lines.join("\n") + "\n"));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinSet,
    };

    use super::*;

    /// A daemon that is healthy and not ready.
    struct Starting;

    impl Vitals for Starting {
        fn metrics(&self) -> BoxFuture<'_, String> {
            Box::pin(async { "pieces_total 7\n# EOF\n".into() })
        }

        fn ailments(&self) -> BoxFuture<'_, Vec<String>> {
            Box::pin(async { Vec::new() })
        }

        fn missing(&self) -> BoxFuture<'_, Vec<String>> {
            Box::pin(async { vec!["the store is being checked".into()] })
        }
    }

    #[tokio::test]
    async fn vitals_are_shown_and_nothing_else() {
        let listener = crate::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        tasks.spawn(Admin::new(Arc::new(Starting)).serve(listener, Limits::default(), stop));
        for (request, status, ending) in [
            ("GET /metrics", 200, "pieces_total 7\n# EOF\n"),
            ("GET /healthz", 200, "ok\n"),
            ("GET /readyz", 503, "the store is being checked\n"),
            ("HEAD /readyz", 503, "\r\n\r\n"),
            ("GET /", 404, "/readyz\n"),
            ("GET /../etc/passwd", 404, "/readyz\n"),
            ("POST /metrics", 405, "read only\n"),
        ] {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            let lines = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let request = format!("{request} {lines}");
            stream.write_all(request.as_bytes()).await.expect("writes");
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.expect("reads");
            assert!(
                reply.starts_with(&format!("HTTP/1.1 {status}")),
                "{request} gave {reply}"
            );
            assert!(reply.ends_with(ending), "{request} gave {reply}");
        }
    }

    #[tokio::test]
    async fn a_taken_address_is_reported() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let taken = crate::bind(any).await.expect("a port");
        let address = taken.local_addr().expect("an address");
        let error = crate::bind(address).await.expect_err("it is taken");
        assert_eq!(error.to_string(), format!("listening on {address}"));
    }
}
