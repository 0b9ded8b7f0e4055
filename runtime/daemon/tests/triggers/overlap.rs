//! What happens when a playbook is to start while a run of it is not over.

use daemon::playbooks::{CatchUp, Overlap};
use daemon::triggers::Outcome;
use journal::{RunState, Write};

use crate::stage::{DAY, HOUR, MINUTE, Stage, every, playbook};

fn minutely(overlap: Overlap) -> Stage {
    Stage::with(vec![playbook("p", vec![every(MINUTE)], overlap, CatchUp::Once)])
}

async fn outcomes(stage: &Stage) -> Vec<Outcome> {
    stage.occurrences("p").await.iter().map(|one| one.outcome).collect()
}

#[tokio::test]
async fn it_is_left_out_while_another_is_not_over() {
    let stage = minutely(Overlap::Skip);
    let mut engine = stage.engine().await;
    for _ in 0..3 {
        stage.clock.forward(MINUTE);
        engine.pass().await.unwrap();
    }
    use Outcome::{Skipped, Started};
    assert_eq!(outcomes(&stage).await, [Started, Skipped, Skipped]);
    let run = stage.unfinished("p").await[0];
    let skipped = stage.occurrences("p").await.pop().unwrap();
    assert_eq!(skipped.reason, Some(format!("run {run} is not over")));
    // One that is paused is not over either.
    stage.journal.set_state(&run, RunState::Paused, None, None).await.unwrap();
    stage.clock.forward(MINUTE);
    engine.pass().await.unwrap();
    assert_eq!(stage.runs_of("p").await.len(), 1);
}

#[tokio::test]
async fn it_waits_in_a_line_that_survives_and_has_an_end() {
    let stage = minutely(Overlap::Queue);
    for _ in 0..105 {
        stage.clock.forward(MINUTE);
        drop(stage.engine().await);
        stage.clock.forward(MINUTE);
        drop(stage.engine().await);
    }
    let all = outcomes(&stage).await;
    let count = |outcome| all.iter().filter(|one| **one == outcome).count();
    assert_eq!(count(Outcome::Queued), 100);
    assert!(count(Outcome::Skipped) > 0);
    let mut engine = stage.engine().await;
    let mut seen = Vec::new();
    for _ in 0..101 {
        assert_eq!(stage.unfinished("p").await.len(), 1);
        stage.finish("p").await;
        engine = {
            engine.pass().await.unwrap();
            engine
        };
        seen = stage.told("p").await;
    }
    let times: Vec<&str> = seen.iter().map(|told| told["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times.len(), 101);
    assert!(stage.unfinished("p").await.is_empty());
}

#[tokio::test]
async fn the_last_one_replaces_what_is_under_way_and_what_waits() {
    let stage = minutely(Overlap::Replace);
    let mut engine = stage.engine().await;
    for _ in 0..4 {
        stage.clock.forward(MINUTE);
        engine.pass().await.unwrap();
        drop(engine);
        engine = stage.engine().await;
        assert!(stage.unfinished("p").await.len() <= 1);
    }
    engine.pass().await.unwrap();
    let runs = stage.runs_of("p").await;
    let (last, others) = runs.split_last().unwrap();
    assert!(others.iter().all(|run| run.state == RunState::Cancelled));
    assert_eq!(last.state, RunState::Pending);
    assert_eq!(last.cause.as_ref().unwrap()["event"]["at"], "2027-01-15T08:04:00Z");
}

#[tokio::test]
async fn what_waits_for_a_playbook_that_is_gone_is_left_out() {
    let stage = minutely(Overlap::Queue);
    let mut engine = stage.engine().await;
    for _ in 0..3 {
        stage.clock.forward(MINUTE);
        engine.pass().await.unwrap();
    }
    stage.load_table(Vec::new());
    stage.finish("p").await;
    for _ in 0..3 {
        engine.pass().await.unwrap();
    }
    use Outcome::{Skipped, Started};
    assert_eq!(stage.occurrences("p").await.iter().filter(|one| one.outcome == Started).count(), 1);
    assert_eq!(stage.occurrences("p").await.iter().filter(|one| one.outcome == Skipped).count(), 2);
}

#[tokio::test]
async fn a_start_by_hand_is_shown_among_the_others() {
    let stage = minutely(Overlap::Skip);
    let write: Write = daemon::triggers::manual("rift", "p", "user root", stage.journal.clock().now(), "01");
    stage.journal.write(vec![write.clone()]).await.unwrap();
    let again = stage.journal.write(vec![write]).await.unwrap_err();
    assert_eq!(effect::Error::from(again).code, effect::Code::OccurrenceTaken);
    let shown = stage.occurrences("p").await;
    assert_eq!((shown[0].trigger.as_str(), shown[0].outcome), ("manual", Outcome::Started));
    // It is no trigger that the engine would know of.
    stage.clock.forward(HOUR);
    stage.engine().await;
}

#[tokio::test]
async fn starts_by_hand_are_kept_short_while_the_daemon_is_up() {
    let stage = minutely(Overlap::Skip);
    let mut engine = stage.engine().await;
    let by_hand = async |playbook: &str| {
        for number in 0..80 {
            let now = stage.journal.clock().now();
            let write = daemon::triggers::manual("rift", playbook, "user root", now, &format!("{number:02}"));
            stage.journal.write(vec![write]).await.unwrap();
        }
    };
    let kept = async |playbook: &str| {
        let all = stage.occurrences(playbook).await;
        all.iter().filter(|one| one.trigger == "manual").count()
    };
    by_hand("p").await;
    stage.clock.forward(HOUR);
    by_hand("p").await;
    engine.pass().await.unwrap();
    assert_eq!(kept("p").await, 50);
    // The last ones.
    let now = stage.journal.clock().now();
    assert!(stage.occurrences("p").await.iter().all(|one| one.trigger != "manual" || one.at == now));
    // One that is gone by the time that somebody looks.
    stage.clock.forward(MINUTE);
    by_hand("p").await;
    stage.load_table(Vec::new());
    engine.pass().await.unwrap();
    stage.clock.forward(HOUR);
    engine.pass().await.unwrap();
    assert_eq!(kept("p").await, 50);
    stage.clock.forward(DAY * 91);
    engine.pass().await.unwrap();
    assert!(stage.occurrences("p").await.is_empty());
    // One that was gone when the engine was loaded.
    by_hand("gone").await;
    stage.engine().await;
    assert_eq!(kept("gone").await, 50);
}
