//! Owns one request and its answer on a connection of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use effect::units::Size;
use effect::{Code, Error, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::{address, tls};

/// An answer before its redirects are followed.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The headers as a script sees them.
    pub(super) fn header_texts(&self) -> BTreeMap<String, String> {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            texts
                .entry(name.as_str().to_owned())
                .and_modify(|text| *text = format!("{text}, {value}"))
                .or_insert_with(|| value.into_owned());
        }
        texts
    }
}

/// Sends one request to `url` and reads its whole answer.
pub(super) async fn exchange(
    url: &Url,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
    ca: Option<&Path>,
    limit: Size,
) -> Result<Answer> {
    let host = url.host_str().ok_or_else(|| failed(url, "the address has no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| failed(url, "the address has no port"))?;
    let request = request(url, host, method, headers, body)?;
    let addresses = address::resolve(host, port).await?;
    let stream = connect(url, &addresses).await?;
    if url.scheme() != "https" {
        return talk(url, stream, request, limit).await;
    }
    let name =
        ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| failed(url, error))?;
    let connector = TlsConnector::from(tls::config(ca).await?);
    let stream = connector.connect(name, stream).await.map_err(|error| failed(url, error))?;
    talk(url, stream, request, limit).await
}

fn request(
    url: &Url,
    host: &str,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Request<Full<Bytes>>> {
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = target.parse().map_err(|error| failed(url, error))?;
    let own = request.headers_mut();
    own.clone_from(headers);
    if !own.contains_key(HOST) {
        own.insert(HOST, HeaderValue::from_str(&authority).map_err(|error| failed(url, error))?);
    }
    own.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn connect(url: &Url, addresses: &[SocketAddr]) -> Result<TcpStream> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Delaying small writes would only cost time; a kernel that refuses does no harm.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Some(format!("{address}: {error}")),
        }
    }
    Err(failed(url, last.unwrap_or_default()))
}

async fn talk(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Request<Full<Bytes>>,
    limit: Size,
) -> Result<Answer> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(url, error))?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(url, error))?;
        let (parts, body) = answer.into_parts();
        let body = collect(url, body, limit).await?;
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        // The connection is over, but the answer may still lie in its buffers.
        _ = connection => talk.await,
    }
}

async fn collect(url: &Url, mut body: Incoming, limit: Size) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(url, error))?;
        let Some(data) = frame.data_ref() else { continue };
        if (content.len() + data.len()) as u64 > limit.0 {
            let message = format!("the answer of `{}` is larger than {limit}", super::name(url));
            return Err(Error::new(Code::TooLarge, message));
        }
        content.extend_from_slice(data);
    }
    Ok(content)
}

/// A failure on the way to `url` or back.
pub(super) fn failed(url: &Url, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::HttpFailed, format!("the request to `{}` failed", super::name(url)))
        .because(cause)
        .retryable()
}
