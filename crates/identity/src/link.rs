//! A link: a TCP stream on which both ends know who the other is.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;
use types::HostId;

use crate::role::{Role, Roles};

/// What is spoken on a link. One port serves all; the ALPN id tells them apart and carries the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Pieces, between hosts.
    Peer,
    /// The control plane: a host calls a scheduler.
    Control,
    /// Joining: somebody without a certificate calls a scheduler.
    Enrol,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::Peer, Self::Control, Self::Enrol];

    /// Its ALPN id.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Peer => b"pantala-peer/1",
            Self::Control => b"pantala-control/1",
            Self::Enrol => b"pantala-enrol/1",
        }
    }

    /// What a host must be to answer.
    pub(crate) const fn callee_role(self) -> Role {
        match self {
            Self::Peer => Role::Daemon,
            Self::Control | Self::Enrol => Role::Scheduler,
        }
    }

    /// What a host must be to call; `None` if anybody may.
    pub(crate) const fn caller_role(self) -> Option<Role> {
        match self {
            Self::Peer => Some(Role::Daemon),
            Self::Control | Self::Enrol => None,
        }
    }

    pub(crate) fn of_alpn(id: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.alpn() == id)
    }
}

/// Who is at the other end: proven by its certificate and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteHost {
    /// The host.
    pub host: HostId,
    /// What it may be.
    pub roles: Roles,
}

/// An authenticated, encrypted stream. Dropping it closes the TCP stream; `shutdown` says goodbye first, so that the
/// other side can tell an end from a cut.
pub struct SecureLink {
    stream: TlsStream<TcpStream>,
    remote: RemoteHost,
    protocol: Protocol,
}

/// An encrypted stream from somebody without a certificate. It has no name, and speaks [`Protocol::Enrol`] only.
pub struct JoinerLink(TlsStream<TcpStream>);

/// Who came.
#[derive(Debug)]
pub enum Accepted {
    /// A host of the cluster, for [`Protocol::Peer`] or [`Protocol::Control`].
    Host(SecureLink),
    /// Somebody who wants to join.
    Joiner(JoinerLink),
}

impl SecureLink {
    pub(crate) fn new(
        stream: TlsStream<TcpStream>,
        remote: RemoteHost,
        protocol: Protocol,
    ) -> Self {
        Self {
            stream,
            remote,
            protocol,
        }
    }

    /// Who is at the other end.
    pub fn remote(&self) -> RemoteHost {
        self.remote
    }

    /// What both ends agreed to speak.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The TCP stream below, for its addresses and options. Reading or writing it would break the link.
    pub fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().0
    }
}

impl SecureLink {
    pub(crate) fn stream(&self) -> &TlsStream<TcpStream> {
        &self.stream
    }
}

impl JoinerLink {
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self(stream)
    }

    /// The TCP stream below, for its addresses and options. Reading or writing it would break the link.
    pub fn tcp(&self) -> &TcpStream {
        self.0.get_ref().0
    }
}

impl fmt::Debug for SecureLink {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "SecureLink({:?} {:?})", self.remote.host, self.protocol)
    }
}

impl fmt::Debug for JoinerLink {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JoinerLink")
    }
}

/// Reads and writes of `$link` are those of its `$stream`.
macro_rules! passes_through {
    ($link:ty, $stream:tt) => {
        impl AsyncRead for $link {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                into: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().$stream).poll_read(context, into)
            }
        }

        impl AsyncWrite for $link {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().$stream).poll_write(context, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().$stream).poll_write_vectored(context, slices)
            }

            fn is_write_vectored(&self) -> bool {
                self.$stream.is_write_vectored()
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().$stream).poll_flush(context)
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().$stream).poll_shutdown(context)
            }
        }
    };
}

passes_through!(SecureLink, stream);
passes_through!(JoinerLink, 0);
