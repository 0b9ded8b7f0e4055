//! Owns requests as clients make them: each over a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Nothing here takes a tenth of it where nobody else computes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Body = BoxBody<Bytes, std::convert::Infallible>;

/// Where and how a request goes.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) to: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The name in the ClientHello, where that is not the host.
    pub(crate) sni: Option<String>,
    pub(crate) h2: bool,
}

impl Way {
    pub(crate) fn plain(to: SocketAddr) -> Self {
        Self { to, tls: None, sni: None, h2: false }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: HeaderMap,
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl Answer {
    /// What a back end said.
    pub(crate) fn said(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no back end answered: {self:?}"))
    }

    /// Which back end answered.
    pub(crate) fn by(&self) -> String {
        self.said()["by"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Asks for a path of a host.
pub(crate) async fn get(way: &Way, host: &str, path: &str) -> Result<Answer, String> {
    ask(way, host, Request::get(path).body(full("")).unwrap()).await
}

/// Sends a body, with its length or in chunks.
pub(crate) async fn post(way: &Way, host: &str, path: &str, body: Body) -> Result<Answer, String> {
    ask(way, host, Request::builder().method(Method::POST).uri(path).body(body).unwrap()).await
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A body whose length nobody says before it is over, with trailers.
pub(crate) fn chunks(parts: Vec<Bytes>, trailers: HeaderMap) -> Body {
    let mut frames: Vec<_> = parts.into_iter().map(|part| Ok(Frame::data(part))).collect();
    if !trailers.is_empty() {
        frames.push(Ok(Frame::trailers(trailers)));
    }
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// Makes a request for `host`.
pub(crate) async fn ask(way: &Way, host: &str, request: Request<Body>) -> Result<Answer, String> {
    let exchange = exchange(way, host, request);
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err("it never answered".into()))
}

async fn exchange(way: &Way, host: &str, mut request: Request<Body>) -> Result<Answer, String> {
    let said = |what: &str, error: &dyn std::fmt::Debug| format!("{what}: {error:?}");
    let tcp = TcpStream::connect(way.to).await.map_err(|error| said("connecting", &error))?;
    let authority = format!("{host}:{}", way.to.port());
    if way.h2 {
        let scheme = if way.tls.is_some() { "https" } else { "http" };
        let path = request.uri().path_and_query().unwrap().clone();
        *request.uri_mut() = format!("{scheme}://{authority}{path}").parse().unwrap();
    } else {
        request.headers_mut().insert("host", authority.parse().unwrap());
    }
    let Some(config) = &way.tls else {
        return speak(way.h2, tcp, request).await.map_err(|error| said("asking", &error));
    };
    let name = ServerName::try_from(way.sni.clone().unwrap_or_else(|| host.to_owned())).unwrap();
    let connector = tokio_rustls::TlsConnector::from(config.clone());
    let tls = connector.connect(name, tcp).await.map_err(|error| said("TLS", &error))?;
    let certificate = tls.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let answer = speak(way.h2, tls, request).await.map_err(|error| said("asking", &error))?;
    Ok(Answer { certificate: Some(certificate), ..answer })
}

async fn speak<S>(h2: bool, stream: S, request: Request<Body>) -> hyper::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (answer, task) = if h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        let task = tokio::spawn(connection);
        (sender.send_request(request).await, task)
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let task = tokio::spawn(connection.with_upgrades());
        (sender.send_request(request).await, task)
    };
    let answer = whole(answer?).await;
    task.abort();
    answer
}

async fn whole(answer: Response<Incoming>) -> hyper::Result<Answer> {
    let (parts, body) = answer.into_parts();
    let body = match parts.status {
        StatusCode::SWITCHING_PROTOCOLS => None,
        _ => Some(body.collect().await?),
    };
    let trailers = body.as_ref().and_then(|body| body.trailers().cloned()).unwrap_or_default();
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: text,
        trailers,
        certificate: None,
    })
}
