//! Owns what can be typed after `mcrun secrets`. No value is ever typed there: who lists processes would see it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::certs::Passphrase;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Secrets {
    /// Put a secret into the sealed store, or give one there another value. It is asked for, or read from stdin.
    Set {
        /// What it is called, such as mcq/db.
        name: String,
        /// Where it may go, such as containers:mcq*: nowhere unless given, or as before.
        #[arg(long, value_name = "PATTERN")]
        to: Vec<String>,
        #[command(flatten)]
        value: Value,
    },
    /// List the secrets of the sealed store: versions, where they may go, who set them and what used them. No value.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a secret of the sealed store a new value, as a new version. Runs under way keep the one that they have.
    Rotate {
        /// What it is called.
        name: String,
        #[command(flatten)]
        value: Value,
    },
    /// Make a new key and seal every secret with it. One that was cut short is finished.
    RotateKey,
    /// Seal the keys with what `[secrets_store]` names now; options say what has opened them so far.
    Rewrap {
        #[command(flatten)]
        from: From,
    },
    /// Take a secret out of the sealed store, with every version.
    Remove {
        /// What it is called.
        name: String,
    },
    /// Write every secret of the sealed store to a file in the form of age.
    Export {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Seal it for the holder of this key of age instead of under a passphrase.
        #[arg(long, value_name = "RECIPIENT", conflicts_with = "passphrase_file")]
        to_age: Vec<String>,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Take over secrets that were exported, all of them or none.
    Import {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The file with the identity of age that it was sealed for.
        #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file", value_hint = ValueHint::FilePath)]
        identity: Option<PathBuf>,
        #[command(flatten)]
        passphrase: Passphrase,
        /// Give secrets that are here already the newest value of the file.
        #[arg(long)]
        replace: bool,
    },
}

/// Where a value comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct Value {
    /// Read the value from this file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) from_file: Option<PathBuf>,
    /// Make one of so many letters and digits.
    #[arg(long, value_name = "LENGTH", conflicts_with_all = ["from_file", "exact"])]
    pub(crate) generate: Option<usize>,
    /// Keep a newline at the end of what is read: it does not count otherwise.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Keep so many versions, the new one among them; as `[secrets_store]` says unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) keep: Option<u32>,
}

/// What has opened the sealed store so far.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct From {
    /// The key of the state directory.
    #[arg(long)]
    pub(crate) from_state: bool,
    /// A key file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) from_key_file: Option<PathBuf>,
    /// A passphrase, in the first line of a file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) from_passphrase_file: Option<PathBuf>,
    /// A credential of systemd.
    #[arg(long, value_name = "NAME")]
    pub(crate) from_credential: Option<String>,
}
