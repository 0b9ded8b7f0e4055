//! Owns making connections to back ends: TCP, the header of the PROXY protocol, TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where a connection goes, and how: connections to one place are alike.
#[derive(Debug, Clone)]
pub(in crate::proxy::http) struct Place {
    pub(in crate::proxy::http) address: SocketAddr,
    pub(in crate::proxy::http) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            // Terms that were set anew are others, even where they say the same.
            (Some((one, a)), Some((two, b))) => Arc::ptr_eq(one, two) && a == b,
            _ => false,
        };
        self.address == other.address && same_tls
    }
}

impl Eq for Place {}

impl std::hash::Hash for Place {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

/// A connection to a back end.
pub(in crate::proxy::http) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects. What `header` has is sent before anything else.
pub(in crate::proxy::http) async fn connect(
    place: &Place,
    header: &[u8],
    is_http2: bool,
) -> io::Result<Stream> {
    let mut stream = TcpStream::connect(place.address).await?;
    stream.set_nodelay(true)?;
    if !header.is_empty() {
        stream.write_all(header).await?;
    }
    let Some((config, name)) = &place.tls else { return Ok(Stream::Plain(stream)) };
    let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
    let is_agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if is_http2 && !is_agreed {
        return Err(io::Error::other("it does not speak HTTP/2"));
    }
    Ok(Stream::Tls(Box::new(stream)))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
