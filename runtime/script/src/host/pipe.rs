//! Owns the bytes between host and worker. Both directions survive cancellation: what was read or written so far is
//! kept here, not in a future.

use std::io;

use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::protocol::{self, FrameError, PREFIX, ToHost};

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// How much of what has been written is kept in the buffer; taking it away moves the rest.
const MOST_WRITTEN: usize = 1 << 20;

/// What is read from the worker.
pub(super) struct Incoming {
    buffer: Vec<u8>,
    taken: usize,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::with_capacity(CHUNK), taken: 0 }
    }

    /// The next frame that has arrived whole.
    pub(super) fn frame(&mut self) -> Result<Option<(ToHost, usize)>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((prefix, body)) = rest.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let length = protocol::length(*prefix)?;
        if body.len() < length {
            return Ok(None);
        }
        let frame = protocol::parse(&body[..length])?;
        self.taken += PREFIX + length;
        Ok(Some((frame, length)))
    }

    /// Waits for more bytes; 0 when the worker has closed its end.
    pub(super) async fn fill(&mut self, stream: &mut tokio::net::unix::OwnedReadHalf) -> io::Result<usize> {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.reserve(CHUNK);
        stream.read_buf(&mut self.buffer).await
    }
}

/// What is still to be written to the worker.
pub(super) struct Outgoing {
    buffer: Vec<u8>,
    written: usize,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self { buffer: Vec::new(), written: 0 }
    }

    pub(super) fn push<T: Serialize>(&mut self, frame: &T) -> Result<(), FrameError> {
        // A long history is written behind while more of it is put before: what is written must not pile up.
        if self.written >= MOST_WRITTEN {
            self.buffer.drain(..self.written);
            self.written = 0;
        }
        protocol::append(&mut self.buffer, frame)
    }

    pub(super) fn pending(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Writes what the socket takes at once, so that an answer need not wait for the next turn of the event loop.
    ///
    /// A worker that is gone is reported by reading, with what it still had to say; what is left for it is dropped,
    /// because a broken socket is always writable and waiting for that would spin without ever letting the loop turn.
    pub(super) fn write_some(&mut self, stream: &tokio::net::unix::OwnedWriteHalf) {
        while self.pending() > 0 {
            match stream.try_write(&self.buffer[self.written..]) {
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.advance(self.pending()),
            }
        }
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.buffer.len() {
            self.buffer.clear();
            self.written = 0;
        }
    }
}

/// Both halves of the socket, so that reading and writing can be awaited side by side.
pub(super) fn halves(
    stream: UnixStream,
) -> (tokio::net::unix::OwnedReadHalf, tokio::net::unix::OwnedWriteHalf) {
    stream.into_split()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_does_not_pile_up() {
        let mut outgoing = Outgoing::new();
        let frame = "x".repeat(100_000);
        for _ in 0..1000 {
            outgoing.push(&frame).unwrap();
            // The worker is always a little behind.
            outgoing.advance(outgoing.pending() - 1);
        }
        assert!(outgoing.buffer.len() < 2 * MOST_WRITTEN, "{}", outgoing.buffer.len());
    }
}
