//! Owns HTTP over the engine's unix socket: few kept connections, a time-out on every call, a bound on every answer.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use effect::{Code, Error, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::HeaderValue;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// An engine that does not answer a plain question in this time hangs.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: usize = 16 << 20;
const KEPT_CONNECTIONS: usize = 8;

type Sender = SendRequest<Full<Bytes>>;

/// Knows where an engine may listen.
#[async_trait]
pub(crate) trait Locate: Send + Sync {
    /// Connects to the engine, starting its service where that is the only way.
    async fn open(&self) -> Result<(PathBuf, UnixStream)>;

    /// Where sockets are looked for, best first.
    fn sockets(&self) -> Vec<PathBuf>;

    /// Whether it is worth trying at all; looks at files only.
    fn is_plausible(&self) -> bool;
}

/// Which engine is spoken to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interface {
    /// The engine's name.
    pub(crate) name: &'static str,
    /// What stands before every path.
    pub(crate) prefix: &'static str,
}

/// One request, ready to be sent more than once.
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Bytes,
    timeout: Duration,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: Bytes::new(), timeout: CALL_TIMEOUT }
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = Bytes::from(body.to_string());
        self
    }

    pub(crate) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn request(&self, to: Interface) -> Result<Request<Full<Bytes>>> {
        self.builder(to).body(Full::new(self.body.clone())).map_err(|cause| malformed(to, &cause))
    }

    fn builder(&self, to: Interface) -> hyper::http::request::Builder {
        Request::builder()
            .method(self.method.clone())
            .uri(format!("{}{}", to.prefix, self.path))
            .header("host", to.name)
            .header("content-type", "application/json")
    }
}

fn malformed(to: Interface, cause: &hyper::http::Error) -> Error {
    Error::new(Code::Internal, format!("a request to {} is malformed", to.name)).because(cause)
}

/// The whole answer of the engine.
pub(crate) struct Answer {
    engine: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) version: Option<String>,
}

impl Answer {
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|cause| {
            Error::new(Code::EngineFailed, format!("the answer of {} cannot be understood", self.engine))
                .because(shortened(&cause.to_string()))
        })
    }

    /// The answer itself where its status is a success or one of `accepted`.
    pub(crate) fn accept(self, what: &str, accepted: &[u16]) -> Result<Self> {
        if self.status.is_success() || accepted.contains(&self.status.as_u16()) {
            return Ok(self);
        }
        Err(refused(format!("{} refused to {what}", self.engine), &self.reason()))
    }

    /// The engine's own words, without what a temporary file was called.
    pub(crate) fn reason(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = value["message"].as_str().or_else(|| value["cause"].as_str());
        text.map_or_else(|| format!("status {}", self.status), shortened)
    }
}

/// The error of what an engine refused, in its own words.
pub(crate) fn refused(message: String, reason: &str) -> Error {
    let error = Error::new(Code::EngineFailed, message).because(reason);
    if ["no space left on device", "disk quota exceeded"].iter().any(|words| reason.contains(words)) {
        return error.hint(
            "free some space on the disk of the engine's storage and run again; volumes are as they were",
        );
    }
    error
}

/// What an engine has to say fits into this; it goes into errors, and with them into the journal.
const LONGEST_REASON: usize = 2048;

pub(crate) fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_REASON);
    if end == text.len() { text.to_owned() } else { format!("{}…", &text[..end]) }
}

/// The connection to the engine; made when the first call needs it.
pub(crate) struct Client {
    interface: Interface,
    locator: Box<dyn Locate>,
    socket: tokio::sync::Mutex<Option<PathBuf>>,
    idle: Mutex<Vec<Sender>>,
}

impl Client {
    pub(crate) fn new(interface: Interface, locator: Box<dyn Locate>) -> Self {
        Self { interface, locator, socket: tokio::sync::Mutex::new(None), idle: Mutex::new(Vec::new()) }
    }

    pub(crate) fn locator(&self) -> &dyn Locate {
        &*self.locator
    }

    /// The engine's name.
    pub(crate) fn engine(&self) -> &'static str {
        self.interface.name
    }

    /// Sends `call` and reads the whole answer.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer> {
        let answered = timeout(call.timeout, async {
            // A kept connection may have been closed by an engine that went idle: every call may be repeated.
            if let Some(sender) = self.take_idle()
                && let Ok(answer) = self.exchange(sender, call).await
            {
                return Ok(answer);
            }
            let sender = self.connect().await?;
            self.exchange(sender, call).await
        });
        answered.await.unwrap_or_else(|_| Err(self.too_slow(call)))
    }

    /// Sends `call` on a connection of its own and hands over the body as it comes. Never repeated by itself.
    pub(crate) async fn stream(&self, call: &Call) -> Result<Response<Incoming>> {
        let opened = timeout(call.timeout, async {
            let mut sender = self.connect().await?;
            sender.send_request(call.request(self.interface)?).await.map_err(|cause| self.broken(&cause))
        });
        opened.await.unwrap_or_else(|_| Err(self.too_slow(call)))
    }

    /// Sends `call` and takes over its connection. Never repeated by itself.
    pub(crate) async fn upgrade(&self, call: &Call) -> Result<Upgraded> {
        let upgraded = timeout(call.timeout, async {
            let mut sender = self.connect().await?;
            let mut request = call.request(self.interface)?;
            request.headers_mut().insert("connection", HeaderValue::from_static("Upgrade"));
            request.headers_mut().insert("upgrade", HeaderValue::from_static("tcp"));
            let response = sender.send_request(request).await.map_err(|cause| self.broken(&cause))?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let (engine, status) = (self.interface.name, response.status());
                let body = self.read_whole(response.into_body()).await?;
                return Answer { engine, status, body, version: None }
                    .accept("hand over a connection", &[])
                    .and_then(|_| {
                        Err(Error::new(Code::EngineFailed, format!("{engine} hands over no connection")))
                    });
            }
            hyper::upgrade::on(response).await.map_err(|cause| self.broken(&cause))
        });
        upgraded.await.unwrap_or_else(|_| Err(self.too_slow(call)))
    }

    async fn exchange(&self, mut sender: Sender, call: &Call) -> Result<Answer> {
        let response =
            sender.send_request(call.request(self.interface)?).await.map_err(|cause| self.broken(&cause))?;
        let status = response.status();
        let version = ["libpod-api-version", "server"]
            .iter()
            .find_map(|name| response.headers().get(*name))
            .and_then(|value| value.to_str().ok());
        let version = version.map(str::to_owned);
        let body = self.read_whole(response.into_body()).await?;
        self.keep(sender);
        Ok(Answer { engine: self.interface.name, status, body, version })
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        let ready = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.swap_remove(ready))
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if idle.len() < KEPT_CONNECTIONS {
            idle.push(sender);
        }
    }

    /// Sends `request` as it is on a connection of its own. Never repeated by itself.
    pub(crate) async fn send<B>(&self, request: Request<B>, within: Duration) -> Result<Response<Incoming>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let call = Call::new(request.method().clone(), request.uri().path()).within(within);
        let opened = timeout(within, async {
            let mut sender = self.connect().await?;
            sender.send_request(request).await.map_err(|cause| self.broken(&cause))
        });
        opened.await.unwrap_or_else(|_| Err(self.too_slow(&call)))
    }

    async fn connect<B>(&self) -> Result<SendRequest<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.open_socket().await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| self.broken(&cause))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to the engine ended");
            }
        });
        Ok(sender)
    }

    async fn open_socket(&self) -> Result<UnixStream> {
        let mut known = self.socket.lock().await;
        if let Some(path) = known.as_deref()
            && let Some(stream) = try_connect(path).await
        {
            return Ok(stream);
        }
        let (path, stream) = self.locator.open().await?;
        *known = Some(path);
        Ok(stream)
    }
}

/// A connection where something listens.
pub(crate) async fn try_connect(socket: &Path) -> Option<UnixStream> {
    timeout(CONNECT_TIMEOUT, UnixStream::connect(socket)).await.ok()?.ok()
}

impl Client {
    async fn read_whole(&self, mut body: Incoming) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|cause| self.broken(&cause))?;
            if let Ok(data) = frame.into_data() {
                if whole.len() + data.len() > LARGEST_ANSWER {
                    return Err(Error::new(
                        Code::TooLarge,
                        format!("the answer of {} is larger than 16 MiB", self.interface.name),
                    ));
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(whole.freeze())
    }

    fn broken(&self, cause: &hyper::Error) -> Error {
        Error::new(Code::EngineUnavailable, format!("the connection to {} broke", self.interface.name))
            .because(cause)
            .retryable()
    }

    fn too_slow(&self, call: &Call) -> Error {
        let path = call.path.split('?').next().unwrap_or_default();
        Error::new(
            Code::TimedOut,
            format!(
                "{} did not answer {} {path} within {} s",
                self.interface.name,
                call.method,
                call.timeout.as_secs()
            ),
        )
        .retryable()
    }
}
