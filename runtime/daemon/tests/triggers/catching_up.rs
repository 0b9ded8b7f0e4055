//! Times that passed while nobody could start anything, clocks that are set, and triggers that are new.

use std::sync::atomic::Ordering;

use daemon::playbooks::{At, CatchUp, Overlap, Trigger};
use daemon::triggers::{Engine, Outcome};
use journal::Timestamp;
use serde_json::json;

use crate::stage::{BEGIN, DAY, HOUR, MINUTE, Stage, cron, every, playbook};

fn hourly(catch_up: CatchUp) -> Stage {
    Stage::with(vec![playbook("p", vec![every(HOUR)], Overlap::Skip, catch_up)])
}

/// What the runs of `p` were told, and what of them.
async fn at(stage: &Stage) -> Vec<String> {
    stage.told("p").await.iter().map(|told| told["at"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_playbook_that_is_seen_for_the_first_time_makes_up_for_nothing() {
    let stage = hourly(CatchUp::All);
    let mut engine = stage.engine().await;
    assert_eq!(engine.pass().await.unwrap(), Some(BEGIN.after(HOUR)));
    assert!(stage.runs_of("p").await.is_empty());
    stage.clock.forward(HOUR);
    engine.pass().await.unwrap();
    assert_eq!(at(&stage).await, ["2027-01-15T09:00:00Z"]);
    let told = &stage.told("p").await[0];
    assert_eq!(*told, json!({ "kind": "every", "at": "2027-01-15T09:00:00Z", "trigger": "every 1h" }));
}

#[tokio::test]
async fn one_start_makes_up_for_all_that_were_missed() {
    let stage = hourly(CatchUp::Once);
    drop(stage.engine().await);
    stage.clock.forward(HOUR * 5 + MINUTE * 30);
    stage.engine().await;
    assert_eq!(at(&stage).await, ["2027-01-15T13:00:00Z"]);
    assert_eq!(stage.told("p").await[0]["missed"], 4);
    stage.engine().await;
    assert_eq!(at(&stage).await.len(), 1);
}

#[tokio::test]
async fn missed_ones_are_left_out_and_said_to_be() {
    let stage = hourly(CatchUp::Skip);
    drop(stage.engine().await);
    stage.clock.forward(HOUR * 5 + MINUTE * 30);
    let mut engine = stage.engine().await;
    assert!(stage.runs_of("p").await.is_empty());
    let missed = stage.occurrences("p").await;
    assert_eq!((missed.len(), missed[0].outcome, missed[0].missed), (1, Outcome::Missed, 4));
    // The one that is due when it starts again is not missed.
    drop(engine);
    stage.clock.forward(HOUR * 3 - MINUTE * 30);
    engine = stage.engine().await;
    assert_eq!(at(&stage).await, ["2027-01-15T16:00:00Z"]);
    let missed = stage.occurrences("p").await;
    assert_eq!(missed.iter().map(|one| 1 + one.missed).sum::<u64>(), 8);
    drop(engine);
}

#[tokio::test]
async fn each_that_was_missed_is_made_up_for_one_after_the_other() {
    let stage = hourly(CatchUp::All);
    drop(stage.engine().await);
    stage.clock.forward(HOUR * 3 + MINUTE * 30);
    let mut engine = stage.engine().await;
    for done in 1..=3 {
        assert_eq!(at(&stage).await.len(), done);
        assert_eq!(stage.unfinished("p").await.len(), 1);
        stage.finish("p").await;
        engine.pass().await.unwrap();
    }
    assert_eq!(at(&stage).await, ["2027-01-15T09:00:00Z", "2027-01-15T10:00:00Z", "2027-01-15T11:00:00Z"]);
}

#[tokio::test]
async fn no_more_than_a_thousand_are_made_up_for_and_the_rest_is_counted() {
    let stage = Stage::with(vec![playbook("p", vec![every(MINUTE)], Overlap::Skip, CatchUp::All)]);
    drop(stage.engine().await);
    stage.clock.forward(DAY);
    drop(stage.engine().await);
    let occurrences = stage.occurrences("p").await;
    let count = |outcome| occurrences.iter().filter(|one| one.outcome == outcome).count();
    assert_eq!((count(Outcome::Started), count(Outcome::Queued), count(Outcome::Missed)), (1, 999, 1));
    let missed = occurrences.iter().find(|one| one.outcome == Outcome::Missed).unwrap();
    assert_eq!(missed.missed + 1, 440);
}

#[tokio::test]
async fn a_trigger_that_was_changed_makes_up_for_nothing_and_one_that_was_not_does() {
    let stage = Stage::with(vec![
        playbook("p", vec![every(HOUR)], Overlap::Skip, CatchUp::Once),
        playbook("q", vec![every(HOUR)], Overlap::Skip, CatchUp::Once),
    ]);
    drop(stage.engine().await);
    stage.clock.forward(HOUR * 2 + MINUTE);
    stage.load_table(vec![
        playbook("p", vec![every(MINUTE * 30)], Overlap::Queue, CatchUp::Once),
        playbook("q", vec![every(HOUR)], Overlap::Queue, CatchUp::Once),
    ]);
    let mut engine = stage.engine().await;
    assert!(stage.runs_of("p").await.is_empty());
    assert_eq!(stage.runs_of("q").await.len(), 1);
    // While it is loaded, a change that leaves the trigger as it is loses nothing.
    stage.finish("q").await;
    stage.load_table(vec![playbook("q", vec![every(HOUR)], Overlap::Skip, CatchUp::Once)]);
    stage.clock.forward(HOUR);
    engine.pass().await.unwrap();
    assert_eq!(stage.runs_of("q").await.len(), 2);
    assert!(stage.runs_of("p").await.is_empty());
}

#[tokio::test]
async fn a_clock_that_is_set_back_by_a_day_doubles_nothing_and_one_set_forward_loses_nothing() {
    let stage = hourly(CatchUp::All);
    let mut engine = stage.engine().await;
    for _ in 0..5 {
        stage.clock.forward(HOUR);
        engine.pass().await.unwrap();
        stage.finish("p").await;
    }
    stage.clock.back(DAY);
    for _ in 0..26 {
        engine.pass().await.unwrap();
        engine = stage.engine().await;
        stage.finish("p").await;
        stage.clock.forward(HOUR);
    }
    let found = at(&stage).await;
    let expected: Vec<String> = (1..=6).map(|hour| BEGIN.after(HOUR * hour).to_string()).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_clock_that_was_wrong_by_more_is_believed_when_it_is_set_right() {
    let stage = hourly(CatchUp::Once);
    let mut engine = stage.engine().await;
    stage.clock.forward(DAY * 400);
    engine.pass().await.unwrap();
    stage.finish("p").await;
    stage.clock.back(DAY * 400);
    engine.pass().await.unwrap();
    stage.clock.forward(HOUR);
    engine.pass().await.unwrap();
    assert_eq!(at(&stage).await[1..], ["2027-01-15T09:00:00Z"]);
    // Also where that is seen at a start only.
    stage.finish("p").await;
    stage.clock.forward(DAY * 400);
    engine.pass().await.unwrap();
    stage.finish("p").await;
    drop(engine);
    stage.clock.back(DAY * 400);
    let mut engine = stage.engine().await;
    stage.clock.forward(HOUR);
    engine.pass().await.unwrap();
    assert_eq!(at(&stage).await[3..], ["2027-01-15T10:00:00Z"]);
}

#[tokio::test]
async fn a_moment_comes_once_and_is_made_up_for() {
    let at = Trigger::At(At { at: BEGIN.after(HOUR), text: "2027-01-15T10:00:00+01:00".into() });
    let stage = Stage::with(vec![playbook("p", vec![at], Overlap::Skip, CatchUp::Once)]);
    drop(stage.engine().await);
    stage.clock.forward(DAY);
    for _ in 0..3 {
        stage.engine().await;
    }
    assert_eq!(stage.runs_of("p").await.len(), 1);
    assert_eq!(stage.told("p").await[0]["kind"], "at");
}

#[tokio::test]
async fn a_boot_starts_it_once_and_what_is_loaded_later_waits_for_the_next() {
    let on_boot = |name: &str| playbook(name, vec![Trigger::Boot], Overlap::Skip, CatchUp::Once);
    let mut stage = Stage::with(vec![on_boot("p")]);
    for _ in 0..3 {
        stage.engine().await;
    }
    assert_eq!(stage.told("p").await.len(), 1);
    stage.finish("p").await;
    stage.load_table(vec![on_boot("p"), on_boot("q")]);
    stage.engine().await;
    assert!(stage.runs_of("q").await.is_empty());
    stage.boot = "boot-2".into();
    stage.clock.forward(HOUR);
    for _ in 0..3 {
        stage.engine().await;
    }
    assert_eq!((stage.runs_of("p").await.len(), stage.runs_of("q").await.len()), (2, 1));
    assert_eq!(stage.told("q").await[0]["boot"], "boot-2");
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let stage = Stage::with(vec![playbook("p", vec![cron("0 * * * *")], Overlap::Skip, CatchUp::Once)]);
    let mut engine = stage.engine().await;
    stage.runs.is_full.store(true, Ordering::SeqCst);
    stage.clock.forward(HOUR);
    for _ in 0..20 {
        assert!(engine.pass().await.is_err());
    }
    stage.runs.is_full.store(false, Ordering::SeqCst);
    engine.pass().await.unwrap();
    assert_eq!(at(&stage).await, ["2027-01-15T09:00:00Z"]);
}

#[tokio::test]
async fn what_cannot_be_started_says_why_and_holds_nothing_up() {
    let stage = Stage::with(vec![playbook("p", vec![every(HOUR)], Overlap::Skip, CatchUp::Once)]);
    let mut engine = stage.engine().await;
    stage.runs.refuses.store(true, Ordering::SeqCst);
    stage.clock.forward(HOUR);
    engine.pass().await.unwrap();
    let skipped = stage.occurrences("p").await;
    assert_eq!(skipped[0].outcome, Outcome::Skipped);
    assert!(skipped[0].reason.as_ref().unwrap().ends_with("it may not"), "{skipped:?}");
    stage.runs.refuses.store(false, Ordering::SeqCst);
    stage.clock.forward(HOUR);
    engine.pass().await.unwrap();
    assert_eq!(at(&stage).await, ["2027-01-15T10:00:00Z"]);
}

#[tokio::test]
async fn another_daemon_that_has_dealt_with_it_is_believed() {
    let stage = hourly(CatchUp::Once);
    let (mut one, mut other): (Engine, Engine) = (stage.engine().await, stage.engine().await);
    for _ in 0..3 {
        stage.clock.forward(HOUR);
        one.pass().await.unwrap();
        stage.finish("p").await;
        other.pass().await.unwrap();
        stage.finish("p").await;
    }
    assert_eq!(at(&stage).await.len(), 3);
}

#[tokio::test]
async fn what_is_recorded_does_not_grow_for_ever() {
    let stage = Stage::with(vec![playbook("p", vec![every(MINUTE)], Overlap::Skip, CatchUp::Once)]);
    let mut engine = stage.engine().await;
    for _ in 0..120 {
        stage.clock.forward(MINUTE);
        engine.pass().await.unwrap();
        stage.finish("p").await;
    }
    assert_eq!(stage.runs_of("p").await.len(), 120);
    let kept = stage.occurrences("p").await;
    assert!(kept.len() <= 51, "{}", kept.len());
    assert_eq!(kept.last().unwrap().at, Timestamp(BEGIN.0 + 120 * 60_000));
}

#[tokio::test]
async fn ten_thousand_schedules_cost_one_look_when_nothing_is_due() {
    let definitions = (0..10_000)
        .map(|number| {
            playbook(
                &format!("p{number}"),
                vec![cron(&format!("{} 3 * * *", number % 60))],
                Overlap::Skip,
                CatchUp::Once,
            )
        })
        .collect();
    let stage = Stage::with(definitions);
    let mut engine = stage.engine().await;
    let begun = std::time::Instant::now();
    for _ in 0..1000 {
        engine.pass().await.unwrap();
    }
    // Shown, not asserted: other tests run beside it.
    tracing::info!(took = ?begun.elapsed(), "a thousand passes over ten thousand schedules");
    assert_eq!(engine.pass().await.unwrap().unwrap().to_string(), "2027-01-16T03:00:00Z");
}
