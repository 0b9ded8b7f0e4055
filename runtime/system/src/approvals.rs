//! Owns approvals: what a run asks people for with `approve`, who may decide it, and what has become of it.
//!
//! A record `approval`, named RUN-NUMBER, holds one with every decision. Whatever changes it expects it as it was read, so of two
//! who decide at once each is counted, once; the decision, its record in the audit and the event are one commit. A decision names
//! the hash of what was shown and counts only while that is what is asked.
//!
//! Leaves who may make the call at all to the API, and questions about capabilities to [`effect::approval`].

mod ask;
mod book;
mod decide;

use std::sync::Arc;

use effect::access::Whom;
use effect::{Registry, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::World;

pub use ask::{Approve, Decided};
pub use book::{Book, Shown, has_happened, is_approve};
pub use decide::{Ballot, LONGEST_COMMENT, Verdict};

/// The effect that asks.
pub const EFFECT: &str = "approve";
/// The kind of the records.
const APPROVAL: &str = "approval";

/// Registers `approve`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.wait::<Approve>(world);
}

/// What is asked, exactly as it is shown: all of it is in the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// What is to be decided, in a line.
    pub title: String,
    /// The story, as Markdown.
    #[serde(default)]
    pub body: String,
    /// What exactly will be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Who may decide: patterns of principals.
    pub by: Vec<String>,
    /// How many people must approve.
    pub quorum: u32,
    /// How many must reject for it to be over.
    pub rejections: u32,
    /// What it means that nobody decides in time.
    pub on_timeout: OnTimeout,
    /// The document that whoever approves has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The run.
    pub run: String,
    /// SHA-256 of the script, as the run is pinned to it.
    pub script: String,
    /// The saved plan that the run carries out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_plan: Option<String>,
}

impl Asked {
    /// The hash of what is asked, with the edition of its document as it is.
    #[must_use]
    pub fn hash(&self, edition: Option<&str>) -> String {
        digest(&json!([self, edition]).to_string())
    }

    /// Those who may decide. What was recorded was checked when it was asked.
    fn whom(&self) -> Result<Whom, String> {
        Whom::new(&self.by)
    }
}

/// What it means that nobody decides in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// The call fails, as one that could not be asked.
    #[default]
    Fail,
    /// It counts as rejected.
    Reject,
    /// It counts as approved, unless somebody has rejected it or the policy wants four eyes.
    Approve,
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is not decided.
    Open,
    /// As many as are wanted have approved.
    Approved,
    /// It was rejected.
    Rejected,
    /// Nobody has decided in time.
    Expired,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

/// What somebody has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Who.
    pub principal: String,
    /// What.
    pub verdict: Verdict,
    /// Why, in his words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Of what.
    pub hash: String,
    /// When.
    pub at: Timestamp,
}

impl Decision {
    /// Whose deed it is, whichever way he came in.
    fn person(&self) -> &str {
        self.principal.split_once(':').map_or(&*self.principal, |(_, name)| name)
    }
}

/// Something that a run asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Its id: the run's, and a number.
    pub id: String,
    /// What is asked.
    pub asked: Asked,
    /// What rules of access know the run by.
    pub object: String,
    /// Who started the run, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starter: Option<String>,
    /// The place in the run that waits for it, and since when.
    pub scope: String,
    /// Its counter there.
    pub counter: u32,
    /// When that began: what was done anew since is another one.
    pub begun: Timestamp,
    /// When it was asked.
    pub at: Timestamp,
    /// When it is over by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Where it stands.
    pub state: State,
    /// Every decision, one of each person.
    pub decisions: Vec<Decision>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
}

impl Approval {
    /// How many people have decided so about what has this hash.
    #[must_use]
    pub fn count(&self, verdict: Verdict, hash: &str) -> u32 {
        let counted = |decision: &&Decision| decision.verdict == verdict && decision.hash == hash;
        u32::try_from(self.decisions.iter().filter(counted).count()).unwrap_or(u32::MAX)
    }

    /// Its number among those of its run.
    fn number(&self) -> u64 {
        self.id.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
    }
}

/// The id of the run in the id of an approval.
#[must_use]
pub fn run_of(id: &str) -> &str {
    id.split_once('-').map_or(id, |(run, _)| run)
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
