//! Owns connections to another mcrun: a socket or mutual TLS, HTTP/2 over it, and the reason why it broke in words.

use std::error::Error as StdError;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use effect::{Code, Error, Result};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::body::Body;

use super::noted::Noted;
use super::settings::{Place, Shown};
use crate::driver::{Certificates, Material};

/// A peer that says nothing for so long is asked whether it lives, and has as long to answer.
const SILENCE: Duration = Duration::from_secs(10);
/// For the connection's own word on why it ended, once a call over it has failed.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A head of an answer, in octets.
const LARGEST_HEAD: u32 = 32 << 10;

/// Requests go over it; cheap to copy.
#[derive(Clone)]
pub(super) struct Way {
    sender: http2::SendRequest<Body>,
    ended: watch::Receiver<Option<Error>>,
    place: Arc<str>,
}

impl Way {
    /// Opens a connection.
    ///
    /// # Errors
    /// `MC-G011` where nobody answers, `MC-G012` where it is not mcrun, `MC-G010` where it does not trust us, `MC-U002` where
    /// a file that mcrun.toml names cannot be used.
    pub(super) async fn open(place: &Place, certificates: &dyn Certificates) -> Result<Self> {
        match place {
            Place::Socket(path) => {
                let shown = path.display().to_string();
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    let failed = unavailable(&shown, format!("no connection: {error}"));
                    match error.kind() {
                        std::io::ErrorKind::PermissionDenied => {
                            failed.hint("the socket is for its group only")
                        }
                        _ => failed.hint("`mcrun serve` opens it, where [routes.api] has `socket`"),
                    }
                })?;
                Self::over(stream, &shown).await
            }
            Place::Tls { address, name, ca, shown } => {
                let config = config(ca, shown, certificates).await?;
                let place = address.to_string();
                let server = ServerName::try_from(name.clone()).map_err(|error| {
                    let message = format!("[drivers.remote]: `{name}` is no name of a server");
                    Error::new(Code::Config, message).because(error)
                })?;
                let tcp = TcpStream::connect(address)
                    .await
                    .map_err(|error| unavailable(&place, format!("no connection: {error}")))?;
                // Losing this costs time, nothing else.
                let _ = tcp.set_nodelay(true);
                let connector = TlsConnector::from(Arc::new(config));
                let tls = connector.connect(server, tcp).await.map_err(|error| broken(&place, &error))?;
                if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(garbage(&place, "it speaks TLS, and not HTTP/2 over it"));
                }
                Self::over(tls, &place).await
            }
        }
    }

    async fn over<S>(stream: S, place: &str) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (noted, note) = Noted::new(stream);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE)
            .max_header_list_size(LARGEST_HEAD)
            .handshake::<_, Body>(TokioIo::new(noted))
            .await
            .map_err(|error| broken(place, &error))?;
        let (told, ended) = watch::channel(None);
        let shown: Arc<str> = place.into();
        let place = shown.clone();
        tokio::spawn(async move {
            let why = match (connection.await, note.get()) {
                (Err(_), Some(tls)) => untrusted(&place, tls),
                (Err(error), None) => broken(&place, &error),
                (Ok(()), _) => unavailable(&place, "it closed the connection"),
            };
            told.send_replace(Some(why));
        });
        Ok(Self { sender, ended, place: shown })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Why a call over it broke.
    pub(super) async fn reason(&self, error: &Status) -> Error {
        let mut ended = self.ended.clone();
        let last = tokio::time::timeout(LAST_WORDS, ended.wait_for(Option::is_some)).await;
        match last {
            Ok(Ok(why)) => why.clone().unwrap_or_else(|| broken(&self.place, error)),
            _ => broken(&self.place, error),
        }
    }
}

impl tower_service::Service<Request<Body>> for Way {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

pub(super) fn unavailable(place: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::ProxyUnavailable, format!("the mcrun at {place} does not answer"))
        .because(cause)
        .retryable()
}

fn garbage(place: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::ProxyAnswer, format!("what answers at {place} does not speak as mcrun does"))
        .because(cause)
        .hint("compare the port with `listen` under [routes.api] in the mcrun.toml of the other side")
}

/// Everything that led to `error`, the error itself first.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error)).take(8)
}

/// What an I/O error wraps is not always among its sources.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// Why a connection broke: what TLS says counts before everything else.
fn broken(place: &str, error: &(dyn StdError + 'static)) -> Error {
    if let Some(tls) = chain(error).find_map(|error| error.downcast_ref::<rustls::Error>()) {
        return untrusted(place, tls);
    }
    let words = chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    match chain(error).any(|error| error.is::<std::io::Error>()) || !is_of_protocol(&words) {
        true => unavailable(place, words),
        false => garbage(place, words),
    }
}

/// RFC 9113, section 7, as they are rendered: the peer speaks something else.
fn is_of_protocol(words: &str) -> bool {
    [
        "protocol error",
        "frame with invalid size",
        "unspecific protocol",
        "FRAME_SIZE",
        "PROTOCOL_ERROR",
        "invalid",
    ]
    .iter()
    .any(|sign| words.contains(sign))
}

/// A certificate that is not trusted today is not trusted in a second either.
fn untrusted(place: &str, tls: &rustls::Error) -> Error {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, DecryptError, UnknownCA, UnsupportedCertificate,
    };
    let told = |cause: &str| {
        let mut error = unavailable(place, format!("TLS: {cause}: {tls}"));
        error.retryable = false;
        error
    };
    let refused = |cause: &str| {
        Error::new(Code::ProxyRefused, format!("the mcrun at {place} does not accept our certificate"))
            .because(format!("{cause}: {tls}"))
    };
    match tls {
        rustls::Error::AlertReceived(CertificateExpired) => {
            refused("it is not valid now").hint("renew it: `mcrun certs list` shows until when it is valid")
        }
        rustls::Error::AlertReceived(CertificateRequired) => {
            refused("it saw none").hint("name one with `certificate` under [drivers.remote] in mcrun.toml")
        }
        rustls::Error::AlertReceived(
            AccessDenied
            | BadCertificate
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | UnknownCA
            | UnsupportedCertificate,
        ) => refused("who issued it is not trusted there").hint(
            "its issuer is to be in `client_ca` under [routes.api] of the other side, and it is for clients",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => told("its own certificate is not valid now").hint("compare the clocks of both machines"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => told("its certificate is for other names only")
            .hint("`name` under [drivers.remote] is what `host` under [routes.api] of the other side says"),
        rustls::Error::InvalidCertificate(_) => told("its own certificate is not trusted")
            .hint("`ca` under [drivers.remote] is the file of the authority that issued it"),
        rustls::Error::InvalidMessage(_) => garbage(place, "it does not speak TLS"),
        _ => told("the connection broke"),
    }
}

/// Read anew for each connection: certificates are renewed.
async fn config(ca: &Path, shown: &Shown, certificates: &dyn Certificates) -> Result<ClientConfig> {
    let ca = ca.to_owned();
    let roots = blocking(move || roots(&ca)).await?;
    let (chain, key) = match shown {
        Shown::Record(id) => {
            let Material { chain, key } = certificates.material(id).await?;
            (chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec())))
        }
        Shown::Files { chain, key } => {
            let (chain, key) = (chain.clone(), key.clone());
            blocking(move || {
                let shown = key.display().to_string();
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                    Error::new(Code::Config, format!("`{shown}` is not a file with a key")).because(error)
                })?;
                Ok((certificates_in(&chain)?, key))
            })
            .await?
        }
    };
    let unusable = |error| {
        Error::new(Code::Config, "the certificate for [drivers.remote] cannot be used").because(error)
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = |error| Error::ended("reading certificates ended early", &error);
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

fn roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(path)? {
        roots.add(certificate).map_err(|error| no_file(path, error))?;
    }
    Ok(roots)
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| no_file(path, error))?;
    if found.is_empty() { Err(no_file(path, "it contains none")) } else { Ok(found) }
}

fn no_file(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Config, format!("`{}` is not a file of certificates", path.display())).because(cause)
}
