//! Socket options of a peer connection.

use std::io;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Unsent bytes that the kernel holds before the socket stops being writable: one data frame, so that a control frame
/// waits behind no more than that.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_MAX: u32 = 64 << 10;

/// Sets what a link needs of its socket: small frames leave at once, and little waits in the kernel.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    Ok(())
}
