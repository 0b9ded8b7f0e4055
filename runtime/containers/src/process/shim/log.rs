//! Owns the program's log: lines with time and stream, in files that rotate.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::driver::Stream;
use crate::process::record::Folder;

/// Longer lines are cut in pieces.
const LONGEST_LINE: usize = 16 << 10;

/// The time as it stands in front of a line.
pub(super) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now).to_string()
}

pub(super) struct Log {
    paths: [PathBuf; 3],
    file: Option<File>,
    written: u64,
    limit: u64,
    open: [Vec<u8>; 2],
}

impl Log {
    pub(super) fn open(folder: &Folder, limit: u64) -> Self {
        let mut log =
            Self { paths: folder.logs(), file: None, written: 0, limit, open: [Vec::new(), Vec::new()] };
        log.reopen();
        log
    }

    fn reopen(&mut self) {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.paths[0]);
        self.file = file.ok();
        self.written = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |data| data.len());
    }

    /// Writes whole lines and keeps the rest until it is one.
    pub(super) fn write(&mut self, stream: Stream, data: &[u8]) {
        let index = usize::from(stream == Stream::Stderr);
        let mut ready = Vec::new();
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let open = &mut self.open[index];
            open.extend_from_slice(piece);
            if open.ends_with(b"\n") {
                open.pop();
                push_line(&mut ready, stream, open);
                open.clear();
            }
            while self.open[index].len() >= LONGEST_LINE {
                let rest = self.open[index].split_off(LONGEST_LINE);
                push_line(&mut ready, stream, &self.open[index]);
                self.open[index] = rest;
            }
        }
        self.append(&ready);
    }

    /// Writes what has no line end and will not get one.
    pub(super) fn finish(&mut self) {
        let mut ready = Vec::new();
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if !self.open[index].is_empty() {
                push_line(&mut ready, stream, &self.open[index]);
                self.open[index].clear();
            }
        }
        self.append(&ready);
    }

    /// A line of the shim's own.
    pub(super) fn note(&mut self, text: &str) {
        let mut ready = Vec::new();
        push_line(&mut ready, Stream::Stderr, format!("mcrun: {text}").as_bytes());
        self.append(&ready);
    }

    /// Appends whole lines, as many to each file as it may hold.
    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.limit.saturating_sub(self.written)).unwrap_or(usize::MAX);
            let fitting =
                if bytes.len() <= room { Some(bytes.len()) } else { line_end(&bytes[..room], true) };
            let (length, rotates) = match fitting {
                Some(length) => (length, length < bytes.len()),
                None if self.written > 0 => (0, true),
                // A line longer than a file: it gets one for itself.
                None => (line_end(bytes, false).unwrap_or(bytes.len()), false),
            };
            // A full disk costs lines, never the program.
            if let Some(file) = &mut self.file
                && file.write_all(&bytes[..length]).is_ok()
            {
                self.written += length as u64;
            }
            bytes = &bytes[length..];
            if rotates {
                self.rotate();
            }
        }
    }

    fn rotate(&mut self) {
        let [newest, middle, oldest] = &self.paths;
        let _ = fs::rename(middle, oldest);
        let _ = fs::rename(newest, middle);
        self.reopen();
    }
}

/// Behind the last, or the first, line end.
fn line_end(bytes: &[u8], last: bool) -> Option<usize> {
    let is_end = |byte: &u8| *byte == b'\n';
    let at = if last { bytes.iter().rposition(is_end) } else { bytes.iter().position(is_end) };
    at.map(|at| at + 1)
}

fn push_line(ready: &mut Vec<u8>, stream: Stream, line: &[u8]) {
    let mark = if stream == Stream::Stdout { 'O' } else { 'E' };
    ready.extend_from_slice(format!("{} {mark} ", now()).as_bytes());
    ready.extend_from_slice(line);
    ready.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_time_and_stream_and_files_rotate() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        let mut log = Log::open(&folder, 200);
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stdout, b"o\n");
        log.write(Stream::Stderr, b"half");
        log.finish();
        let text = fs::read_to_string(&folder.logs()[0]).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
        assert_eq!(lines, ["O one", "O two", "E half"]);
        for _ in 0..20 {
            log.write(Stream::Stdout, b"again and again and again\n");
        }
        assert!(folder.logs().iter().all(|path| fs::metadata(path).unwrap().len() <= 200));
    }

    #[test]
    fn endless_lines_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        let mut log = Log::open(&folder, 1 << 20);
        log.write(Stream::Stdout, &vec![b'x'; 3 * LONGEST_LINE]);
        assert_eq!(fs::read_to_string(&folder.logs()[0]).unwrap().lines().count(), 3);
    }
}
