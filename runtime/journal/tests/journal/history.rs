//! Histories that are cut and copied: what a replay gets, what undo still finds, what counts as whose.

use journal::{Error, Fold, Identity, Journal, Level, LogLine, RunId, RunState, Timestamp};
use serde_json::json;

use crate::support::{add_run, begin, end, identity, new_run, open, open_counters, started};

async fn make(journal: &Journal, run: &RunId, counters: impl IntoIterator<Item = u32>) {
    for counter in counters {
        journal.begin(run, begin(counter)).await.unwrap();
        journal.end(run, end(counter)).await.unwrap();
    }
}

async fn replayed(journal: &Journal, run: &RunId) -> Vec<u32> {
    let mut counters = Vec::new();
    let mut after = 0;
    loop {
        let page = journal.history(run, after, 2).await.unwrap();
        let Some(last) = page.last() else { return counters };
        after = last.order;
        counters.extend(page.iter().map(|item| item.identity.counter));
    }
}

#[tokio::test]
async fn what_is_forgotten_is_replayed_no_more_and_can_still_be_undone() {
    let (folder, journal, run) = started().await;
    make(&journal, &run, 1..=5).await;
    journal.begin(&run, begin(6)).await.unwrap();
    journal.forget(&run, 2).await.unwrap();
    assert_eq!(replayed(&journal, &run).await, [1, 2]);
    assert_eq!(open_counters(&journal, &run).await, Vec::<u32>::new());
    make(&journal, &run, [3, 7]).await;
    assert_eq!(replayed(&journal, &run).await, [1, 2, 3, 7]);

    // The last change first, the older one of the same name under its own.
    let changed = journal.changed(&run, None, 100).await.unwrap();
    let names: Vec<_> =
        changed.iter().map(|entry| (entry.identity.scope.as_str(), entry.identity.counter)).collect();
    let (now, then) = ("deploy/mcq", "#1/deploy/mcq");
    assert_eq!(names, [(now, 7), (now, 3), (then, 6), (then, 5), (then, 4), (then, 3), (now, 2), (now, 1)]);
    let older = journal.entry(&run, then, 3).await.unwrap().unwrap();
    assert_eq!(older.before, begin(3).before);

    journal.forget(&run, 1).await.unwrap();
    assert_eq!(replayed(&journal, &run).await, [1]);
    make(&journal, &run, [2]).await;
    drop(journal);
    let journal = open(folder.path());
    assert_eq!(replayed(&journal, &run).await, [1, 2]);
    assert_eq!(journal.run(run.as_str()).await.unwrap().forgotten, 2);
    assert_eq!(journal.changed(&run, None, 100).await.unwrap().len(), 9);
}

#[tokio::test]
async fn everything_can_be_forgotten() {
    let (_folder, journal, run) = started().await;
    make(&journal, &run, 1..=2).await;
    let line = |message: &str| LogLine {
        scope: String::new(),
        number: 1,
        level: Level::Info,
        message: message.into(),
        fields: None,
        at: Timestamp(1),
        place: None,
    };
    journal.log(&run, line("old"));
    journal.forget(&run, 0).await.unwrap();
    assert_eq!(replayed(&journal, &run).await, Vec::<u32>::new());
    // The same line is logged again, and both are kept.
    journal.log(&run, line("new"));
    let logs = journal.logs(&run, 0, 10).await.unwrap();
    let said: Vec<_> = logs.iter().map(|log| (log.line.scope.as_str(), log.line.message.as_str())).collect();
    assert_eq!(said, [("#1", "old"), ("", "new")]);
}

#[tokio::test]
async fn nothing_leads_back_into_a_finished_checkpoint() {
    let (_folder, journal, run) = started().await;
    make(&journal, &run, 1..=2).await;
    for counter in 1..=3 {
        let within = Identity { scope: "deploy/mcq/count".into(), ..identity(counter) };
        journal.end(&run, journal::End { identity: within, ..end(counter) }).await.unwrap();
    }
    let fold = Fold { opened: identity(2), result: "1".into(), inner: "deploy/mcq/count".into() };
    journal.fold(&run, fold).await.unwrap();
    make(&journal, &run, [3, 4]).await;
    let refused = Error::Conflict { kind: "checkpoint".into(), name: "deploy/mcq/count".into() };
    for within in [2, 3, 4] {
        assert_eq!(journal.forget(&run, within).await, Err(refused.clone()), "{within}");
    }
    journal.forget(&run, 6).await.unwrap();
    assert_eq!(replayed(&journal, &run).await, [1, 2, 3]);
    journal.forget(&run, 1).await.unwrap();
    assert_eq!(replayed(&journal, &run).await, [1]);
}

#[tokio::test]
async fn a_fork_has_the_history_and_none_of_the_changes() {
    let (_folder, journal, run) = started().await;
    make(&journal, &run, 1..=4).await;
    journal.set_state(&run, RunState::Failed, None, Some(1)).await.unwrap();
    let fork = new_run(&journal);
    let id = fork.id;
    let origin = json!({ "fork": run });
    journal.fork(&run, 3, fork, origin.clone()).await.unwrap();
    assert_eq!(replayed(&journal, &id).await, [1, 2, 3]);
    let forked = journal.run(id.as_str()).await.unwrap();
    assert_eq!((forked.changed, forked.origin, forked.state), (0, Some(origin), RunState::Pending));
    assert_eq!(journal.changed(&id, None, 100).await.unwrap(), []);
    assert_eq!(journal.later_changes(&run, 100).await.unwrap(), []);
    make(&journal, &id, [4]).await;
    assert_eq!(journal.run(id.as_str()).await.unwrap().changed, 1);
    assert_eq!(replayed(&journal, &run).await, [1, 2, 3, 4]);

    let nobody = add_run(&journal).await;
    let unknown = journal.fork(&journal.next_id().unwrap(), 1, new_run(&journal), json!({})).await;
    assert!(matches!(unknown, Err(Error::UnknownRun { .. })), "{unknown:?}");
    assert_eq!(replayed(&journal, &nobody).await, Vec::<u32>::new());
}
