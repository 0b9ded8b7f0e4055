//! Owns what can be said of services and their containers.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Grants, How, Waiting};

/// `mcrun ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Those that mcrun did not make as well.
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Those that mcrun did not make as well.
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Measure once and end, also on a terminal.
    #[arg(long)]
    pub(crate) once: bool,
    /// The seconds between two measurements.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
    /// Print JSON, once.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun exec`.
#[derive(Debug, Args)]
pub(crate) struct Inside {
    /// The service or container.
    pub(crate) service: String,
    /// The user; the container's own unless given.
    #[arg(long, short)]
    pub(crate) user: Option<String>,
    /// The directory; the container's own unless given.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Set a variable, in addition to the container's.
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// No terminal, also where there is one.
    #[arg(long)]
    pub(crate) no_terminal: bool,
    /// The program and its arguments, after `--`.
    #[arg(last = true, required = true)]
    pub(crate) argv: Vec<String>,
}

/// `mcrun images`.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// A service, or an image's name, its last part will do.
    pub(crate) name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// One service; all of them unless given.
    pub(crate) service: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun drift`.
#[derive(Debug, Args)]
pub(crate) struct Drift {
    /// These services; all of them, and containers of mcrun that no record knows, unless given.
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The service.
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) wait: Waiting,
}

/// `mcrun restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// The service.
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) wait: Waiting,
}

/// `mcrun adopt`.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The containers; every one that runs and is not mcrun's unless given.
    pub(crate) names: Vec<String>,
    /// The folder that the definitions are written to, as NAME.lua; the current folder unless given.
    #[arg(long, short, value_name = "FOLDER", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) wait: Waiting,
    #[command(flatten)]
    pub(crate) how: How,
}

/// `mcrun sync`.
#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// The folder, or one definition.
    #[arg(value_name = "FOLDER", value_hint = ValueHint::AnyPath)]
    pub(crate) place: PathBuf,
    /// The domain of routes without a host name; `svc.mcp.metacircular.net` unless given.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    #[command(flatten)]
    pub(crate) grants: Grants,
    #[command(flatten)]
    pub(crate) wait: Waiting,
    #[command(flatten)]
    pub(crate) how: How,
}

/// `mcrun build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The service.
    pub(crate) service: String,
    /// Its definition in TOML, or the folder that has it; what the registry names, else the current folder, unless
    /// given.
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) definition: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) grants: Grants,
    #[command(flatten)]
    pub(crate) how: How,
}

/// `mcrun edit`.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The service.
    pub(crate) service: String,
    /// Roll it out afterwards: shows the plan and asks.
    #[arg(long)]
    pub(crate) apply: bool,
    /// The domain of routes without a host name, where the definition is TOML.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    #[command(flatten)]
    pub(crate) grants: Grants,
    #[command(flatten)]
    pub(crate) wait: Waiting,
}

/// `mcrun releases`.
#[derive(Debug, Args)]
pub(crate) struct Releases {
    /// The service.
    pub(crate) service: String,
    /// At most so many.
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) limit: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The service.
    pub(crate) service: String,
    /// The number of the release; the one before the current unless given.
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,
    /// Only show what would be done.
    #[arg(long)]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) wait: Waiting,
    /// Print the outcome, or the plan, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun undeploy`.
#[derive(Debug, Args)]
pub(crate) struct Undeploy {
    /// The service.
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) wait: Waiting,
}
