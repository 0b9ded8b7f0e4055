//! Owns http-01 (RFC 8555, section 8.3): a file on port 80 of the host, and where it is moved to.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use super::network::Reach;
use super::tls::any_certificate;
use super::{Cause, Failure, Proof};
use crate::names::Name;

const MOST_REDIRECTS: usize = 5;
/// A key authorization has some ninety characters.
const LONGEST_BODY: usize = 1024;
const LONGEST_HEAD: usize = 16 * 1024;
const PRODUCT: &str = concat!("mcrun/", env!("CARGO_PKG_VERSION"));

/// The look at a web server.
pub(super) struct Http<'a> {
    pub(super) reach: &'a Reach,
    pub(super) port: u16,
    pub(super) tls_port: u16,
}

impl Http<'_> {
    pub(super) async fn prove(&self, proof: &Proof) -> Result<(), Failure> {
        let mut url = self.first(proof)?;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.get(&url).await?;
            let status = response.status();
            if status.is_redirection() {
                url = moved(&url, &response)?;
                continue;
            }
            if !status.is_success() {
                let detail = format!("{} answers with the status {}", shown(&url), status.as_u16());
                return Err(Failure::new(Cause::Wrong, detail));
            }
            return check(&url, response, &proof.key_authorization).await;
        }
        let detail = format!("`{}` is redirected more than {MOST_REDIRECTS} times", proof.name);
        Err(Failure::new(Cause::Connection, detail))
    }

    fn first(&self, proof: &Proof) -> Result<Url, Failure> {
        let host = match &proof.name {
            Name::Ip(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            other => other.to_string(),
        };
        let text = format!("http://{host}:{}/.well-known/acme-challenge/{}", self.port, proof.token);
        Url::parse(&text)
            .map_err(|error| Failure::new(Cause::Connection, format!("`{host}` has no address: {error}")))
    }

    async fn get(&self, url: &Url) -> Result<Response<Incoming>, Failure> {
        let host = host(url)?;
        let (is_tls, port) = self.place(url)?;
        let stream = self.reach.connect(&host, port).await?;
        if !is_tls {
            return exchange(url, stream).await;
        }
        // Whoever redirects to https is believed: the proof is in what is found there, as with a plain answer.
        let stream = any_certificate(&host, stream, &[b"http/1.1"]).await?;
        exchange(url, stream).await
    }

    /// How and where a redirect may lead: to the two ports of the web, not to whatever else a machine listens on.
    fn place(&self, url: &Url) -> Result<(bool, u16), Failure> {
        let is_tls = url.scheme() == "https";
        let (usual, own) = if is_tls { (443, self.tls_port) } else { (80, self.port) };
        let port = url.port_or_known_default().unwrap_or(usual);
        if port == usual || port == own {
            // The usual port stands for the one that is set in its place.
            return Ok((is_tls, own));
        }
        Err(Failure::new(Cause::Connection, format!("{} is at another port than {own}", shown(url))))
    }
}

fn host(url: &Url) -> Result<Name, Failure> {
    let wrong = || Failure::new(Cause::Connection, format!("{} is no address of a host", shown(url)));
    let text = url.host_str().ok_or_else(wrong)?;
    text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| wrong())
}

async fn exchange<S>(url: &Url, stream: S) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Failure::new(Cause::Connection, format!("{}: {error}", shown(url)));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LONGEST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the answer, or when the sender goes with a look that took too long.
    tokio::spawn(connection);
    let authority = url.authority();
    let request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
        .header(HOST, authority)
        .header(USER_AGENT, PRODUCT)
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::new(Cause::Connection, format!("{}: {error}", shown(url))))?;
    sender.send_request(request).await.map_err(broken)
}

fn moved(url: &Url, response: &Response<Incoming>) -> Result<Url, Failure> {
    let wrong = || Failure::new(Cause::Wrong, format!("{} is redirected to no web address", shown(url)));
    let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
    let target = url.join(target).map_err(|_| wrong())?;
    let is_web = matches!(target.scheme(), "http" | "https");
    if is_web && target.username().is_empty() && target.password().is_none() {
        Ok(target)
    } else {
        Err(wrong())
    }
}

async fn check(url: &Url, response: Response<Incoming>, expected: &str) -> Result<(), Failure> {
    let body = Limited::new(response.into_body(), LONGEST_BODY).collect().await;
    let wrong = || {
        let detail = format!("{} answers with something else than the key authorization", shown(url));
        Failure::new(Cause::Wrong, detail)
    };
    let body = body.map_err(|_| wrong())?.to_bytes();
    // RFC 8555, section 8.3: white space at the end is ignored.
    if body.trim_ascii_end() == expected.as_bytes() { Ok(()) } else { Err(wrong()) }
}

/// An address as messages repeat it: a server could redirect to anything.
fn shown(url: &Url) -> String {
    url.as_str().chars().take(200).collect()
}
