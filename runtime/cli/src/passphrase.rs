//! Owns how passphrases come in: from a file, or typed on the terminal without being seen.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use effect::{Code, Error, Result};
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::arguments::Global;
use crate::arguments::certs::Passphrase;

/// No passphrase is longer, in bytes.
const LONGEST: u64 = 1024;

/// The passphrase from the file that was named, else typed by whoever sits at the terminal; none where nobody does.
pub(crate) fn given(
    global: &Global,
    given: &Passphrase,
    question: &str,
) -> Result<Option<Zeroizing<String>>> {
    if let Some(file) = &given.passphrase_file {
        return from_file(file).map(Some);
    }
    asked(global, question)
}

/// A line typed by whoever sits at the terminal; none where nobody does.
pub(crate) fn asked(global: &Global, question: &str) -> Result<Option<Zeroizing<String>>> {
    if global.no_input {
        return Ok(None);
    }
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else { return Ok(None) };
    typed(&terminal, question)
        .map(Some)
        .map_err(|error| Error::new(Code::Usage, "the terminal cannot be asked").because(error))
}

/// The first line of a file.
pub(crate) fn from_file(file: &Path) -> Result<Zeroizing<String>> {
    let text = Zeroizing::new(read_bounded(file, LONGEST)?);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// The text of a file of at most `limit` bytes.
pub(crate) fn read_bounded(file: &Path, limit: u64) -> Result<String> {
    let unreadable = |cause: String| {
        Error::new(Code::Usage, format!("`{}` cannot be read", file.display())).because(cause)
    };
    let opened = File::open(file).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    let read =
        opened.take(limit + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if read as u64 > limit {
        return Err(unreadable(format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

/// Writes a private file that must not be there yet.
pub(crate) fn write_new(file: &Path, content: &[u8]) -> Result<()> {
    let written = || -> io::Result<()> {
        let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        opened.write_all(content)?;
        opened.sync_all()
    };
    written().map_err(|error| {
        Error::new(Code::Usage, format!("`{}` cannot be written", file.display())).because(error)
    })
}

fn typed(terminal: &File, question: &str) -> io::Result<Zeroizing<String>> {
    let seen = tcgetattr(terminal)?;
    let mut unseen = seen.clone();
    unseen.local_modes -= LocalModes::ECHO;
    tcflush(terminal, QueueSelector::IFlush)?;
    tcsetattr(terminal, OptionalActions::Now, &unseen)?;
    // Room beforehand: a text that grows leaves copies behind.
    let mut line = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
    let read = ask(terminal, question, &mut line);
    // The terminal stays usable whatever became of the answer.
    tcsetattr(terminal, OptionalActions::Now, &seen)?;
    read?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn ask(mut terminal: &File, question: &str, line: &mut String) -> io::Result<()> {
    write!(terminal, "{question}: ")?;
    BufReader::new(terminal.take(LONGEST)).read_line(line)?;
    writeln!(terminal)
}
