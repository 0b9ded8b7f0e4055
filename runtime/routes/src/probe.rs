//! Owns how it is seen whether something answers: a connection, TLS on it, an answer to one request. For `doctor`, and for
//! back ends before requests go to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::route::{Backend, BackendTls, Hostname, Mode, Protocol, Route};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// The host name, as the request has it.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// Over which protocol.
    pub protocol: Protocol,
}

/// TLS that trusts the authorities in `pem`, and nothing else.
///
/// # Errors
/// `MC-G002` where there is none in it.
pub fn pinned(pem: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(not_pem)?;
        roots.add(certificate).map_err(not_pem)?;
    }
    if roots.is_empty() {
        return Err(Error::new(Code::RouteTerms, "`backend_tls.ca` has no certificate in PEM"));
    }
    trusting(roots)
}

fn not_pem(error: impl std::fmt::Display) -> Error {
    Error::new(Code::RouteTerms, "`backend_tls.ca` is not a certificate in PEM").because(error)
}

/// TLS that trusts these authorities.
///
/// # Errors
/// Where the library refuses to be set up.
pub fn trusting(roots: RootCertStore) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Internal, "TLS cannot be set up").because(error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The name that a back end's certificate must bear.
///
/// # Errors
/// `MC-G002` where none is given and the route has no single host name.
pub fn backend_name(hostname: &Hostname, tls: &BackendTls) -> Result<ServerName<'static>> {
    let name = tls.name.clone().unwrap_or_else(|| hostname.as_str().to_owned());
    ServerName::try_from(name).map_err(|_| {
        Error::new(Code::RouteTerms, "`backend_tls.name`: it is no name that a certificate can bear")
            .hint("a route for several host names says which one its back ends show")
    })
}

/// Connects.
///
/// # Errors
/// Why that cannot be done, in a few words.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        _ => error.to_string(),
    })
}

/// Begins TLS.
///
/// # Errors
/// Why that cannot be done: what is wrong with the certificate, or that no TLS is spoken.
pub async fn secure(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<TlsStream<TcpStream>, String> {
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(why)) => certificate_problem(why),
            Some(rustls::Error::InvalidMessage(_)) => "what answers there does not speak TLS".to_owned(),
            Some(rustls::Error::AlertReceived(alert)) => format!("TLS is refused: {alert:?}"),
            _ => format!("TLS breaks off: {error}"),
        }
    })
}

fn certificate_problem(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet: compare the clocks".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name".to_owned()
        }
        CertificateError::UnknownIssuer => "the certificate is issued by an unknown authority".to_owned(),
        other => format!("the certificate is not accepted: {other:?}"),
    }
}

/// Sends one request: the status of the answer.
///
/// # Errors
/// Why there is none.
pub async fn ask<S>(stream: S, ask: &Ask<'_>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = |uri: String| {
        let request = Request::get(uri).header("host", ask.host).header("user-agent", "mcrun");
        request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())
    };
    let no_http = |error: hyper::Error| format!("what answers there is not HTTP: {error}");
    match ask.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_http)?;
            let driving = tokio::spawn(connection);
            let answered = sender.send_request(request(ask.path.to_owned())?).await;
            driving.abort();
            answered.map(|answer| answer.status()).map_err(no_http)
        }
        Protocol::Http2 => {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(no_http)?;
            let driving = tokio::spawn(connection);
            let answered = sender.send_request(request(format!("http://{}{}", ask.host, ask.path))?).await;
            driving.abort();
            answered.map(|answer| answer.status()).map_err(no_http)
        }
    }
}

/// Whether a back end takes connections and, where the route says what is asked, answers well.
///
/// # Errors
/// Why it does not.
pub async fn backend(route: &Route, backend: Backend, patience: Duration) -> Result<(), String> {
    let looking = async {
        let stream = connect(backend.0).await?;
        let Some(path) = route.health.as_ref().and_then(|health| health.http.as_deref()) else {
            return match (&route.backend_tls, route.mode) {
                (Some(tls), Mode::L7) => by_tls(route, tls, stream).await.map(drop),
                _ => Ok(()),
            };
        };
        // What takes PROXY headers answers nobody who sends none.
        if route.send_proxy.is_some() {
            return Ok(());
        }
        let host = backend.to_string();
        let question = Ask { host: &host, path, protocol: route.protocol };
        let status = match &route.backend_tls {
            Some(tls) => ask(by_tls(route, tls, stream).await?, &question).await?,
            None => ask(stream, &question).await?,
        };
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(format!("`{path}` answers {}", status.as_u16()))
        }
    };
    tokio::time::timeout(patience, looking)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs())))
}

async fn by_tls(route: &Route, tls: &BackendTls, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let mut config = pinned(&tls.ca).map_err(|error| error.message)?;
    if route.protocol == Protocol::Http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let name = backend_name(&route.hostname, tls).map_err(|error| error.message)?;
    secure(stream, Arc::new(config), name).await
}
