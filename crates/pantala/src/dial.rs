//! The only way of commands to a socket: they try addresses that the operator configured, and send them nothing of worth.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::timeout};

/// For an answer from the network: a person waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// A connection to `host`, a name or an address. Dropped early, nothing is left.
pub(crate) async fn try_reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let connecting = timeout(PATIENCE, TcpStream::connect((host, port))).await;
    connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
