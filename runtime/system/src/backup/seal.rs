//! Owns how a backup is sealed: an age file under a passphrase (<https://c2sp.org/age>), streamed, which the program `age`
//! opens as well.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter;
use std::path::Path;

use age::secrecy::SecretString;
use age::stream::StreamWriter;
use age::{DecryptError, Decryptor, Encryptor, Identity, scrypt};
use effect::{Code, Error, Result};
use zeroize::Zeroizing;

use super::{failed, unusable};

/// What the program `age` uses: 2^18 rounds of scrypt take 256 MiB and about a second.
const WORK_FACTOR: u8 = 18;
/// A file says how much work opening it is: a hostile one would ask for all memory and for days.
const MOST_WORK: u8 = 20;
/// How every age file begins.
const MAGIC: &[u8] = b"age-encryption.org/";

/// Asks for the passphrase of a sealed backup, once it is known to be sealed; none where nobody can tell.
pub type Ask<'a> = &'a mut dyn FnMut() -> Result<Option<Zeroizing<String>>>;

/// Where a backup or a snapshot is written.
pub(crate) enum Sink<W: Write> {
    Plain(W),
    Sealed(StreamWriter<W>),
}

impl<W: Write> Sink<W> {
    /// Seals what is written to `sink`, where there is a passphrase. It computes for about a second.
    pub(super) fn new(sink: W, passphrase: Option<&str>) -> io::Result<Self> {
        let Some(passphrase) = passphrase else { return Ok(Self::Plain(sink)) };
        let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
        recipient.set_work_factor(WORK_FACTOR);
        let encryptor = Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
            .map_err(io::Error::other)?;
        encryptor.wrap_output(sink).map(Self::Sealed)
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(sink) => Ok(sink),
            Self::Sealed(sink) => sink.finish(),
        }
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(sink) => sink.write(bytes),
            Self::Sealed(sink) => sink.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.flush(),
            Self::Sealed(sink) => sink.flush(),
        }
    }
}

/// Whether the file is sealed.
///
/// # Errors
/// `MC-F002` where it cannot be read.
pub fn is_sealed(file: &Path) -> Result<bool> {
    begins_sealed(&mut reader(file)?).map_err(|error| failed("read", file, &error))
}

fn begins_sealed(reader: &mut impl BufRead) -> io::Result<bool> {
    Ok(reader.fill_buf()?.starts_with(MAGIC))
}

fn reader(file: &Path) -> Result<BufReader<File>> {
    let opened = File::open(file).map_err(|error| failed("read", file, &error))?;
    let is_file = opened.metadata().map_err(|error| failed("read", file, &error))?.is_file();
    if !is_file {
        return Err(unusable(file, "it is not a regular file"));
    }
    Ok(BufReader::with_capacity(128 * 1024, opened))
}

/// Opens a backup, asking for its passphrase where it is sealed. That computes for seconds at most.
pub(super) fn open(file: &Path, ask: Ask<'_>) -> Result<Box<dyn Read>> {
    let mut reader = reader(file)?;
    if !begins_sealed(&mut reader).map_err(|error| failed("read", file, &error))? {
        return Ok(Box::new(reader));
    }
    let Some(passphrase) = ask()?.filter(|passphrase| !passphrase.is_empty()) else {
        let message = format!("`{}` is sealed, and there is no passphrase to open it", file.display());
        return Err(Error::new(Code::Usage, message).hint("give it: `--passphrase-file FILE`"));
    };
    let decryptor = Decryptor::new_buffered(reader).map_err(|error| refused(file, &error))?;
    if !decryptor.is_scrypt() {
        return Err(unusable(file, "it is sealed for a key, not under a passphrase"));
    }
    let mut identity = scrypt::Identity::new(SecretString::from(passphrase.as_str().to_owned()));
    identity.set_max_work_factor(MOST_WORK);
    let opened = decryptor.decrypt(iter::once(&identity as &dyn Identity));
    opened.map(|reader| Box::new(reader) as Box<dyn Read>).map_err(|error| refused(file, &error))
}

/// The words of the library change with the locale, so the causes that matter are ours.
fn refused(file: &Path, error: &DecryptError) -> Error {
    match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            unusable(file, "the passphrase does not open it")
                .hint("give the passphrase that it was sealed with: without it nobody can open it")
        }
        DecryptError::ExcessiveWork { required, .. } => unusable(
            file,
            format!(
                "opening it would take 2^{required} rounds of scrypt, more than the 2^{MOST_WORK} allowed"
            ),
        ),
        DecryptError::InvalidMac => unusable(file, "its header was changed after it was sealed"),
        DecryptError::Io(error) => unusable(file, error),
        _ => unusable(file, "it is not in the form of age"),
    }
}
