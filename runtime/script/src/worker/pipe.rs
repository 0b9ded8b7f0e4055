//! Owns the worker's end of the pipe, its only descriptor. What is sent is gathered until the worker waits or has said a
//! lot. There is one pipe to a process, and the interrupt and the panic hook must reach it without a handle: it lives in
//! a thread-local.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::protocol::{self, PREFIX, ToHost, ToWorker};

/// What has been gathered is written when it reaches this size.
const MOST_GATHERED: usize = 64 << 10;
/// Log lines of a script that computes for long still come promptly.
const LONGEST_GATHERING: Duration = Duration::from_millis(20);
const CHUNK: usize = 64 << 10;

thread_local! {
    static PIPE: RefCell<Pipe> = const { RefCell::new(Pipe::new()) };
}

struct Pipe {
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    taken: usize,
    written: Option<Instant>,
}

impl Pipe {
    const fn new() -> Self {
        Self { outgoing: Vec::new(), incoming: Vec::new(), taken: 0, written: None }
    }

    fn append<T: Serialize>(&mut self, frame: &T) {
        if protocol::append(&mut self.outgoing, frame).is_err() {
            // Arguments and log lines are bounded far below a frame; what is left is not worth a message.
            exit();
        }
        if self.outgoing.len() >= MOST_GATHERED {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut rest = self.outgoing.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(descriptor(), rest) {
                Ok(count) => rest = &rest[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => exit(),
            }
        }
        self.outgoing.clear();
        self.written = Some(Instant::now());
    }

    fn frame(&mut self) -> Option<ToWorker> {
        let rest = &self.incoming[self.taken..];
        let (prefix, body) = rest.split_first_chunk::<PREFIX>()?;
        let Ok(length) = protocol::length(*prefix) else { exit() };
        let body = body.get(..length)?;
        let Ok(frame) = protocol::parse(body) else { exit() };
        self.taken += PREFIX + length;
        Some(frame)
    }

    fn fill(&mut self) {
        self.incoming.drain(..self.taken);
        self.taken = 0;
        let filled = self.incoming.len();
        self.incoming.resize(filled + CHUNK, 0);
        let count = loop {
            match rustix::io::read(descriptor(), &mut self.incoming[filled..]) {
                Ok(0) => exit(),
                Ok(count) => break count,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => exit(),
            }
        };
        self.incoming.truncate(filled + count);
    }
}

fn descriptor() -> BorrowedFd<'static> {
    // SAFETY: descriptor 0 is the pipe from start to end of this process; nothing here ever closes it.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// Ends the process without running destructors: the VM may be in the middle of anything.
pub(super) fn exit() -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(0) }
}

/// Says something; it is written when the worker waits, at the latest.
pub(super) fn send(frame: &ToHost) {
    PIPE.with_borrow_mut(|pipe| pipe.append(frame));
}

/// Says something that somebody may be watching for.
pub(super) fn send_promptly(frame: &ToHost) {
    PIPE.with_borrow_mut(|pipe| {
        pipe.append(frame);
        if pipe.written.is_none_or(|written| written.elapsed() >= LONGEST_GATHERING) {
            pipe.flush();
        }
    });
}

/// Says the first word, at once: from then on the host watches the time, and native code may keep the worker from ever
/// writing again.
pub(super) fn greet(frame: &ToHost) {
    PIPE.with_borrow_mut(|pipe| {
        pipe.append(frame);
        pipe.flush();
        // Nobody waits for a second greeting: what a script says first is written promptly too.
        pipe.written = None;
    });
}

/// Writes what has been said so far.
pub(super) fn flush() {
    PIPE.with_borrow_mut(Pipe::flush);
}

/// Waits for the host's next word.
pub(super) fn receive() -> ToWorker {
    PIPE.with_borrow_mut(|pipe| {
        loop {
            if let Some(frame) = pipe.frame() {
                return frame;
            }
            pipe.fill();
        }
    })
}

/// The host's next word, if it has arrived already.
pub(super) fn arrived() -> Option<ToWorker> {
    PIPE.with_borrow_mut(Pipe::frame)
}

/// Says the last word and ends the process.
pub(super) fn finish(frame: &ToHost) -> ! {
    PIPE.with(|pipe| {
        // Borrowed only when the pipe's own code panicked: then there is no way to say so.
        if let Ok(mut pipe) = pipe.try_borrow_mut() {
            pipe.append(frame);
            pipe.flush();
        }
    });
    exit()
}
