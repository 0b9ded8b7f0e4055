//! Owns the worker that others are copied from: started once and with its prelude compiled, it is forked for each run.
//! That takes a tenth of a start, and the copies share what none of them changes. It never sees a script.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;

use super::pipe;
use crate::protocol::{FORKS, ToWorker};

/// Makes a worker for every pipe that arrives. Returns in each of these, with the first word of its host; the template
/// itself ends with its own host.
pub(super) fn fork_for_each_pipe() -> ToWorker {
    answer(&[FORKS]);
    loop {
        let Some(theirs) = next_pipe() else { pipe::exit() };
        match fork_beside() {
            Ok(0) => {
                adopt(theirs);
                return pipe::receive();
            }
            Ok(pid) => answer(&pid.to_le_bytes()),
            Err(()) => answer(&0_i32.to_le_bytes()),
        }
    }
}

fn control() -> BorrowedFd<'static> {
    // SAFETY: descriptor 0 is open from start to end of this process.
    unsafe { BorrowedFd::borrow_raw(0) }
}

fn answer(bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(control(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => pipe::exit(),
        }
    }
}

/// The pipe that comes with the next byte; none when the host is gone.
fn next_pipe() -> Option<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    loop {
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        match recvmsg(control(), &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) if message.bytes == 0 => return None,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut pipes) = message {
                return pipes.next();
            }
        }
        return None;
    }
}

/// Forks a child of the host's, so that the host learns how it ends; 0 in the child.
fn fork_beside() -> Result<i32, ()> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without a stack of its own and without shared memory this is a fork. This process has one thread, so nothing
    // can be held in the copy by a thread that is not there. The copy asks the kernel for its ids whenever it needs them.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    i32::try_from(pid).ok().filter(|pid| *pid >= 0).ok_or(())
}

/// Makes `theirs` the only way out, and dies with the host.
fn adopt(theirs: OwnedFd) {
    // SAFETY: the control socket lives on in the template; nothing in this copy holds descriptor 0 by value.
    let moved = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&theirs), 0) };
    drop(theirs);
    // Not inherited by a fork.
    let dies = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if moved != 0 || dies.is_err() {
        pipe::exit();
    }
}
