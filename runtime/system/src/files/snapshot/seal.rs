//! Owns how a snapshot is sealed: an age file for a key (<https://c2sp.org/age>), which the program `age` opens as well.
//! Whoever takes one needs no secret, and what it is of can be read in its header: it is listed and removed without its key.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, Write};
use std::iter;
use std::path::Path;

use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use age_core::format::{FileKey, Stanza};
use effect::{Code, Context, Error, Result, Secret};

use super::about::Head;
use super::read::torn;
use crate::backup::Sink;

/// Where the key of a snapshot goes, for `to` of its secret.
const DESTINATION: &str = "snapshot";
/// How every age file begins.
const MAGIC: &[u8] = b"age-encryption.org/";
/// The line of the header that says what it is of. Other programs pass over lines that they do not know.
const TAG: &str = "mcrun-snapshot";
/// No header is longer.
const LONGEST_HEADER: u64 = 128 * 1024;
const BUFFER: usize = 512 * 1024;
const PREFIX: &str = "AGE-SECRET-KEY-";
const PAIR: &str = "`age-keygen` makes a pair: `age1…` seals, and `AGE-SECRET-KEY-1…` opens";

/// For whom a snapshot is sealed.
pub(super) fn recipient(text: &str) -> Result<Recipient> {
    text.trim().parse().map_err(|_| {
        Error::new(Code::Argument, "`files.snapshot`: field `seal` is no public key of age").hint(PAIR)
    })
}

/// The key that opens a snapshot.
pub(super) async fn key(context: &Context, secret: Option<&Secret>) -> Result<Option<Identity>> {
    let Some(secret) = secret else { return Ok(None) };
    let value = context.reveal(secret, DESTINATION).await?;
    // What `age-keygen` writes has comments above the key.
    let lines = std::str::from_utf8(&value).unwrap_or_default().lines();
    let key = lines.map(str::trim).find(|line| line.starts_with(PREFIX)).and_then(|line| line.parse().ok());
    let wrong = || Error::new(Code::Argument, "field `key`: the secret is no secret key of age").hint(PAIR);
    key.map(Some).ok_or_else(wrong)
}

/// What stands in the header for everybody, and keeps nothing of the key.
struct Told(Vec<u8>);

impl age::Recipient for Told {
    fn wrap_file_key(
        &self,
        _: &FileKey,
    ) -> std::result::Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let stanza = Stanza { tag: TAG.to_owned(), args: Vec::new(), body: self.0.clone() };
        Ok((vec![stanza], HashSet::new()))
    }
}

/// Seals what is written to `sink`, where there is somebody for whom.
pub(super) fn seal<W: Write>(sink: W, recipient: Option<&Recipient>, head: &Head) -> io::Result<Sink<W>> {
    let Some(recipient) = recipient else { return Ok(Sink::Plain(sink)) };
    let told = Told(serde_json::to_vec(head)?);
    let all: [&dyn age::Recipient; 2] = [recipient, &told];
    let encryptor = Encryptor::with_recipients(all.into_iter()).map_err(io::Error::other)?;
    encryptor.wrap_output(sink).map(Sink::Sealed)
}

/// What is packed in a file, sealed or not.
pub(super) fn open(path: &Path, file: File, key: Option<&Identity>) -> Result<Box<dyn BufRead + Send>> {
    let mut reader = BufReader::with_capacity(BUFFER, file);
    if !begins_sealed(path, &mut reader)? {
        return Ok(Box::new(reader));
    }
    let Some(key) = key else {
        let message = format!("`{}` is sealed, and there is no key to open it", path.display());
        return Err(Error::new(Code::ArchiveRefused, message).hint("give it: `key = secrets.get(\"NAME\")`"));
    };
    let decryptor = Decryptor::new_buffered(reader).map_err(|error| refused(path, &error))?;
    let opened = decryptor.decrypt(iter::once(key as &dyn age::Identity));
    Ok(Box::new(BufReader::with_capacity(BUFFER, opened.map_err(|error| refused(path, &error))?)))
}

/// What the header of a sealed snapshot says that it is of; nothing for one that is not sealed.
pub(super) fn told(path: &Path, mut file: &File) -> Result<Option<Head>> {
    let mut reader = BufReader::new(file.take(LONGEST_HEADER));
    if !begins_sealed(path, &mut reader)? {
        file.rewind().map_err(|error| torn(path, error))?;
        return Ok(None);
    }
    let peek = Peek::default();
    let decryptor = Decryptor::new_buffered(reader).map_err(|error| refused(path, &error))?;
    // It opens nothing: what it looks for is there for everybody.
    let _ = decryptor.decrypt(iter::once(&peek as &dyn age::Identity));
    let told = peek.0.into_inner().and_then(|text| serde_json::from_slice(&text).ok());
    told.map(Some).ok_or_else(|| torn(path, "its header does not say what it is of"))
}

#[derive(Default)]
struct Peek(RefCell<Option<Vec<u8>>>);

impl age::Identity for Peek {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<std::result::Result<FileKey, DecryptError>> {
        if stanza.tag == TAG {
            self.0.replace(Some(stanza.body.clone()));
        }
        None
    }
}

fn begins_sealed(path: &Path, reader: &mut impl BufRead) -> Result<bool> {
    Ok(reader.fill_buf().map_err(|error| torn(path, error))?.starts_with(MAGIC))
}

/// The words of the library change with the locale, so the causes that matter are ours.
fn refused(path: &Path, error: &DecryptError) -> Error {
    match error {
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            Error::new(Code::ArchiveRefused, format!("the key does not open `{}`", path.display()))
                .because("it was sealed for another one")
                .hint("give the secret key that belongs to the one in `seal`: without it nobody can open it")
        }
        DecryptError::Io(error) => torn(path, error),
        DecryptError::InvalidMac => torn(path, "its header was changed after it was sealed"),
        _ => torn(path, "it is not in the form of age"),
    }
}
