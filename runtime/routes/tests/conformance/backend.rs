//! Owns back ends: small servers that say who they are and what reached them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::client::{Body, chunks, full};

/// How a back end is spoken to.
#[derive(Clone)]
pub(crate) enum Speaks {
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    Tls(Arc<rustls::ServerConfig>),
    /// HTTP/1.1 after a header of the PROXY protocol.
    Proxied,
}

/// A back end that is gone when it is dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    name: String,
    speaks: Speaks,
    asked: AtomicUsize,
    is_well: AtomicBool,
    /// Requests for `/held` wait for one of these.
    released: Semaphore,
    held: AtomicUsize,
}

impl Backend {
    pub(crate) async fn start(name: &str) -> Self {
        Self::speaking(name, Speaks::Http1).await
    }

    pub(crate) async fn speaking(name: &str, speaks: Speaks) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            name: name.to_owned(),
            speaks,
            asked: AtomicUsize::new(0),
            is_well: AtomicBool::new(true),
            released: Semaphore::new(0),
            held: AtomicUsize::new(0),
        });
        let serving = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Self { address, state, task }
    }

    /// How many requests came, probes aside.
    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// What its probe at `/healthz` says from now on.
    pub(crate) fn is_well(&self, is_well: bool) {
        self.state.is_well.store(is_well, Ordering::SeqCst);
    }

    /// Lets `number` requests for `/held` go on.
    pub(crate) fn release(&self, number: usize) {
        self.state.released.add_permits(number);
    }

    /// Waits until so many requests for `/held` came.
    pub(crate) async fn holds(&self, number: usize) {
        crate::bench::until("the request is held", async || self.state.held.load(Ordering::SeqCst) >= number)
            .await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    match state.speaks.clone() {
        Speaks::Http1 => http1(stream, state, None).await,
        Speaks::Http2 => http2(stream, state).await,
        Speaks::Tls(config) => {
            let Ok(tls) = TlsAcceptor::from(config).accept(stream).await else { return };
            match tls.get_ref().1.alpn_protocol() {
                Some(b"h2") => http2(tls, state).await,
                _ => http1(tls, state, None).await,
            }
        }
        Speaks::Proxied => {
            let Some(header) = proxy_header(&mut stream).await else { return };
            http1(stream, state, Some(header)).await;
        }
    }
}

async fn http1<S>(stream: S, state: Arc<State>, header: Option<String>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (state, header) = (state.clone(), header.clone());
        async move { Ok::<_, Infallible>(answer(&state, request, header).await) }
    });
    // Clients may go away as they like.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn http2<S>(stream: S, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, request, None).await) }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(state: &State, request: Request<Incoming>, header: Option<String>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path == "/healthz" {
        let status = if state.is_well.load(Ordering::SeqCst) { 200 } else { 503 };
        return Response::builder().status(status).body(full("")).unwrap();
    }
    state.asked.fetch_add(1, Ordering::SeqCst);
    let Ok(body) = body.collect().await else {
        return Response::builder().status(400).body(full("")).unwrap();
    };
    let length = body.to_bytes().len();
    if path.ends_with("/held") {
        state.held.fetch_add(1, Ordering::SeqCst);
        state.released.acquire().await.unwrap().forget();
    }
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let host = parts.uri.authority().map(ToString::to_string).or_else(|| text("host"));
    let said = json!({
        "by": state.name,
        "path": parts.uri.path_and_query().map(ToString::to_string),
        "host": host,
        "version": format!("{:?}", parts.version),
        "length": length,
        "for": text("x-forwarded-for"),
        "proto": text("x-forwarded-proto"),
        "proxied": header,
    });
    let said = Bytes::from(said.to_string());
    let answer = Response::builder().header("x-own", "mine").header("x-frame-options", "DENY");
    if path == "/grpc" {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        return answer.body(chunks(vec![said], trailers)).unwrap();
    }
    answer.body(full(said)).unwrap()
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header of either version: which one, and the client's address in it.
async fn proxy_header(stream: &mut TcpStream) -> Option<String> {
    let mut first = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_exact(&mut first));
    read.await.ok()?.ok()?;
    if first == *SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await.ok()?;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[2], fixed[3]]))];
        stream.read_exact(&mut rest).await.ok()?;
        let address = match (fixed[0], fixed[1]) {
            (0x21, 0x11) => std::net::Ipv4Addr::new(rest[0], rest[1], rest[2], rest[3]).to_string(),
            _ => "local".into(),
        };
        return Some(format!("v2 {address}"));
    }
    let mut line = first.to_vec();
    while !line.ends_with(b"\r\n") && line.len() < 108 {
        line.push(stream.read_u8().await.ok()?);
    }
    let line = String::from_utf8(line).ok()?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    Some(format!("v1 {}", words.get(2).copied().unwrap_or("local")))
}
