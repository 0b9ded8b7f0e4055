//! Owns reading the logs that shims write, across their rotation.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::record::Folder;
use crate::driver::{LogLine, LogQuery, Stream};

const FIRST_PIECE: u64 = 64 << 10;
const POLL: Duration = Duration::from_millis(100);

/// The recorded lines that `query` wants, oldest first.
pub(super) fn read(folder: &Folder, query: &LogQuery) -> io::Result<Vec<LogLine>> {
    let limit = query.tail.unwrap_or(usize::MAX);
    let mut newest_first = Vec::new();
    for path in folder.logs() {
        let room = limit - newest_first.len();
        if room == 0 {
            break;
        }
        let lines = last_lines(&path, room)?;
        newest_first.extend(lines.into_iter().rev().filter(|line| is_wanted(line, query)));
    }
    newest_first.truncate(limit);
    newest_first.reverse();
    Ok(newest_first)
}

/// The last `count` lines of a file, read from its end in growing pieces.
fn last_lines(path: &Path, count: usize) -> io::Result<Vec<LogLine>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(cause),
    };
    let length = file.metadata()?.len();
    let mut piece = FIRST_PIECE;
    loop {
        let start = if count == usize::MAX { 0 } else { length.saturating_sub(piece) };
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        (&mut file).take(length - start).read_to_end(&mut bytes)?;
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        // After the last line end there is nothing, or half of a line that is being written.
        lines.pop();
        if start > 0 && !lines.is_empty() {
            // The first one may have begun before the piece.
            lines.remove(0);
        }
        if start == 0 || lines.len() >= count {
            let first = lines.len().saturating_sub(count);
            return Ok(lines[first..].iter().map(|line| parse(line)).collect());
        }
        piece *= 4;
    }
}

/// `time O text` or `time E text`.
fn parse(line: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(line);
    let mut words = text.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(at), Some(mark @ ("O" | "E")), Some(line)) => LogLine {
            stream: if mark == "E" { Stream::Stderr } else { Stream::Stdout },
            line: line.to_owned(),
            at: Some(at.to_owned()),
        },
        _ => LogLine { stream: Stream::Stdout, line: text.into_owned(), at: None },
    }
}

fn is_wanted(line: &LogLine, query: &LogQuery) -> bool {
    let Some(since) = query.since else { return true };
    let at = line.at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    at.is_none_or(|at| at.as_millisecond() >= since)
}

/// The recorded lines and then new ones, until the program and its shim have ended.
pub(super) fn follow(folder: Folder, query: &LogQuery) -> io::Result<mpsc::Receiver<LogLine>> {
    let mut tail = Tail::open(&folder)?;
    let recorded = read(&folder, query)?;
    let query = LogQuery { tail: None, since: query.since };
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(async move {
        let mut lines = recorded;
        loop {
            for line in lines.drain(..).filter(|line| is_wanted(line, &query)) {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
            // Asked before reading: what it wrote last is still read after it ended.
            let is_over = !folder.is_supervised();
            match tail.read(&folder) {
                Ok(new) => lines = new,
                Err(_) => return,
            }
            if lines.is_empty() {
                if is_over || sender.is_closed() {
                    return;
                }
                sleep(POLL).await;
            }
        }
    });
    Ok(receiver)
}

/// A place in the newest log file.
struct Tail {
    reader: Option<BufReader<File>>,
    inode: u64,
    half: Vec<u8>,
}

impl Tail {
    /// At the end of what is recorded.
    fn open(folder: &Folder) -> io::Result<Self> {
        let mut tail = Self { reader: None, inode: 0, half: Vec::new() };
        if tail.reopen(folder)?
            && let Some(reader) = &mut tail.reader
        {
            reader.seek(SeekFrom::End(0))?;
        }
        Ok(tail)
    }

    fn reopen(&mut self, folder: &Folder) -> io::Result<bool> {
        match File::open(&folder.logs()[0]) {
            Ok(file) => {
                self.inode = file.metadata()?.ino();
                self.reader = Some(BufReader::new(file));
                Ok(true)
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    fn read(&mut self, folder: &Folder) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        self.read_open(&mut lines)?;
        let current = std::fs::metadata(&folder.logs()[0]).map(|data| data.ino()).unwrap_or(self.inode);
        if self.reader.is_none() || current != self.inode {
            // Rotated: what was written to the old file meanwhile comes first.
            self.read_open(&mut lines)?;
            if self.reopen(folder)? {
                self.read_open(&mut lines)?;
            }
        }
        Ok(lines)
    }

    fn read_open(&mut self, lines: &mut Vec<LogLine>) -> io::Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        while reader.read_until(b'\n', &mut self.half)? > 0 {
            if self.half.ends_with(b"\n") {
                self.half.pop();
                lines.push(parse(&self.half));
                self.half.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: [&str; 3]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        for (path, text) in folder.logs().iter().zip(files) {
            std::fs::write(path, text).unwrap();
        }
        (dir, folder)
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.line.as_str()).collect()
    }

    #[test]
    fn the_newest_lines_come_from_all_files_in_order() {
        let newest = "2026-01-01T00:00:03Z O three\n2026-01-01T00:00:04Z E four\n2026-01-01T00:00:05Z O ha";
        let (_dir, folder) =
            folder_with([newest, "2026-01-01T00:00:02Z O two\n", "2026-01-01T00:00:01Z O one a\n"]);
        assert_eq!(texts(&read(&folder, &LogQuery::default()).unwrap()), ["one a", "two", "three", "four"]);
        let last = read(&folder, &LogQuery::tail(3)).unwrap();
        assert_eq!(texts(&last), ["two", "three", "four"]);
        assert_eq!(last[2].stream, Stream::Stderr);
        let since = "2026-01-01T00:00:03Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let query = LogQuery { tail: None, since: Some(since) };
        assert_eq!(texts(&read(&folder, &query).unwrap()), ["three", "four"]);
    }

    #[test]
    fn a_tail_longer_than_one_piece_is_complete() {
        let line = format!("2026-01-01T00:00:01Z O {}\n", "x".repeat(1000));
        let (_dir, folder) = folder_with([&line.repeat(300), "", ""]);
        assert_eq!(read(&folder, &LogQuery::tail(200)).unwrap().len(), 200);
        assert_eq!(read(&folder, &LogQuery::tail(1000)).unwrap().len(), 300);
    }
}
