//! Owns what a decision comes to. It is pure: an approval, a ballot and the circumstances in, the approval behind it out.

use effect::{Code, Error, Principal, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Approval, Decision, State};
use crate::markdown;

/// No comment is longer, in bytes.
pub const LONGEST_COMMENT: usize = 2048;
/// Letters of the hash that must be named.
const SHORTEST_HASH: usize = 12;

/// What somebody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Approved,
    /// No.
    Rejected,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

/// What somebody decides.
#[derive(Debug, Clone)]
pub struct Ballot {
    /// Who.
    pub principal: Principal,
    /// From where, where that is known.
    pub address: Option<String>,
    /// What.
    pub verdict: Verdict,
    /// Why.
    pub comment: Option<String>,
    /// The hash of what was shown, or enough of its beginning.
    pub hash: String,
}

/// What else counts at the moment of a decision.
#[derive(Debug, Clone)]
pub(super) struct Circumstances {
    /// The hash of what is asked now.
    pub(super) hash: String,
    pub(super) now: Timestamp,
    /// Whether the run waits for it.
    pub(super) is_waited_for: bool,
    /// Whether whoever started the run may not approve it.
    pub(super) four_eyes: bool,
    /// Whether he has read the document, where one has to be.
    pub(super) has_read: bool,
}

/// The approval behind a decision; nothing where the same was said before.
///
/// # Errors
/// `MC-P031` where it is over, `MC-P033` where he may not, and `MC-P032` where he was shown something else.
pub(super) fn decide(
    approval: &Approval,
    ballot: &Ballot,
    circumstances: &Circumstances,
) -> Result<Option<Approval>> {
    check_open(approval, circumstances)?;
    check_whom(approval, ballot, circumstances)?;
    check_hash(approval, &ballot.hash, &circumstances.hash)?;
    let is_approval = ballot.verdict == Verdict::Approved;
    if let (true, false, Some(document)) = (is_approval, circumstances.has_read, &approval.asked.document) {
        let message = format!("the document `{document}` has to be read before, as it is now");
        return Err(Error::new(Code::ApprovalDenied, message)
            .hint(format!("`mcrun docs show {document}`, then `mcrun docs read {document}`")));
    }
    let decision = Decision {
        principal: ballot.principal.to_string(),
        verdict: ballot.verdict,
        comment: ballot.comment.as_deref().map(comment).filter(|comment| !comment.is_empty()),
        hash: circumstances.hash.clone(),
        at: circumstances.now,
    };
    let before = approval.decisions.iter().find(|before| before.person() == decision.person());
    if before.is_some_and(|before| (before.verdict, &before.hash) == (decision.verdict, &decision.hash)) {
        return Ok(None);
    }
    let mut after = approval.clone();
    // Whoever changes his mind is counted once. What was said of something else than is asked now is void.
    after.decisions.retain(|before| before.person() != decision.person() && before.hash == decision.hash);
    after.decisions.push(decision);
    after.state = tally(&after, &circumstances.hash);
    after.settled = (after.state != State::Open).then_some(circumstances.now);
    Ok(Some(after))
}

fn tally(approval: &Approval, hash: &str) -> State {
    if approval.count(Verdict::Rejected, hash) >= approval.asked.rejections {
        State::Rejected
    } else if approval.count(Verdict::Approved, hash) >= approval.asked.quorum {
        State::Approved
    } else {
        State::Open
    }
}

fn check_open(approval: &Approval, circumstances: &Circumstances) -> Result<()> {
    let over = |why: String| Err(Error::new(Code::ApprovalOver, format!("`{}` {why}", approval.id)));
    match approval.state {
        State::Open => {}
        state => return over(format!("is {} already", state.as_str())),
    }
    if approval.until.is_some_and(|until| until <= circumstances.now) {
        return over("is over: its time has passed".to_owned());
    }
    if !circumstances.is_waited_for {
        return over("is asked by nobody any more: its run does not wait for it".to_owned());
    }
    Ok(())
}

fn check_whom(approval: &Approval, ballot: &Ballot, circumstances: &Circumstances) -> Result<()> {
    let denied = |why: String| Err(Error::new(Code::ApprovalDenied, format!("`{}` {why}", ballot.principal)));
    let whom = approval.asked.whom();
    if !whom.is_ok_and(|whom| whom.means(&ballot.principal)) {
        return denied(format!("may not decide `{}`: {} may", approval.id, approval.asked.by.join(", ")));
    }
    let is_starter = approval.starter.as_deref().is_some_and(|starter| {
        starter.split_once(':').map_or(starter, |(_, name)| name) == ballot.principal.person()
    });
    if circumstances.four_eyes && is_starter && ballot.verdict == Verdict::Approved {
        return denied("has started the run: the policy wants somebody else to approve it".to_owned());
    }
    Ok(())
}

fn check_hash(approval: &Approval, named: &str, hash: &str) -> Result<()> {
    if named.len() >= SHORTEST_HASH && hash.starts_with(named) {
        return Ok(());
    }
    let message = match named.len() {
        0..SHORTEST_HASH => {
            format!("a decision names {SHORTEST_HASH} signs or more of the hash that was shown")
        }
        _ => format!("`{}` is not what was shown: its hash is another one", approval.id),
    };
    Err(Error::new(Code::ApprovalChanged, message)
        .hint(format!("look at it again: `mcrun approvals show {}`", approval.id)))
}

/// A comment within its bound, without what would act on a terminal.
fn comment(text: &str) -> String {
    let text = markdown::plain(text);
    let text = text.trim();
    text[..text.floor_char_boundary(LONGEST_COMMENT)].to_owned()
}

#[cfg(test)]
mod tests;
