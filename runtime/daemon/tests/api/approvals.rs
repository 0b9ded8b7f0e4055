//! Approvals and documents over the API: several people with certificates, each with what the policy lets them do.

use api::v1;
use api::v1::approvals_client::ApprovalsClient;
use api::v1::documents_client::DocumentsClient;
use daemon::api::client::request;
use effect::Timestamp;
use journal::{Begin, Expect, Identity, Kind, RunId, Write};
use peer::calls::Way;
use serde_json::json;
use tonic::Code;

use crate::stage::{NODE, Stage};
use crate::tls::Afar;

/// A run that waits for what two people have to approve.
async fn asks(stage: &Stage, begun: Option<Timestamp>) -> (RunId, String) {
    let run = stage.executor.any().await;
    let began = stage.journal.begin(&run, begin()).await.unwrap().begun_at;
    let approval = json!({
        "id": format!("{run}-1"), "object": format!("script:any.lua/{run}"), "scope": "", "counter": 1,
        "begun": begun.unwrap_or(began), "at": began, "state": "open", "decisions": [], "starter": "user:ada",
        "asked": {
            "title": "Switch?", "body": "The **old** one <script>goes</script>.", "by": ["certificate:*.mcrun.test"],
            "quorum": 2, "rejections": 1, "on_timeout": "fail", "run": run, "script": "0".repeat(64),
            "document": "story",
        },
    });
    let document = json!({
        "slug": "story", "title": "The story", "body": "# One", "version": 1, "hash": "1".repeat(64), "at": 1.0,
    });
    let write = |kind: &str, name: &str, value: serde_json::Value| Write {
        kind: kind.into(),
        node: NODE.into(),
        name: name.into(),
        value: Some(value.to_string()),
        expect: Expect::Any,
    };
    let id = format!("{run}-1");
    let writes = vec![write("approval", &id, approval), write("document", "story", document)];
    stage.journal.write(writes).await.unwrap();
    (run, id)
}

fn begin() -> Begin {
    Begin {
        identity: Identity { scope: String::new(), counter: 1, name: "approve".into() },
        kind: Kind::Wait,
        arguments: "{}".into(),
        arguments_hash: [0; 16],
        place: None,
        before: None,
        change: None,
        until: None,
        fence: None,
    }
}

struct Person {
    approvals: ApprovalsClient<Way>,
    documents: DocumentsClient<Way>,
}

impl Person {
    async fn of(afar: &Afar, name: &str) -> Self {
        let (_, chain, key) = afar.issue(name).await;
        let way = Way::over(afar.stream(&chain, &key).await.unwrap(), None).await.map_err(drop).unwrap();
        let origin = http::Uri::from_static("https://mcrun");
        let approvals = ApprovalsClient::with_origin(way.clone(), origin.clone());
        Self { approvals, documents: DocumentsClient::with_origin(way, origin) }
    }

    async fn look(&mut self, id: &str) -> Result<v1::Approval, Code> {
        let asked = v1::GetApprovalRequest { approval: id.into() };
        let found = self.approvals.get_approval(request(asked)).await.map_err(|status| status.code())?;
        Ok(found.into_inner().approval.unwrap())
    }

    async fn say(&mut self, id: &str, verdict: &str, hash: &str) -> Result<v1::Approval, Code> {
        let comment = "so be it".to_owned();
        let asked = v1::DecideApprovalRequest {
            approval: id.into(),
            verdict: verdict.into(),
            hash: hash.into(),
            comment,
        };
        let decided = self.approvals.decide_approval(request(asked)).await.map_err(|status| status.code())?;
        Ok(decided.into_inner().approval.unwrap())
    }

    async fn read(&mut self, version: u64) {
        let mark = v1::MarkDocumentRequest { slug: "story".into(), is_read: true, version: Some(version) };
        self.documents.mark_document(request(mark)).await.unwrap();
    }
}

#[tokio::test]
async fn two_people_approve_what_they_were_shown_and_have_read() {
    let afar = Afar::open().await;
    let deciders = ["bob", "eve", "starter"].map(|name| format!("certificate:{name}.*"));
    afar.stage.rule(json!([
        { "principals": deciders, "actions": ["approvals.*", "docs.*", "runs.read"], "effect": "allow" },
        { "principals": ["certificate:*.other.test"], "actions": ["approvals.*"], "effect": "allow" },
        { "principals": ["certificate:looker.*"], "actions": ["approvals.read", "runs.read"], "effect": "allow" },
    ]));
    let (_, id) = asks(&afar.stage, None).await;
    let mut bob = Person::of(&afar, "bob.mcrun.test").await;
    let shown = bob.look(&id).await.unwrap();
    assert_eq!((&*shown.state, shown.quorum, shown.document_version), ("open", 2, Some(1)));
    assert_eq!(shown.html, "<p>The <strong>old</strong> one &lt;script&gt;goes&lt;/script&gt;.</p>\n");
    // Who may look may not decide, and who may decide may not decide everything.
    let mut looker = Person::of(&afar, "looker.mcrun.test").await;
    assert!(looker.look(&id).await.is_ok());
    assert_eq!(looker.say(&id, "approved", &shown.hash).await, Err(Code::PermissionDenied));
    let mut other = Person::of(&afar, "ann.other.test").await;
    assert_eq!(other.say(&id, "approved", &shown.hash).await, Err(Code::PermissionDenied));
    // Not unread, and not unseen.
    assert_eq!(bob.say(&id, "approved", &shown.hash).await, Err(Code::PermissionDenied));
    bob.read(1).await;
    assert_eq!(bob.say(&id, "approved", &"0".repeat(64)).await, Err(Code::FailedPrecondition));
    let first = bob.say(&id, "approved", &shown.hash).await.unwrap();
    assert_eq!((&*first.state, first.decisions.len()), ("open", 1));
    assert_eq!(bob.say(&id, "approved", &shown.hash).await.unwrap().decisions.len(), 1);
    let mut eve = Person::of(&afar, "eve.mcrun.test").await;
    eve.read(1).await;
    let second = eve.say(&id, "approved", &shown.hash[..12]).await.unwrap();
    assert_eq!((&*second.state, second.decisions.len()), ("approved", 2));
    assert!(second.decisions.iter().all(|one| one.counts && one.comment.as_deref() == Some("so be it")));
    assert_eq!(eve.say(&id, "rejected", &shown.hash).await, Err(Code::FailedPrecondition));
    let open = bob.approvals.list_approvals(request(v1::ListApprovalsRequest::default())).await.unwrap();
    assert!(open.into_inner().approvals.is_empty());
    let all = v1::ListApprovalsRequest { all: true, ..v1::ListApprovalsRequest::default() };
    assert_eq!(bob.approvals.list_approvals(request(all)).await.unwrap().into_inner().approvals.len(), 1);
    let audited = afar.stage.journal.audited(journal::audit::Filter::default(), 0, 100).await.unwrap();
    let outcomes = |outcome: &str| {
        let decided =
            |one: &&journal::audit::Record| one.action == "approvals.decide" && one.outcome == outcome;
        audited.iter().filter(decided).count()
    };
    assert_eq!((outcomes("approved"), outcomes("denied")), (2, 3));
    let approved = audited.iter().find(|one| one.outcome == "approved").unwrap();
    assert!(approved.address.is_some() && approved.principal == "certificate:bob.mcrun.test");
}

#[tokio::test]
async fn what_was_asked_by_a_wait_that_began_anew_is_over() {
    let afar = Afar::open().await;
    afar.stage.rule(json!([{ "principals": ["certificate:bob.*"], "actions": ["*"], "effect": "allow" }]));
    let (_, id) = asks(&afar.stage, Some(Timestamp(1))).await;
    let mut bob = Person::of(&afar, "bob.mcrun.test").await;
    let shown = bob.look(&id).await.unwrap();
    assert_eq!(shown.state, "over");
    bob.read(1).await;
    assert_eq!(bob.say(&id, "approved", &shown.hash).await, Err(Code::FailedPrecondition));
    // Documents are told with whether the caller has read them, to nobody who may not see them.
    let listed = bob.documents.list_documents(request(v1::ListDocumentsRequest::default())).await.unwrap();
    let listed = listed.into_inner().documents;
    assert_eq!((listed.len(), &*listed[0].slug, listed[0].is_read), (1, "story", true));
    let wanted = v1::GetDocumentRequest { slug: "story".into() };
    let document = bob.documents.get_document(request(wanted)).await.unwrap().into_inner().document.unwrap();
    assert_eq!(document.html, "<h1>One</h1>\n");
    let gone = v1::DeleteDocumentRequest { slug: "story".into() };
    bob.documents.delete_document(request(gone.clone())).await.unwrap();
    assert_eq!(bob.documents.delete_document(request(gone)).await.unwrap_err().code(), Code::NotFound);
}
