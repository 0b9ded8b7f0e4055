//! Owns the host's side of a template, see [`crate::worker::template`]: asking it for workers, and their processes, which
//! are children of this one that it did not start itself.

use std::io::{IoSlice, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::Worker;
use super::spawn::{self, Process, cannot_start};
use crate::protocol::{self, FORKS, ToWorker};

/// A worker that waits to be copied. Dropping it ends it; its copies live on.
#[derive(Debug)]
pub struct Template {
    _process: Process,
    control: Mutex<UnixStream>,
}

impl Template {
    /// Starts `program worker` as a template, see [`Worker::start`].
    ///
    /// # Errors
    /// MC-S020 when no process can be started.
    pub async fn start(program: &Path) -> effect::Result<Self> {
        let (process, mut control) = spawn::spawn(program)?;
        let mut frame = Vec::new();
        protocol::append(&mut frame, &ToWorker::Fork).expect("a word without content is short");
        control.write_all(&frame).await.map_err(cannot_start)?;
        let forks = control.read_u8().await.map_err(cannot_start)?;
        debug_assert_eq!(forks, FORKS, "nothing else is ever answered");
        Ok(Self { _process: process, control: Mutex::new(control) })
    }

    /// A copy that waits to be told what to run.
    ///
    /// # Errors
    /// MC-S020 when no process can be made.
    pub async fn worker(&self) -> effect::Result<Worker> {
        let (stream, theirs) = spawn::pipe().map_err(cannot_start)?;
        let forked = self.fork(theirs).await.map_err(cannot_start)?;
        Ok(Worker { process: Process::Forked(forked), stream })
    }

    async fn fork(&self, theirs: OwnedFd) -> Result<Forked> {
        let mut control = self.control.lock().await;
        control.async_io(Interest::WRITABLE, || send(&control, &theirs)).await?;
        let mut pid = [0; 4];
        control.read_exact(&mut pid).await?;
        match Pid::from_raw(i32::from_le_bytes(pid)) {
            Some(pid) => Forked::adopt(pid),
            None => Err(std::io::Error::other("the template could not be copied")),
        }
    }
}

/// One byte, and the pipe with it.
fn send(control: &UnixStream, theirs: &OwnedFd) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let pipes = [theirs.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&pipes)), "the space is for one");
    sendmsg(control, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The process of a copy.
#[derive(Debug)]
pub(super) struct Forked {
    handle: AsyncFd<OwnedFd>,
    status: Option<ExitStatus>,
}

impl Forked {
    fn adopt(pid: Pid) -> Result<Self> {
        // Nobody else waits for it, so the number cannot have been given away.
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, which only the `AsyncFd` does.
        let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE)? };
        Ok(Self { handle, status: None })
    }

    pub(super) fn kill(&self) {
        // An error means that it is gone already.
        let _ = rustix::process::pidfd_send_signal(self.handle.get_ref(), Signal::KILL);
    }

    pub(super) async fn wait(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            drop(self.handle.readable().await.ok()?);
            self.status = self.reap(WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        self.status
    }

    fn reap(&self, options: WaitIdOptions) -> Option<ExitStatus> {
        let id = WaitId::PidFd(self.handle.get_ref().as_fd());
        let ended = rustix::process::waitid(id, options).ok().flatten()?;
        // As `wait` would tell it: a signal in the low bits, or a code above them.
        let raw = match ended.terminating_signal() {
            Some(signal) => signal,
            None => ended.exit_status().unwrap_or_default() << 8,
        };
        Some(ExitStatus::from_raw(raw))
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
            // It dies at once, and a zombie would stay.
            let _ = self.reap(WaitIdOptions::EXITED);
        }
    }
}
