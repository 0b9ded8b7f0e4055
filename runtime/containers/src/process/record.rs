//! Owns the files of one native program: what is to run, what its shim runs, and how it is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use effect::Hidden;
use effect::units::{Size, Span};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spec::{Health, Port, Restart};

/// Everything that a shim has to know of its program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) workdir: Option<String>,
    pub(super) user: Option<String>,
    pub(super) restart: Restart,
    pub(super) stop_signal: i32,
    pub(super) stop_timeout: Span,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) service: String,
    pub(super) health: Option<Health>,
    pub(super) ports: Vec<Port>,
    pub(super) volumes: Vec<String>,
    /// Whether it sees the host's root read-only.
    #[serde(default)]
    pub(super) read_only: bool,
    /// Whether it has a loopback device alone.
    #[serde(default)]
    pub(super) no_network: bool,
    /// The keyed hash of each secret.
    pub(super) secrets: BTreeMap<String, String>,
    /// Where each came from, sealed.
    #[serde(default)]
    pub(super) origins: BTreeMap<String, Hidden>,
    pub(super) cpus: Option<f64>,
    pub(super) memory: Option<Size>,
    /// The control group of the program, and the one of all shims, where there are any.
    pub(super) group: Option<String>,
    pub(super) shims_group: Option<String>,
    /// The most bytes of one log file.
    pub(super) log_bytes: u64,
}

/// What a supervised program is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Running,
    /// It ended and waits for its next start.
    Waiting,
    Stopping,
    Ended,
}

/// How the program is, as its shim saw it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) phase: Phase,
    /// Process ids mean nothing after a reboot.
    pub(super) boot: String,
    pub(super) shim: Identity,
    pub(super) program: Option<Identity>,
    pub(super) exit_code: Option<i32>,
    pub(super) restarts: u32,
    pub(super) started_at: Option<String>,
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// When it started, in ticks since boot.
    pub(super) ticks: u64,
}

/// What a shim says once about the first start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Greeting {
    Started,
    /// Another shim has the program already.
    Taken,
    Failed(String),
}

/// The folder of one program.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What is to run at the next start.
    pub(super) fn wanted(&self) -> io::Result<Option<Program>> {
        read(&self.0.join("spec.json"))
    }

    pub(super) fn set_wanted(&self, program: &Program) -> io::Result<()> {
        write_through(&self.0.join("spec.json"), program)?;
        // The name of the folder itself, where it is new.
        self.0.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
    }

    /// What the shim runs.
    pub(super) fn running(&self) -> io::Result<Option<Program>> {
        read(&self.0.join("running.json"))
    }

    pub(super) fn set_running(&self, program: &Program) -> io::Result<()> {
        write(&self.0.join("running.json"), program)
    }

    pub(super) fn status(&self) -> io::Result<Option<Status>> {
        read(&self.0.join("status.json"))
    }

    pub(super) fn set_status(&self, status: &Status) -> io::Result<()> {
        write(&self.0.join("status.json"), status)
    }

    /// Leaves the order to stop within `timeout` for the shim.
    pub(super) fn order_stop(&self, timeout: Option<std::time::Duration>) -> io::Result<()> {
        write(&self.0.join("stop.json"), &timeout.map(Span))
    }

    /// Takes an order to stop: `Some(None)` is one without a time-out of its own.
    pub(super) fn take_stop(&self) -> Option<Option<Span>> {
        let path = self.0.join("stop.json");
        let order = read::<Option<Span>>(&path).ok().flatten();
        let _ = fs::remove_file(&path);
        order
    }

    /// The log files, newest first.
    pub(super) fn logs(&self) -> [PathBuf; 3] {
        ["log", "log.1", "log.2"].map(|name| self.0.join(name))
    }

    /// Forgets what an earlier program of this name left.
    pub(super) fn forget(&self) -> io::Result<()> {
        for name in ["running.json", "status.json", "stop.json"] {
            match fs::remove_file(self.0.join(name)) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
        }
        Ok(())
    }

    fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.join("lock"))
    }

    /// Takes the lock that tells that a shim is alive; `None` when another one has it. The kernel frees it with its
    /// holder.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let file = self.lock_file()?;
        let mut request = whole_file(libc::F_WRLCK);
        // SAFETY: the descriptor is open and `request` is a valid flock structure that outlives the call.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut request) };
        match (done, io::Error::last_os_error()) {
            (0, _) => Ok(Some(file)),
            (_, cause) if matches!(cause.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(None),
            (_, cause) => Err(cause),
        }
    }

    /// Whether a shim is alive. Asks only: taking the lock to find out would keep a starting shim from it.
    pub(super) fn is_supervised(&self) -> bool {
        let Ok(file) = OpenOptions::new().read(true).write(true).open(self.0.join("lock")) else {
            return false;
        };
        let mut request = whole_file(libc::F_WRLCK);
        // SAFETY: the descriptor is open and `request` is a valid flock structure that outlives the call.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut request) };
        done == 0 && i32::from(request.l_type) != libc::F_UNLCK
    }
}

fn whole_file(kind: i32) -> libc::flock {
    // SAFETY: flock is plain data for which all zeroes is a valid value; a lock of the kernel needs pid 0.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = kind as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|cause| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {cause}", path.display()))
        }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io::Error::new(cause.kind(), format!("{}: {cause}", path.display()))),
    }
}

/// Written beside and renamed: whoever reads sees the old or the new whole.
fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, value, |_| Ok(()))
}

/// The same for what must be there after a loss of power, because somebody is told that it is.
fn write_through<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, value, File::sync_all)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn replace<T: Serialize>(
    path: &Path,
    value: &T,
    settle: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        settle(&file)?;
        fs::rename(&draft, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map_err(|cause| io::Error::new(cause.kind(), format!("{}: {cause}", path.display())))
}
