//! Owns the calls about approvals.

use api::v1;
use api::v1::approvals_server::Approvals;
use async_trait::async_trait;
use effect::{Code, Result, Timestamp};
use serde_json::json;
use system::approvals::{Ballot, Book, Decision, LONGEST_COMMENT, Shown, Verdict};
use system::{approvals, markdown};
use tonic::Request;

use super::{Answer, answer, granted};
use crate::api::fields::{text, word, wrong};
use crate::api::gate::Granted;
use crate::api::page::{Question, fill, size};
use crate::api::{Api, Caller};

const LONGEST_ID: usize = 40;
const LONGEST_HASH: usize = 64;

fn decision(one: &Decision, hash: &str) -> v1::Decision {
    v1::Decision {
        principal: one.principal.clone(),
        verdict: one.verdict.as_str().into(),
        comment: one.comment.clone(),
        at: one.at.0,
        counts: one.hash == hash,
    }
}

/// An approval without its texts.
fn listed(shown: &Shown, now: Timestamp) -> v1::Approval {
    let Shown { approval, hash, document, .. } = shown;
    let asked = &approval.asked;
    v1::Approval {
        id: approval.id.clone(),
        run: asked.run.clone(),
        object: approval.object.clone(),
        starter: approval.starter.clone(),
        title: asked.title.clone(),
        body: String::new(),
        html: String::new(),
        plan: None,
        by: asked.by.clone(),
        quorum: asked.quorum,
        rejections: asked.rejections,
        on_timeout: json!(asked.on_timeout).as_str().unwrap_or_default().to_owned(),
        document: asked.document.clone(),
        document_version: document.as_ref().map(|document| document.version),
        script: asked.script.clone(),
        saved_plan: asked.saved_plan.clone(),
        hash: hash.clone(),
        asked: approval.at.0,
        until: approval.until.map(|until| until.0),
        state: shown.state(now).into(),
        decisions: approval.decisions.iter().map(|one| decision(one, hash)).collect(),
    }
}

fn whole(shown: &Shown, now: Timestamp) -> v1::Approval {
    let asked = &shown.approval.asked;
    v1::Approval {
        body: asked.body.clone(),
        html: markdown::html(&asked.body),
        plan: asked.plan.clone(),
        ..listed(shown, now)
    }
}

impl Api {
    fn book(&self) -> Book {
        Book::new(self.rooms().journal.clone(), &self.rooms().node)
    }

    fn now(&self) -> Timestamp {
        self.rooms().journal.clock().now()
    }

    async fn approvals(
        &self,
        request: &v1::ListApprovalsRequest,
        granted: &Granted,
    ) -> Result<v1::ListApprovalsResponse> {
        let question = Question { call: "ListApprovals", about: if request.all { "all" } else { "open" } };
        let behind = question.position(&request.page_token)?;
        let (now, most) = (self.now(), size(request.page_size));
        let mut rest = Vec::new();
        let mut is_behind = behind.is_none();
        for shown in self.book().all().await? {
            if !is_behind {
                is_behind = behind.as_ref().is_some_and(|behind| *behind == shown.approval.id);
                continue;
            }
            let is_wanted = request.all || shown.is_open(now);
            if is_wanted && self.may_see(&shown, granted).await {
                rest.push(listed(&shown, now));
            }
            if rest.len() > most {
                break;
            }
        }
        let is_last = rest.len() <= most;
        rest.truncate(most);
        let (approvals, is_whole) = fill(rest);
        let next_page_token = match approvals.last() {
            Some(last) if !is_last || !is_whole => question.token(&last.id),
            _ => String::new(),
        };
        Ok(v1::ListApprovalsResponse { approvals, next_page_token })
    }

    async fn may_see(&self, shown: &Shown, granted: &Granted) -> bool {
        let run = self.rooms().journal.run(approvals::run_of(&shown.approval.id)).await;
        run.is_ok_and(|run| granted.may_to("approvals.read", &run))
    }

    async fn decide(
        &self,
        request: &Request<v1::DecideApprovalRequest>,
    ) -> Result<v1::DecideApprovalResponse> {
        let v1::DecideApprovalRequest { approval, verdict, hash, comment } = request.get_ref();
        let id = text("approval", approval, LONGEST_ID)?;
        let verdict = match word("verdict", verdict, &["approved", "rejected"])? {
            "approved" => Verdict::Approved,
            _ => Verdict::Rejected,
        };
        if comment.len() > LONGEST_COMMENT {
            let why = format!("it has {} octets, the most is {LONGEST_COMMENT}", comment.len());
            return Err(wrong("comment", why));
        }
        let (granted, caller) = (granted(request)?, request.extensions().get::<Caller>());
        let ballot = Ballot {
            principal: granted.principal.clone(),
            address: caller.and_then(Caller::address),
            verdict,
            comment: (!comment.is_empty()).then(|| comment.clone()),
            hash: text("hash", hash, LONGEST_HASH)?.to_owned(),
        };
        let decided = self.book().decide(id, &ballot, &(self.rooms().access)()).await;
        if let Err(error) = &decided
            && error.code == Code::ApprovalDenied
            && let Some(caller) = caller
        {
            self.gate().denied_by_request(caller, granted, ("approvals.decide", id), &error.message);
        }
        Ok(v1::DecideApprovalResponse { approval: Some(whole(&decided?, self.now())) })
    }
}

#[async_trait]
impl Approvals for Api {
    async fn list_approvals(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Answer<v1::ListApprovalsResponse> {
        let listed = async { self.approvals(request.get_ref(), granted(&request)?).await };
        answer(listed.await)
    }

    async fn get_approval(
        &self,
        request: Request<v1::GetApprovalRequest>,
    ) -> Answer<v1::GetApprovalResponse> {
        let found = async {
            let shown = self.book().get(text("approval", &request.get_ref().approval, LONGEST_ID)?).await?;
            Ok(v1::GetApprovalResponse { approval: Some(whole(&shown, self.now())) })
        };
        answer(found.await)
    }

    async fn decide_approval(
        &self,
        request: Request<v1::DecideApprovalRequest>,
    ) -> Answer<v1::DecideApprovalResponse> {
        answer(self.decide(&request).await)
    }
}
