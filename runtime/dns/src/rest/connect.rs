//! Owns connections to the server of the calls: TCP, then TLS that trusts one file or the system's authorities, and the
//! reason why TLS failed in words.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use effect::{Code, Error, Result};
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use super::ask::unavailable;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    patience: Duration,
}

impl Connector {
    pub(super) async fn new(ca: Option<PathBuf>, patience: Duration) -> Result<Self> {
        let config =
            tokio::task::spawn_blocking(move || config(ca.as_deref())).await.map_err(|error| {
                Error::new(Code::Internal, "reading certificates ended early").because(error)
            })??;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), patience })
    }

    async fn connect(self, url: Url) -> Result<Stream> {
        tokio::time::timeout(self.patience, self.open(&url)).await.unwrap_or_else(|_| {
            Err(unavailable(&url, format!("no connection within {:?}", self.patience)).retryable())
        })
    }

    async fn open(&self, url: &Url) -> Result<Stream> {
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let tcp = TcpStream::connect((name.as_str(), port))
            .await
            .map_err(|error| unavailable(url, format!("no connection: {error}")).retryable())?;
        // Losing this costs time, nothing else.
        let _ = tcp.set_nodelay(true);
        if url.scheme() == "http" {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let server = ServerName::try_from(name).map_err(|error| unavailable(url, error))?;
        let tls = self.tls.connect(server, tcp).await.map_err(|error| untrusted(url, &error))?;
        Ok(Stream::Tls(Box::new(TokioIo::new(tls))))
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

/// A certificate that is not trusted today is not trusted in a second either.
fn untrusted(url: &Url, error: &io::Error) -> Error {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return unavailable(url, format!("the connection broke before TLS stood: {error}")).retryable();
    };
    let told = |cause: String| unavailable(url, cause);
    match tls {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => told(format!("TLS: its own certificate is not valid now: {tls}"))
            .hint("compare the clock of this machine with that of the server"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => told(format!("TLS: its certificate is for other names only: {tls}"))
            .hint("write `url` with a name that its certificate bears: one for host names is not valid for `127.0.0.1`"),
        rustls::Error::InvalidCertificate(_) => {
            told(format!("TLS: its own certificate is not trusted: {tls}"))
                .hint("name the file of the authority that signed it, `ca = \"/path/ca.pem\"`, under [drivers] in mcrun.toml")
        }
        rustls::Error::InvalidMessage(_) => told("TLS: what answers there does not speak it".into())
            .hint("check the port, and whether it is `http://`"),
        other => told(format!("TLS: {other}")),
    }
}

fn config(ca: Option<&Path>) -> Result<ClientConfig> {
    let roots = match ca {
        Some(path) => from_file(path)?,
        None => from_system()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Internal, "TLS cannot be set up").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn from_system() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Single certificates that nobody can parse are no reason to trust none.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let message = "this machine has no certificate authorities to trust";
        return Err(Error::new(Code::DnsUnavailable, message)
            .hint("install ca-certificates, or name a file with `ca`"));
    }
    Ok(roots)
}

fn from_file(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| no_file(path, error))?;
    }
    Ok(roots)
}

/// The certificates of a file in PEM that the operator named.
///
/// # Errors
/// `MC-U002` where it cannot be read or holds none.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| no_file(path, error))?;
    if found.is_empty() { Err(no_file(path, "it contains none")) } else { Ok(found) }
}

fn no_file(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Config, format!("`{}` is not a file of certificates", path.display())).because(cause)
}

/// A connection, with TLS or on this machine without.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
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
