//! Owns the socket by which the edge is spoken to: by its successor, which takes the sockets over, by the daemon, which
//! looks whether it is there, by whoever changes routes, and by operators.
//!
//! One line of JSON is a request, one line the answer. Descriptors come with the answer to `hand_over`.

mod ask;
mod client;
mod descriptors;

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dns::RecordType;
use effect::{Code, Error, Result};
use tokio::sync::mpsc;

pub use ask::{Answer, Ask, Standing};
pub use client::Client;
pub(super) use client::succeed;

use super::sockets::Sockets;
use super::{Edge, End, SUCCESSION};

const LONGEST_LINE: u64 = 1 << 20;
/// For an answer that takes no work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the edge of a folder is spoken to.
pub(super) fn place(folder: &Path) -> PathBuf {
    folder.join("edge.sock")
}

/// Where this edge itself is spoken to, also once it was succeeded.
fn own_place(folder: &Path) -> PathBuf {
    folder.join(format!("edge.{}.sock", std::process::id()))
}

/// Where edges are spoken to that were succeeded and let run what still does.
pub(super) fn lingering(folder: &Path) -> Vec<PathBuf> {
    let own = own_place(folder);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_of_edge = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.strip_prefix("edge.")?.strip_suffix(".sock"))
            .is_some_and(|process| process.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries.filter(|path| *path != own && is_of_edge(path)).collect()
}

/// Listens for those who speak to this edge, in the place of the one before it.
pub(super) fn listen(folder: &Path) -> Result<UnixListener> {
    let (last, own) = (place(folder), own_place(folder));
    let link = folder.join(format!("edge.{}.link", std::process::id()));
    let listen = || -> io::Result<UnixListener> {
        let _ = std::fs::remove_file(&own);
        let listener = UnixListener::bind(&own)?;
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(own.file_name().unwrap_or_default(), &link)?;
        // There is always one that answers under the name.
        std::fs::rename(&link, &last)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error| {
        Error::new(Code::StateUnusable, format!("`{}` cannot be listened at", last.display())).because(error)
    })
}

/// Nobody speaks to this edge any more.
pub(super) fn forget(folder: &Path) {
    // What stays is taken away by the next one that looks for it.
    let _ = std::fs::remove_file(own_place(folder));
}

/// The lines that are open.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<HashMap<u64, UnixStream>>>);

impl Lines {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, UnixStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more questions on lines that are open: whoever holds one learns that another edge answers now. What is
    /// being answered is.
    pub(super) fn hang_up(&self) {
        for line in self.open().values() {
            // It may be gone already.
            let _ = line.shutdown(Shutdown::Read);
        }
    }
}

/// Whoever speaks is answered from this.
#[derive(Clone)]
struct Spoken {
    edge: Arc<Edge>,
    lines: Lines,
    sockets: Arc<Sockets>,
    end: mpsc::Sender<End>,
    runtime: tokio::runtime::Handle,
}

/// Answers those who speak to the edge.
pub(super) async fn serve(
    listener: UnixListener,
    edge: Arc<Edge>,
    sockets: Sockets,
    end: mpsc::Sender<End>,
    lines: Lines,
) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "nobody can speak to the edge"),
    };
    let runtime = tokio::runtime::Handle::current();
    let spoken = Spoken { edge, lines, sockets: Arc::new(sockets), end, runtime };
    let mut number = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let spoken = spoken.clone();
                number += 1;
                tokio::task::spawn_blocking(move || {
                    let talked = stream.into_std().and_then(|stream| {
                        stream.set_nonblocking(false)?;
                        spoken.lines.open().insert(number, stream.try_clone()?);
                        let talked = spoken.talk(&stream);
                        spoken.lines.open().remove(&number);
                        talked
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

impl Spoken {
    fn talk(&self, stream: &UnixStream) -> io::Result<()> {
        // Whoever holds the line open learns at once when the edge is gone: the daemon does.
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut lines = BufReader::new(stream);
        let mut handing = Handing { routes: self.edge.routes.as_deref(), times: 0 };
        loop {
            let mut line = String::new();
            if io::Read::take(&mut lines, LONGEST_LINE).read_line(&mut line)? == 0 {
                return Ok(());
            }
            match serde_json::from_str(&line) {
                Ok(Ask::HandOver) => {
                    handing.begin_or_end();
                    descriptors::send(stream, &self.every_socket()?)?;
                    stream.set_read_timeout(Some(SUCCESSION))?;
                }
                Ok(ask) => write(stream, &self.answer(ask))?,
                Err(error) => {
                    let error = Error::new(Code::Argument, "the edge does not know this").because(error);
                    let error = error.hint("both sides take the same version of mcrun");
                    write(stream, &Answer::Failed { error })?;
                }
            }
        }
    }

    fn answer(&self, ask: Ask) -> Answer {
        let edge = &self.edge;
        match ask {
            Ask::Standing => Answer::Standing(self.standing()),
            Ask::Metrics => Answer::Text { text: edge.metrics() },
            Ask::Trace { name, rtype } => self.runtime.block_on(trace(edge, &name, rtype)),
            Ask::Flush => {
                edge.parts.service.forwarder().into_iter().for_each(|forwarder| forwarder.clear());
                Answer::Done
            }
            Ask::Relieve => self.ends(End::Succeeded),
            Ask::Stop => self.ends(End::Stopped),
            // Taken before, as the sockets come with its answer.
            Ask::HandOver => Answer::Done,
            ask => match &edge.routes {
                Some(routes) => {
                    self.runtime.block_on(routes.answer(ask)).unwrap_or_else(|error| Answer::Failed { error })
                }
                None => Answer::Failed { error: serves_none() },
            },
        }
    }

    fn ends(&self, end: End) -> Answer {
        // The receiver is gone once the edge ends. The answer may be read a moment after.
        let _ = self.end.blocking_send(end);
        Answer::Done
    }

    fn every_socket(&self) -> io::Result<Vec<(super::sockets::Place, std::os::fd::OwnedFd)>> {
        let mut every = self.sockets.cloned()?;
        if let Some(routes) = &self.edge.routes {
            every.extend(routes.sockets()?);
        }
        Ok(every)
    }

    fn standing(&self) -> Standing {
        let snapshot = self.edge.parts.service.snapshot();
        let mut zones: Vec<_> = snapshot
            .zones()
            .map(|(_, zone)| (zone.apex().to_string(), zone.soa.serial, zone.records()))
            .collect();
        zones.sort();
        Standing {
            process: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: self.edge.parts.settings.clone(),
            listen: self.sockets.addresses(),
            zones,
            routes: self.edge.routes.as_ref().map(|routes| routes.addresses()).unwrap_or_default(),
        }
    }
}

/// How far a successor is that speaks on a line: it asks for the sockets at its beginning, and once more right before it
/// answers. From then on ports are opened by it alone; where it goes away instead, by this edge again.
struct Handing<'a> {
    routes: Option<&'a super::Routes>,
    times: u32,
}

impl Handing<'_> {
    fn begin_or_end(&mut self) {
        self.times += 1;
        if self.times == 1 {
            tracing::info!("another edge takes over");
        } else if let Some(routes) = self.routes {
            routes.open_no_more(true);
        }
    }
}

impl Drop for Handing<'_> {
    fn drop(&mut self) {
        if self.times > 1
            && let Some(routes) = self.routes
        {
            routes.open_no_more(false);
        }
    }
}

fn serves_none() -> Error {
    Error::new(Code::ProxyUnavailable, "the edge that runs serves no routes")
        .because("[routes] had no addresses when it was started")
        .hint("start `mcrun serve` anew: the edge that it starts takes over")
}

fn write(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

async fn trace(edge: &Edge, name: &str, rtype: RecordType) -> Answer {
    match dns::server::trace::trace(&edge.parts.service, name, rtype).await {
        Ok(steps) => Answer::Steps { steps },
        Err(error) => Answer::Failed { error },
    }
}
