//! One request and its answer: the place that every request passes.
//!
//! Policy, budget, connection, redirects, counting. Which status is good news is for the operations above to say; here
//! every status is an answer.

mod error;

use std::{
    error::Error as _,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::time::{Instant, Sleep, sleep, timeout};
use url::Url;

use crate::{
    allowed::AllowedOrigin,
    budget::{Closed, Pass, Place},
    dialer::DialError,
    header::retry_after,
    origins::Inner,
    redirect::{self, RedirectProblem},
    retry::Tries,
    shelf::Shelf,
    shown::ShownUrl,
};

pub use error::AskError;

/// Redirects that are followed.
pub(crate) const REDIRECTS_MAX: u8 = 5;

impl Tries {
    /// Waits before the next try, or hands the error back: it is permanent, or there are no more tries.
    pub(crate) async fn pause_or(&mut self, failed: AskError) -> Result<(), AskError> {
        if failed.is_permanent() {
            return Err(failed);
        }
        match self.after_failure(failed.retry_after()) {
            Some(pause) => {
                sleep(pause).await;
                Ok(())
            }
            None => Err(failed),
        }
    }
}

/// A request. Headers may hold credentials: they go to `url`'s origin and no further.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) redirects_max: u8,
}

impl Ask {
    pub(crate) fn new(method: Method, url: Url, headers: HeaderMap) -> Self {
        Self {
            method,
            url,
            headers,
            body: Bytes::new(),
            redirects_max: REDIRECTS_MAX,
        }
    }
}

/// An answer with any status, its body still to come. Holds a place in the origin's budget until dropped.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Who answered, after redirects.
    pub(crate) url: Url,
    pub(crate) body: AnswerBody,
}

impl Answer {
    /// This answer as an error.
    pub(crate) fn as_error(&self) -> AskError {
        AskError::Status {
            url: ShownUrl::of(&self.url),
            status: self.status,
            retry_after: retry_after(&self.headers, Timestamp::now()),
        }
    }
}

/// A body as it comes off the connection, counted, paced by the budget and watched for progress.
pub(crate) struct AnswerBody {
    incoming: Arc<Shelf<Incoming>>,
    pass: Pass,
    patience: Watch,
    url: ShownUrl,
}

/// Ends waits that last too long. One timer for all of them, set anew only when it rings: a timer for each chunk would
/// wake the thread that waits for sockets each time.
struct Watch {
    patience: Duration,
    alarm: Pin<Box<Sleep>>,
}

impl Watch {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            alarm: Box::pin(sleep(patience)),
        }
    }

    /// What `work` gives, or nothing if that takes longer than the patience.
    async fn watch<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let deadline = Instant::now() + self.patience;
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = &mut self.alarm => {}
            }
            if Instant::now() >= deadline {
                return None;
            }
            self.alarm.as_mut().reset(deadline);
        }
    }
}

impl AnswerBody {
    /// The place it holds at its origin.
    pub(crate) fn place(&self) -> Place {
        self.pass.place()
    }

    /// The next bytes, never empty; none at the end. Dropped early, bytes may be lost: the body is then unusable.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, AskError>> {
        let Some(mut incoming) = self.incoming.take() else {
            let url = self.url.clone();
            return Some(Err(AskError::GaveWay { url }));
        };
        // The whole search for a byte is timed: frames without data are no progress.
        let next = self.patience.watch(next_data(&mut incoming)).await;
        let read = match next {
            None => Some(Err(AskError::Stalled {
                url: self.url.clone(),
                waited: self.patience.patience,
            })),
            Some(None) => None,
            Some(Some(Err(cause))) => Some(Err(AskError::Broken {
                url: self.url.clone(),
                cause: Arc::new(cause),
            })),
            Some(Some(Ok(data))) => {
                self.pass.received(data.len() as u64).await;
                Some(Ok(data))
            }
        };
        self.incoming.put(incoming, self.pass.now());
        read
    }

    /// The whole body, if it has at most `limit` bytes; `Ok(None)` if it has more.
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Option<Bytes>, AskError> {
        let mut collected = Vec::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            if collected.len() + chunk.len() > limit {
                return Ok(None);
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(Some(collected.into()))
    }
}

async fn next_data(incoming: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        match incoming.frame().await? {
            Err(cause) => return Some(Err(cause)),
            Ok(frame) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Some(Ok(data));
                }
            }
        }
    }
}

impl Inner {
    /// Asks, following redirects. Dropped early, the request is cancelled.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, AskError> {
        let Ask {
            method,
            mut url,
            mut headers,
            body,
            redirects_max,
        } = ask;
        let mut hops = 0;
        loop {
            let request = build(&method, &url, &headers, &body)?;
            let (response, pass) = self.exchange(&url, request).await?;
            let (parts, incoming) = response.into_parts();
            if !redirect::is_redirect(parts.status, &parts.headers) {
                return Ok(Answer {
                    status: parts.status,
                    headers: parts.headers,
                    body: AnswerBody {
                        incoming: pass.shelve(incoming),
                        pass,
                        patience: Watch::new(self.patience.progress),
                        url: ShownUrl::of(&url),
                    },
                    url,
                });
            }
            let problem = |problem| AskError::Redirect {
                url: ShownUrl::of(&url),
                problem,
            };
            hops += 1;
            if hops > redirects_max {
                return Err(problem(RedirectProblem::TooMany {
                    limit: redirects_max,
                }));
            }
            let next = redirect::next_url(&url, &parts.headers).map_err(problem)?;
            redirect::strip_for(&url, &next, &mut headers);
            url = next;
        }
    }

    /// One hop.
    async fn exchange(
        &self,
        url: &Url,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Pass), AskError> {
        let origin = AllowedOrigin::of(url).map_err(|cause| AskError::Url {
            url: ShownUrl::of(url),
            cause,
        })?;
        self.reach.policy.check_origin(&origin)?;
        if let Some(authorization) = self.reach.authorization(&origin) {
            let headers = request.headers_mut();
            headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        let pass = match self.budgets.gate(&origin).enter().await {
            Ok(pass) => pass,
            Err(Closed::Paused(left)) => return Err(AskError::Paused { origin, left }),
            Err(Closed::Crowded) => return Err(AskError::Crowded { origin }),
        };
        let counters = &pass.gate().counters;
        counters.asked();
        // Lookup, connection and handshake have their own patience and come before the answer.
        let waited = self.patience.progress + self.patience.connect * 4;
        let outcome = timeout(waited, self.client.request(request)).await;
        let response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => {
                counters.answered(None);
                return Err(explain(url, cause));
            }
            Err(_) => {
                counters.answered(None);
                let url = ShownUrl::of(url);
                return Err(AskError::Stalled { url, waited });
            }
        };
        counters.answered(Some(response.status()));
        if matches!(response.status().as_u16(), 429 | 503)
            && let Some(delay) = retry_after(response.headers(), Timestamp::now())
        {
            tracing::debug!(%origin, ?delay, "an origin asked to be left alone");
            pass.gate().pause(delay);
        }
        Ok((response, pass))
    }
}

fn build(
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Request<Full<Bytes>>, AskError> {
    let unsendable = || AskError::Unsendable {
        url: ShownUrl::of(url),
    };
    let mut target = url.clone();
    let _no_user = target.set_username("");
    let _no_password = target.set_password(None);
    target.set_fragment(None);
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = target.as_str().parse().map_err(|_| unsendable())?;
    *request.headers_mut() = headers.clone();
    let headers = request.headers_mut();
    headers
        .entry(header::USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "pantala/",
            env!("CARGO_PKG_VERSION")
        )));
    Ok(request)
}

/// Finds our own dialer's error inside hyper's.
pub(crate) fn explain(url: &Url, error: hyper_util::client::legacy::Error) -> AskError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(dial) = inner.downcast_ref::<DialError>() {
            return dial.clone().into();
        }
        cause = inner.source();
    }
    AskError::Broken {
        url: ShownUrl::of(url),
        cause: Arc::new(error),
    }
}
