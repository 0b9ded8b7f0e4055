//! Owns the start and the end of the worker's process.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use effect::{Code, Error, Result};
use tokio::net::UnixStream;
use tokio::process::Child;

/// A worker's process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

/// Starts `program worker` with the pipe as its standard input, an empty environment and nothing else.
pub(super) fn spawn(program: &Path) -> Result<(Process, UnixStream)> {
    let failed = |error: std::io::Error| {
        Error::new(Code::WorkerLost, "the worker cannot be started").because(error).retryable()
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let stream = UnixStream::from_std(ours).map_err(failed)?;
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts a worker")]
    let mut command = tokio::process::Command::new(program);
    // No `pre_exec`: with one, the child is forked instead of spawned, which costs a copy of the host's page tables.
    command
        .arg("worker")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let child = command.spawn().map_err(failed)?;
    Ok((Process { child }, stream))
}

impl Process {
    /// Kills the worker, if it still lives, and waits until it is gone.
    pub(super) async fn end(&mut self) -> Option<ExitStatus> {
        // An error means that it is gone already.
        let _ = self.child.start_kill();
        self.child.wait().await.ok()
    }

    /// Waits for a worker that has closed its pipe: it is about to be gone by itself.
    pub(super) async fn gone(&mut self) -> Option<ExitStatus> {
        let patience = std::time::Duration::from_millis(500);
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => self.end().await,
        }
    }
}
