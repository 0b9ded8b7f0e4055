//! Following runs and events: nothing is left out, nothing is told twice, and nobody waits for a slow one.

use std::time::Duration;

use daemon::api::client::{Client, Heard, Watch};
use daemon::runs::Told;
use effect::{Code, Error};
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage, next};

/// Everything that is told until the end: lines as `line 3`, effects as `effect 3`.
async fn all(watch: &mut Watch) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        match next(watch).await {
            Some(Heard::Standing(run)) => found.push(format!("standing {}", run.state)),
            Some(Heard::Told(Told::Log { number, .. })) => found.push(format!("line {number}")),
            Some(Heard::Told(Told::Ended { effect, error, .. })) => {
                let failed = error.map(|error| format!(" {}", error.code)).unwrap_or_default();
                found.push(format!("effect {}{failed}", effect.counter));
            }
            Some(Heard::Told(Told::Module { name, .. })) => found.push(format!("module {name}")),
            Some(Heard::Told(other)) => found.push(format!("{other:?}")),
            Some(Heard::End { run, exit_code, trouble }) => {
                assert!(trouble.is_some());
                found.push(format!("end {} {exit_code}", run.state));
                assert!(next(watch).await.is_none(), "nothing comes behind the end");
                return found;
            }
            None => panic!("the stream ended without an end: {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_run_is_told_from_where_it_stands_to_its_end() {
    let stage = Stage::open().await;
    let run = stage.executor.any().await;
    stage.executor.log(&run, 1, "before");
    let client = stage.client().await;
    let mut live = client.watch(&run, false, false).await.unwrap();
    stage.executor.log(&run, 2, "after");
    stage.executor.effect(&run, 1, None).await;
    stage.executor.effect(&run, 2, Some(Error::new(Code::FileFailed, "no"))).await;
    stage.executor.finish(&run).await;
    let told = all(&mut live).await;
    assert_eq!(told, ["standing running", "line 2", "effect 1", "effect 2 MC-F002", "end done 0"]);
    let mut whole = client.watch(&run, true, false).await.unwrap();
    let told = all(&mut whole).await;
    let modules = ["standing done", "module any.lua", "module ./lib"];
    assert_eq!(told[..3], modules);
    assert_eq!(told[3..], ["line 1", "line 2", "effect 1", "effect 2 MC-F002", "end done 0"]);
}

#[tokio::test]
async fn what_is_recorded_while_the_history_is_told_comes_once() {
    let stage = Stage::open().await;
    let run = stage.executor.any().await;
    for number in 1..=500 {
        stage.executor.log(&run, number, "x");
    }
    let client = stage.client().await;
    let mut watch = client.watch(&run, true, false).await.unwrap();
    for number in 501..=1000 {
        stage.executor.log(&run, number, "x");
    }
    stage.executor.finish(&run).await;
    let told = all(&mut watch).await;
    let lines: Vec<&String> = told.iter().filter(|one| one.starts_with("line")).collect();
    let wanted: Vec<String> = (1..=1000).map(|number| format!("line {number}")).collect();
    assert!(lines.iter().copied().eq(wanted.iter()), "{} lines: {lines:?}", lines.len());
}

#[tokio::test]
async fn a_watcher_that_is_left_behind_finds_what_it_missed_in_the_journal() {
    let stage = Stage::open().await;
    let run = stage.executor.any().await;
    let client = stage.client().await;
    let mut watch = client.watch(&run, false, false).await.unwrap();
    for round in 0..5 {
        for number in 1..=20 {
            stage.executor.log(&run, round * 20 + number, "x");
        }
        stage.executor.effect(&run, u32::try_from(round).unwrap() + 1, None).await;
        stage.executor.forget_watchers(&run);
    }
    stage.watched_by(&run, 1).await;
    stage.executor.finish(&run).await;
    let told = all(&mut watch).await;
    assert_eq!(told.iter().filter(|one| one.starts_with("line")).count(), 100, "{told:?}");
    assert_eq!(told.iter().filter(|one| one.starts_with("effect")).count(), 5, "{told:?}");
    let mut sorted = told.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), told.len(), "nothing comes twice: {told:?}");
}

#[tokio::test]
async fn five_hundred_follow_a_run_at_once() {
    let stage = Stage::open().await;
    let run = stage.executor.any().await;
    let mut watches = Vec::new();
    for _ in 0..10 {
        let client = stage.client().await;
        for _ in 0..50 {
            watches.push(client.watch(&run, false, false).await.unwrap());
        }
    }
    stage.watched_by(&run, 500).await;
    for number in 1..=10 {
        stage.executor.log(&run, number, "x");
    }
    stage.executor.finish(&run).await;
    for watch in &mut watches {
        assert_eq!(all(watch).await.len(), 12);
    }
}

#[tokio::test]
async fn a_question_is_asked_and_answered_once() {
    let stage = Stage::open().await;
    let run = stage.executor.any().await;
    let client = stage.client().await;
    let mut watch = client.watch(&run, false, false).await.unwrap();
    assert!(matches!(next(&mut watch).await, Some(Heard::Standing(_))));
    let question = Told::Question {
        id: 7,
        effect: "files.write".into(),
        subject: "/etc/app".into(),
        place: Some(("any.lua".into(), 3)),
        missing: vec!["files:write:/etc/app".into()],
    };
    stage.executor.questions.lock().unwrap().push((run, 7));
    stage.executor.tell(&run, &question);
    let Some(Heard::Told(Told::Question { id, place, missing, .. })) = next(&mut watch).await else {
        panic!("no question");
    };
    assert_eq!((id, place, missing), (7, Some(("any.lua".into(), 3)), vec!["files:write:/etc/app".into()]));
    client.answer(&run, 7, true).await.unwrap();
    assert_eq!(client.answer(&run, 7, true).await.unwrap_err().code, Code::QuestionGone);
}

#[tokio::test]
async fn whoever_follows_is_told_when_the_daemon_ends() {
    let stage = Stage::new(Default::default()).await;
    let serving = stage.listen().await;
    let run = stage.executor.any().await;
    let client = stage.client().await;
    let mut watch = client.watch(&run, false, true).await.unwrap();
    let mut events = client.watch_events(Vec::new(), None).await.unwrap();
    assert!(matches!(next(&mut watch).await, Some(Heard::Standing(_))));
    stage.end();
    let error = timeout(PATIENCE, events.next()).await.unwrap().unwrap_err();
    assert_eq!((error.code, error.retryable), (Code::ApiUnavailable, true), "{error}");
    // A run has time to say where it stops.
    stage.executor.tell(&run, &Told::Interrupted { hard: false, cancelled: false });
    assert!(matches!(next(&mut watch).await, Some(Heard::Told(Told::Interrupted { .. }))));
    let error = timeout(PATIENCE, watch.next()).await.unwrap().unwrap_err();
    assert!(error.message.contains("stopping"), "{error}");
    timeout(PATIENCE, serving).await.unwrap().unwrap();
    assert!(!stage.socket().exists(), "the socket is taken away");
    let error = Client::connect(&stage.socket()).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Code::ApiUnavailable, true), "{error}");
}

#[tokio::test]
async fn events_are_heard_by_pattern_and_from_where_the_caller_left_off() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let mut containers = client.watch_events(vec!["container.*".into()], None).await.unwrap();
    for name in ["container.exited", "db.ready", "container.restarted"] {
        client.emit(name, "{\"n\": 1}").await.unwrap();
    }
    let heard = |event: Option<api::v1::WatchEventsResponse>| event.unwrap();
    let first = heard(timeout(PATIENCE, containers.next()).await.unwrap().unwrap());
    let second = heard(timeout(PATIENCE, containers.next()).await.unwrap().unwrap());
    assert_eq!([first.name.as_str(), second.name.as_str()], ["container.exited", "container.restarted"]);
    assert_eq!(first.data, "{\"n\":1}");
    let mut rest = client.watch_events(Vec::new(), Some(first.id)).await.unwrap();
    assert_eq!(heard(timeout(PATIENCE, rest.next()).await.unwrap().unwrap()).name, "db.ready");
    // Three thousand behind, without an end in between.
    for number in 0..3000 {
        stage.journal.emit(&format!("load.e{number}"), "null").await.unwrap();
    }
    let mut load = client.watch_events(vec!["load.*".into()], Some(0)).await.unwrap();
    for number in 0..3000 {
        let event = timeout(PATIENCE, load.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.name, format!("load.e{number}"));
    }
    let nothing_more = timeout(Duration::from_millis(50), load.next()).await;
    assert!(nothing_more.is_err(), "{nothing_more:?}");
}
