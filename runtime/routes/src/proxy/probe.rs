//! Owns probing back ends: whether they take connections, or answer a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Empty;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::header;
use super::kept::Kept;
use super::pool::Member;
use super::served::Served;
use crate::route::{Health, Protocol};

/// Nothing is probed more often.
const SHORTEST: Duration = Duration::from_millis(100);

/// Probes the back ends of a route for as long as a version of it says so.
pub(crate) async fn watch(kept: Arc<Kept>) {
    while let Some(served) = kept.current() {
        let Some(health) = &served.standing.route.health else { return };
        let members = kept.members();
        join_all(members.iter().map(|member| probe(&served, health, member))).await;
        let every = health.every.0.max(SHORTEST);
        drop((served, members));
        tokio::time::sleep(every).await;
    }
}

async fn probe(served: &Served, health: &Health, member: &Member) {
    let answer = tokio::time::timeout(health.timeout.0, ask(served, health, member)).await;
    member.probed(match answer {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some(format!("no answer within {:?}", health.timeout.0)),
    });
}

async fn ask(served: &Served, health: &Health, member: &Member) -> Result<(), String> {
    let route = &served.standing.route;
    let mut stream = TcpStream::connect(member.address).await.map_err(|error| error.to_string())?;
    if let Some(version) = route.send_proxy {
        // The proxy speaks for itself: there is no client.
        stream.write_all(&header::write(version, None)).await.map_err(|error| error.to_string())?;
    }
    let Some((config, name)) = served.backend_tls() else {
        return answer(stream, health, served, member).await;
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name.clone(), stream).await.map_err(|error| error.to_string())?;
    answer(stream, health, served, member).await
}

async fn answer<S>(stream: S, health: &Health, served: &Served, member: &Member) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(path) = &health.http else { return Ok(()) };
    let hostname = &served.key.hostname;
    let is_name = !hostname.is_any() && hostname.wildcard_suffix().is_none();
    let host = if is_name { hostname.to_string() } else { member.address.to_string() };
    let io = TokioIo::new(stream);
    let status = if served.standing.route.protocol == Protocol::Http2 {
        let scheme = if served.backend_tls().is_some() { "https" } else { "http" };
        let request = Request::get(format!("{scheme}://{host}{path}"));
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
        tokio::select! {
            answer = sender.send_request(request) => answer.map(|answer| answer.status()),
            ended = connection => return Err(gone(ended)),
        }
    } else {
        let request = Request::get(path).header("host", host).header("connection", "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let shaken = hyper::client::conn::http1::handshake(io).await;
        let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
        let mut answering = std::pin::pin!(sender.send_request(request));
        tokio::select! {
            biased;
            answer = &mut answering => answer.map(|answer| answer.status()),
            // The answer may have come with the end of the connection.
            _ = connection => answering.await.map(|answer| answer.status()),
        }
    };
    match status.map_err(|error| error.to_string())? {
        status if is_well(status) => Ok(()),
        status => Err(format!("`{path}` is answered with {status}")),
    }
}

fn gone(ended: hyper::Result<()>) -> String {
    ended.err().map_or_else(|| "the connection was closed".into(), |error| error.to_string())
}

/// Who is sent elsewhere is answered by something that works.
fn is_well(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}
