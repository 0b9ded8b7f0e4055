//! Owns the engine's multiplexed output: frames of one stream each, cut into lines.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::driver::{LogLine, Stream};

const HEADER: usize = 8;
/// A frame larger than this is not a frame: the stream is out of step.
const LARGEST_FRAME: usize = 4 << 20;
/// Longer lines are cut in pieces.
const LONGEST_LINE: usize = 64 << 10;

/// Reads frames from a body as they come.
pub(crate) struct Frames {
    body: Incoming,
    buffer: BytesMut,
}

impl Frames {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next frame; `None` at the end of the stream or when it breaks.
    pub(crate) async fn next(&mut self) -> Option<(Stream, Bytes)> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer)? {
                return Some(frame);
            }
            let data = self.body.frame().await?.ok()?.into_data().ok()?;
            self.buffer.extend_from_slice(&data);
        }
    }
}

/// `Some(None)` while the frame is incomplete, `None` when the bytes are no frames.
pub(super) fn take_frame(buffer: &mut BytesMut) -> Option<Option<(Stream, Bytes)>> {
    if buffer.len() < HEADER {
        return Some(None);
    }
    let stream = if buffer[0] == 2 { Stream::Stderr } else { Stream::Stdout };
    let length = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]) as usize;
    if buffer[0] > 2 || length > LARGEST_FRAME {
        return None;
    }
    if buffer.len() < HEADER + length {
        return Some(None);
    }
    buffer.advance(HEADER);
    Some(Some((stream, buffer.split_to(length).freeze())))
}

/// Joins the frames of each stream to lines.
#[derive(Default)]
pub(crate) struct Lines {
    open: [BytesMut; 2],
    ready: VecDeque<LogLine>,
}

impl Lines {
    pub(crate) fn push(&mut self, stream: Stream, data: &[u8]) {
        let open = &mut self.open[usize::from(stream == Stream::Stderr)];
        open.extend_from_slice(data);
        while let Some(end) = open.iter().position(|byte| *byte == b'\n') {
            let line = open.split_to(end + 1);
            self.ready.push_back(log_line(stream, &line[..end]));
        }
        if open.len() > LONGEST_LINE {
            self.ready.push_back(log_line(stream, &open.split()));
        }
    }

    pub(crate) fn pop(&mut self) -> Option<LogLine> {
        self.ready.pop_front()
    }

    /// What was written without a line end.
    pub(crate) fn finish(&mut self) {
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if !self.open[index].is_empty() {
                self.ready.push_back(log_line(stream, &self.open[index].split()));
            }
        }
    }
}

/// The engine puts the time, in its own zone, and a blank before each line.
fn log_line(stream: Stream, bytes: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\r');
    if let Some((time, line)) = text.split_once(' ')
        && let Ok(at) = time.parse::<jiff::Timestamp>()
    {
        return LogLine { stream, line: line.to_owned(), at: Some(at.to_string()) };
    }
    LogLine { stream, line: text.to_owned(), at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_in_any_pieces() {
        let mut buffer = BytesMut::new();
        for byte in [1, 0, 0, 0, 0, 0, 0, 2, b'h'] {
            buffer.extend_from_slice(&[byte]);
            assert_eq!(take_frame(&mut buffer), Some(None));
        }
        buffer.extend_from_slice(b"i");
        assert_eq!(take_frame(&mut buffer), Some(Some((Stream::Stdout, Bytes::from_static(b"hi")))));
    }

    #[test]
    fn bytes_that_are_no_frames_end_the_stream() {
        assert_eq!(take_frame(&mut BytesMut::from(&b"HTTP/1.1"[..])), None);
        assert_eq!(take_frame(&mut BytesMut::from(&[1, 0, 0, 0, 255, 0, 0, 0][..])), None);
    }

    #[test]
    fn lines_keep_their_stream_and_time() {
        let mut lines = Lines::default();
        lines.push(Stream::Stdout, b"2026-11-22T03:50:57+02:00 a b\npart");
        lines.push(Stream::Stderr, b"oops\r\n");
        lines.finish();
        let found: Vec<_> = std::iter::from_fn(|| lines.pop()).collect();
        assert_eq!(found[0].at.as_deref(), Some("2026-11-22T01:50:57Z"));
        assert_eq!(found.iter().map(|line| line.line.as_str()).collect::<Vec<_>>(), ["a b", "oops", "part"]);
        assert_eq!(found[1].stream, Stream::Stderr);
    }
}
