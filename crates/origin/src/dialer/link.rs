//! One connection, plain or TLS, as hyper's client wants it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// A connection to an origin.
pub(crate) enum Link {
    /// To an origin that is listed as plain http.
    Plain(TcpStream),
    /// To a proxy, which is asked for whole URLs.
    Proxied(TcpStream),
    /// To all others.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            Self::Proxied(_) => Connected::new().proxy(true),
            _ => Connected::new(),
        }
    }
}

macro_rules! either {
    ($link:expr, $stream:ident => $body:expr) => {
        match $link.get_mut() {
            Link::Plain(inner) | Link::Proxied(inner) => {
                let $stream = Pin::new(inner);
                $body
            }
            Link::Tls(inner) => {
                let $stream = Pin::new(inner.as_mut());
                $body
            }
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, into))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, from))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
