//! Owns one question over TLS and its bounded answer, redirects included. Nothing but HTTPS is spoken, credentials stay
//! with the host that they are for, and addresses that only make sense on one link are refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result};
use http_body_util::{BodyExt, Empty};
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

/// A registry that does not answer a small question in this time is down.
const PATIENCE: Duration = Duration::from_secs(15);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const MOST_REDIRECTS: usize = 5;

/// How registries are reached.
pub(in crate::images) struct Connector {
    tls: TlsConnector,
}

/// The whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Connector {
    pub(in crate::images) fn new(config: Arc<ClientConfig>) -> Self {
        Self { tls: TlsConnector::from(config) }
    }

    /// Asks, and follows redirects.
    pub(super) async fn get(
        &self,
        url: &Url,
        accept: &str,
        authorization: Option<&str>,
        limit: usize,
    ) -> Result<Answer> {
        let mut at = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            // Credentials are for the host that asked for them; a redirect leads to a store that takes none.
            let authorization = authorization.filter(|_| at.origin() == url.origin());
            let exchange = self.exchange(&at, accept, authorization, limit);
            let answer =
                timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(down(&at, "it took too long")))?;
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            let target = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| at.join(target).ok());
            at = target.ok_or_else(|| refused(&at, "it redirects to nowhere"))?;
        }
        Err(refused(url, "it redirects again and again"))
    }

    async fn exchange(
        &self,
        url: &Url,
        accept: &str,
        authorization: Option<&str>,
        limit: usize,
    ) -> Result<Answer> {
        let stream = self.connect(url).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| down(url, cause))?;
        tokio::spawn(connection);
        let request = request(url, accept, authorization).map_err(|cause| refused(url, cause))?;
        let response = sender.send_request(request).await.map_err(|cause| down(url, cause))?;
        let (parts, mut body) = response.into_parts();
        let mut content = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|cause| down(url, cause))?;
            let Some(data) = frame.data_ref() else { continue };
            if content.len() + data.len() > limit {
                let message = format!("the answer of {} is larger than {limit} bytes", host(url));
                return Err(Error::new(Code::TooLarge, message));
            }
            content.extend_from_slice(data);
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body: content })
    }

    async fn connect(&self, url: &Url) -> Result<TlsStream<TcpStream>> {
        if url.scheme() != "https" {
            return Err(refused(url, "registries are asked over HTTPS only"));
        }
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let found = tokio::net::lookup_host((name.as_str(), port)).await.map_err(|cause| down(url, cause))?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.iter().any(|address| is_of_one_link(address.ip())) {
            return Err(refused(url, "its address makes sense on one link only"));
        }
        let opening = TcpStream::connect(addresses.as_slice());
        let stream = match timeout(CONNECT_PATIENCE, opening).await {
            Ok(stream) => stream.map_err(|cause| down(url, cause))?,
            Err(_) => return Err(down(url, "nothing accepts the connection")),
        };
        let server = ServerName::try_from(name).map_err(|cause| refused(url, cause))?;
        self.tls.connect(server, stream).await.map_err(|cause| untrusted(url, &cause))
    }
}

fn request(
    url: &Url,
    accept: &str,
    authorization: Option<&str>,
) -> std::result::Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::builder()
        .uri(target)
        .header(HOST, host(url))
        .header(ACCEPT, accept)
        .header(USER_AGENT, "mcrun")
        .header(CONNECTION, "close");
    if let Some(authorization) = authorization {
        let mut value = HeaderValue::from_str(authorization)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Empty::new())
}

fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// Link-local addresses: clouds answer there with the machine's own credentials.
fn is_of_one_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_link_local())
        }
    }
}

fn down(url: &Url, cause: impl std::fmt::Display) -> Error {
    refused(url, cause).retryable()
}

fn refused(url: &Url, cause: impl std::fmt::Display) -> Error {
    let host = host(url);
    Error::new(Code::RegistryUnavailable, format!("registry {host} does not answer"))
        .because(format!("{host}: {cause}"))
}

/// A certificate that is not trusted today is not trusted in a second either.
fn untrusted(url: &Url, cause: &std::io::Error) -> Error {
    let is_tls = cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    if !is_tls {
        return down(url, cause);
    }
    let host = host(url);
    Error::new(Code::RegistryUnavailable, format!("registry {host} is not trusted"))
        .because(format!("{host}: {cause}"))
        .hint("name the authority that signed its certificate with `ca = \"/path/ca.pem\"`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_link_are_told_apart() {
        for text in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"] {
            assert!(is_of_one_link(text.parse().unwrap()), "{text}");
        }
        for text in ["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1"] {
            assert!(!is_of_one_link(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_header_that_could_be_two_is_refused() {
        let url = Url::parse("https://x.io/v2/").unwrap();
        assert!(request(&url, "*/*", Some("Basic a\r\nX: b")).is_err());
    }
}
