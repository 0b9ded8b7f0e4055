//! Owns what is known about a run as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::id::RunId;
use crate::record::Write;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Recorded, not started.
    Pending,
    /// Being executed; without a holder of its lock it was interrupted and can be resumed.
    Running,
    /// Until a time or an event, without a worker.
    Waiting,
    /// Until somebody decides.
    Paused,
    /// Ended well.
    Done,
    /// Ended with an error.
    Failed,
    /// Ended on request.
    Cancelled,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// Whether the state claims that every effect so far is recorded.
    pub(crate) fn vouches_for_its_entries(self) -> bool {
        matches!(self, Self::Waiting | Self::Done)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is no state of a run"))
    }
}

/// A run to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The script's file name.
    pub name: String,
    /// The script's path.
    pub script: String,
    /// The words after the file name.
    pub args: Vec<String>,
    /// The typed parameters.
    pub params: Value,
    /// What the run may do.
    pub grants: Value,
    /// How much the run may use.
    pub limits: Value,
    /// What its random numbers start from.
    pub seed: u64,
    /// The node it belongs to.
    pub node: String,
    /// The main source, pinned for every resume.
    pub source: String,
    /// The folder that `require` reads from.
    pub root: String,
    /// The sources of modules that are pinned already, by module.
    pub modules: BTreeMap<String, String>,
    /// The saved plan that it carries out.
    pub plan: Option<NewPlan>,
    /// Why it is started; nothing where somebody simply ran a script.
    pub cause: Option<NewCause>,
}

/// Why a run is started.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCause {
    /// The playbook that it is a run of.
    pub playbook: Option<String>,
    /// What its playbook and whoever looks at it are told.
    pub told: Value,
    /// What is recorded together with the run: both are there, or neither.
    pub writes: Vec<Write>,
}

/// A saved plan at the moment at which a run takes it. Only one run ever does.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPlan {
    /// Its name.
    pub name: String,
    /// Its steps, for every resume.
    pub steps: String,
}

/// A run as recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The script's file name.
    pub name: String,
    /// The script's path.
    pub script: String,
    /// The words after the file name.
    pub args: Vec<String>,
    /// The typed parameters.
    pub params: Value,
    /// What the run may do.
    pub grants: Value,
    /// How much the run may use.
    pub limits: Value,
    /// What its random numbers start from.
    pub seed: u64,
    /// The node it belongs to.
    pub node: String,
    /// The main source as pinned; shared between the runs of one listing.
    #[serde(skip, default = "no_source")]
    pub source: Arc<str>,
    /// The folder that `require` reads from.
    pub root: String,
    /// The saved plan that it carries out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// How often a part of its history was forgotten.
    pub forgotten: u32,
    /// What it came from, when that is another run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Value>,
    /// The playbook that it is a run of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
    /// Why it was started; nothing where somebody simply ran a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Value>,
    /// How it was last asked to be executed; only this state directory knows.
    #[serde(skip)]
    pub wish: Option<Value>,
    /// Whether it was recorded elsewhere: it can be looked at and nothing else.
    pub imported: bool,
    /// Where it stands.
    pub state: RunState,
    /// The error, or the reason of a pause.
    pub outcome: Option<Value>,
    /// The exit code of its outcome.
    pub exit_code: Option<i32>,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// When it was recorded.
    pub created: Timestamp,
    /// When its state changed or an effect of it completed last.
    pub updated: Timestamp,
    /// When it first ran.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How many effects have completed.
    pub effects: u64,
    /// How many of these changed something.
    pub changed: u64,
}

impl Run {
    /// What rules of access and people know it by: `PLAYBOOK/RUN`, or `script:NAME/RUN`.
    #[must_use]
    pub fn object(&self) -> String {
        match &self.playbook {
            Some(playbook) => format!("{playbook}/{}", self.id),
            None => format!("script:{}/{}", self.name, self.id),
        }
    }
}

fn no_source() -> Arc<str> {
    Arc::from("")
}

/// Which runs to list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Only runs in this state.
    pub state: Option<RunState>,
    /// At most so many.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { state: None, limit: 100 }
    }
}

/// One page of a listing, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOfRuns {
    /// Only runs in this state.
    pub state: Option<RunState>,
    /// Only runs of this playbook.
    pub playbook: Option<String>,
    /// Only runs that were recorded before this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}
