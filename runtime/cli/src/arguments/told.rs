//! Owns what can be said of events, and of times at which playbooks start.

use clap::Args;

use super::events;

/// `mcrun emit`.
#[derive(Debug, Args)]
pub(crate) struct Emit {
    /// The event's name, such as `db.restored`.
    pub(crate) event: String,
    /// What is told with it, as JSON.
    #[arg(long, value_name = "JSON")]
    pub(crate) data: Option<String>,
}

/// `mcrun events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only events with such names: `*` stands for a part between dots, as in `container.*`.
    pub(crate) event: Option<String>,
    /// Go on with what is told from now on, until Ctrl-C.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only those told since then: a moment, `2026-12-24T17:00:00Z`, or how long ago, `2h`.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<events::Since>,
    /// At most so many of the newest that there are; 200 unless this or --since is given.
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) tail: Option<usize>,
    /// Print JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun schedule`.
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    /// Only this playbook.
    pub(crate) name: Option<String>,
    /// So many times to come of each trigger.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) next: usize,
    /// At most so many of what was.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) last: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
