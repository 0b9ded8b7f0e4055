//! Events: each starts what it concerns once, whatever is killed; no more often than it may.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use daemon::playbooks::{CatchUp, OnEvent, Overlap, Trigger};
use daemon::triggers::{Engine, Outcome};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stage::{DAY, HOUR, MINUTE, Stage, event, playbook, until};

fn on(trigger: Trigger) -> Stage {
    Stage::with(vec![playbook("p", vec![trigger], Overlap::Queue, CatchUp::Once)])
}

async fn emit(stage: &Stage, name: &str, data: Value) {
    stage.journal.emit(name, &data.to_string()).await.unwrap();
}

/// Has everything that waits go off.
async fn drain(stage: &Stage, engine: &mut Engine) {
    loop {
        engine.pass().await.unwrap();
        if stage.unfinished("p").await.is_empty() {
            return;
        }
        stage.finish("p").await;
    }
}

#[tokio::test]
async fn an_event_starts_what_it_matches_with_what_was_told() {
    let filter = BTreeMap::from([("name".to_owned(), json!("web-*")), ("exit_code".to_owned(), json!(137))]);
    let stage = on(Trigger::Event(OnEvent { pattern: "container.*".into(), filter, at_most: None }));
    let mut engine = stage.engine().await;
    emit(&stage, "container.exited", json!({ "name": "web-1", "exit_code": 137 })).await;
    emit(&stage, "container.exited", json!({ "name": "db", "exit_code": 137 })).await;
    emit(&stage, "container.exited", json!({ "name": "web-1", "exit_code": 0 })).await;
    emit(&stage, "service.unhealthy", json!({ "name": "web-1", "exit_code": 137 })).await;
    emit(&stage, "container.exited", Value::Null).await;
    drain(&stage, &mut engine).await;
    let told = stage.told("p").await;
    assert_eq!(told.len(), 1);
    let expected = json!({
        "kind": "event", "name": "container.exited", "data": { "name": "web-1", "exit_code": 137 },
        "at": "2027-01-15T08:00:00Z", "id": 1,
    });
    assert_eq!(told[0], expected);
}

#[tokio::test]
async fn what_was_told_while_nobody_listened_is_not_lost_and_counts_once() {
    let stage = on(event("db.restored"));
    emit(&stage, "db.restored", json!(0)).await;
    drop(stage.engine().await);
    for number in 1..=3 {
        emit(&stage, "db.restored", json!(number)).await;
    }
    // One that is new does not hear of what was before it.
    let p = playbook("p", vec![event("db.restored")], Overlap::Queue, CatchUp::Once);
    let q = playbook("q", vec![event("db.restored")], Overlap::Queue, CatchUp::Once);
    stage.load_table(vec![p, q]);
    for _ in 0..3 {
        let mut engine = stage.engine().await;
        drain(&stage, &mut engine).await;
    }
    let data: Vec<Value> = stage.told("p").await.iter().map(|told| told["data"].clone()).collect();
    assert_eq!(data, [1, 2, 3]);
    assert!(stage.runs_of("q").await.is_empty());
}

#[tokio::test]
async fn it_starts_no_more_often_than_it_may_also_over_restarts() {
    let at_most = Some((3, MINUTE * 10));
    let stage = on(Trigger::Event(OnEvent { pattern: "tick".into(), filter: BTreeMap::new(), at_most }));
    let mut engine = stage.engine().await;
    for _ in 0..5 {
        emit(&stage, "tick", Value::Null).await;
        drain(&stage, &mut engine).await;
        engine = stage.engine().await;
    }
    assert_eq!(stage.runs_of("p").await.len(), 3);
    let skipped = stage.occurrences("p").await.into_iter().filter(|one| one.outcome == Outcome::Skipped);
    assert_eq!(skipped.map(|one| one.reason.unwrap()).collect::<Vec<_>>(), ["it starts at most 3/10m"; 2]);
    stage.clock.forward(MINUTE * 11);
    emit(&stage, "tick", Value::Null).await;
    drain(&stage, &mut engine).await;
    assert_eq!(stage.runs_of("p").await.len(), 4);
}

/// A pass that is killed once so many runs were to be recorded.
async fn pass_until(engine: &mut Engine, stage: &Stage, started: u32) {
    let enough = async {
        while stage.started() < started {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        passed = engine.pass() => panic!("nothing was killed: {passed:?}"),
        () = enough => {}
    }
    let under_way = &stage.runs.under_way;
    until("what has begun is over", || async { under_way.load(Ordering::SeqCst) == 0 }).await;
}

#[tokio::test]
async fn an_engine_that_is_killed_amid_many_events_starts_each_once() {
    let often =
        |at_most| Trigger::Event(OnEvent { pattern: "tick".into(), filter: BTreeMap::new(), at_most });
    let on = |name: &str| playbook(name, vec![often(Some((1000, DAY)))], Overlap::Queue, CatchUp::Once);
    let stage = Stage::with(vec![on("p"), on("q")]);
    stage.runs.are_short.store(true, Ordering::SeqCst);
    let mut engine = stage.engine().await;
    for number in 1..=200 {
        emit(&stage, "tick", json!(number)).await;
    }
    // Between the two of one event as well.
    for started in [120, 121, 240, 333] {
        pass_until(&mut engine, &stage, started).await;
        engine = Engine::load(stage.means()).await.unwrap();
    }
    engine.pass().await.unwrap();
    for name in ["p", "q"] {
        let data: Vec<Value> = stage.told(name).await.iter().map(|told| told["data"].clone()).collect();
        assert_eq!(data, (1..=200).map(Value::from).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn how_often_it_may_start_is_not_forgotten_over_a_restart_whatever_was_left_out_since() {
    for (at_most, most) in [(Some((3, HOUR)), 3), (None, 60), (Some((70, HOUR)), 70)] {
        let stage = on(Trigger::Event(OnEvent { pattern: "tick".into(), filter: BTreeMap::new(), at_most }));
        stage.runs.are_short.store(true, Ordering::SeqCst);
        for _ in 0..4 {
            let mut engine = stage.engine().await;
            for _ in 0..60 {
                emit(&stage, "tick", Value::Null).await;
            }
            engine.pass().await.unwrap();
        }
        assert_eq!(stage.runs_of("p").await.len(), most);
        let kept = stage.occurrences("p").await.len();
        assert!(kept <= most.max(50) + 1, "{kept} are kept where it starts {most} times");
        stage.clock.forward(HOUR);
        emit(&stage, "tick", Value::Null).await;
        stage.engine().await;
        assert_eq!(stage.runs_of("p").await.len(), most + 1);
    }
}

#[tokio::test]
async fn what_was_left_out_is_recorded_also_where_the_disk_was_full_meanwhile() {
    let at_most = Some((1, MINUTE));
    let rarely = Trigger::Event(OnEvent { pattern: "tick".into(), filter: BTreeMap::new(), at_most });
    let stage = Stage::with(vec![
        playbook("p", vec![rarely], Overlap::Queue, CatchUp::Once),
        playbook("z", vec![event("tick")], Overlap::Queue, CatchUp::Once),
    ]);
    stage.runs.are_short.store(true, Ordering::SeqCst);
    let mut engine = stage.engine().await;
    emit(&stage, "tick", Value::Null).await;
    engine.pass().await.unwrap();
    stage.clock.forward(Duration::from_secs(1));
    emit(&stage, "tick", Value::Null).await;
    stage.runs.is_full.store(true, Ordering::SeqCst);
    assert!(engine.pass().await.is_err());
    stage.runs.is_full.store(false, Ordering::SeqCst);
    engine.pass().await.unwrap();
    let outcomes: Vec<Outcome> = stage.occurrences("p").await.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [Outcome::Started, Outcome::Skipped]);
    assert_eq!(stage.runs_of("z").await.len(), 2);
}

#[tokio::test]
async fn what_is_older_than_ninety_days_is_taken_out_while_the_daemon_is_up() {
    let stage = on(event("tick"));
    stage.runs.are_short.store(true, Ordering::SeqCst);
    let mut engine = stage.engine().await;
    emit(&stage, "tick", Value::Null).await;
    engine.pass().await.unwrap();
    assert_eq!(stage.occurrences("p").await.len(), 1);
    stage.clock.forward(DAY * 91);
    engine.pass().await.unwrap();
    assert!(stage.occurrences("p").await.is_empty());
}

#[tokio::test]
async fn a_playbook_that_tells_of_what_starts_it_does_not_go_round_for_ever() {
    let stage = on(event("loop"));
    let mut engine = stage.engine().await;
    emit(&stage, "loop", Value::Null).await;
    for _ in 0..200 {
        engine.pass().await.unwrap();
        for _ in stage.unfinished("p").await {
            emit(&stage, "loop", Value::Null).await;
        }
        stage.finish("p").await;
    }
    assert_eq!(stage.runs_of("p").await.len(), 60);
}

#[tokio::test]
async fn a_playbook_for_failures_is_not_started_by_its_own() {
    let stage = on(event("run.failed"));
    let mut engine = stage.engine().await;
    emit(&stage, "run.failed", json!({ "playbook": "p" })).await;
    emit(&stage, "run.failed", json!({ "playbook": "q" })).await;
    drain(&stage, &mut engine).await;
    assert_eq!(stage.runs_of("p").await.len(), 1);
}

#[tokio::test]
async fn a_flood_that_may_not_start_anything_is_kept_short() {
    let stage = on(event("flood"));
    let mut engine = stage.engine().await;
    for _ in 0..700 {
        emit(&stage, "flood", Value::Null).await;
    }
    drain(&stage, &mut engine).await;
    assert_eq!(stage.runs_of("p").await.len(), 60);
    assert!(stage.occurrences("p").await.len() <= 120, "{}", stage.occurrences("p").await.len());
}

#[tokio::test]
async fn the_engine_hears_of_what_others_write_and_ends_when_it_is_told() {
    let stage = on(event("deployed"));
    let engine = stage.engine().await;
    let (end, ending) = watch::channel(false);
    let working = tokio::spawn(engine.run(ending));
    for number in 1..=5 {
        // From another process.
        let clock = stage.clock.clone();
        let other = journal::Journal::open(stage.folder.path(), clock).unwrap();
        other.emit("deployed", "{}").await.unwrap();
        until("the event has started it", || async { stage.runs_of("p").await.len() == number }).await;
        stage.finish("p").await;
    }
    stage.clock.forward(HOUR);
    end.send_replace(true);
    tokio::time::timeout(Duration::from_secs(60), working).await.unwrap().unwrap();
}
