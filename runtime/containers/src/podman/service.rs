//! Owns finding the engine's socket, and starting `podman system service` where only the program is there.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use crate::engine::client::{Locate, try_connect};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Linux takes at most 107 bytes for the path of a socket.
const LONGEST_SOCKET_PATH: usize = 100;
/// The service ends by itself after this many idle seconds.
const IDLE_SECONDS: &str = "--time=60";
/// What the service needs of our environment; secrets that mcrun itself was given stay behind.
const PASSED_ON: [&str; 8] =
    ["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "DBUS_SESSION_BUS_ADDRESS", "REGISTRY_AUTH_FILE"];
const PASSED_ON_PREFIXES: [&str; 3] = ["XDG_", "CONTAINERS_", "STORAGE_"];
const PASSED_ON_SUFFIXES: [&str; 2] = ["_PROXY", "_proxy"];

/// Knows where an engine may listen.
pub(super) struct Locator {
    configured: Option<PathBuf>,
    state_dir: PathBuf,
}

impl Locator {
    pub(super) fn new(configured: Option<PathBuf>, state_dir: PathBuf) -> Self {
        Self { configured, state_dir }
    }

    /// Where the service that mcrun starts itself listens.
    fn own_socket(&self) -> PathBuf {
        let path = self.state_dir.join("podman.sock");
        if path.as_os_str().len() <= LONGEST_SOCKET_PATH {
            return path;
        }
        let digest = blake3::hash(self.state_dir.as_os_str().as_encoded_bytes()).to_hex();
        let user = rustix::process::getuid().as_raw();
        std::env::temp_dir().join(format!("mcrun-{user}-{}", &digest[..16])).join("podman.sock")
    }

    /// Where somebody else's service listens.
    fn usual_sockets() -> impl Iterator<Item = PathBuf> {
        let of_user =
            std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("podman/podman.sock"));
        of_user.into_iter().chain([PathBuf::from("/run/podman/podman.sock")])
    }

    /// Whether a service was set up on this machine, be it configured or in a usual place.
    pub(super) fn is_set_up(&self) -> bool {
        self.configured.is_some() || Self::usual_sockets().any(|path| path.exists())
    }

    async fn start(&self, program: &Path) -> Result<(PathBuf, UnixStream)> {
        let socket = self.own_socket();
        let dir = socket.parent().unwrap_or(Path::new("/"));
        prepare_dir(dir)?;
        // Two commands that start at once must not start two services on one socket.
        let _lock = lock(&dir.join("podman.lock")).await?;
        if let Some(stream) = try_connect(&socket).await {
            return Ok((socket, stream));
        }
        let log = dir.join("podman-service.log");
        let mut child = spawn(program, &socket, &log)?;
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(stream) = try_connect(&socket).await {
                return Ok((socket, stream));
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(unavailable(format!(
                    "`podman system service` ended with {status}: {}",
                    last_words(&log)
                )));
            }
            sleep(POLL).await;
        }
        Err(unavailable(format!("`podman system service` does not answer: {}", last_words(&log))))
    }
}

#[async_trait]
impl Locate for Locator {
    async fn open(&self) -> Result<(PathBuf, UnixStream)> {
        for path in self.sockets() {
            if let Some(stream) = try_connect(&path).await {
                return Ok((path, stream));
            }
        }
        if let Some(path) = &self.configured {
            return Err(unavailable(format!("nothing answers at {}", path.display())));
        }
        match program() {
            Some(program) => self.start(&program).await,
            None => Err(unavailable("there is neither a socket nor the program `podman`")),
        }
    }

    fn sockets(&self) -> Vec<PathBuf> {
        match &self.configured {
            Some(path) => vec![path.clone()],
            None => Self::usual_sockets().chain([self.own_socket()]).collect(),
        }
    }

    fn is_plausible(&self) -> bool {
        self.sockets().iter().any(|path| path.exists()) || (self.configured.is_none() && program().is_some())
    }
}

/// The directory of our own socket, which only we may enter: whoever reaches the socket commands the engine.
fn prepare_dir(dir: &Path) -> Result<()> {
    let failed = |cause: &dyn std::fmt::Display| {
        unavailable(format!("{} cannot be used for podman's socket: {cause}", dir.display()))
    };
    match std::fs::DirBuilder::new().mode(0o700).recursive(true).create(dir) {
        Ok(()) => {}
        Err(cause) => return Err(failed(&cause)),
    }
    let metadata = std::fs::symlink_metadata(dir).map_err(|cause| failed(&cause))?;
    let is_ours = std::os::unix::fs::MetadataExt::uid(&metadata) == rustix::process::getuid().as_raw();
    if !metadata.is_dir() || !is_ours {
        return Err(failed(&"it belongs to another user"));
    }
    Ok(())
}

async fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|cause| unavailable(format!("{}: {cause}", path.display())))?;
    let deadline = Instant::now() + START_TIMEOUT;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() > deadline {
            return Err(unavailable("another mcrun has been starting podman's service for too long"));
        }
        sleep(POLL).await;
    }
    Ok(file)
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts the engine's service")]
fn spawn(program: &Path, socket: &Path, log: &Path) -> Result<tokio::process::Child> {
    let failed = |cause: std::io::Error| unavailable(format!("{}: {cause}", program.display()));
    let log = File::create(log).map_err(failed)?;
    let mut command = tokio::process::Command::new(program);
    command
        .args(["system", "service", IDLE_SECONDS])
        .arg(format!("unix://{}", socket.display()))
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_passed_on(&name.to_string_lossy())))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            // A session of its own: Ctrl-C at the terminal is meant for mcrun, not for the engine.
            rustix::process::setsid()?;
            Ok(())
        });
    }
    command.spawn().map_err(failed)
}

fn is_passed_on(name: &str) -> bool {
    PASSED_ON.contains(&name)
        || PASSED_ON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || PASSED_ON_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// The program `podman`, looked for along PATH.
pub(super) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("podman")).find(|candidate| candidate.is_file())
}

fn last_words(log: &Path) -> String {
    let mut text = String::new();
    let read = File::open(log).and_then(|file| file.take(1 << 16).read_to_string(&mut text));
    match (read, text.lines().last()) {
        (Ok(_), Some(line)) => line.to_owned(),
        _ => "it said nothing".to_owned(),
    }
}

fn unavailable(cause: impl std::fmt::Display) -> Error {
    Error::new(Code::EngineUnavailable, "podman does not answer")
        .because(cause)
        .hint("`mcrun doctor` shows which engines were looked for; `exec = { … }` runs native programs without any")
        .retryable()
}
