//! Owns connections that changed their protocol: bytes both ways, with next to no memory while none go by.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::upstream::Stream;
use super::wire::Wire;
use crate::proxy::pace::Pace;
use crate::proxy::pool::Chosen;
use crate::proxy::turn::Turn;

const PIECE: usize = 32 << 10;

thread_local! {
    /// What every tunnel of the thread reads into.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into_boxed_slice());
}

/// A tunnel to a back end, before it begins.
pub(super) struct Tunnel {
    upstream: Wire<Stream>,
    turn: Turn,
    _chosen: Chosen,
    idle: Duration,
}

/// One direction: what could not be written yet, and whether its end was seen and passed on.
#[derive(Default)]
struct Direction {
    left: Vec<u8>,
    written: usize,
    needs_flush: bool,
    is_ended: bool,
    is_over: bool,
}

impl Tunnel {
    pub(super) fn new(upstream: Wire<Stream>, turn: Turn, chosen: Chosen, idle: Duration) -> Self {
        Self { upstream, turn, _chosen: chosen, idle }
    }

    /// Carries bytes until both sides have ended, nothing goes by for too long, or its time is over.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(self: Box<Self>, client: Wire<S>) {
        let Self { upstream, turn, _chosen, idle } = *self;
        let (mut client, early, pending) = client.into_parts();
        let (mut upstream, answered, unsent) = upstream.into_parts();
        let mut there = Direction { left: [unsent, early].concat(), ..Direction::default() };
        let mut back = Direction { left: [pending, answered].concat(), ..Direction::default() };
        let _tunnel = turn.tunnel();
        let pace = Pace::new(idle);
        let carried = poll_fn(|context| {
            let up = there.poll(&mut client, &mut upstream, context, |octets| {
                turn.received(octets as u64);
                pace.moved(octets);
            });
            let down = back.poll(&mut upstream, &mut client, context, |octets| {
                turn.sent(octets as u64);
                pace.moved(octets);
            });
            match (up, down) {
                (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        });
        tokio::select! {
            // Whichever way it ends, both connections do.
            _ = carried => {}
            () = pace.given_up() => {}
            () = turn.cut() => {}
        }
    }
}

impl Direction {
    fn poll<F: AsyncRead + Unpin, T: AsyncWrite + Unpin>(
        &mut self,
        from: &mut F,
        to: &mut T,
        context: &mut Context<'_>,
        moved: impl Fn(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            while self.written < self.left.len() {
                let octets = ready!(Pin::new(&mut *to).poll_write(context, &self.left[self.written..]))?;
                if octets == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                moved(octets);
                self.written += octets;
                self.needs_flush = true;
            }
            if self.written > 0 {
                self.left = Vec::new();
                self.written = 0;
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            if self.is_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                self.is_over = true;
                return Poll::Ready(Ok(()));
            }
            if self.needs_flush {
                ready!(Pin::new(&mut *to).poll_flush(context))?;
                self.needs_flush = false;
            }
            ready!(self.poll_read(from, to, context, &moved))?;
        }
    }

    /// Reads, and writes at once what can be: only the rest takes memory of its own.
    fn poll_read<F: AsyncRead + Unpin, T: AsyncWrite + Unpin>(
        &mut self,
        from: &mut F,
        to: &mut T,
        context: &mut Context<'_>,
        moved: impl Fn(usize),
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(context, &mut buffer))?;
            let read = buffer.filled();
            if read.is_empty() {
                self.is_ended = true;
                return Poll::Ready(Ok(()));
            }
            let octets = match Pin::new(to).poll_write(context, read) {
                Poll::Ready(octets) => octets?,
                Poll::Pending => 0,
            };
            moved(octets);
            self.needs_flush = true;
            self.left.extend_from_slice(&read[octets..]);
            Poll::Ready(Ok(()))
        })
    }
}
