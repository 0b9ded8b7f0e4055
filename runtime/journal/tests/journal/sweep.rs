//! What a sweep removes, what it keeps, and that it can be cut anywhere.

use journal::{Error, Expect, Journal, NewRun, Outcome, Retention, RunId, RunState, Swept, Timestamp, Write};
use rusqlite::Connection;

use crate::support::{add_run, begin, end, new_run, open, started};

const ALL: Retention = Retention { since: Timestamp(i64::MAX), runs: 0 };

async fn finished(journal: &Journal) -> RunId {
    finished_as(journal, new_run(journal)).await
}

async fn finished_as(journal: &Journal, run: NewRun) -> RunId {
    let id = run.id;
    journal.create_run(run).await.unwrap();
    journal.begin(&id, begin(1)).await.unwrap();
    let long = Outcome::Done(format!("\"{}\"", id.as_str().repeat(2000)).into());
    journal.end(&id, journal::End { outcome: long, ..end(1) }).await.unwrap();
    journal.set_state(&id, RunState::Done, None, Some(0)).await.unwrap();
    id
}

async fn left(journal: &Journal) -> Vec<RunId> {
    let runs = journal.runs(journal::Filter::default()).await.unwrap();
    runs.into_iter().rev().map(|run| run.id).collect()
}

fn count(folder: &std::path::Path, table: &str) -> i64 {
    let database = Connection::open(folder.join("journal.db")).unwrap();
    database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_is_over_goes_and_what_is_needed_stays() {
    let (folder, journal, unfinished) = started().await;
    let gone = finished(&journal).await;
    let recorded = finished(&journal).await;
    let undone = finished(&journal).await;
    let held = finished(&journal).await;
    let undo = NewRun { args: vec![undone.to_string()], ..new_run(&journal) };
    let undoing = undo.id;
    journal.create_run(undo).await.unwrap();
    let write = Write {
        kind: "release".into(),
        node: "rift".into(),
        name: "mcq/1".into(),
        value: Some("1".into()),
        expect: Expect::Any,
    };
    let other = journal::End { writes: vec![write], ..end(2) };
    journal.end_now(&recorded, other).durable().await.unwrap();
    let _held = journal.lock_run(&held).unwrap();
    let last = finished(&journal).await;

    let dry = journal.sweep(ALL, true).await.unwrap();
    assert_eq!((&dry.runs[..], dry.needed, dry.effects), (&[gone, held][..], 2, 2));
    assert_eq!(left(&journal).await.len(), 7);

    let swept = journal.sweep(ALL, false).await.unwrap();
    assert_eq!((&swept.runs[..], swept.needed, swept.effects, swept.blobs), (&[gone][..], 2, 1, 1));
    assert_eq!(left(&journal).await, [unfinished, recorded, undone, held, undoing, last]);
    assert!(journal.swept_after(&unfinished).await.unwrap());
    assert!(!journal.swept_after(&recorded).await.unwrap());
    assert!(matches!(journal.run(gone.as_str()).await, Err(Error::UnknownRun { .. })));
    // The text of the source is that of all of them, and each has its own result.
    assert_eq!(count(folder.path(), "blobs"), 5);
    assert_eq!(journal.sweep(ALL, false).await.unwrap().runs, []);
}

#[tokio::test]
async fn age_and_number_both_count() {
    let (folder, journal, _) = started().await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(finished(&journal).await);
    }
    let database = Connection::open(folder.path().join("journal.db")).unwrap();
    database.execute("UPDATE runs SET updated = 5 WHERE id = ?", [runs[2].as_str()]).unwrap();
    let kept = |since, runs| Retention { since: Timestamp(since), runs };
    let dry = async |retention| journal.sweep(retention, true).await.unwrap().runs;
    assert_eq!(dry(kept(0, 9)).await, []);
    assert_eq!(dry(kept(6, 9)).await, [runs[2]]);
    assert_eq!(dry(kept(0, 3)).await, [runs[0], runs[1]]);
    assert_eq!(dry(kept(6, 4)).await, [runs[0], runs[2]]);
    // The newest one stays: its number must not be given to another.
    assert_eq!(dry(ALL).await, runs[..4]);
}

#[tokio::test]
async fn a_sweep_that_was_cut_is_finished_by_the_next() {
    let (folder, journal, _) = started().await;
    let gone = finished(&journal).await;
    finished(&journal).await;
    // As if it had been killed right after its first commit.
    let database = Connection::open(folder.path().join("journal.db")).unwrap();
    database
        .execute_batch(&format!(
            "INSERT INTO swept SELECT number FROM runs WHERE id = '{gone}'; DELETE FROM runs WHERE id = '{gone}'"
        ))
        .unwrap();
    let before = count(folder.path(), "entries");
    let swept = journal.sweep(Retention { since: Timestamp(0), runs: 9 }, false).await.unwrap();
    assert_eq!((swept.runs.len(), swept.blobs), (0, 1));
    assert_eq!(count(folder.path(), "entries"), before - 1);
    assert_eq!(count(folder.path(), "swept"), 0);
}

#[tokio::test]
async fn runs_go_on_beside_a_sweep() {
    let (folder, journal, run) = started().await;
    for _ in 0..20 {
        finished(&journal).await;
    }
    let other = open(folder.path());
    let sweeping = tokio::spawn(async move { other.sweep(ALL, false).await });
    for counter in 1..200 {
        journal.begin(&run, begin(counter)).await.unwrap();
        journal.end(&run, end(counter)).await.unwrap();
    }
    let swept: Swept = sweeping.await.unwrap().unwrap();
    assert_eq!((swept.runs.len(), left(&journal).await.len()), (19, 2));
    assert_eq!(journal.run(run.as_str()).await.unwrap().effects, 199);
    drop(journal);
    assert_eq!(open(folder.path()).history(&run, 0, 1000).await.unwrap().len(), 199);
}

#[tokio::test]
async fn freed_pages_are_given_back() {
    let (_folder, journal, _) = started().await;
    for _ in 0..60 {
        finished(&journal).await;
    }
    add_run(&journal).await;
    let swept = journal.sweep(ALL, false).await.unwrap();
    assert!(swept.bytes.1 * 2 < swept.bytes.0, "{swept:?}");
}
