//! Owns what can be typed after `mcrun approvals` and `mcrun docs`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Approvals {
    /// List what runs ask for, and of whom.
    List {
        /// What is settled as well.
        #[arg(long)]
        all: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a run asks for, who may decide it, what was decided, and the hash that a decision names.
    Show {
        /// The id, or that of a run that asks for one thing.
        id: String,
        /// Print JSON, with the story as HTML, too.
        #[arg(long)]
        json: bool,
    },
    /// Approve it. On a terminal it is shown before; elsewhere `--hash` says what was shown.
    Approve(Ballot),
    /// Reject it.
    Reject(Ballot),
}

/// What somebody decides.
#[derive(Debug, Clone, Args)]
pub(crate) struct Ballot {
    /// The id, or that of a run that asks for one thing.
    pub(crate) id: String,
    /// The hash that `mcrun approvals show` printed, or 12 signs or more of its beginning: where something else is asked by
    /// now, nothing is decided.
    #[arg(long, value_name = "HASH")]
    pub(crate) hash: Option<String>,
    /// Why, for everybody who looks at it: at most 2 KiB.
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Docs {
    /// List the documents, and which you have read.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a document.
    Show {
        /// What it is called.
        slug: String,
        /// Print it as HTML, without markup of its own.
        #[arg(long, conflicts_with = "json")]
        html: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Mark a document as read by you. Another version of it counts as unread again.
    Read {
        /// What it is called.
        slug: String,
        /// The version that you have read: where another one is there by now, it is not marked.
        #[arg(long, value_name = "N")]
        version: Option<u64>,
    },
    /// Mark a document as not read by you.
    Unread {
        /// What it is called.
        slug: String,
    },
    /// Delete a document.
    Delete {
        /// What it is called.
        slug: String,
    },
}
