//! Owns how a backup is taken: `tar.zst` with the manifest first, sealed where there is a passphrase.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use effect::{Error, Result};
use journal::{Journal, Timestamp};
use zeroize::Zeroizing;

use super::failed;
use super::manifest::{FILES, Manifest, NAME};
use super::seal::Sink;
use super::stage::Stage;
use crate::files;

/// The level of zstd.
const LEVEL: i32 = 3;

/// What is wanted.
pub struct Taking {
    /// The archive, which must not be there yet; absolute.
    pub out: PathBuf,
    /// The node whose state it is.
    pub node: String,
    /// Now.
    pub taken: Timestamp,
    /// What it is sealed with.
    pub passphrase: Option<Zeroizing<String>>,
    /// Whether missing folders above it are made.
    pub parents: bool,
    /// A word of the caller's own, by which a half-written file is told from those of others.
    pub token: String,
}

/// What was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// What the backup says about itself.
    pub manifest: Manifest,
    /// How large the archive is.
    pub size: u64,
}

/// The name of a backup: node and time.
#[must_use]
pub fn default_name(node: &str, taken: Timestamp, is_sealed: bool) -> String {
    // `2026-11-23T15:04:05.123Z` without what a file name does not take well.
    let stamp: String =
        taken.to_string().chars().take(19).filter(|letter| !matches!(letter, '-' | ':')).collect();
    let node: String = node
        .chars()
        .map(|letter| if letter.is_alphanumeric() || letter == '-' { letter } else { '_' })
        .collect();
    format!("mcrun-{node}-{stamp}Z.tar.zst{}", if is_sealed { ".age" } else { "" })
}

/// Takes a backup of the state directory of `journal`. Others work on meanwhile. Durable on return.
///
/// # Errors
/// Where something is in its place, or a file cannot be read or written; then there is none.
pub async fn take(journal: &Journal, taking: Taking) -> Result<Taken> {
    let stage = Stage::new(journal).await?;
    files::blocking(move || {
        let manifest = Manifest::new(&taking.node, taking.taken.0, stage.files().to_vec());
        let passphrase = taking.passphrase.as_deref().map(String::as_str);
        let size = files::put_new(&taking.out, 0o600, taking.parents, &taking.token, |file| {
            write(file, &stage, &manifest, passphrase)
        })?;
        Ok(Taken { manifest, size })
    })
    .await
}

fn write(file: &mut File, stage: &Stage, manifest: &Manifest, passphrase: Option<&str>) -> Result<()> {
    let unwritable = |error: io::Error| failed("write", Path::new("the backup"), &error);
    let sink = Sink::new(BufWriter::new(file), passphrase).map_err(unwritable)?;
    let encoder = || -> io::Result<_> {
        let mut encoder = zstd::stream::write::Encoder::new(sink, LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.long_distance_matching(false)?;
        Ok(encoder)
    };
    let mut builder = tar::Builder::new(encoder().map_err(unwritable)?);
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(|error| Error::new(effect::Code::Internal, "a manifest cannot be encoded").because(error))?;
    let moment = u64::try_from(manifest.taken / 1000).unwrap_or(0);
    append(&mut builder, NAME, 0o600, moment, text.len() as u64, text.as_slice()).map_err(unwritable)?;
    for kept in &manifest.files {
        let place = stage.place(&kept.path);
        let opened = File::open(&place).map_err(|error| failed("read", &place, &error))?;
        append(&mut builder, &format!("{FILES}/{}", kept.path), kept.mode, moment, kept.size, opened)
            .map_err(unwritable)?;
    }
    let ended = || -> io::Result<()> {
        let sink = builder.into_inner()?.finish()?;
        sink.finish()?.flush()
    };
    ended().map_err(unwritable)
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    name: &str,
    mode: u32,
    moment: u64,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(moment);
    header.set_size(size);
    builder.append_data(&mut header, name, content)
}
