//! The audit: it is written with what it tells of, and whatever is done to it by hand is found.

use std::path::Path;

use journal::audit::{Filter, Hash, Kind, New, Place, Verified};
use journal::{Error, Journal};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{new_run, open, open_lazy};

fn told(object: &str) -> New {
    New::of(Kind::Decision, "user:root", "runs.cancel", object, "allowed").with(json!({ "rule": "built-in" }))
}

/// A journal whose audit has so many records.
async fn with(count: u32) -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    for number in 1..=count {
        journal.audit(told(&format!("deploy/{number}"))).durable().await.unwrap();
    }
    (folder, journal)
}

/// Changes the database as somebody would who knows what is in it.
fn tamper(folder: &Path, statements: &str) {
    let connection = Connection::open(folder.join("journal.db")).unwrap();
    connection
        .execute_batch(&format!(
            "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_removed; {statements}"
        ))
        .unwrap();
}

async fn place_after(statements: &str) -> Option<Place> {
    let (folder, journal) = with(6).await;
    tamper(folder.path(), statements);
    journal.verify_audit(None).await.unwrap().fault.map(|fault| fault.place)
}

#[tokio::test]
async fn a_chain_that_nobody_touched_is_whole() {
    let (_folder, journal) = with(0).await;
    let empty = Verified { records: 0, head: Hash::NONE, fault: None };
    assert_eq!(journal.verify_audit(None).await.unwrap(), empty);
    let mut heads = Vec::new();
    for number in 1..=3 {
        journal.audit(told(&number.to_string())).durable().await.unwrap();
        heads.push(journal.verify_audit(None).await.unwrap());
    }
    assert!(heads.iter().zip(1..).all(|(head, number)| head.records == number && head.fault.is_none()));
    for head in &heads {
        assert_eq!(journal.verify_audit(Some(head.head)).await.unwrap(), heads[2]);
    }
    let records = journal.audited(Filter::default(), 1, 10).await.unwrap();
    assert_eq!(records.iter().map(|record| record.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(records[1].hash, heads[2].head);
    let nobody = Filter { principal: Some("user:nobody".into()), since: None };
    assert_eq!(journal.audited(nobody, 0, 10).await.unwrap(), []);
}

#[tokio::test]
async fn whatever_is_done_by_hand_is_found_where_it_was_done() {
    let cases = [
        ("UPDATE audit SET outcome = 'denied' WHERE number = 3", Place::Record(3)),
        ("UPDATE audit SET address = '10.0.0.1' WHERE number = 3", Place::Record(3)),
        ("UPDATE audit SET at = at + 1 WHERE number = 6", Place::Record(6)),
        ("DELETE FROM audit WHERE number = 4", Place::Record(4)),
        ("DELETE FROM audit WHERE number = 1", Place::Record(1)),
        ("DELETE FROM audit WHERE number > 4", Place::Behind(4)),
        ("DELETE FROM audit", Place::Behind(0)),
        (
            "UPDATE audit SET number = 99 WHERE number = 2; UPDATE audit SET number = 2 WHERE number = 3;
             UPDATE audit SET number = 3 WHERE number = 99",
            Place::Record(2),
        ),
        (
            "INSERT INTO audit SELECT 7, at, kind, principal, address, action, object, outcome, run, details, hash
             FROM audit WHERE number = 6",
            Place::Record(7),
        ),
        // With the end that the database tells of cut as well, the file beside it still knows.
        (
            "DELETE FROM audit WHERE number > 4;
             UPDATE audit_head SET number = 4, hash = (SELECT hash FROM audit WHERE number = 4)",
            Place::Behind(4),
        ),
        ("DELETE FROM audit; DELETE FROM audit_head", Place::Behind(0)),
    ];
    for (statements, place) in cases {
        assert_eq!(place_after(statements).await, Some(place), "{statements}");
    }
    let (folder, journal) = with(6).await;
    tamper(folder.path(), "UPDATE audit_head SET hash = x'00'");
    assert!(matches!(journal.verify_audit(None).await, Err(Error::Corrupt(_))));
}

#[tokio::test]
async fn a_cut_is_not_grown_over() {
    let (folder, journal) = with(6).await;
    let earlier = journal.verify_audit(None).await.unwrap().head;
    tamper(folder.path(), "DELETE FROM audit WHERE number = 6");
    journal.audit(told("later")).durable().await.unwrap();
    let found = journal.verify_audit(None).await.unwrap();
    assert_eq!((found.records, found.fault.unwrap().place), (5, Place::Record(6)));

    // With both ends set back the chain is whole again; the file beside it, and whoever knows an earlier end, are not
    // deceived, however much is written since.
    let (folder, journal) = with(6).await;
    let cut = "DELETE FROM audit WHERE number > 4;
        UPDATE audit_head SET number = 4, hash = (SELECT hash FROM audit WHERE number = 4)";
    tamper(folder.path(), cut);
    for number in 0..4 {
        journal.audit(told(&number.to_string())).durable().await.unwrap();
    }
    let found = journal.verify_audit(None).await.unwrap();
    assert_eq!(found.fault.unwrap().place, Place::Record(6));
    std::fs::remove_file(folder.path().join("audit.head")).unwrap();
    assert_eq!(journal.verify_audit(None).await.unwrap().fault, None);
    assert!(journal.verify_audit(Some(earlier)).await.unwrap().fault.is_some());
}

#[tokio::test]
async fn records_are_neither_changed_nor_removed_by_mistake() {
    let (folder, _journal) = with(2).await;
    let connection = Connection::open(folder.path().join("journal.db")).unwrap();
    for statement in ["UPDATE audit SET outcome = 'x'", "DELETE FROM audit"] {
        let error = connection.execute_batch(statement).unwrap_err().to_string();
        assert!(error.contains("only appended to"), "{error}");
    }
}

#[tokio::test]
async fn a_record_is_committed_with_what_comes_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_lazy(folder.path());
    let run = new_run(&journal);
    let id = run.id;
    let ticket = journal.audit(told("before"));
    journal.create_audited_run(run.clone(), told("with").about(id)).await.unwrap();
    ticket.durable().await.unwrap();
    assert_eq!(journal.verify_audit(None).await.unwrap().records, 2);
    // A run that is not recorded leaves no record either.
    assert!(journal.create_audited_run(run, told("twice")).await.is_err());
    let found = journal.audited(Filter::default(), 0, 10).await.unwrap();
    assert_eq!(found.iter().map(|record| record.object.as_str()).collect::<Vec<_>>(), ["before", "with"]);
    assert_eq!(found[1].run.as_deref(), Some(id.as_str()));
}

#[tokio::test]
async fn processes_that_share_the_database_continue_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let journals = [open(folder.path()), open(folder.path()), open(folder.path())];
    let writing = journals.iter().enumerate().map(|(process, journal)| async move {
        for number in 0..50 {
            journal.audit(told(&format!("{process}/{number}"))).durable().await.unwrap();
        }
    });
    let [one, two, three] = writing.collect::<Vec<_>>().try_into().ok().unwrap();
    tokio::join!(one, two, three);
    let found = journals[0].verify_audit(None).await.unwrap();
    assert_eq!((found.records, found.fault), (150, None));
}

#[tokio::test]
async fn what_callers_say_has_its_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let long = "ä".repeat(5000);
    let new = New { object: long.clone(), ..told("x") }.with(json!({ "said": long }));
    journal.audit(new).durable().await.unwrap();
    let found = &journal.audited(Filter::default(), 0, 10).await.unwrap()[0];
    assert!(found.object.len() <= 1024 && found.details.as_ref().is_some_and(|text| text.len() < 100));
    assert_eq!(journal.verify_audit(None).await.unwrap().fault, None);
}
