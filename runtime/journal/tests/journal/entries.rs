//! Begins, ends, their order and what is read back of them.

use journal::{End, Error, Kind, Outcome, RunId, Status, Timestamp};

use crate::support::{
    add_run, begin, completed, crashed_copy, end, identity, open, open_counters, open_lazy, started,
};

#[tokio::test]
async fn completion_order_is_the_order_of_ends_whatever_began_first() {
    let (_folder, journal, run) = started().await;
    for counter in 1..=4 {
        journal.begin(&run, begin(counter)).await.unwrap();
    }
    let tickets = [3, 1, 4].map(|counter| journal.end(&run, end(counter)));
    for ticket in tickets {
        ticket.await.unwrap();
    }
    assert_eq!(completed(&journal, &run).await, [3, 1, 4]);
    assert_eq!(open_counters(&journal, &run).await, [2]);
}

#[tokio::test]
async fn a_begin_makes_every_earlier_end_durable() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_lazy(folder.path());
    let run = add_run(&journal).await;
    journal.begin(&run, begin(1)).await.unwrap();
    let _queued = journal.end(&run, end(1));
    assert_eq!(completed(&open(crashed_copy(folder.path()).path()), &run).await, [0; 0]);
    journal.begin(&run, begin(2)).await.unwrap();
    let survivor = crashed_copy(folder.path());
    let reopened = open(survivor.path());
    assert_eq!(completed(&reopened, &run).await, [1]);
    assert_eq!(open_counters(&reopened, &run).await, [2]);
}

#[tokio::test]
async fn an_end_goes_alone_after_the_group_delay() {
    let (folder, journal, run) = started().await;
    journal.end(&run, end(1)).durable().await.unwrap();
    assert_eq!(completed(&open(crashed_copy(folder.path()).path()), &run).await, [1]);
}

#[tokio::test]
async fn an_end_that_cannot_wait_and_a_barrier_commit_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_lazy(folder.path());
    let run = add_run(&journal).await;
    journal.end_now(&run, end(1)).await.unwrap();
    assert_eq!(completed(&open(crashed_copy(folder.path()).path()), &run).await, [1]);
    let _queued = journal.end(&run, end(2));
    journal.barrier().await.unwrap();
    assert_eq!(completed(&open(crashed_copy(folder.path()).path()), &run).await, [1, 2]);
}

#[tokio::test]
async fn dropping_the_last_handle_commits_what_is_queued() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_lazy(folder.path());
    let run = add_run(&journal).await;
    let ticket = journal.end(&run, end(1));
    drop(journal);
    ticket.await.unwrap();
    assert_eq!(completed(&open(folder.path()), &run).await, [1]);
}

#[tokio::test]
async fn a_resumed_begin_keeps_the_first_before() {
    let (folder, journal, run) = started().await;
    let mut first = begin(1);
    first.until = Some(Timestamp(99));
    let begun = journal.begin(&run, first.clone()).await.unwrap();
    assert!(begun.first);

    let survivor = crashed_copy(folder.path());
    let reopened = open(survivor.path());
    let mut again = begin(1);
    again.before = Some("something newer".into());
    again.change = None;
    let kept = reopened.begin(&run, again.clone()).await.unwrap();
    assert!(!kept.first);
    assert_eq!((kept.before, kept.change), (first.before.clone(), first.change.clone()));
    assert_eq!((kept.begun_at, kept.until), (begun.begun_at, first.until));

    let mut ended = end(1);
    ended.before = again.before;
    reopened.end(&run, ended).await.unwrap();
    let entries = reopened.entries(&run, 0, 10).await.unwrap();
    assert_eq!((entries[0].before.clone(), entries[0].change.clone()), (first.before, first.change));
    assert_eq!(entries[0].begun_at, Some(begun.begun_at));
}

#[tokio::test]
async fn an_end_without_a_begin_is_an_entry_of_its_own() {
    let (_folder, journal, run) = started().await;
    let read = End { kind: Kind::Read, changed: false, before: None, ..end(7) };
    journal.end(&run, read).await.unwrap();
    let entries = journal.entries(&run, 0, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].order, entries[0].kind, entries[0].status), (Some(1), Kind::Read, Status::Done));
    assert_eq!((entries[0].begun_at, entries[0].changed), (None, false));
    assert_eq!(entries[0].result.as_deref(), Some("7"));
    assert_eq!(&*entries[0].arguments, r#"{"name":"mcq-7"}"#);
}

#[tokio::test]
async fn every_outcome_reads_back_as_it_was_written() {
    let (_folder, journal, run) = started().await;
    let outcomes =
        [Outcome::Done("null".into()), Outcome::Failed(r#"{"code":"MC-C003"}"#.into()), Outcome::Cancelled];
    for (counter, outcome) in (1..).zip(&outcomes) {
        let _queued = journal.end(&run, End { outcome: outcome.clone(), ..end(counter) });
    }
    let history = journal.history(&run, 0, 10).await.unwrap();
    assert!(history.iter().map(|recorded| &recorded.outcome).eq(&outcomes));
    assert_eq!(history[1].identity, identity(2));
    assert_eq!(history[1].arguments_hash, [2; 16]);
    assert_eq!(history[1].place.as_ref().unwrap().to_string(), "deploy.lua:14");
}

#[tokio::test]
async fn a_large_result_comes_back_whole_and_is_stored_once() {
    let (folder, journal, run) = started().await;
    let large = format!("\"{}\"", "ä".repeat(100_000));
    for counter in 1..=3 {
        let _queued =
            journal.end(&run, End { outcome: Outcome::Done(large.as_str().into()), ..end(counter) });
    }
    let history = journal.history(&run, 0, 10).await.unwrap();
    assert!(history.iter().all(|recorded| recorded.outcome.text() == Some(&large)));
    let entries = journal.entries(&run, 0, 10).await.unwrap();
    assert!(entries.iter().all(|entry| entry.result.as_deref() == Some(&large)));
    drop(journal);
    let size = std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    assert!(size < 2 * large.len() as u64, "{size} bytes");
}

#[tokio::test]
async fn a_page_of_history_ends_early_where_results_are_large_and_is_empty_only_at_the_end() {
    let (_folder, journal, run) = started().await;
    for counter in 1..=12 {
        let large = format!("\"{counter}{}\"", "x".repeat(1 << 20));
        let _queued = journal.end(&run, End { outcome: Outcome::Done(large.into()), ..end(counter) });
    }
    let mut seen = Vec::new();
    loop {
        let after = seen.len() as u64;
        let page = journal.history(&run, after, 1000).await.unwrap();
        assert!(page.len() <= 5);
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|recorded| recorded.identity.counter));
    }
    assert_eq!(seen, (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn pages_of_entries_end_with_the_begun_ones() {
    let (_folder, journal, run) = started().await;
    for counter in 1..=5 {
        journal.begin(&run, begin(counter)).await.unwrap();
    }
    for counter in [2, 4, 1] {
        let _queued = journal.end(&run, end(counter));
    }
    let first = journal.entries(&run, 0, 2).await.unwrap();
    assert_eq!(first.iter().map(|entry| entry.order).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let second = journal.entries(&run, 2, 2).await.unwrap();
    assert_eq!(second.iter().map(|entry| entry.identity.counter).collect::<Vec<_>>(), [1]);
    let last = journal.entries(&run, 3, 2).await.unwrap();
    assert!(last.iter().all(|entry| entry.status == Status::Begun && entry.order.is_none()));
    assert_eq!(last.iter().map(|entry| entry.identity.counter).collect::<Vec<_>>(), [3, 5]);
}

#[tokio::test]
async fn runs_do_not_see_each_other() {
    let (_folder, journal, one) = started().await;
    let other = add_run(&journal).await;
    journal.begin(&one, begin(1)).await.unwrap();
    journal.begin(&other, begin(2)).await.unwrap();
    let _queued = journal.end(&one, end(1));
    assert_eq!(completed(&journal, &one).await, [1]);
    assert_eq!(completed(&journal, &other).await, [0; 0]);
    assert_eq!(open_counters(&journal, &other).await, [2]);
}

#[tokio::test]
async fn an_unknown_run_is_refused_without_harm_to_its_group() {
    let (_folder, journal, run) = started().await;
    let nobody: RunId = "0000000000000".parse().unwrap();
    let good = journal.end(&run, end(1));
    let bad = journal.end(&nobody, end(1));
    let refused = journal.begin(&nobody, begin(2)).await.unwrap_err();
    assert_eq!(refused, Error::UnknownRun { given: nobody.to_string() });
    assert!(matches!(bad.await, Err(Error::UnknownRun { .. })));
    good.await.unwrap();
    assert_eq!(completed(&journal, &run).await, [1]);
}

#[tokio::test]
async fn two_processes_take_turns_on_one_run() {
    let (folder, one, run) = started().await;
    let other = open(folder.path());
    one.begin(&run, begin(1)).await.unwrap();
    let begun = other.begin(&run, begin(1)).await.unwrap();
    assert!(!begun.first);
    other.end(&run, end(1)).await.unwrap();
    one.begin(&run, begin(2)).await.unwrap();
    one.end(&run, end(2)).await.unwrap();
    other.end(&run, end(3)).await.unwrap();
    assert_eq!(completed(&one, &run).await, [1, 2, 3]);
    assert_eq!(completed(&other, &run).await, [1, 2, 3]);
    assert_eq!(open_counters(&one, &run).await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_at_once_keep_their_own_order() {
    let (_folder, journal, _) = started().await;
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let journal = journal.clone();
        tasks.push(tokio::spawn(async move {
            let run = add_run(&journal).await;
            for counter in 1..=40 {
                journal.begin(&run, begin(counter)).await.unwrap();
                let _queued = journal.end(&run, end(counter));
            }
            run
        }));
    }
    for task in tasks {
        let run = task.await.unwrap();
        assert_eq!(completed(&journal, &run).await, (1..=40).collect::<Vec<_>>());
    }
}
