//! Owns what can be said to the audit and to the policy of access.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use effect::Principal;
use effect::access::ACTIONS;
use journal::audit::Hash;

use super::events::Since;

/// The actions that the policy knows, for the help.
pub(crate) fn actions() -> String {
    let lines = ACTIONS.iter().map(|(action, about)| format!("\n  {action:<16}  {about}"));
    std::iter::once("Actions:".to_owned()).chain(lines).collect()
}

/// What of the audit is wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct Audit {
    /// Walk the whole chain: that no record was changed, removed, moved or put in by something else.
    #[arg(long, conflicts_with_all = ["since", "principal", "export"])]
    pub(crate) verify: bool,
    /// A hash that an earlier `--verify` printed and that was kept elsewhere: the chain must go through it.
    #[arg(long, value_name = "HASH", requires = "verify")]
    pub(crate) head: Option<Hash>,
    /// Only records written since then: a moment, `2026-12-24T17:00:00Z`, or how long ago, `2h`.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<Since>,
    /// Only records of this principal, such as `user:root`.
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) principal: Option<String>,
    /// Print JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write JSON lines to a file that only its owner may read.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) export: Option<PathBuf>,
}

/// What is asked of the policy.
#[derive(Debug, Clone, Args)]
pub(crate) struct CanI {
    /// The action, such as `playbooks.start`.
    pub(crate) action: String,
    /// The object: a playbook, a service, an event; a run is `PLAYBOOK/RUN`, or `script:NAME/RUN`.
    #[arg(default_value = "")]
    pub(crate) object: String,
    /// In whose name: `user:…`, `certificate:…`, `account:…`, `system:…`; your own unless given.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    pub(crate) principal: Option<Principal>,
    /// A role of that account.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Vec<String>,
    /// A group of that account.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,
    /// A parameter; the value is JSON, or a text.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) param: Vec<String>,
    /// As if the principal had started it itself.
    #[arg(long)]
    pub(crate) own: bool,
    /// Print JSON, with every rule and why it does not decide.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The policy of access.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Policy {
    /// Compare the policy with a table of what is expected of it. Exit code 1 where it is not so.
    Test {
        /// A TOML file with `[[expect]]`: `principal`, `roles`, `groups`, `action`, `object`, `params`, `own`, `expected`
        /// (`"allow"` or `"deny"`), `rule`, and of `approvals.decide` `four_eyes`.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
