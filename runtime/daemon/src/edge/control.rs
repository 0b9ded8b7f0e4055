//! Owns the socket by which the edge is spoken to: by its successor, which takes the sockets over, by the daemon, which
//! looks whether it is there, and by operators.
//!
//! One line of JSON is a request, one line the answer. Descriptors come with the answer to `hand_over`.

use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dns::RecordType;
use effect::{Code, Error, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::sockets::{Place, Sockets};
use super::{Edge, SUCCESSION};

/// Descriptors that one message may bear (unix(7): `SCM_MAX_FD`).
const MOST_AT_ONCE: usize = 253;
const LONGEST_LINE: u64 = 1 << 20;
/// For an answer that takes no work.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of an edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// How it stands.
    Standing,
    /// Its figures, in the text format of Prometheus.
    Metrics,
    /// How a question is answered, step by step.
    Trace {
        /// The name.
        name: String,
        /// The type.
        rtype: RecordType,
    },
    /// To forget what others answered.
    Flush,
    /// Its sockets: whoever asks is its successor.
    HandOver,
    /// The successor answers now.
    Relieve,
    /// To end.
    Stop,
}

/// What an edge answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How it stands.
    Standing(Standing),
    /// Text to be shown.
    Text {
        /// The text.
        text: String,
    },
    /// Lines to be shown, one for each step.
    Steps {
        /// The steps.
        steps: Vec<String>,
    },
    /// The sockets, which come with the message in this order.
    Sockets {
        /// Which they are.
        places: Vec<Place>,
    },
    /// It is done.
    Done,
    /// It cannot be done.
    Failed {
        /// Why.
        error: Error,
    },
}

/// How an edge stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its process.
    pub process: u32,
    /// Its version.
    pub version: String,
    /// What tells its settings from others.
    pub settings: String,
    /// Where it answers.
    pub listen: Vec<SocketAddr>,
    /// The zones that it answers for, with serial and number of records.
    pub zones: Vec<(String, u32, usize)>,
}

/// Where the edge of a folder is spoken to.
fn place(folder: &Path) -> PathBuf {
    folder.join("edge.sock")
}

/// The way to an edge.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// The edge of a state directory, if one is there.
    #[must_use]
    pub fn connect(state: &Path) -> Option<Self> {
        Self::at(&super::folder(state))
    }

    fn at(folder: &Path) -> Option<Self> {
        let stream = UnixStream::connect(place(folder)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self { stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Where the edge does not answer, or says why it cannot.
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer> {
        let failed =
            |error: io::Error| Error::new(Code::DnsUnavailable, "the edge does not answer").because(error);
        self.send(ask).map_err(failed)?;
        match self.read().map_err(failed)? {
            Answer::Failed { error } => Err(error),
            answer => Ok(answer),
        }
    }

    fn send(&mut self, ask: &Ask) -> io::Result<()> {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)
    }

    fn read(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        io::Read::take(&mut self.stream, LONGEST_LINE).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The sockets of the edge.
    fn take_sockets(&mut self) -> io::Result<Sockets> {
        self.send(&Ask::HandOver)?;
        let stream = self.stream.get_ref();
        let mut line = Vec::new();
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        while !line.ends_with(b"\n") {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut buffer = [0; 4096];
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let received = recvmsg(stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            line.extend_from_slice(&buffer[..received.bytes]);
        }
        match serde_json::from_slice(&line)? {
            Answer::Sockets { places } if places.len() == descriptors.len() => {
                Ok(Sockets::given(places.into_iter().zip(descriptors).collect()))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The edge before this one, while it still answers.
pub(super) struct Predecessor {
    client: Client,
    pub(super) sockets: Sockets,
}

/// Takes the sockets of an edge that is there. One that hands nothing over is left alone: its addresses are then taken.
pub(super) async fn succeed(folder: &Path) -> Option<Predecessor> {
    let folder = folder.to_owned();
    let succeeding = tokio::task::spawn_blocking(move || {
        let mut client = Client::at(&folder)?;
        match client.take_sockets() {
            Ok(sockets) => Some(Predecessor { client, sockets }),
            Err(error) => {
                tracing::warn!(%error, "the edge that is there does not hand its sockets over");
                None
            }
        }
    });
    succeeding.await.ok().flatten()
}

impl Predecessor {
    /// Tells it that this process answers now.
    pub(super) async fn relieve(mut self) {
        let relieving = tokio::task::spawn_blocking(move || self.client.ask(&Ask::Relieve).map(drop));
        if let Ok(Err(error)) = relieving.await {
            tracing::warn!(%error, "the edge before this one does not say that it ends");
        }
    }
}

/// Listens for those who speak to this edge, in the place of the one before it.
pub(super) fn listen(folder: &Path) -> Result<UnixListener> {
    let (last, own) = (place(folder), folder.join(format!("edge.{}.sock", std::process::id())));
    let listen = || -> io::Result<UnixListener> {
        let _ = std::fs::remove_file(&own);
        let listener = UnixListener::bind(&own)?;
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
        // There is always one that answers under the name.
        std::fs::rename(&own, &last)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error| {
        Error::new(Code::StateUnusable, format!("`{}` cannot be listened at", last.display())).because(error)
    })
}

/// Answers those who speak to the edge.
pub(super) async fn serve(
    listener: UnixListener,
    edge: Arc<Edge>,
    sockets: Sockets,
    succeeded: mpsc::Sender<()>,
) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "nobody can speak to the edge"),
    };
    let sockets = Arc::new(sockets);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (edge, sockets, succeeded) = (edge.clone(), sockets.clone(), succeeded.clone());
                let runtime = tokio::runtime::Handle::current();
                tokio::task::spawn_blocking(move || {
                    let talked = stream.into_std().and_then(|stream| {
                        stream.set_nonblocking(false)?;
                        talk(&stream, &edge, &sockets, &succeeded, &runtime)
                    });
                    if let Err(error) = talked {
                        tracing::debug!(%error, "somebody who spoke to the edge is gone");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "nobody can speak to the edge");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn talk(
    stream: &UnixStream,
    edge: &Edge,
    sockets: &Sockets,
    succeeded: &mpsc::Sender<()>,
    runtime: &tokio::runtime::Handle,
) -> io::Result<()> {
    // Whoever holds the line open learns at once when the edge is gone: the daemon does.
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if io::Read::take(&mut lines, LONGEST_LINE).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let ask = match serde_json::from_str(&line) {
            Ok(ask) => ask,
            Err(error) => {
                let error = Error::new(Code::Argument, "the edge does not know this").because(error);
                write(
                    stream,
                    &Answer::Failed { error: error.hint("both sides take the same version of mcrun") },
                )?;
                continue;
            }
        };
        match ask {
            Ask::Standing => write(stream, &Answer::Standing(standing(edge, sockets)))?,
            Ask::Metrics => write(stream, &Answer::Text { text: edge.metrics() })?,
            Ask::Trace { name, rtype } => write(stream, &runtime.block_on(trace(edge, &name, rtype)))?,
            Ask::Flush => {
                edge.parts.service.forwarder().into_iter().for_each(|forwarder| forwarder.clear());
                write(stream, &Answer::Done)?;
            }
            Ask::HandOver => {
                tracing::info!("another edge takes over");
                hand_over(stream, sockets)?;
                stream.set_read_timeout(Some(SUCCESSION))?;
            }
            Ask::Relieve | Ask::Stop => {
                write(stream, &Answer::Done)?;
                // The receiver is gone once the edge ends.
                let _ = succeeded.blocking_send(());
            }
        }
    }
}

fn write(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn hand_over(mut stream: &UnixStream, sockets: &Sockets) -> io::Result<()> {
    let open = &sockets.all()[..sockets.all().len().min(MOST_AT_ONCE)];
    let places = open.iter().map(|(place, _)| *place).collect();
    let mut line = serde_json::to_vec(&Answer::Sockets { places })?;
    line.push(b'\n');
    let descriptors: Vec<_> = open.iter().map(|(_, socket)| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The first octet bears the descriptors; the rest may follow in pieces.
    let (first, rest) = line.split_at(1);
    sendmsg(stream, &[IoSlice::new(first)], &mut ancillary, SendFlags::empty())?;
    stream.write_all(rest)
}

fn standing(edge: &Edge, sockets: &Sockets) -> Standing {
    let snapshot = edge.parts.service.snapshot();
    let mut zones: Vec<_> = snapshot
        .zones()
        .map(|(_, zone)| (zone.apex().to_string(), zone.soa.serial, zone.records()))
        .collect();
    zones.sort();
    Standing {
        process: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: edge.parts.settings.clone(),
        listen: sockets.addresses(),
        zones,
    }
}

async fn trace(edge: &Edge, name: &str, rtype: RecordType) -> Answer {
    match dns::server::trace::trace(&edge.parts.service, name, rtype).await {
        Ok(steps) => Answer::Steps { steps },
        Err(error) => Answer::Failed { error },
    }
}
