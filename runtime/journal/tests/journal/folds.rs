//! What a history leaves out once a checkpoint is finished, and what stays.

use journal::{End, Error, Fold, Identity, Journal, Kind, Outcome, RunId};

use crate::support::{open, started};

async fn ended(journal: &Journal, run: &RunId, scope: &str, counter: u32) {
    let end = End {
        identity: at(scope, counter),
        kind: Kind::Read,
        arguments: "{}".into(),
        arguments_hash: [0; 16],
        place: None,
        before: None,
        outcome: Outcome::Done("1".into()),
        writes: Vec::new(),
        fence: None,
        changed: false,
    };
    journal.end(run, end).await.unwrap();
}

fn at(scope: &str, counter: u32) -> Identity {
    Identity { scope: scope.into(), counter, name: "now".into() }
}

fn fold(scope: &str, counter: u32, inner: &str) -> Fold {
    Fold { opened: at(scope, counter), result: "\"folded\"".into(), inner: inner.into() }
}

/// Scope, counter and result of what a replay gets, read in pages of `limit`.
async fn replayed(journal: &Journal, run: &RunId, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = journal.history(run, after, limit).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= limit);
        after = last.order;
        let shown = page.iter().map(|item| {
            format!("{}#{}={}", item.identity.scope, item.identity.counter, item.outcome.text().unwrap())
        });
        all.extend(shown);
    }
}

async fn in_pages(journal: &Journal, run: &RunId) -> Vec<String> {
    let whole = replayed(journal, run, 1000).await;
    for limit in 1..4 {
        assert_eq!(replayed(journal, run, limit).await, whole, "{limit}");
    }
    whole
}

#[tokio::test]
async fn what_lies_within_a_finished_checkpoint_is_not_replayed_and_stays() {
    let (folder, journal, run) = started().await;
    ended(&journal, &run, "", 1).await;
    for counter in 1..=5 {
        ended(&journal, &run, "a", counter).await;
        ended(&journal, &run, "a/b", counter).await;
    }
    journal.fold(&run, fold("", 1, "a")).await.unwrap();
    ended(&journal, &run, "", 2).await;
    ended(&journal, &run, "ab", 1).await;
    let expected = ["#1=\"folded\"", "#2=1", "ab#1=1"];
    assert_eq!(in_pages(&journal, &run).await, expected);
    assert_eq!(journal.entries(&run, 0, 100).await.unwrap().len(), 13);
    drop(journal);
    assert_eq!(in_pages(&open(folder.path()), &run).await, expected);
}

#[tokio::test]
async fn entries_of_other_branches_between_are_replayed() {
    let (_folder, journal, run) = started().await;
    ended(&journal, &run, "x", 1).await;
    for counter in 1..=4 {
        ended(&journal, &run, "x/a", counter).await;
        ended(&journal, &run, "y", counter).await;
    }
    journal.fold(&run, fold("x", 1, "x/a")).await.unwrap();
    ended(&journal, &run, "x", 2).await;
    let expected = ["x#1=\"folded\"", "y#1=1", "y#2=1", "y#3=1", "y#4=1", "x#2=1"];
    assert_eq!(in_pages(&journal, &run).await, expected);
}

#[tokio::test]
async fn checkpoints_lie_in_and_behind_each_other() {
    let (_folder, journal, run) = started().await;
    ended(&journal, &run, "", 1).await;
    for round in 1..=3 {
        ended(&journal, &run, "a", round).await;
        ended(&journal, &run, &format!("a/{round}"), 1).await;
        journal.fold(&run, fold("a", round, &format!("a/{round}"))).await.unwrap();
    }
    let inner = ["#1=1", "a#1=\"folded\"", "a#2=\"folded\"", "a#3=\"folded\""];
    assert_eq!(in_pages(&journal, &run).await, inner);
    journal.fold(&run, fold("", 1, "a")).await.unwrap();
    assert_eq!(in_pages(&journal, &run).await, ["#1=\"folded\""]);
}

#[tokio::test]
async fn a_checkpoint_that_was_never_opened_cannot_be_folded() {
    let (_folder, journal, run) = started().await;
    ended(&journal, &run, "", 1).await;
    let refused = journal.fold(&run, fold("", 7, "a")).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    assert_eq!(in_pages(&journal, &run).await, ["#1=1"]);
}
