//! Lines of a run's log.

use journal::{Level, LogLine, Place, Timestamp};

use crate::support::{add_run, open, started};

fn line(scope: &str, number: u64, message: &str) -> LogLine {
    LogLine {
        scope: scope.into(),
        number,
        level: Level::Warn,
        message: message.into(),
        fields: Some(r#"{"version":"v2"}"#.into()),
        at: Timestamp(5),
        place: Some(Place { file: "deploy.lua".into(), line: 3 }),
    }
}

#[tokio::test]
async fn lines_are_kept_in_the_order_in_which_they_were_logged() {
    let (_folder, journal, run) = started().await;
    for (scope, number) in [("a", 1), ("b", 1), ("a", 2), ("b", 2)] {
        journal.log(&run, line(scope, number, "hello"));
    }
    let logs = journal.logs(&run, 0, 10).await.unwrap();
    let found: Vec<_> =
        logs.iter().map(|log| (log.order, log.line.scope.as_str(), log.line.number)).collect();
    assert_eq!(found, [(1, "a", 1), (2, "b", 1), (3, "a", 2), (4, "b", 2)]);
    assert_eq!(logs[2].line, line("a", 2, "hello"));
    let page = journal.logs(&run, 1, 2).await.unwrap();
    assert_eq!(page, logs[1..3]);
    let other = add_run(&journal).await;
    assert_eq!((journal.last_log(&run).await.unwrap(), journal.last_log(&other).await.unwrap()), (4, 0));
}

#[tokio::test]
async fn a_line_that_a_replay_logs_again_is_stored_once() {
    let (folder, journal, run) = started().await;
    let other = add_run(&journal).await;
    for number in 1..=3 {
        journal.log(&run, line("a", number, "first"));
    }
    drop(journal);
    let journal = open(folder.path());
    for number in 1..=5 {
        journal.log(&run, line("a", number, "again"));
    }
    journal.log(&run, line("b", 1, "again"));
    journal.log(&other, line("a", 1, "again"));
    let messages: Vec<_> = journal
        .logs(&run, 0, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|log| (log.order, log.line.message))
        .collect();
    let expected = ["first", "first", "first", "again", "again", "again"];
    assert!(messages.iter().map(|(_, message)| message).eq(&expected));
    assert!(messages.iter().map(|(order, _)| *order).eq(1..=6));
    assert_eq!(journal.logs(&other, 0, 10).await.unwrap().len(), 1);
}
