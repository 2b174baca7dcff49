//! What clients of the proxy send to origins themselves.

use std::io;

use futures_util::{FutureExt, future::BoxFuture};
use gateway::{
    BoxIo, Seen,
    proxy::{Intercept, Outside, OutsideAnswer, OutsideError, OutsideRequest},
};
use http_body_util::BodyExt;
use identity::Interception;
use origin::{AskError, Relay};

use super::Doors;

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
pub(crate) struct Interceptor(pub(crate) Interception);

impl Intercept for Interceptor {
    fn accept<'a>(&'a self, host: &'a str, stream: BoxIo) -> BoxFuture<'a, io::Result<BoxIo>> {
        async move {
            let stream = self.0.accept(host, stream).await?;
            Ok(Box::new(stream) as BoxIo)
        }
        .boxed()
    }
}
