//! Owns what can be said of mcrun on a machine: serving, setting up, backups.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};

use super::How;
use super::certs;

/// `mcrun export-runbook`.
#[derive(Debug, Args)]
pub(crate) struct ExportRunbook {
    /// The file; standard output unless given.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

/// `mcrun backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The archive; mcrun-NODE-TIME.tar.zst in this folder unless given. None is replaced.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Seal it with a passphrase, in the form of age. Without, whoever reads it has every key of this node.
    #[arg(long)]
    pub(crate) seal: bool,
    #[command(flatten)]
    pub(crate) passphrase: certs::Passphrase,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The archive that `mcrun backup` wrote.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Only try it: unpack it in a temporary place, open what is in it, tell, and take it all away again.
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) passphrase: certs::Passphrase,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The form of the log, whatever mcrun.toml says: systemd's journal where that reads the error stream, else text,
    /// unless given.
    #[arg(long, value_name = "FORM", value_parser = log_form())]
    pub(crate) log: Option<daemon::log::Form>,
}

/// `mcrun setup`.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// The user that the daemon and the edge run as, made where there is none; root unless given. Any other can neither
    /// drive an engine of the machine nor start services of other users.
    #[arg(long, value_name = "NAME", default_value = "root")]
    pub(crate) user: String,
    /// Where mcrun is installed: the units start PREFIX/bin/mcrun. The place of this very program unless given.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) prefix: Option<PathBuf>,
    /// Write and enable everything and start nothing, as for the image of a machine.
    #[arg(long)]
    pub(crate) no_start: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

/// `mcrun doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The forms of the log, for help and completions.
fn log_form() -> impl TypedValueParser<Value = daemon::log::Form> {
    let names = daemon::log::Form::ALL.map(|(name, _)| name);
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}
