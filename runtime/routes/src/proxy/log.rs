//! Owns the log of requests: a line of JSON for each, written by a thread of its own. A disk that is slow or full costs
//! lines, which are counted, and never a request. A file that others renamed is opened anew; one that cannot be opened, as
//! its folder is not there, is tried again with every request, and holds nothing up.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use effect::{Code, Error, Result};
use journal::Clock;
use serde::Serialize;

use crate::route::Key;
use crate::settings::AccessLog;

/// Lines that wait for the disk.
const WAITING: usize = 8192;
/// What others wrote is cut after so many octets.
const LONGEST: usize = 1024;

/// What whoever reads requests knows of one.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<&'a str>,
    /// Without its query, in which secrets may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<&'a str>,
    /// `HTTP/1.1`, `HTTP/2`; `l4` for connections.
    pub(crate) protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<&'a str>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<&'a str>,
}

impl Line<'_> {
    fn cut(self) -> Self {
        let cut = |text: Option<&'_ str>| text.map(|text| text.len()).unwrap_or(0) > LONGEST;
        if !cut(self.path) && !cut(self.agent) && !cut(self.host) && !cut(self.problem) {
            return self;
        }
        let cut = |text| Option::map(text, shortened);
        Self {
            path: cut(self.path),
            agent: cut(self.agent),
            host: cut(self.host),
            problem: cut(self.problem),
            ..self
        }
    }
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// A request that came to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) route: &'a Key,
    pub(crate) client: IpAddr,
    pub(crate) status: Option<u16>,
    pub(crate) backend: Option<SocketAddr>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) micros: u64,
    pub(crate) line: Line<'a>,
}

#[derive(Serialize)]
struct Written<'a> {
    time: &'a str,
    route: &'a str,
    client: IpAddr,
    #[serde(flatten)]
    line: Line<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<SocketAddr>,
    received: u64,
    sent: u64,
    us: u64,
}

/// Where lines are handed in.
pub(crate) struct Log {
    lines: SyncSender<Vec<u8>>,
    clock: Arc<dyn Clock>,
    lost: Arc<AtomicU64>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Log").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl Log {
    /// Begins to write.
    ///
    /// # Errors
    /// `MC-I002` where there is no thread for it.
    pub(crate) fn start(settings: &AccessLog, clock: Arc<dyn Clock>) -> Result<Arc<Self>> {
        let place = Place { path: settings.file.clone(), most: settings.size.saturating_mul(1 << 20) };
        let (lines, waiting) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("routes-log".into())
            .spawn(move || write_all(&place, &waiting, &counted))
            .map_err(|error| {
                Error::new(Code::LogTarget, "there is no thread for the log of requests").because(error)
            })?;
        Ok(Arc::new(Self { lines, clock, lost }))
    }

    /// How many lines found no place.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let written = Written {
            time: &self.clock.now().to_string(),
            route: &entry.route.to_string(),
            client: entry.client,
            line: entry.line.cut(),
            status: entry.status,
            backend: entry.backend,
            received: entry.received,
            sent: entry.sent,
            us: entry.micros,
        };
        let handed_over = serde_json::to_vec(&written).is_ok_and(|mut line| {
            line.push(b'\n');
            self.lines.try_send(line).is_ok()
        });
        if !handed_over {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Which file it is, and how large it may become.
struct Place {
    path: PathBuf,
    most: u64,
}

impl Place {
    /// Opens the file at the start. What is missing may come: it is said once, since requests come as often as they like.
    fn first(&self) -> Option<LogFile> {
        let refused = |error: &io::Error| {
            let message = format!("the log of requests `{}` cannot be written", self.path.display());
            let error = Error::new(Code::LogTarget, message).because(error);
            tracing::error!(%error, "requests are served without it; it is tried again with each of them");
        };
        LogFile::open(&self.path, self.most).inspect_err(refused).ok()
    }

    fn later(&self) -> io::Result<LogFile> {
        let file = LogFile::open(&self.path, self.most)?;
        tracing::info!(file = %self.path.display(), "the log of requests is written from now on");
        Ok(file)
    }
}

/// Writes what waits until nobody can hand in more.
fn write_all(place: &Place, waiting: &Receiver<Vec<u8>>, lost: &AtomicU64) {
    let mut file = place.first();
    let mut batch = Vec::new();
    while let Ok(first) = waiting.recv() {
        batch.clear();
        batch.extend_from_slice(&first);
        let mut count = 1;
        while batch.len() < 256 << 10
            && let Ok(line) = waiting.try_recv()
        {
            batch.extend_from_slice(&line);
            count += 1;
        }
        let written = match &mut file {
            Some(file) => file.append(&batch),
            None => place.later().and_then(|opened| file.insert(opened).append(&batch)),
        };
        if written.is_err() {
            lost.fetch_add(count, Ordering::Relaxed);
        }
    }
}

struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    most: u64,
    /// Whether the last line may not be whole.
    is_cut: bool,
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().create(true).append(true).mode(0o640).open(path)
}

impl LogFile {
    fn open(path: &Path, most: u64) -> io::Result<Self> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, most: most.max(1 << 20), is_cut: false })
    }

    /// Whether others renamed the file or took it away, as programs do that keep logs in order.
    fn is_elsewhere(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let of = |file: std::fs::Metadata| (file.dev(), file.ino());
        self.file.metadata().is_ok_and(|own| std::fs::metadata(&self.path).map(of).ok() != Some(of(own)))
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        if self.is_elsewhere()
            && let Ok(anew) = Self::open(&self.path, self.most)
        {
            *self = anew;
        }
        if self.size > 0 && self.size + batch.len() as u64 > self.most {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            self.file = open(&self.path)?;
            self.size = 0;
        }
        let written = self.end_cut_line().and_then(|()| self.file.write_all(batch));
        // What a full disk took of it counts too: its last line may be cut, and the next must not follow on it.
        self.is_cut |= written.is_err();
        self.size = self.file.metadata().map_or(self.size, |file| file.len());
        written
    }

    fn end_cut_line(&mut self) -> io::Result<()> {
        if self.is_cut && self.size > 0 {
            self.file.write_all(b"\n")?;
        }
        self.is_cut = false;
        Ok(())
    }
}
