//! Owns connections: TCP, with TLS where the address says so, or a unix socket.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use effect::{Code, Error, Result};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::failure::{Kind, host};
use crate::tls::{config, untrusted};

/// Opens connections.
#[derive(Clone)]
pub(crate) struct Connector {
    kind: Kind,
    patience: Duration,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Network(TlsConnector),
    Socket(Arc<PathBuf>),
}

impl Connector {
    pub(crate) async fn new(kind: Kind, patience: Duration, ca: Option<PathBuf>) -> Result<Self> {
        let config = tokio::task::spawn_blocking(move || config(&kind, ca.as_deref()))
            .await
            .map_err(|error| Error::ended("reading certificates ended early", &error))??;
        Ok(Self { kind, patience, way: Way::Network(TlsConnector::from(Arc::new(config))) })
    }

    pub(crate) fn at_socket(kind: Kind, patience: Duration, socket: PathBuf) -> Self {
        Self { kind, patience, way: Way::Socket(Arc::new(socket)) }
    }

    async fn connect(self, url: Url) -> Result<Stream> {
        let place = match &self.way {
            Way::Network(_) => host(&url),
            Way::Socket(path) => path.display().to_string(),
        };
        let open = async {
            match &self.way {
                Way::Network(tls) => self.over_tcp(tls, &url, &place).await,
                Way::Socket(path) => UnixStream::connect(&**path)
                    .await
                    .map(|stream| Stream::Local(TokioIo::new(stream)))
                    .map_err(|error| self.unreached(&place, &error)),
            }
        };
        tokio::time::timeout(self.patience, open).await.unwrap_or_else(|_| {
            Err(self
                .kind
                .unavailable(&place, format!("no connection within {:?}", self.patience))
                .retryable())
        })
    }

    async fn over_tcp(&self, tls: &TlsConnector, url: &Url, place: &str) -> Result<Stream> {
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let tcp =
            TcpStream::connect((name.as_str(), port)).await.map_err(|error| self.unreached(place, &error))?;
        // Losing this costs time, nothing else.
        let _ = tcp.set_nodelay(true);
        if url.scheme() == "http" {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let server = ServerName::try_from(name).map_err(|error| self.kind.unavailable(place, error))?;
        let tls = tls.connect(server, tcp).await.map_err(|error| untrusted(&self.kind, place, &error))?;
        Ok(Stream::Tls(Box::new(TokioIo::new(tls))))
    }

    fn unreached(&self, place: &str, error: &io::Error) -> Error {
        self.kind.unavailable(place, format!("no connection: {error}")).retryable()
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let url = Url::parse(&uri.to_string())
                .map_err(|error| Error::new(Code::Internal, "a checked address is none").because(error))?;
            connector.connect(url).await
        })
    }
}

/// A connection, with TLS or on this machine without.
pub(crate) enum Stream {
    Plain(TokioIo<TcpStream>),
    Local(TokioIo<UnixStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Stream::Local($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Stream::Tls($inner) => {
                let $inner = Pin::new(&mut **$inner);
                $call
            }
        }
    };
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_read(context, buffer))
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, inner => inner.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_shutdown(context))
    }
}
