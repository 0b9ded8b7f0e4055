//! Owns where bodies of HTTP/1 messages end: lengths, chunks, trailers.

use httparse::EMPTY_HEADER;

use super::fields::{Fields, may_trail};

/// A line with the size of a chunk, its extensions included.
const LONGEST_LINE: usize = 256;
const LARGEST_TRAILERS: usize = 8 << 10;
const MOST_TRAILERS: usize = 32;

/// Reads one body.
#[derive(Debug, Default)]
pub(super) struct Reader {
    state: State,
    /// Fields behind the last chunk.
    pub(super) trailers: Fields,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ended,
    Length(u64),
    Close,
    /// The line with the size of a chunk comes next.
    Size,
    Chunk(u64),
    /// The end of line behind a chunk.
    Behind,
    Trailers,
}

/// What comes next in the bytes at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// So many octets are framing: they are passed over.
    Skip(usize),
    /// So many octets are of the body.
    Data(usize),
    /// More bytes are needed.
    More,
    /// The body is over.
    End,
}

impl Reader {
    pub(super) fn length(&mut self, octets: u64) {
        self.begin(if octets == 0 { State::Ended } else { State::Length(octets) });
    }

    pub(super) fn chunks(&mut self) {
        self.begin(State::Size);
    }

    pub(super) fn until_close(&mut self) {
        self.begin(State::Close);
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.trailers.clear();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// What the end of the connection means: the end of a body that has no other, or one that was cut short.
    pub(super) fn close(&mut self) -> Result<(), &'static str> {
        if !matches!(self.state, State::Close | State::Ended) {
            return Err("the connection ended within the body");
        }
        self.state = State::Ended;
        Ok(())
    }

    /// What `bytes` begin with.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Next, &'static str> {
        let octets = bytes.len() as u64;
        match self.state {
            State::Ended => Ok(Next::End),
            _ if bytes.is_empty() => Ok(Next::More),
            State::Length(left) | State::Chunk(left) => {
                let at_hand = usize::try_from(left.min(octets)).unwrap_or(bytes.len());
                Ok(Next::Data(at_hand))
            }
            State::Close => Ok(Next::Data(bytes.len())),
            State::Size => self.size(bytes),
            State::Behind => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Next::Skip(2))
                }
                [b'\r'] => Ok(Next::More),
                _ => Err("a chunk is longer than it says"),
            },
            State::Trailers => self.trailers(bytes),
        }
    }

    /// So many octets of the body were taken.
    pub(super) fn taken(&mut self, octets: usize) {
        let octets = octets as u64;
        self.state = match self.state {
            State::Length(left) if left == octets => State::Ended,
            State::Length(left) => State::Length(left - octets),
            State::Chunk(left) if left == octets => State::Behind,
            State::Chunk(left) => State::Chunk(left - octets),
            other => other,
        };
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Next, &'static str> {
        let window = &bytes[..bytes.len().min(LONGEST_LINE)];
        let Some(end) = memchr::memchr(b'\n', window) else {
            let is_short = bytes.len() < LONGEST_LINE;
            return if is_short { Ok(Next::More) } else { Err("the size of a chunk takes too long a line") };
        };
        let line = window[..end].strip_suffix(b"\r").ok_or("the size of a chunk does not end in CR LF")?;
        let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
        let (digits, extensions) = line.split_at(digits);
        let is_number = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let is_plain = extensions.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        let number = str::from_utf8(digits).ok().filter(|_| is_number && is_plain);
        let size = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        self.state = match size.ok_or("the size of a chunk is no number")? {
            0 => State::Trailers,
            size => State::Chunk(size),
        };
        Ok(Next::Skip(end + 1))
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Next, &'static str> {
        let end = match bytes {
            [b'\r', b'\n', ..] => Some(2),
            _ => memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4),
        };
        let block = &bytes[..end.unwrap_or(bytes.len())];
        if memchr::memchr_iter(b'\n', block).any(|at| at == 0 || block[at - 1] != b'\r') {
            return Err("a line of the trailers does not end in CR LF");
        }
        let Some(end) = end else {
            let is_small = bytes.len() <= LARGEST_TRAILERS;
            return if is_small { Ok(Next::More) } else { Err("the trailers are too large") };
        };
        if end > LARGEST_TRAILERS {
            return Err("the trailers are too large");
        }
        let mut space = [EMPTY_HEADER; MOST_TRAILERS];
        let Ok(httparse::Status::Complete((length, fields))) = httparse::parse_headers(block, &mut space)
        else {
            return Err("the trailers are no header fields");
        };
        if length != end {
            return Err("the trailers are no header fields");
        }
        for field in fields {
            if !may_trail(field.name.as_bytes()) {
                return Err("a field that may not come behind a body");
            }
            self.trailers.push(field.name.as_bytes(), field.value);
        }
        self.state = State::Ended;
        Ok(Next::Skip(end))
    }
}

/// Writes a piece of a body as a chunk.
pub(super) fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut size = [0; 16];
    let mut at = size.len();
    let mut left = data.len();
    while left > 0 {
        at -= 1;
        size[at] = DIGITS[left & 15];
        left >>= 4;
    }
    out.extend_from_slice(&size[at..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk with what comes behind it.
pub(super) fn write_end(trailers: Option<&Fields>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers.map_or(b"", Fields::wire));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of `bytes` when they come `step` at a time, and what is left of them.
    fn read(bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize), &'static str> {
        let mut reader = Reader::default();
        reader.chunks();
        let (mut body, mut at, mut end) = (Vec::new(), 0, 0);
        loop {
            match reader.next(&bytes[at..end])? {
                Next::Skip(octets) => at += octets,
                Next::Data(octets) => {
                    body.extend_from_slice(&bytes[at..at + octets]);
                    reader.taken(octets);
                    at += octets;
                }
                Next::End => return Ok((body, bytes.len() - at)),
                Next::More if end == bytes.len() => return Err("more"),
                Next::More => end = (end + step).min(bytes.len()),
            }
        }
    }

    #[test]
    fn chunks_are_read_however_they_come() {
        let bytes = b"3\r\nabc\r\n00a;x=1\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\nGET";
        for step in 1..bytes.len() {
            assert_eq!(read(bytes, step), Ok((b"abc0123456789".to_vec(), 3)), "{step}");
        }
    }

    #[test]
    fn chunks_that_may_be_read_in_two_ways_are_refused() {
        let long = [b"1;".to_vec(), vec![b'a'; LONGEST_LINE], b"\r\n".to_vec()].concat();
        for bytes in [
            &b"-1\r\n"[..],
            b"+1\r\n",
            b"0x1\r\n",
            b"1 \r\n",
            b" 1\r\n",
            b"\r\n",
            b"1\nab\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1;\x01\r\n",
            b"1;a\rb\r\n",
            b"ffffffffffffffff\r\n",
            b"0\r\ncontent-length: 1\r\n\r\n",
            b"0\r\nhost: a\r\n\r\n",
            b"0\r\na b: 1\r\n\r\n",
            b"0\r\n\n",
            &long,
        ] {
            let refused = read(bytes, 1);
            assert!(refused.is_err_and(|why| why != "more"), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        write_chunk(&[b'x'; 300], &mut out);
        write_end(None, &mut out);
        assert!(out.starts_with(b"12c\r\nx"));
        assert_eq!(read(&out, 7), Ok((vec![b'x'; 300], 0)));
    }
}
