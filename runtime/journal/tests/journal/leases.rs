//! Leases: one holder at a time whatever the clocks say, and nothing begins under an older one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use journal::{Begin, Clock, End, Error, Expect, Journal, Timestamp, Write};

use crate::support::{add_run, begin, end, new_run, open, started};

#[tokio::test]
async fn a_service_is_changed_by_one_run_at_a_time() {
    let (folder, journal, id) = started().await;
    let other = open(folder.path());
    let second = add_run(&other).await;
    let lease = journal.lease("rift", "mcq", &id, "deploy.lua:14 containers.ensure").await.unwrap();
    let _elsewhere = other.lease("straylight", "mcq", &second, "rollout").await.unwrap();
    let refused = other.lease("rift", "mcq", &second, "stop").await.unwrap_err();
    let text = refused.to_string();
    let Error::Locked { what, holder: Some(holder) } = refused else { panic!("{refused}") };
    assert_eq!((what.as_str(), holder.run), ("service mcq", Some(id)));
    let since = holder.since;
    assert_eq!(text, format!("run {id} holds service mcq since {since}: deploy.lua:14 containers.ensure"));
    drop(lease);
    other.lease("rift", "mcq", &second, "stop").await.unwrap();
    assert_eq!(other.held(&second).await.unwrap().len(), 2);
}

/// A lock file that was taken away leaves two holders; the epoch tells them apart.
fn take_the_files_away(folder: &std::path::Path) {
    for file in std::fs::read_dir(folder.join("locks")).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
}

#[tokio::test]
async fn nothing_begins_under_an_older_lease() {
    let (folder, journal, id) = started().await;
    let other = open(folder.path());
    let second = add_run(&other).await;
    let old = journal.lease("rift", "mcq", &id, "deploy").await.unwrap();
    let under =
        |lease: &journal::Lease, counter| Begin { fence: Some(lease.fence().clone()), ..begin(counter) };
    journal.begin(&id, under(&old, 1)).await.unwrap();
    take_the_files_away(folder.path());
    let new = other.lease("rift", "mcq", &second, "deploy").await.unwrap();
    assert!(new.fence().epoch > old.fence().epoch);

    let fenced = Error::Fenced { service: "mcq".into(), run: Some(second.to_string()) };
    assert_eq!(journal.begin(&id, under(&old, 2)).await, Err(fenced.clone()));
    // Nor does what had begun before begin once more.
    assert_eq!(journal.begin(&id, under(&old, 1)).await, Err(fenced.clone()));
    let write = Write {
        kind: "service".into(),
        node: "rift".into(),
        name: "mcq".into(),
        value: Some("1".into()),
        expect: Expect::Any,
    };
    let record = End { fence: Some(old.fence().clone()), writes: vec![write], ..end(3) };
    assert_eq!(journal.end_now(&id, record).durable().await, Err(fenced));
    assert_eq!(journal.record("service", "rift", "mcq").await.unwrap(), None);
    // What it did may be recorded, and others go on.
    journal.end_now(&id, End { fence: Some(old.fence().clone()), ..end(1) }).durable().await.unwrap();
    other.begin(&second, under(&new, 1)).await.unwrap();
}

struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_clock_that_jumps_neither_frees_nor_keeps_a_lease() {
    const DAY: i64 = 86_400_000;
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Set(AtomicI64::new(1_800_000_000_000)));
    let journal = Journal::open(folder.path(), clock.clone()).unwrap();
    let run = new_run(&journal);
    let id = run.id;
    journal.create_run(run).await.unwrap();
    let lease = journal.lease("rift", "mcq", &id, "deploy").await.unwrap();
    let other = Journal::open(folder.path(), clock.clone()).unwrap();
    let under = |counter| Begin { fence: Some(lease.fence().clone()), ..begin(counter) };
    for (counter, jump) in [10 * DAY, -20 * DAY, 3650 * DAY].into_iter().enumerate() {
        clock.0.fetch_add(jump, Ordering::Relaxed);
        let refused = other.lease("rift", "mcq", &id, "second").await;
        assert!(matches!(refused, Err(Error::Locked { .. })), "after a jump of {jump}: {refused:?}");
        journal.begin(&id, under(counter as u32 + 1)).await.unwrap();
    }
    clock.0.fetch_sub(7300 * DAY, Ordering::Relaxed);
    drop(lease);
    other.lease("rift", "mcq", &id, "second").await.unwrap();
}
