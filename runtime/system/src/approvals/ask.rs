//! Owns `approve`: a run waits until people have decided.

use std::time::Duration;

use async_trait::async_trait;
use effect::access::Whom;
use effect::units::Span;
use effect::{Code, Context, Declared, Error, Need, Result, Timestamp, Wait};
use journal::Run;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::book::Asking;
use super::{Approval, Asked, Book, EFFECT, OnTimeout, State, Verdict, digest};
use crate::World;
use crate::clock::remaining;
use crate::documents::check_slug;
use crate::markdown::is_sly;

/// How often it is looked whether it is decided.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
const LONGEST_TITLE: usize = 200;
/// No story and no plan is longer, in bytes.
const LONGEST_TEXT: usize = 64 << 10;
const MOST_PEOPLE: u32 = 100;
/// Who decides where nobody is named.
const ADMINS: &str = "role:admin";

/// Waits until people have decided that the run may go on: `mcrun approvals approve ID`, or `reject`.
///
/// Whoever decides names the hash of exactly what was shown: title, body, plan, script and document. A rejection is an error.
/// However long it takes, no worker is kept alive, and the wait survives a reboot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// What is to be decided, in a line.
    title: String,
    /// The story, as Markdown.
    #[serde(default)]
    body: String,
    /// What exactly will be done, such as a diff or the hash of an image; shown as it is.
    plan: Option<String>,
    /// Who may decide: one or more of `"user:NAME"`, `"account:NAME"`, `"certificate:NAME"`, `"role:NAME"`, `"group:NAME"`,
    /// where `*` stands for anything; `"role:admin"` unless given.
    by: Option<Names>,
    /// How many different people must approve: 1 unless given.
    #[serde(default = "one")]
    quorum: u32,
    /// How many must reject for it to be over: 1 unless given.
    #[serde(default = "one")]
    rejections: u32,
    /// How long it may take; for ever unless given.
    within: Option<Span>,
    /// What it means that nobody decides in time: `"fail"` unless given. `"approve"` takes the capability
    /// `approvals:unattended`, and is a rejection where somebody has rejected it or the policy wants four eyes.
    #[serde(default)]
    on_timeout: OnTimeout,
    /// The slug of a document that whoever approves has marked as read, as it is then.
    document: Option<String>,
}

/// One name or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Names {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

fn one() -> u32 {
    1
}

/// How an approval was decided.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    /// Its id.
    pub id: String,
    /// Who approved it; nobody where its time was over.
    pub by: Vec<String>,
    /// The last comment, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether nobody decided in time, and `on_timeout = "approve"` let it pass.
    pub timed_out: bool,
}

impl Approve {
    fn by(&self) -> Vec<String> {
        match &self.by {
            None => vec![ADMINS.to_owned()],
            Some(Names::One(name)) => vec![name.clone()],
            Some(Names::Several(names)) => names.clone(),
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |field: &str, why: String| {
            Err(Error::new(Code::Argument, format!("`approve`: field `{field}` {why}")))
        };
        let letters = self.title.chars().count();
        if !(1..=LONGEST_TITLE).contains(&letters) || self.title.chars().any(is_sly) {
            return wrong("title", format!("is one line of 1 to {LONGEST_TITLE} letters"));
        }
        for (field, text) in [("body", Some(&self.body)), ("plan", self.plan.as_ref())] {
            if let Some(length) = text.map(String::len).filter(|length| *length > LONGEST_TEXT) {
                return wrong(field, format!("has {length} bytes, the most is {LONGEST_TEXT}"));
            }
        }
        if let Err(why) = Whom::new(&self.by()) {
            return wrong("by", why);
        }
        for (field, count) in [("quorum", self.quorum), ("rejections", self.rejections)] {
            if !(1..=MOST_PEOPLE).contains(&count) {
                return wrong(field, format!("is a number from 1 to {MOST_PEOPLE}"));
            }
        }
        if self.on_timeout != OnTimeout::Fail && self.within.is_none() {
            return wrong("on_timeout", "means nothing without `within`".to_owned());
        }
        match self.document.as_deref().map(check_slug) {
            Some(Err(why)) => wrong("document", why),
            _ => Ok(()),
        }
    }

    fn asked(&self, run: &Run) -> Asked {
        Asked {
            title: self.title.clone(),
            body: self.body.clone(),
            plan: self.plan.clone(),
            by: self.by(),
            quorum: self.quorum,
            rejections: self.rejections,
            on_timeout: self.on_timeout,
            document: self.document.clone(),
            run: run.id.to_string(),
            script: digest(&run.source),
            saved_plan: run.plan.clone(),
        }
    }
}

impl Declared for Approve {
    const NAME: &'static str = EFFECT;
    const CAPABILITY: &'static str = "approvals:write:PRINCIPAL";
    const EXAMPLE: &'static str = "if args[1] == \"production\" then\n    approve { title = \"Switch production?\", body = \"The **old** one goes.\", by = \"role:admin\", within = \"2h\" }\nend";
    type World = World;
    type Output = Decided;

    fn subject(&self) -> String {
        let people = if self.quorum > 1 { format!("{} of ", self.quorum) } else { String::new() };
        format!("{} ({people}{})", self.title, self.by().join(", "))
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        self.check()?;
        let mut needs: Vec<Need> =
            self.by().into_iter().map(|principal| Need::write("approvals", principal)).collect();
        if self.on_timeout == OnTimeout::Approve {
            needs.push(Need::extra("approvals", "unattended", String::new()));
        }
        needs.extend(self.document.iter().map(|slug| Need::read("docs", slug)));
        Ok(needs)
    }
}

fn approvers(approval: &Approval, verdict: Verdict) -> Vec<String> {
    let decisions = approval.decisions.iter().filter(|decision| decision.verdict == verdict);
    decisions.map(|decision| decision.principal.clone()).collect()
}

fn rejected(approval: &Approval) -> Error {
    let by = approvers(approval, Verdict::Rejected).join(", ");
    let message = match by.is_empty() {
        true => format!("`{}` was not approved in time", approval.asked.title),
        false => format!("`{}` was rejected by {by}", approval.asked.title),
    };
    let error = Error::new(Code::ApprovalRejected, message);
    let said = approval.decisions.iter().rev().filter(|decision| decision.verdict == Verdict::Rejected);
    match said.filter_map(|decision| decision.comment.as_ref()).next() {
        Some(comment) => error.because(comment),
        None => error,
    }
}

/// What a call comes to; nothing while it is open.
fn outcome(approval: &Approval, four_eyes: bool) -> Option<Result<Decided>> {
    let decided = |timed_out| Decided {
        id: approval.id.clone(),
        by: approvers(approval, Verdict::Approved),
        comment: approval.decisions.iter().rev().find_map(|decision| decision.comment.clone()),
        timed_out,
    };
    Some(match (approval.state, approval.outcome_of_time(four_eyes)) {
        (State::Open, _) => return None,
        (State::Approved, _) => Ok(decided(false)),
        (State::Rejected, _) | (State::Expired, OnTimeout::Reject) => Err(rejected(approval)),
        (State::Expired, OnTimeout::Approve) => Ok(decided(true)),
        (State::Expired, OnTimeout::Fail) => {
            let message = format!("nobody decided `{}` in time", approval.asked.title);
            Err(Error::new(Code::TimedOut, message)
                .hint("start a new run and have it decided, or wait longer: `within = …`"))
        }
    })
}

#[async_trait]
impl Wait for Approve {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let millis = i64::try_from(self.within?.0.as_millis()).unwrap_or(i64::MAX);
        Some(Timestamp(now.0.saturating_add(millis)))
    }

    fn promise(&self) -> Decided {
        Decided { id: String::new(), by: Vec::new(), comment: None, timed_out: false }
    }

    async fn wait(&self, world: &World, context: &Context, until: Option<Timestamp>) -> Result<Decided> {
        let book = Book::new(context.journal.clone(), &context.node);
        // The moment at which this very wait began tells it from one of the same place that was forgotten since.
        let open = context.journal.open_entries(&context.run).await?;
        let begun = open.iter().find(|entry| entry.identity == context.identity).map(|entry| entry.begun_at);
        let begun = begun.unwrap_or_else(|| context.now());
        let asking = Asking { context, begun, until };
        let mut approval = book.ask(&asking, |run| self.asked(run)).await?;
        let four_eyes = world.wants_four_eyes(&approval.object);
        loop {
            if let Some(outcome) = outcome(&approval, four_eyes) {
                return outcome;
            }
            let left = until.map_or(BETWEEN_LOOKS, |until| remaining(context.now(), until));
            if left.is_zero() {
                approval = book.expire(&approval.id).await?;
                continue;
            }
            tokio::time::sleep(left.min(BETWEEN_LOOKS)).await;
            approval = book.again(&approval.id).await?;
        }
    }

    fn parks(&self) -> bool {
        true
    }

    async fn due(&self, _: &World, context: &Context, until: Option<Timestamp>) -> Result<bool> {
        if until.is_some_and(|until| until <= context.now()) {
            return Ok(true);
        }
        let open = context.journal.open_entries(&context.run).await?;
        let Some(entry) = open.iter().find(|entry| entry.identity == context.identity) else {
            return Ok(true);
        };
        super::has_happened(&context.journal, &context.node, &context.run, entry).await
    }
}
