//! What clients of the proxy send to origins themselves.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, future::BoxFuture};
use gateway::{
    BoxIo, Seen,
    proxy::{Intercept, Outside, OutsideAnswer, OutsideError, OutsideRequest},
};
use http_body_util::BodyExt;
use identity::{Interception, Tended};
use origin::{AskError, Relay};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Doors, stream_through::blocking};
use crate::metrics::Metrics;

impl Outside for Doors {
    fn relay(&self, request: OutsideRequest) -> BoxFuture<'_, Result<OutsideAnswer, OutsideError>> {
        async move {
            let relay = Relay {
                method: request.method,
                url: request.url,
                headers: request.headers,
                body: request.body,
            };
            let relayed = self.resolver.origins.relay(relay).await.map_err(refused)?;
            let seen = relayed.version();
            Ok(OutsideAnswer {
                status: relayed.status,
                headers: relayed.headers,
                body: relayed.body.map_err(Into::into).boxed_unsync(),
                seen: seen.map(|(length, validator)| Seen { length, validator }),
            })
        }
        .boxed()
    }

    fn tunnel<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<BoxIo, OutsideError>> {
        async move {
            let ports = &self.config.tunnel_ports;
            let tunnel = self.resolver.origins.tunnel((host, port), ports).await;
            Ok(Box::new(tunnel.map_err(refused)?) as BoxIo)
        }
        .boxed()
    }
}

fn refused(error: AskError) -> OutsideError {
    match &error {
        AskError::Refused(refused) => OutsideError::Policy(refused.to_string()),
        _ => OutsideError::Unreachable(error.into()),
    }
}

/// Opens clients' tunnels to listed hosts.
#[derive(Clone)]
pub(crate) struct Interceptor(Arc<Interception>);

/// How often its authority is looked at: wall clocks jump.
const CARE_EVERY: Duration = Duration::from_secs(3600);

impl Interceptor {
    pub(crate) fn new(interception: Interception) -> Self {
        Self(Arc::new(interception))
    }

    /// Sees to it that clients can be told of the authority's successor in time, until `stop`.
    pub(crate) async fn care(self, (metrics, stop): (Metrics, CancellationToken)) {
        loop {
            let interception = Arc::clone(&self.0);
            let now = SystemTime::now();
            let tended = blocking(move || interception.tend(now).map_err(io::Error::other)).await;
            metrics.interception(self.0.expires_at());
            match tended {
                Ok(Tended::Same) => {}
                Ok(Tended::Announced) => warn!(
                    "the proxy's authority ends soon: have clients trust its successor too, which `pantala proxy ca` prints"
                ),
                Ok(Tended::Replaced) => {
                    warn!("the proxy speaks with a new authority: `pantala proxy ca` prints it");
                }
                Err(error) => warn!(
                    error = &error as &dyn std::error::Error,
                    "the proxy's authority could not be seen to"
                ),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(CARE_EVERY) => {}
            }
        }
    }
}

impl Intercept for Interceptor {
    fn accept<'a>(&'a self, host: &'a str, stream: BoxIo) -> BoxFuture<'a, io::Result<BoxIo>> {
        async move {
            let stream = self.0.accept(host, stream).await?;
            Ok(Box::new(stream) as BoxIo)
        }
        .boxed()
    }
}
