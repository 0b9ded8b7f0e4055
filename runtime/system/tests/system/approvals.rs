//! `approve` through the corridor, with a journal: people decide while a run waits.

use std::time::Duration;

use effect::access::{FourEyes, Policy};
use effect::{Code, Error};
use journal::audit::Filter;
use serde_json::{Value, json};
use system::approvals::{Ballot, Book, Shown, State, Verdict};
use system::documents::Shelf;

use crate::bench::{Bench, Script};

const YES: Verdict = Verdict::Approved;
const NO: Verdict = Verdict::Rejected;

fn book(bench: &Bench) -> Book {
    Book::new(bench.journal().clone(), "rift")
}

/// What is asked, once it is.
async fn asked(book: &Book) -> Shown {
    let waiting = async {
        loop {
            let open = book.all().await.unwrap();
            if let Some(shown) = open.into_iter().find(|shown| shown.approval.state == State::Open) {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("something is asked")
}

async fn said(book: &Book, shown: &Shown, who: &str, verdict: Verdict) -> Result<Shown, Error> {
    said_under(book, shown, who, verdict, &Policy::default()).await
}

async fn said_under(
    book: &Book,
    shown: &Shown,
    who: &str,
    verdict: Verdict,
    policy: &Policy,
) -> Result<Shown, Error> {
    let ballot = Ballot {
        principal: who.parse().unwrap(),
        address: None,
        verdict,
        comment: Some(format!("{who} says so")),
        hash: shown.hash.clone(),
    };
    book.decide(&shown.approval.id, &ballot, policy).await
}

async fn waits(script: &Script, arguments: Value) -> Result<Value, Error> {
    script.call("approve", arguments).await
}

#[tokio::test]
async fn a_run_goes_on_when_as_many_have_approved_as_it_wants() {
    let bench = Bench::new();
    let (script, book) = (bench.run().await, book(&bench));
    let people = async {
        let shown = asked(&book).await;
        let denied = said(&book, &shown, "user:mallory", YES).await.unwrap_err();
        assert_eq!(denied.code, Code::ApprovalDenied);
        said(&book, &shown, "account:bob", YES).await.unwrap();
        said(&book, &shown, "account:bob", YES).await.unwrap();
        said(&book, &shown, "account:eve", YES).await.unwrap();
        let late = said(&book, &shown, "account:carl", NO).await.unwrap_err();
        assert_eq!(late.code, Code::ApprovalOver);
    };
    let arguments = json!({ "title": "Switch?", "by": ["account:*"], "quorum": 2, "within": "1h" });
    let (decided, ()) = tokio::join!(waits(&script, arguments), people);
    let decided = decided.unwrap();
    assert_eq!(decided["by"], json!(["account:bob", "account:eve"]));
    assert_eq!((&decided["comment"], &decided["timed_out"]), (&json!("account:eve says so"), &json!(false)));
    // Each decision is in the audit once, and told once.
    let audited = bench.journal().audited(Filter::default(), 0, 100).await.unwrap();
    let decisions: Vec<_> = audited.iter().filter(|record| record.action == "approvals.decide").collect();
    assert_eq!(decisions.len(), 2);
    assert!(decisions.iter().all(|record| record.outcome == "approved" && record.run.is_some()));
    let events = bench.journal().events(0, 100).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(told, ["approval.asked", "approval.decided", "approval.decided"]);
    assert_eq!(bench.journal().verify_audit(None).await.unwrap().fault, None);
}

#[tokio::test]
async fn a_rejection_is_an_error_with_its_reason() {
    let bench = Bench::new();
    let (script, book) = (bench.run().await, book(&bench));
    let people = async {
        let shown = asked(&book).await;
        said(&book, &shown, "account:bob", NO).await.unwrap();
    };
    let (decided, ()) =
        tokio::join!(waits(&script, json!({ "title": "Switch?", "by": "account:bob" })), people);
    let error = decided.unwrap_err();
    assert_eq!(error.code, Code::ApprovalRejected);
    assert!(error.message.contains("account:bob") && error.cause.unwrap().contains("says so"));
}

#[tokio::test]
async fn nobody_in_time_is_what_the_script_says() {
    let bench = Bench::new();
    let script = bench.run().await;
    let with = |choice: &str| json!({ "title": "Switch?", "within": "20ms", "on_timeout": choice });
    assert_eq!(waits(&script, with("fail")).await.unwrap_err().code, Code::TimedOut);
    assert_eq!(waits(&script, with("reject")).await.unwrap_err().code, Code::ApprovalRejected);
    assert_eq!(waits(&script, with("approve")).await.unwrap()["timed_out"], true);
    // A rejection that was not enough is more than nothing.
    let book = book(&bench);
    let people = async {
        let shown = asked(&book).await;
        said(&book, &shown, "account:bob", NO).await.unwrap();
    };
    let arguments = json!({
        "title": "Switch?", "by": "account:*", "rejections": 2, "within": "2s", "on_timeout": "approve",
    });
    let (decided, ()) = tokio::join!(waits(&script, arguments), people);
    assert_eq!(decided.unwrap_err().code, Code::ApprovalRejected);
    let bounded = bench.script(effect::Mode::Run, &["approvals:write"]).await;
    assert_eq!(waits(&bounded, with("approve")).await.unwrap_err().code, Code::Denied);
    let other = bench.script(effect::Mode::Run, &["approvals:write:group:ops"]).await;
    assert_eq!(waits(&other, with("fail")).await.unwrap_err().code, Code::Denied);
}

#[tokio::test]
async fn of_many_who_decide_at_once_each_counts_once() {
    let bench = Bench::new();
    let (script, book) = (bench.run().await, book(&bench));
    let people = async {
        let shown = asked(&book).await;
        let mut at_once = tokio::task::JoinSet::new();
        for person in 0..20 {
            // Everybody comes twice, by two ways.
            for kind in ["account", "certificate"] {
                let (book, shown) = (book.clone(), shown.clone());
                at_once.spawn(async move { said(&book, &shown, &format!("{kind}:p{person}"), YES).await });
            }
        }
        let mut over = 0;
        while let Some(done) = at_once.join_next().await {
            if let Err(error) = done.unwrap() {
                assert_eq!(error.code, Code::ApprovalOver, "{error}");
                over += 1;
            }
        }
        over
    };
    let arguments = json!({ "title": "Switch?", "by": ["account:*", "certificate:*"], "quorum": 20 });
    let (decided, _) = tokio::join!(waits(&script, arguments), people);
    assert_eq!(decided.unwrap()["by"].as_array().unwrap().len(), 20);
    let audited = bench.journal().audited(Filter::default(), 0, 1000).await.unwrap();
    assert_eq!(audited.iter().filter(|record| record.action == "approvals.decide").count(), 20);
}

#[tokio::test]
async fn a_document_is_read_as_it_is_by_whoever_approves() {
    let bench = Bench::new();
    let (script, book) = (bench.run().await, book(&bench));
    let shelf = Shelf::new(bench.journal().clone(), "rift");
    let push = |body: &str| json!({ "slug": "story", "title": "The story", "body": body });
    script.done("docs.push", push("one")).await;
    let other = bench.run().await;
    let people = async {
        let first = asked(&book).await;
        assert_eq!(said(&book, &first, "account:bob", YES).await.unwrap_err().code, Code::ApprovalDenied);
        shelf.mark("story", Some(1), &"account:bob".parse().unwrap(), true).await.unwrap();
        // Another version: the mark is gone, and so is what was shown.
        assert_eq!(other.done("docs.push", push("two")).await["changed"], true);
        assert_eq!(said(&book, &first, "account:bob", YES).await.unwrap_err().code, Code::ApprovalChanged);
        let second = asked(&book).await;
        assert_ne!(first.hash, second.hash);
        assert_eq!(said(&book, &second, "account:bob", YES).await.unwrap_err().code, Code::ApprovalDenied);
        let stale = shelf.mark("story", Some(1), &"account:bob".parse().unwrap(), true).await;
        assert_eq!(stale.unwrap_err().code, Code::ApprovalChanged);
        shelf.mark("story", Some(2), &"account:bob".parse().unwrap(), true).await.unwrap();
        said(&book, &second, "account:bob", YES).await.unwrap();
    };
    let arguments = json!({ "title": "Switch?", "by": "account:*", "document": "story" });
    let (decided, ()) = tokio::join!(waits(&script, arguments), people);
    decided.unwrap();
}

#[tokio::test]
async fn four_eyes_are_the_policys() {
    let bench = Bench::new();
    let (script, book) = (bench.run().await, book(&bench));
    let strict = |pattern: &str| {
        Policy::new(&[], Vec::new()).unwrap().with_four_eyes(&FourEyes::Of(vec![pattern.to_owned()])).unwrap()
    };
    let people = async {
        let shown = asked(&book).await;
        // Nobody is known to have started it: whoever may decide may.
        assert_eq!(shown.approval.starter, None);
        said_under(&book, &shown, "account:bob", YES, &strict("script:*")).await.unwrap();
    };
    let (decided, ()) =
        tokio::join!(waits(&script, json!({ "title": "Switch?", "by": "account:*" })), people);
    decided.unwrap();
    assert!(
        strict("deploy/*").wants_four_eyes("deploy/01") && !strict("deploy/*").wants_four_eyes("other/01")
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_a_plan_lists_the_rest() {
    let bench = Bench::new();
    let script = bench.run().await;
    for (arguments, field) in [
        (json!({ "title": "" }), "title"),
        (json!({ "title": "a\u{1b}[2J" }), "title"),
        (json!({ "title": "x".repeat(201) }), "title"),
        (json!({ "title": "a", "body": "x".repeat(70_000) }), "body"),
        (json!({ "title": "a", "plan": "x".repeat(70_000) }), "plan"),
        (json!({ "title": "a", "by": "ada" }), "by"),
        (json!({ "title": "a", "by": [] }), "by"),
        (json!({ "title": "a", "quorum": 0 }), "quorum"),
        (json!({ "title": "a", "quorum": 101 }), "quorum"),
        (json!({ "title": "a", "on_timeout": "approve" }), "on_timeout"),
        (json!({ "title": "a", "document": "../x" }), "document"),
    ] {
        let error = waits(&script, arguments).await.unwrap_err();
        assert!(error.code == Code::Argument && error.message.contains(field), "{field}: {error}");
    }
    assert_eq!(
        waits(&script, json!({ "title": "a", "whom": "b" })).await.unwrap_err().code,
        Code::UnknownField
    );
    let plan = bench.plan().await;
    plan.done("approve", json!({ "title": "Switch?", "by": "group:ops", "quorum": 2 })).await;
    assert_eq!(plan.steps()[0].subject, "Switch? (2 of group:ops)");
    assert!(book(&bench).all().await.unwrap().is_empty(), "a plan asks nobody");
}
