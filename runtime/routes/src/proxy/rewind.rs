//! Owns reading the first octets of a connection without losing them for whoever gets it, and asking whether its other
//! end is still there while nothing is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What is looked at is no longer: a ClientHello with every post-quantum share fits several times.
pub(crate) const MOST: usize = 16 << 10;

/// A connection that remembers what was read of it, until it is told to forget.
#[derive(Debug)]
pub(crate) struct Rewind {
    stream: TcpStream,
    seen: Vec<u8>,
    /// How much of `seen` has been read again.
    read: usize,
    remembers: bool,
}

impl Rewind {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, seen: Vec::new(), read: 0, remembers: true }
    }

    /// What has come, without taking it.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Reads more of it. Whether there was any.
    pub(crate) async fn look(&mut self) -> io::Result<bool> {
        if self.seen.len() >= MOST {
            return Err(too_long());
        }
        let room = MOST - self.seen.len();
        let mut limited = (&mut self.stream).take(room as u64);
        Ok(limited.read_buf(&mut self.seen).await? > 0)
    }

    /// Takes the first octets away.
    pub(crate) fn skip(&mut self, octets: usize) {
        self.seen.drain(..octets);
    }

    /// Has what was seen be read once more.
    pub(crate) fn again(mut self) -> Self {
        self.read = 0;
        self
    }

    /// Has what was seen be read once more, and then no more be remembered.
    pub(crate) fn replayed(mut self) -> Self {
        self.read = 0;
        self.remembers = false;
        self
    }

    /// Forgets what was read.
    pub(crate) fn forget(&mut self) {
        self.seen = Vec::new();
        self.read = 0;
        self.remembers = false;
    }

    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.seen)
    }
}

/// A connection that can be asked about its other end, whatever of it was not read.
pub(crate) trait Peered {
    /// Whether nothing more will come of it.
    fn has_ended(&self) -> bool;
}

impl Peered for Rewind {
    fn has_ended(&self) -> bool {
        self.is(PollFlags::RDHUP)
    }
}

impl Peered for TlsStream<Rewind> {
    fn has_ended(&self) -> bool {
        self.get_ref().0.has_ended()
    }
}

impl Rewind {
    /// Whether it was reset, or closed in both directions: one that still listens is not.
    pub(crate) fn is_broken(&self) -> bool {
        self.is(PollFlags::empty())
    }

    /// Whether one of `what` is so of the socket, or it is broken, which is always told.
    fn is(&self, what: PollFlags) -> bool {
        let mut asked = [PollFd::new(&self.stream, what)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&at_once)).is_ok_and(|count| count > 0)
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what a connection begins with is too long")
}

impl AsyncRead for Rewind {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read < this.seen.len() {
            let rest = &this.seen[this.read..];
            let octets = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..octets]);
            this.read += octets;
            if this.read == this.seen.len() && !this.remembers {
                this.forget();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if this.remembers {
            this.seen.extend_from_slice(&buffer.filled()[before..]);
            this.read = this.seen.len();
            if this.seen.len() > MOST {
                return Poll::Ready(Err(too_long()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewind {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
