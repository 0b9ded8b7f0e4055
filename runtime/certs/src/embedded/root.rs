//! Owns the passphrase of the sealed root: where it comes from, and the file that keeps one which nobody was asked for
//! until the operator takes it away.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use zeroize::Zeroizing;

use crate::transfer;

/// What opens the sealed root.
#[derive(Debug, Clone)]
pub enum Passphrase {
    /// The one that was made by chance and lies in the state directory until it is taken away.
    Kept,
    /// One that a person chose or keeps.
    Given(Zeroizing<String>),
}

/// scrypt's cost as a power of two. A passphrase of 128 random bits needs no stretching; with one of a person's, finding
/// the cost takes as long as it should take.
const COST_OF_RANDOM: u8 = 10;
/// How many random bytes a passphrase is made of.
const RANDOM: usize = 16;

/// The file that keeps the passphrase of the root `id`.
pub(super) fn kept_in(state: &Path, id: &str) -> PathBuf {
    state.join(format!("root-{id}.passphrase"))
}

impl Passphrase {
    /// Seals the key of the new root `id` with it, keeping one made by chance in the state directory.
    pub(super) fn seal(&self, state: &Path, id: &str, key: &str) -> Result<String> {
        match self {
            Self::Given(passphrase) => transfer::seal(key.as_bytes(), passphrase, None),
            Self::Kept => {
                let passphrase = random()?;
                keep(&kept_in(state, id), &passphrase)?;
                transfer::seal(key.as_bytes(), &passphrase, Some(COST_OF_RANDOM))
            }
        }
    }

    /// Opens what was sealed with it.
    pub(super) fn open(&self, state: &Path, id: &str, sealed: &str) -> Result<Zeroizing<String>> {
        let kept;
        let passphrase = match self {
            Self::Given(passphrase) => passphrase,
            Self::Kept => {
                kept = read(&kept_in(state, id))?;
                &kept
            }
        };
        let opened = transfer::open(sealed, passphrase)?;
        String::from_utf8(opened.to_vec())
            .map(Zeroizing::new)
            .map_err(|_| Error::new(Code::AuthoritySealed, "what the sealed root holds is no key"))
    }
}

/// 128 bits in words that can be read out: groups of four of an alphabet without look-alikes.
fn random() -> Result<Zeroizing<String>> {
    const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789_";
    let mut bytes = Zeroizing::new([0; RANDOM * 8 / 5 + 1]);
    aws_lc_rs::rand::fill(&mut *bytes)
        .map_err(|_| Error::new(Code::Internal, "this machine gives no random numbers"))?;
    let mut text = String::with_capacity(bytes.len() * 2);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            text.push('-');
        }
        // The last sign of the alphabet would be mistaken for a separator.
        text.push(char::from(ALPHABET[usize::from(byte % 31)]));
    }
    Ok(Zeroizing::new(text))
}

fn keep(path: &Path, passphrase: &str) -> Result<()> {
    let written = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(passphrase.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    written().map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
            _ => Code::StateUnusable,
        };
        Error::new(code, format!("`{}` cannot be written", path.display())).because(error)
    })
}

fn read(path: &Path) -> Result<Zeroizing<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Zeroizing::new(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::new(
            Code::AuthoritySealed,
            "the root is sealed, and its passphrase is not on this machine",
        )
        .hint("give it: `--passphrase-file FILE`")),
        Err(error) => {
            Err(Error::new(Code::StateUnusable, format!("`{}` cannot be read", path.display()))
                .because(error))
        }
    }
}
