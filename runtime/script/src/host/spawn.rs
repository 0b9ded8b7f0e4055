//! Owns the start and the end of the worker's process.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use effect::{Code, Error, Result};
use tokio::net::UnixStream;
use tokio::process::Child;

use super::forked::Forked;

/// A worker that has closed its pipe is gone after this.
const PATIENCE: Duration = Duration::from_millis(500);

/// A worker's process.
#[derive(Debug)]
pub(super) enum Process {
    /// It was started.
    Started(Child),
    /// It was copied from a template.
    Forked(Forked),
}

/// The error of a worker that there is none of.
pub(super) fn cannot_start(error: std::io::Error) -> Error {
    Error::new(Code::WorkerLost, "the worker cannot be started").because(error).retryable()
}

/// Both ends of a worker's pipe: ours, and the one that it gets.
pub(super) fn pipe() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, OwnedFd::from(theirs)))
}

/// Starts `program worker` with the pipe as its standard input, an empty environment and nothing else.
pub(super) fn spawn(program: &Path) -> Result<(Process, UnixStream)> {
    let (stream, theirs) = pipe().map_err(cannot_start)?;
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts a worker")]
    let mut command = tokio::process::Command::new(program);
    // No `pre_exec`: with one, the child is forked instead of spawned, which costs a copy of the host's page tables.
    command
        .arg("worker")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let child = command.spawn().map_err(cannot_start)?;
    Ok((Process::Started(child), stream))
}

impl Process {
    /// Kills the worker, if it still lives, and waits until it is gone.
    pub(super) async fn end(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Started(child) => {
                // An error means that it is gone already.
                let _ = child.start_kill();
            }
            Self::Forked(child) => child.kill(),
        }
        self.wait().await
    }

    async fn wait(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Started(child) => child.wait().await.ok(),
            Self::Forked(child) => child.wait().await,
        }
    }

    /// Waits for a worker that has closed its pipe: it is about to be gone by itself.
    pub(super) async fn gone(&mut self) -> Option<ExitStatus> {
        match tokio::time::timeout(PATIENCE, self.wait()).await {
            Ok(status) => status,
            Err(_) => self.end().await,
        }
    }
}
