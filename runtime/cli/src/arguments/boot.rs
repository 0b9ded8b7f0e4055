//! Owns what can be typed behind `mcrun boot` and `mcrun recover`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Grants, How, Waiting};

/// `mcrun boot`.
#[derive(Debug, Args)]
pub(crate) struct Boot {
    /// The boot script; else `scripts/boot.lua` beside mcrun.toml.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Bring up only this stage, whatever it needs.
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: Option<String>,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) grants: Grants,
    #[command(flatten)]
    pub(crate) wait: Waiting,
}

/// `mcrun recover`.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// Bring back only this service.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) only: Option<String>,
    /// Give volumes away whose owner has another number now: `995:995=850:850`.
    #[arg(long, value_name = "OLD=NEW")]
    pub(crate) owner: Option<String>,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) grants: Grants,
    #[command(flatten)]
    pub(crate) wait: Waiting,
}
