//! The admin door: `/metrics`, `/healthz` and `/readyz`, on loopback unless an operator chose otherwise.
//!
//! It only reads, and what it says holds no id of content or host.

use std::{net::SocketAddr, sync::Arc};

use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    Limits,
    http::{self, Answer, Handler, empty, full},
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
        http::serve(listener, Arc::new(self), limits, stop).await;
    }
}

impl<V: Vitals> Handler for Admin<V> {
    fn answer<'a>(
        &'a self,
        request: Request<Incoming>,
        _peer: SocketAddr,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            if let Err(error) = http::check(&request) {
                return text(StatusCode::BAD_REQUEST, &[error.to_string()]);
            }
            if ![Method::GET, Method::HEAD].contains(request.method()) {
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, &["read only".into()]);
                let allow = HeaderValue::from_static("GET, HEAD");
                answer.headers_mut().insert(header::ALLOW, allow);
                return answer;
            }
            let answer = match request.uri().path() {
                "/metrics" => metrics(self.0.metrics().await),
                "/healthz" => state(&self.0.ailments().await),
                "/readyz" => state(&self.0.missing().await),
                _ => text(
                    StatusCode::NOT_FOUND,
                    &["/metrics, /healthz, /readyz".into()],
                ),
            };
            if request.method() == Method::HEAD {
                answer.map(|_| empty())
            } else {
                answer
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
