//! Owns the sockets at which calls come in, and the way of each call: who makes it, its bounds, the service that answers.

use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result};
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use peer::calls::{self, Bounds, Over};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tonic::body::Body;
use zeroize::Zeroizing;

use super::calls::Services;
use super::recheck::{self, Following, Presented};
use super::{Api, Caller, Settings, deadline, status, tokens};
use crate::metrics::Metrics;
use crate::routes::Door;
use crate::{accept, socket};

/// Connections at the socket at once: each command that follows a run has one.
const MOST_LOCAL: usize = 1024;
/// Connections by TLS at once.
const MOST_REMOTE: usize = 256;
/// Calls of one connection under way, and how many of them may still be sending their message.
const MOST_CALLS: u32 = 1024;
const MOST_SENDING: usize = 64;
/// Streams that were reset and are not forgotten yet, before the connection is closed.
const MOST_RESETS: usize = 64;
/// A head, in octets.
const LARGEST_HEAD: u32 = 16 << 10;
/// What is kept of an answer that the caller does not take.
const LARGEST_BACKLOG: usize = 64 << 10;
/// A message that is no script.
const LARGEST_MESSAGE: usize = 2 << 20;
/// A script with its modules.
const LARGEST_SCRIPT: usize = 8 << 20;
/// For a message to be there, once its head is.
const PATIENCE: Duration = Duration::from_secs(20);
/// A caller by TLS that says nothing for so long is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(20);
/// Certificates are looked at when a connection begins: one that is revoked meanwhile is of no use for longer than this.
const LONGEST: Duration = Duration::from_secs(3600);
/// The status of a call that there is not.
const UNIMPLEMENTED: &str = "12";
/// For what is under way when the end has come, and a little more for the connections themselves.
const GRACE: Duration = Duration::from_secs(5);
const GRACE_OF_ALL: Duration = Duration::from_secs(8);

/// A socket that is open.
#[derive(Debug)]
pub struct Opened {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is, where it is ours to take away.
    file: Option<socket::Identity>,
    /// Whether the file's mode lets others than its owner in.
    is_shared: bool,
}

impl Opened {
    /// One that a service manager opened, and goes on to hold. Who may use it is said by its unit.
    pub(super) fn handed(listener: UnixListener, settings: &Settings, state: &Path) -> Result<Self> {
        let wanted = settings.socket_in(state);
        let address = listener.local_addr().ok();
        let path = address.and_then(|address| address.as_pathname().map(Path::to_owned));
        let shown =
            path.as_ref().map_or_else(|| "no path".to_owned(), |path| format!("`{}`", path.display()));
        // Folders may be links: `/var/run` is `/run`.
        let is_wanted = |path: &PathBuf| {
            *path == wanted
                || socket::identity(path).is_some_and(|there| socket::identity(&wanted) == Some(there))
        };
        let Some(path) = path.filter(is_wanted) else {
            let message = format!(
                "the socket `api` was handed over at {shown}, and the command line looks for it at `{}`",
                wanted.display()
            );
            return Err(Error::new(Code::HandedSocket, message)
                .hint("`socket` under [daemon.api] in mcrun.toml and `ListenStream=` of the socket unit are the same path"));
        };
        let mode = std::fs::metadata(&path).map(|there| there.permissions().mode());
        let is_shared = mode.map_or_else(|_| settings.is_shared(), |mode| mode & 0o077 != 0);
        Ok(Self { listener, path, file: None, is_shared })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the socket of the daemon of a state directory.
///
/// # Errors
/// `MC-U002` where it cannot be made, `MC-C005` where another process answers there.
pub async fn open_socket(settings: &Settings, state: &Path) -> Result<Opened> {
    let path = settings.socket_in(state);
    let listener = socket::open(&path, settings.group.as_deref(), settings.mode_bits()?).await?;
    let gone = || Error::new(Code::Config, format!("the socket `{}` was taken away", path.display()));
    let file = socket::identity(&path).ok_or_else(gone)?;
    Ok(Opened { listener, path, file: Some(file), is_shared: settings.is_shared() })
}

/// Answers callers on this machine until `over` becomes true, and takes the socket away then.
pub async fn serve_socket(opened: Opened, api: Api, over: watch::Receiver<bool>) {
    let Opened { listener, path, file, is_shared } = opened;
    let services = Services::new(&api);
    let talk = |stream: UnixStream, over| {
        let caller = Caller::at(&stream, is_shared);
        // The kernel tells of the end of a process on this machine.
        let bounds = Bounds { silence: None, longest: None, ..bounds() };
        connection(stream, caller, bounds, (api.clone(), services.clone()), over)
    };
    let closed = |listener| match file {
        Some(file) => socket::close(listener, &path, file),
        None => drop(listener),
    };
    accept::each(listener, (MOST_LOCAL, GRACE_OF_ALL), talk, over, closed).await;
}

/// Answers holders of certificates, and of tokens where the door lets them in, until `over` becomes true.
pub async fn serve_tls(listener: TcpListener, door: Arc<Door>, api: Api, over: watch::Receiver<bool>) {
    let services = Services::new(&api);
    let talk = |stream: TcpStream, over| {
        let (config, answering) = (door.config(), (api.clone(), services.clone()));
        let address = stream.peer_addr().ok();
        async move {
            let Some(config) = config else { return };
            if let Some((stream, names)) = accept::welcome(stream, config).await {
                let caller = match names.is_empty() {
                    true => Caller::Nobody { address },
                    false => Caller::Holder { names, address },
                };
                connection(stream, caller, bounds(), answering, over).await;
            }
        }
    };
    accept::each(listener, (MOST_REMOTE, GRACE_OF_ALL), talk, over, drop).await;
}

fn bounds() -> Bounds {
    Bounds {
        calls: MOST_CALLS,
        resets: MOST_RESETS,
        head: LARGEST_HEAD,
        backlog: LARGEST_BACKLOG,
        silence: Some(SILENCE),
        longest: Some(LONGEST),
        grace: GRACE,
    }
}

fn connection<S>(
    stream: S,
    caller: Caller,
    bounds: Bounds,
    answering: (Api, Services),
    over: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let over = Over(over);
    let sending = Arc::new(Semaphore::new(MOST_SENDING));
    async move {
        let (end, shown) = (over.clone(), caller.shown());
        let way = move |request: Request<Incoming>| {
            let (call, begun) = (request.uri().path().to_owned(), Instant::now());
            let answered = answer(answering.clone(), request, caller.clone(), sending.clone(), over.clone());
            async move {
                let response = answered.await;
                count(&call, &response, begun.elapsed());
                response
            }
        };
        if let Err(error) = calls::serve(stream, bounds, end, way).await {
            tracing::debug!(caller = shown, %error, "a caller's connection broke");
        }
    }
}

/// Counts a call by what it was answered with: one that went well says so behind its message.
fn count(call: &str, response: &Response<Body>, took: Duration) {
    let status = response.headers().get("grpc-status").and_then(|status| status.to_str().ok());
    let status = status.unwrap_or("0");
    let is_known = call.starts_with("/mcrun.v1.") && status != UNIMPLEMENTED;
    let method = if is_known { call.trim_start_matches("/mcrun.v1.") } else { "other" };
    Metrics::shared().call(method, status, took);
}

/// The way of one call.
async fn answer(
    (api, services): (Api, Services),
    request: Request<Incoming>,
    caller: Caller,
    sending: Arc<Semaphore>,
    over: Over,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let call = head.uri.path().to_owned();
    let patience = match deadline::of(&head.headers) {
        Ok(patience) => patience,
        Err(error) => return refusal(&error),
    };
    head.extensions.insert(over);
    let answered = async {
        // Reflection is a conversation: its messages are small, and come one by one.
        let is_conversation = call.starts_with("/grpc.reflection.");
        let (caller, token) = match called(&api, caller, &head.headers, &call).await {
            Ok(called) => called,
            Err(error) => return refusal(&error),
        };
        // Whoever nobody knows is not listened to.
        let known = api.gate().known(&caller, &call);
        let read = match (known, is_conversation) {
            (Err(error), _) => Err(error),
            (Ok(()), true) => Ok((Body::new(http_body_util::Limited::new(body, LARGEST_MESSAGE)), None)),
            (Ok(()), false) => whole(body, &call, &sending)
                .await
                .map(|octets| (Body::new(http_body_util::Full::new(octets.clone())), Some(octets))),
        };
        let (body, octets) = match read {
            Ok(read) => read,
            Err(error) => return refusal(&error),
        };
        let granted = match api.gate().pass(&caller, &call, octets.as_deref()).await {
            Ok(granted) => granted,
            Err(error) => {
                tracing::info!(call, caller = caller.shown(), %error, "a call was refused");
                return refusal(&error);
            }
        };
        head.extensions.insert(caller.clone());
        head.extensions.insert(granted.clone());
        if !recheck::follows(&call) {
            return coded(services.call(Request::from_parts(head, body)).await, &call);
        }
        let following = Following::new(api, (&call, octets.unwrap_or_default()), (caller, token), granted);
        head.extensions.insert(following.live());
        let response = coded(services.call(Request::from_parts(head, body)).await, &call);
        // What is followed ends when its caller would not be let in any more.
        response.map(|body| Body::new(deadline::Until::new(body, following.refused())))
    };
    let mut response = match patience {
        None => answered.await,
        Some(patience) => match tokio::time::timeout(patience, answered).await {
            Ok(response) => response.map(|body| Body::new(deadline::Until::late(body, patience))),
            Err(_) => refusal(&deadline::late(&call, patience)),
        },
    };
    response.headers_mut().insert(api::VERSION, HeaderValue::from_static(calls::OURS));
    response
}

/// Who makes a call: whoever presents a token is whom it stands for.
async fn called(
    api: &Api,
    caller: Caller,
    headers: &HeaderMap,
    call: &str,
) -> Result<(Caller, Option<Presented>)> {
    // Whom the socket does not let in has nothing to present.
    if matches!(caller, Caller::Stranger(_)) {
        return Ok((caller, None));
    }
    let Some(token) = tokens::presented(headers)? else { return Ok((caller, None)) };
    let known = api.bearer(token).await?;
    let bearer = known.ok_or_else(|| api.gate().refuse_token(&caller, call))?;
    let text = Zeroizing::new(token.to_owned());
    Ok((tokens::as_bearer(&caller, &bearer), Some(Presented { text, bearer, by: caller })))
}

async fn whole(body: Incoming, call: &str, sending: &Semaphore) -> Result<Bytes> {
    let largest = if call == "/mcrun.v1.Runs/SubmitRun" { LARGEST_SCRIPT } else { LARGEST_MESSAGE };
    let busy = |what: String| Error::new(Code::ApiBusy, what);
    let read = async {
        let place = sending.acquire().await;
        let read = calls::whole(body, largest, PATIENCE).await;
        drop(place);
        read
    };
    // Whoever waits for a place among its own calls waits no longer than one of them may take.
    match tokio::time::timeout(PATIENCE, read).await.unwrap_or(Err(calls::Refused::Slow)) {
        Ok(bytes) => Ok(bytes),
        Err(calls::Refused::Large) => {
            Err(busy(format!("a message of this call has {} MiB at most", largest >> 20)))
        }
        Err(calls::Refused::Slow) => {
            Err(busy(format!("the message of the call was not there within {PATIENCE:?}")))
        }
        Err(calls::Refused::Broken(why)) => {
            Err(Error::new(Code::ApiRequest, "the message of the call breaks off").because(why))
        }
    }
}

/// The same answer, with a code of ours where a message could not be read or nobody knows the call.
fn coded(response: Response<Body>, call: &str) -> Response<Body> {
    if call.starts_with("/grpc.") || response.headers().contains_key(api::FAILURE) {
        return response;
    }
    // Only an answer that is nothing but a failure has its status among the headers.
    let Some(status) = tonic::Status::from_header_map(response.headers()) else { return response };
    let error = match status.code() {
        tonic::Code::Ok => return response,
        tonic::Code::Unimplemented => {
            let message =
                format!("the daemon does not know `{call}`, or how its message is packed: it may be older");
            Error::new(Code::ApiVersion, message).because(status.message())
        }
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
            Error::new(Code::ApiBusy, "a message of this call is too large").because(status.message())
        }
        _ => Error::new(Code::ApiRequest, "the message of the call cannot be read").because(status.message()),
    };
    match status.code() {
        tonic::Code::Unimplemented => calls::status(tonic::Code::Unimplemented, &error).into_http(),
        _ => refusal(&error),
    }
}

fn refusal(error: &Error) -> Response<Body> {
    status::of(error).into_http()
}
