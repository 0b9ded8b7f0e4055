//! Owns the question to a person who may grant what a run lacks, and what may be asked at all. Leaves terminals to the
//! command line.

use async_trait::async_trait;
use journal::Place;
use serde_json::json;

use crate::session::{Request, Session, Stop};
use crate::{Error, Need};

/// What a run lacks, exactly as it would be granted.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The effect, `files.write`.
    pub effect: &'a str,
    /// The object that it is about.
    pub subject: &'a str,
    /// Where the script asks for it.
    pub place: Option<&'a Place>,
    /// The capabilities that are missing, in the form `--allow` takes. They name the object and nothing else.
    pub missing: &'a [String],
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This run may do it, now and when it is resumed.
    Granted,
    /// It may not, or nobody answered.
    Refused,
    /// The run was asked to stop meanwhile: nothing is decided.
    Stopped,
}

/// Asks a person.
#[async_trait]
pub trait Approver: Send + Sync {
    /// Asks one question. Calls may overlap; a person answers one at a time.
    async fn ask(&self, question: Question<'_>) -> Verdict;
}

impl Session {
    /// Asks for what `needs` lack, where a person may grant it and is there to be asked. Returns the denial unless all
    /// is granted; what is granted is recorded with the run first, so that a resume keeps it.
    pub(crate) async fn approve(
        &self,
        request: &Request,
        subject: &str,
        needs: &[Need],
        denied: Error,
    ) -> Result<Option<Error>, Stop> {
        let policy = &self.shared().policy;
        let Some(approver) = self.approver().filter(|_| policy.may_be_granted(needs)) else {
            return Ok(Some(denied));
        };
        // One question at a time: the answer to another branch's may answer this one too.
        let _turn = self.asking().lock().await;
        let missing = policy.missing(needs);
        if missing.is_empty() {
            return Ok(None);
        }
        let effect = &request.identity.name;
        let question = Question { effect, subject, place: request.place.as_ref(), missing: &missing };
        match approver.ask(question).await {
            Verdict::Refused => Ok(Some(denied)),
            Verdict::Stopped => Err(Stop::Unanswered),
            Verdict::Granted => {
                policy.grant(&missing).map_err(Stop::Pause)?;
                self.shared().journal.set_grants(self.run_id(), json!(policy.recorded())).await?;
                Ok(None)
            }
        }
    }
}
