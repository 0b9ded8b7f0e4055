//! Owns how a secret's value comes in: typed without being seen, from a file or from stdin, or made here.

use std::fs::File;
use std::io::{IsTerminal as _, Read};

use effect::{Code, Error, Result};
use zeroize::Zeroizing;

use crate::app::App;
use crate::arguments::secrets::Value;
use crate::passphrase;

/// A larger secret is a mistake, in bytes.
const LARGEST: usize = 64 * 1024;
const SHORTEST_MADE: usize = 8;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The value as it was given.
pub(super) fn read(app: &App, name: &str, given: &Value) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(length) = given.generate {
        return made(length);
    }
    let value = match &given.from_file {
        Some(file) => {
            let unreadable = |cause: &dyn std::fmt::Display| {
                Error::new(Code::Usage, format!("`{}` cannot be read", file.display())).because(cause)
            };
            bounded(File::open(file).map_err(|error| unreadable(&error))?)
                .map_err(|cause| unreadable(&cause))?
        }
        None if std::io::stdin().is_terminal() => return typed(app, name),
        None => bounded(std::io::stdin().lock())
            .map_err(|cause| Error::new(Code::Usage, "the value cannot be read from stdin").because(cause))?,
    };
    Ok(if given.exact { value } else { without_newline(value) })
}

fn typed(app: &App, name: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut lines = Vec::with_capacity(2);
    for question in [format!("value of {name}"), "the same once more".to_owned()] {
        let line = passphrase::asked(&app.global, &question)?;
        lines.push(line.ok_or_else(|| {
            Error::new(Code::Usage, "there is nobody to be asked for the value")
                .hint("hand it over on stdin, or with `--from-file FILE`")
        })?);
    }
    if lines[0] != lines[1] {
        return Err(Error::new(Code::Usage, "both lines are not the same, nothing was changed"));
    }
    Ok(Zeroizing::new(lines[0].as_bytes().to_vec()))
}

fn bounded(reader: impl Read) -> Result<Zeroizing<Vec<u8>>, String> {
    // Room beforehand: a vector that grows leaves copies behind.
    let mut value = Zeroizing::new(Vec::with_capacity(LARGEST + 4));
    reader.take(LARGEST as u64 + 3).read_to_end(&mut value).map_err(|error| error.to_string())?;
    match value.len() > LARGEST + 2 {
        true => Err(format!("it is larger than {LARGEST} bytes")),
        false => Ok(value),
    }
}

fn without_newline(mut value: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if value.ends_with(b"\n") {
        value.pop();
        if value.ends_with(b"\r") {
            value.pop();
        }
    }
    value
}

/// Letters and digits by chance, each as likely as the others.
fn made(length: usize) -> Result<Zeroizing<Vec<u8>>> {
    if !(SHORTEST_MADE..=LARGEST).contains(&length) {
        let message = format!("a value of {length} letters is not made: {SHORTEST_MADE} to {LARGEST}");
        return Err(Error::new(Code::Usage, message));
    }
    let mut value = Zeroizing::new(Vec::with_capacity(length));
    let mut chance = Zeroizing::new([0; 256]);
    while value.len() < length {
        effect::secret::fill_random(&mut *chance);
        // What is beyond the last whole round of letters would make some of them likelier.
        let fair = chance.iter().filter(|byte| usize::from(**byte) < 256 / LETTERS.len() * LETTERS.len());
        let letters = fair.map(|byte| LETTERS[usize::from(*byte) % LETTERS.len()]);
        let missing = length - value.len();
        value.extend(letters.take(missing));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_has_its_length_and_plain_letters() {
        let value = made(1000).unwrap();
        assert_eq!(value.len(), 1000);
        assert!(value.iter().all(u8::is_ascii_alphanumeric));
        assert_ne!(*value, *made(1000).unwrap());
        assert_eq!(made(7).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn one_newline_at_the_end_does_not_count() {
        for (read, value) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("\n", "")] {
            let read = Zeroizing::new(read.as_bytes().to_vec());
            assert_eq!(*without_newline(read), value.as_bytes());
        }
    }
}
