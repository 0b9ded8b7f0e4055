//! Owns single probes: one HTTP request, one TCP connection, one run of a program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use effect::units::{Size, Span};
use hyper::Method;
use hyper::header::HeaderMap;
use tokio::net::TcpStream;
use url::Url;

use crate::exec::{Failure, Process, clip};
use crate::http::{Outgoing, send};

/// How much of an answer is read.
const ANSWER_LIMIT: Size = Size(1 << 20);
/// How much of a program's output is kept.
const OUTPUT_LIMIT: usize = 64 * 1024;
/// How much of a body a failure shows.
const SHOWN_LINES: usize = 3;

/// A way to find out whether something is healthy.
#[derive(Debug, Clone)]
pub enum Probe {
    /// An HTTP request.
    Http(HttpProbe),
    /// A TCP connection.
    Tcp(TcpProbe),
    /// A program on this node.
    Exec(ExecProbe),
}

/// The statuses that count as healthy, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    /// The lowest.
    pub from: u16,
    /// The highest.
    pub to: u16,
}

impl Default for Statuses {
    fn default() -> Self {
        Self { from: 200, to: 399 }
    }
}

/// An HTTP request whose answer tells.
#[derive(Debug, Clone)]
pub struct HttpProbe {
    /// Where to. Redirects are not followed.
    pub url: Url,
    /// Which statuses count as healthy.
    pub statuses: Statuses,
    /// What the body must contain.
    pub body_contains: Option<String>,
    /// Headers to send.
    pub headers: HeaderMap,
    /// A file of certificates that is trusted instead of the system's.
    pub ca: Option<PathBuf>,
}

impl HttpProbe {
    /// A plain request that any answer from 200 to 399 satisfies.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self { url, statuses: Statuses::default(), body_contains: None, headers: HeaderMap::new(), ca: None }
    }
}

/// A TCP connection that has to come about.
#[derive(Debug, Clone)]
pub struct TcpProbe {
    /// `host:port`.
    pub address: String,
}

/// A program that has to end with 0.
#[derive(Debug, Clone)]
pub struct ExecProbe {
    /// The resolved program.
    pub path: PathBuf,
    /// The argument vector, the program's name first.
    pub argv: Vec<String>,
    /// The folder it runs in.
    pub folder: PathBuf,
    /// Its environment, to which a `PATH` is added.
    pub env: BTreeMap<String, String>,
}

impl Probe {
    /// Probes once: what was found, as an error when that is not healthy.
    pub async fn once(&self, timeout: Duration) -> Result<String, String> {
        match self {
            Probe::Http(probe) => http(probe, timeout).await,
            Probe::Tcp(probe) => tcp(probe, timeout).await,
            Probe::Exec(probe) => exec(probe, timeout).await,
        }
    }
}

async fn http(probe: &HttpProbe, timeout: Duration) -> Result<String, String> {
    let request = Outgoing {
        url: probe.url.clone(),
        method: Method::GET,
        headers: probe.headers.clone(),
        secret_headers: Vec::new(),
        secret_body: false,
        body: Bytes::new(),
        timeout: Span(timeout),
        limit: ANSWER_LIMIT,
        redirects: 0,
        ca: probe.ca.clone(),
    };
    let answer = send(request, &|_| Ok(())).await.map_err(|error| error.cause.unwrap_or(error.message))?;
    let found = format!("status {}", answer.status);
    let Statuses { from, to } = probe.statuses;
    if !(from..=to).contains(&answer.status) {
        return Err(with_lines(&found, &answer.body));
    }
    match &probe.body_contains {
        Some(text) if !answer.body.contains(text.as_str()) => Err(with_lines(
            &format!("{found}, but the body does not contain \"{}\"", clip(text)),
            &answer.body,
        )),
        _ => Ok(found),
    }
}

async fn tcp(probe: &TcpProbe, timeout: Duration) -> Result<String, String> {
    let connecting = async {
        let (host, port) = probe.address.rsplit_once(':').ok_or("the address is not `host:port`")?;
        let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
        let addresses = crate::http::resolve(host, port).await.map_err(|error| error.to_string())?;
        TcpStream::connect(&addresses[..]).await.map_err(|error| error.to_string())
    };
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(_)) => Ok("connected".into()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("no connection within {}", Span(timeout))),
    }
}

async fn exec(probe: &ExecProbe, timeout: Duration) -> Result<String, String> {
    let process = Process {
        path: probe.path.clone(),
        argv: probe.argv.iter().map(Into::into).collect(),
        folder: probe.folder.clone(),
        environment: crate::exec::environment(&probe.env).map_err(|error| error.message)?,
        stdin: None,
        timeout: Span(timeout),
        output_limit: OUTPUT_LIMIT,
        inherited: Vec::new(),
        confinement: None,
    };
    match process.run().await {
        Ok(ending) => {
            let output = ending.output();
            let found = format!("exit code {}", output.code);
            let lines = ending.last_lines(SHOWN_LINES).join("\n");
            if output.code == 0 { Ok(found) } else { Err(with_lines(&found, &lines)) }
        }
        Err(Failure::Start(error)) => Err(format!("the program cannot be started: {error}")),
        Err(Failure::TimedOut { after, ending }) => {
            let lines = ending.last_lines(SHOWN_LINES).join("\n");
            Err(with_lines(&format!("the program was stopped after {after}"), &lines))
        }
        Err(Failure::Lost) => Err("the program was killed together with its watcher".into()),
    }
}

fn with_lines(found: &str, text: &str) -> String {
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).take(SHOWN_LINES).map(clip).collect();
    if lines.is_empty() { found.to_owned() } else { format!("{found}: {}", lines.join(" / ")) }
}
