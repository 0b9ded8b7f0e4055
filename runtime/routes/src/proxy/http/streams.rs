//! Owns bodies over HTTP/2, of either side: both ways with no more in memory than the windows allow.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::{Broken, Piece};
use super::fields::{Fields, may_trail};

/// As much as is asked room for at once.
const PIECE: usize = 16 << 10;

/// A body that comes.
#[derive(Default)]
pub(super) struct Incoming {
    stream: Option<RecvStream>,
    at_hand: Bytes,
    trailers: Fields,
}

impl Incoming {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream: Some(stream), ..Self::default() }
    }

    pub(super) fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(Piece::End)) };
        if !self.at_hand.is_empty() {
            return Poll::Ready(Ok(Piece::Data));
        }
        while let Some(data) = ready!(stream.poll_data(context)) {
            let data = data?;
            if !data.is_empty() {
                self.at_hand = data;
                return Poll::Ready(Ok(Piece::Data));
            }
        }
        if let Some(trailers) = ready!(stream.poll_trailers(context))? {
            for (name, value) in &trailers {
                if may_trail(name.as_str().as_bytes()) {
                    self.trailers.push(name.as_str().as_bytes(), value.as_bytes().trim_ascii());
                }
            }
        }
        self.stream = None;
        Poll::Ready(Ok(Piece::End))
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.at_hand
    }

    pub(super) fn taken(&mut self) {
        if let Some(stream) = &mut self.stream {
            // A stream that is reset has no window to give back.
            let _ = stream.flow_control().release_capacity(self.at_hand.len());
        }
        self.at_hand = Bytes::new();
    }

    pub(super) fn trailers(&self) -> Option<&Fields> {
        Some(&self.trailers).filter(|trailers| !trailers.is_empty())
    }
}

/// Whether the window has room for a piece.
pub(super) fn poll_room(
    stream: &mut SendStream<Bytes>,
    context: &mut Context<'_>,
) -> Poll<Result<(), Broken>> {
    loop {
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        stream.reserve_capacity(PIECE);
        match ready!(stream.poll_capacity(context)) {
            Some(capacity) => capacity?,
            None => return Poll::Ready(Err(Broken::Said("the stream is over"))),
        };
    }
}

pub(super) fn push(stream: &mut SendStream<Bytes>, data: &[u8]) -> Result<(), Broken> {
    Ok(stream.send_data(Bytes::copy_from_slice(data), false)?)
}

pub(super) fn end(stream: &mut SendStream<Bytes>, trailers: Option<&Fields>) -> Result<(), Broken> {
    match trailers {
        Some(trailers) => {
            let mut map = HeaderMap::new();
            fill(&mut map, trailers);
            stream.send_trailers(map)?;
        }
        None => stream.send_data(Bytes::new(), true)?,
    }
    Ok(())
}

/// Puts fields into the form in which HTTP/2 takes them.
pub(super) fn fill(map: &mut HeaderMap, fields: &Fields) {
    let text = Bytes::copy_from_slice(fields.wire());
    for (name, range) in fields.ranges() {
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_maybe_shared(text.slice(range));
        // What HTTP/1 was let through with, HTTP/2 takes too: both know the same characters.
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
}
