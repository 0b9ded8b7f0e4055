//! Owns the bytes of a connection on their way: what was read and not yet used, what is to be written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much as is read at once: what a record of TLS holds.
const PIECE: usize = 16 << 10;
/// From here on nothing more is taken to be written.
const FULL: usize = 32 << 10;
/// A buffer that has grown beyond that is not kept.
const KEPT: usize = 64 << 10;

/// A connection with its buffers, which are empty while nothing is on its way.
pub(super) struct Wire<S> {
    pub(super) stream: S,
    input: Vec<u8>,
    start: usize,
    end: usize,
    pub(super) output: Vec<u8>,
    written: usize,
    needs_flush: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            input: Vec::new(),
            start: 0,
            end: 0,
            output: Vec::new(),
            written: 0,
            needs_flush: false,
        }
    }

    /// What was read and not yet used.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    pub(super) fn consume(&mut self, octets: usize) {
        self.start += octets;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Reads more; 0 at the end of the connection. At most `most` octets are ever held.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        if self.end == self.input.len() {
            self.make_room(most);
        }
        if self.end == self.input.len() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let mut buffer = ReadBuf::new(&mut self.input[self.end..]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let octets = buffer.filled().len();
        self.end += octets;
        Poll::Ready(Ok(octets))
    }

    fn make_room(&mut self, most: usize) {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else {
            let wanted = (self.input.len() * 2).max(PIECE).min(most.max(PIECE));
            if wanted > self.input.len() {
                self.input.resize(wanted, 0);
            }
        }
    }

    /// Whether more may be put into the output, after writing what must be written first.
    pub(super) fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.len() - self.written < FULL {
            return Poll::Ready(Ok(()));
        }
        self.poll_write(context)
    }

    /// Writes the output.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let left = &self.output[self.written..];
            let octets = ready!(Pin::new(&mut self.stream).poll_write(context, left))?;
            if octets == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += octets;
            self.needs_flush = true;
        }
        if self.written > 0 {
            self.output.clear();
            self.written = 0;
            self.output.shrink_to(KEPT);
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether everything was written.
    pub(super) fn is_written(&self) -> bool {
        self.output.is_empty() && !self.needs_flush
    }

    /// Gives the buffers back to others, where nothing is in them.
    pub(super) fn release(&mut self) {
        if self.start == self.end {
            self.input = Vec::new();
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }

    /// The connection, with what was read and not used, and what was not written.
    pub(super) fn into_parts(self) -> (S, Vec<u8>, Vec<u8>) {
        let input = self.input[self.start..self.end].to_vec();
        let output = self.output[self.written..].to_vec();
        (self.stream, input, output)
    }
}
