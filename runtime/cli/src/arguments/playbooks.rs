//! Owns what can be typed after `mcrun playbooks`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Playbooks {
    /// Show what one playbook is: its triggers, parameters, capabilities and sources.
    Show {
        /// Its name.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the versions of a playbook that are kept, newest first; also of one whose file is gone.
    History {
        /// Its name.
        name: String,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what changed from one version of a playbook to another, in its own text and in its modules.
    Diff {
        /// Its name.
        name: String,
        /// The number of the older version; the one before the newer unless given.
        from: Option<u64>,
        /// The number of the newer version; the newest unless given.
        to: Option<u64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `mcrun playbooks`.
#[derive(Debug, Args)]
pub(crate) struct Listing {
    #[command(subcommand)]
    pub(crate) command: Option<Playbooks>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
