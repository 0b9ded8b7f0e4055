//! Owns where approvals are written down: how one is asked, found, decided and left to expire, each in a commit with its record
//! in the audit and its event.

use effect::access::Policy;
use effect::{Code, Context, Error, Principal, Result, Timestamp};
use journal::audit::{Kind, New};
use journal::{Expect, Journal, Look, Open, Record, RunId, Write};
use serde_json::{Value, json};

use super::decide::{Ballot, Circumstances, Verdict, decide};
use super::{APPROVAL, Approval, Asked, EFFECT, OnTimeout, State, run_of};
use crate::documents::{Document, Shelf};

/// How often a change is made anew that somebody else was faster with: each time somebody has got on.
const ATTEMPTS: usize = 200;

/// No run asks for more.
const MOST_OF_RUN: usize = 1000;

/// The approvals of a node.
#[derive(Debug, Clone)]
pub struct Book {
    journal: Journal,
    node: String,
}

/// An approval as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The approval.
    pub approval: Approval,
    /// The hash of what is asked now: what a decision names.
    pub hash: String,
    /// The document that has to be read, as it is now, where it is there.
    pub document: Option<Document>,
    /// Whether the run waits for it.
    pub is_waited_for: bool,
    /// The record as it was read, by whichever version it was written: what a change of it expects.
    recorded: Box<str>,
}

impl Shown {
    /// Whether it can be decided at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        let is_in_time = self.approval.until.is_none_or(|until| until > now);
        self.approval.state == State::Open && self.is_waited_for && is_in_time
    }

    /// Where it stands, in a word.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> &'static str {
        match self.approval.state {
            State::Open if !self.is_open(now) => "over",
            state => state.as_str(),
        }
    }
}

/// Who asks, in the name of which run.
pub(super) struct Asking<'a> {
    pub(super) context: &'a Context,
    pub(super) begun: Timestamp,
    pub(super) until: Option<Timestamp>,
}

impl Book {
    /// Those of a node.
    #[must_use]
    pub fn new(journal: Journal, node: &str) -> Self {
        Self { journal, node: node.to_owned() }
    }

    /// Every approval, the newest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn all(&self) -> Result<Vec<Shown>> {
        let records = self.journal.records(APPROVAL, Some(&self.node)).await?;
        let mut shown = Vec::with_capacity(records.len());
        for record in &records {
            shown.push(self.shown(record).await?);
        }
        shown.sort_by_key(|one: &Shown| std::cmp::Reverse((one.approval.at, one.approval.number())));
        Ok(shown)
    }

    /// The approval that `given` names: by its id, or by the id of a run that asks for one thing.
    ///
    /// # Errors
    /// `MC-P030` where there is none.
    pub async fn get(&self, given: &str) -> Result<Shown> {
        let unknown = || {
            let given = crate::markdown::line(given);
            Error::new(Code::ApprovalUnknown, format!("nothing is asked as `{given}`"))
        };
        // As ids are, so that nothing else is looked for.
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        if given.is_empty() || given.len() > 40 || !given.chars().all(fits) {
            return Err(unknown());
        }
        let mut found = self.records(given).await?;
        match found.iter().position(|record| record.name == given) {
            Some(exact) => found = vec![found.swap_remove(exact)],
            None if given.contains('-') => found.clear(),
            None => {}
        }
        if found.len() > 1 {
            found.retain(|record| decode(record).is_ok_and(|approval| approval.state == State::Open));
        }
        match found.as_slice() {
            [record] => self.shown(record).await,
            _ => Err(unknown()),
        }
    }

    async fn records(&self, prefix: &str) -> Result<Vec<Record>> {
        let look = Look::Beneath { kind: APPROVAL.to_owned(), prefix: prefix.to_owned() };
        Ok(self.journal.look(&self.node, vec![look]).await?.into_iter().flatten().collect())
    }

    /// Every approval whose id begins so.
    async fn beneath(&self, prefix: &str) -> Result<Vec<Approval>> {
        self.records(prefix).await?.iter().map(decode).collect()
    }

    async fn shown(&self, record: &Record) -> Result<Shown> {
        let approval = decode(record)?;
        let document = match &approval.asked.document {
            Some(slug) => Shelf::new(self.journal.clone(), &self.node).find(slug).await?,
            None => None,
        };
        let edition = document.as_ref().map(Document::edition);
        let hash = approval.asked.hash(edition.as_deref());
        let is_waited_for = match approval.state {
            State::Open => self.is_waited_for(&approval).await?,
            _ => false,
        };
        Ok(Shown { approval, hash, document, is_waited_for, recorded: record.value.as_str().into() })
    }

    async fn is_waited_for(&self, approval: &Approval) -> Result<bool> {
        let Ok(run) = self.journal.run(run_of(&approval.id)).await else { return Ok(false) };
        if run.state.is_final() || run.cancel_requested {
            return Ok(false);
        }
        let open = self.journal.open_entries(&run.id).await?;
        Ok(open.iter().any(|entry| waits_for(entry, approval)))
    }

    /// Counts what somebody decides. Saying the same twice is saying it once.
    ///
    /// # Errors
    /// `MC-P030` to `MC-P033`.
    pub async fn decide(&self, given: &str, ballot: &Ballot, policy: &Policy) -> Result<Shown> {
        for _ in 0..ATTEMPTS {
            let shown = self.get(given).await?;
            let approval = &shown.approval;
            let has_read = match &shown.document {
                Some(document) => {
                    let shelf = Shelf::new(self.journal.clone(), &self.node);
                    shelf.has_read(document, &ballot.principal).await?
                }
                None => false,
            };
            let circumstances = Circumstances {
                hash: shown.hash.clone(),
                now: self.journal.clock().now(),
                is_waited_for: shown.is_waited_for,
                four_eyes: policy.wants_four_eyes(&approval.object),
                has_read,
            };
            let Some(after) = decide(approval, ballot, &circumstances)? else { return Ok(shown) };
            let told = told_of(&after, ballot, &shown.hash);
            if self.replace(&shown.recorded, &after, told).await? {
                return self.get(&after.id).await;
            }
        }
        Err(contended(given))
    }

    /// Has an approval be over that nobody has decided in time.
    pub(super) async fn expire(&self, id: &str) -> Result<Approval> {
        for _ in 0..ATTEMPTS {
            let record = self.record(id).await?;
            let approval = decode(&record)?;
            if approval.state != State::Open {
                return Ok(approval);
            }
            let settled = Some(self.journal.clock().now());
            let after = Approval { state: State::Expired, settled, ..approval };
            let principal = Principal::Daemon.to_string();
            let told = New::of(Kind::Answer, &principal, "approvals.expire", &after.object, "expired")
                .with(json!({ "id": after.id, "on_timeout": after.asked.on_timeout }));
            let run = run_of(&after.id).parse::<RunId>().ok();
            if self.replace(&record.value, &after, New { run, ..told }).await? {
                return Ok(after);
            }
        }
        Err(contended(id))
    }

    /// An approval as it is now.
    pub(super) async fn again(&self, id: &str) -> Result<Approval> {
        decode(&self.record(id).await?)
    }

    async fn record(&self, id: &str) -> Result<Record> {
        let record = self.journal.committed_record(APPROVAL, &self.node, id).await?;
        record.ok_or_else(|| Error::new(Code::ApprovalUnknown, format!("nothing is asked as `{id}`")))
    }

    /// Writes `after` in the place of what was recorded, with what is told of it; false where somebody else was faster.
    async fn replace(&self, recorded: &str, after: &Approval, told: New) -> Result<bool> {
        let expect = Expect::Value(recorded.into());
        let event = ("approval.decided".to_owned(), event_of(after).to_string());
        self.write(after, expect, event, told).await
    }

    async fn write(
        &self,
        approval: &Approval,
        expect: Expect,
        event: (String, String),
        told: New,
    ) -> Result<bool> {
        let write = Write {
            kind: APPROVAL.to_owned(),
            node: self.node.clone(),
            name: approval.id.clone(),
            value: Some(json!(approval).to_string()),
            expect,
        };
        match self.journal.tell_audited(vec![event], vec![write], vec![told]).await {
            Ok(()) => Ok(true),
            Err(journal::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The approval that a wait asks for: the one that it has asked for before, or one that is asked now.
    pub(super) async fn ask(
        &self,
        asking: &Asking<'_>,
        asked: impl Fn(&journal::Run) -> Asked,
    ) -> Result<Approval> {
        let context = asking.context;
        let run = context.run;
        let identity = &context.identity;
        for _ in 0..ATTEMPTS {
            let others = self.beneath(&format!("{run}-")).await?;
            let is_ours = |other: &&Approval| {
                (&*other.scope, other.counter, other.begun)
                    == (&*identity.scope, identity.counter, asking.begun)
            };
            if let Some(ours) = others.iter().find(is_ours) {
                return Ok(ours.clone());
            }
            if others.len() >= MOST_OF_RUN {
                let message = format!("the run has asked for {MOST_OF_RUN} approvals already");
                return Err(Error::new(Code::TooLarge, message).hint("ask once for what belongs together"));
            }
            let number = others.iter().map(Approval::number).max().unwrap_or(0) + 1;
            let found = self.journal.run(run.as_str()).await?;
            let approval = Approval {
                id: format!("{run}-{number}"),
                asked: asked(&found),
                object: found.object(),
                starter: self.journal.starter(&run).await?,
                scope: identity.scope.clone(),
                counter: identity.counter,
                begun: asking.begun,
                at: context.now(),
                until: asking.until,
                state: State::Open,
                decisions: Vec::new(),
                settled: None,
            };
            let starter = approval.starter.as_deref().unwrap_or("nobody that is known");
            let told = New::of(Kind::Run, starter, "approvals.ask", &approval.object, "asked")
                .about(run)
                .with(json!({ "id": approval.id, "title": approval.asked.title, "by": approval.asked.by }));
            let event = ("approval.asked".to_owned(), event_of(&approval).to_string());
            if self.write(&approval, Expect::Absent, event, told).await? {
                return Ok(approval);
            }
        }
        Err(contended(run.as_str()))
    }
}

/// What is recorded of a decision.
fn told_of(after: &Approval, ballot: &Ballot, hash: &str) -> New {
    let decision = after.decisions.last();
    let details = json!({
        "id": after.id,
        "title": after.asked.title,
        "hash": hash,
        "comment": decision.and_then(|decision| decision.comment.as_deref()),
        "approved": format!("{}/{}", after.count(Verdict::Approved, hash), after.asked.quorum),
        "rejected": format!("{}/{}", after.count(Verdict::Rejected, hash), after.asked.rejections),
        "state": after.state,
    });
    let principal = ballot.principal.to_string();
    let told = New::of(Kind::Answer, &principal, "approvals.decide", &after.object, ballot.verdict.as_str());
    let run = run_of(&after.id).parse::<RunId>().ok();
    New { run, address: ballot.address.clone(), ..told.with(details) }
}

/// What is told with the events: enough for a message to those who are asked, and no story.
fn event_of(approval: &Approval) -> Value {
    let Asked { title, by, quorum, run, document, .. } = &approval.asked;
    let last = approval.decisions.last();
    json!({
        "id": approval.id, "run": run, "object": approval.object, "title": title, "by": by, "quorum": quorum,
        "document": document, "starter": approval.starter, "until": approval.until, "state": approval.state,
        "decided_by": last.map(|last| &last.principal), "verdict": last.map(|last| last.verdict),
    })
}

fn contended(what: &str) -> Error {
    Error::new(Code::Internal, format!("`{what}` changes again and again")).retryable()
}

fn decode(record: &Record) -> Result<Approval> {
    serde_json::from_str(&record.value)
        .map_err(|error| Error::new(Code::JournalBroken, "an approval cannot be decoded").because(error))
}

fn waits_for(entry: &Open, approval: &Approval) -> bool {
    is_approve(entry)
        && (&*entry.identity.scope, entry.identity.counter, entry.begun_at)
            == (&*approval.scope, approval.counter, approval.begun)
}

/// Whether a begun entry is an `approve`.
#[must_use]
pub fn is_approve(entry: &Open) -> bool {
    entry.identity.name == EFFECT
}

/// Whether what a begun `approve` of a run asks for is settled, or is not asked yet.
///
/// # Errors
/// When the journal cannot be read.
pub async fn has_happened(journal: &Journal, node: &str, run: &RunId, entry: &Open) -> Result<bool> {
    let asked = Book::new(journal.clone(), node).beneath(&format!("{run}-")).await?;
    let ours = asked.iter().find(|approval| waits_for(entry, approval));
    Ok(ours.is_none_or(|ours| ours.state != State::Open))
}

impl Approval {
    /// What has become of it in the end, where nobody decided in time.
    pub(super) fn outcome_of_time(&self, four_eyes: bool) -> OnTimeout {
        let is_rejected = self.decisions.iter().any(|decision| decision.verdict == Verdict::Rejected);
        match self.asked.on_timeout {
            OnTimeout::Approve if is_rejected || four_eyes => OnTimeout::Reject,
            other => other,
        }
    }
}
