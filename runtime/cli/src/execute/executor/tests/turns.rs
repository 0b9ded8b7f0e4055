//! What becomes of runs at the edges of their turns, where somebody asks something of them or the process ends.

use std::collections::BTreeMap;

use effect::policy::Grants;
use journal::{Begin, Identity, NewCause, NewRun};
use script::Limits;
use serde_json::json;

use super::*;
use crate::execute::desk::Message;
use crate::execute::executor::Stage as At;
use crate::execute::relay::Manner;
use crate::execute::{Finished, errands};
use crate::exit::Exit;

const STOP: Asked = Asked { level: Interrupt::Soft, why: Why::Operator };
const HOUR: Duration = Duration::from_secs(3600);

/// An executor that gives no run a worker, and where it hears of its end.
fn executor(app: &App) -> (Executor<'_>, Desk, watch::Sender<Interrupt>) {
    let leaving = watch::Sender::new(Interrupt::None);
    let (executor, desk) = Executor::new(app, Bounds { workers: 0, queue: 10 }, leaving.subscribe());
    (executor, desk, leaving)
}

/// A recorded run that may take `timeout` milliseconds.
async fn recorded(app: &App, timeout: Option<u64>) -> RunId {
    let id = app.journal.next_id().unwrap();
    let cause = timeout.map(|timeout| NewCause {
        playbook: Some("a".into()),
        told: json!({ "timeout": timeout }),
        writes: Vec::new(),
    });
    let new = NewRun {
        id,
        name: "a.lua".into(),
        script: "a.lua".into(),
        args: Vec::new(),
        params: json!({}),
        grants: json!(Grants::default()),
        limits: json!(Limits::default()),
        seed: 1,
        node: app.node.clone(),
        source: "print(1)\n".into(),
        root: app.state.display().to_string(),
        modules: BTreeMap::new(),
        plan: None,
        cause,
    };
    app.journal.create_run(new).await.unwrap();
    id
}

async fn in_state(app: &App, state: RunState) -> RunId {
    let run = recorded(app, None).await;
    app.journal.set_state(&run, state, None, None).await.unwrap();
    run
}

/// A run that sleeps for an hour.
async fn asleep(app: &App, timeout: Option<u64>) -> RunId {
    let run = recorded(app, timeout).await;
    app.journal.set_state(&run, RunState::Running, None, None).await.unwrap();
    let sleep = Begin {
        identity: Identity { scope: String::new(), counter: 0, name: "sleep".into() },
        kind: journal::Kind::Wait,
        arguments: "{}".into(),
        arguments_hash: [0; 16],
        place: None,
        before: None,
        change: None,
        until: Some(app.clock.now().after(HOUR)),
        fence: None,
    };
    app.journal.begin(&run, sleep).await.unwrap();
    app.journal.set_state(&run, RunState::Waiting, None, None).await.unwrap();
    run
}

async fn state(app: &App, run: &RunId) -> (RunState, Option<i32>) {
    let run = app.journal.run(run.as_str()).await.unwrap();
    (run.state, run.exit_code)
}

/// Gives a run a turn that hears nothing any more.
fn at_the_end_of_its_turn(executor: &mut Executor<'_>, run: RunId) {
    let asks = watch::Sender::new(Asked::NOTHING);
    executor.place(run, At::Active { asks, wish: Wish::default() });
}

async fn paused(app: &App, executor: &Executor<'_>, run: RunId) -> Settled {
    let finished = Finished { state: RunState::Paused, exit: Exit::Waiting, trouble: None };
    let end = errands::end(app, &run, Some(&finished)).await;
    let step = Ok(Step::Over { name: "a.lua".into(), finished, waiting: None });
    Settled { ready: Ready::new(run), step, end, last: executor.known[&run].relay.last_watcher() }
}

async fn freed(app: &App, run: RunId) -> Settled {
    let waiting = Waiting::of(app, run, Kept::default(), Wish::default()).await.unwrap();
    Settled { ready: Ready::new(run), step: Ok(Step::Waits(waiting)), end: None, last: u64::MAX }
}

fn watch_run(executor: &Executor<'_>, run: RunId) -> mpsc::Receiver<Told> {
    executor.known[&run].relay.join(Manner::default()).unwrap()
}

/// What one asks of the executor whose answer does not matter.
fn ask<T>(executor: &mut Executor<'_>, message: impl FnOnce(oneshot::Sender<Result<T>>) -> Message) {
    executor.hear(message(oneshot::channel().0));
}

async fn next_turn(executor: &mut Executor<'_>) {
    let settled = executor.active.next().await.expect("a run has its turn");
    executor.settle(settled).unwrap();
}

fn end(told: &mut mpsc::Receiver<Told>) -> Option<(RunState, u8)> {
    match told.try_recv() {
        Ok(Told::End(end)) => Some((end.run.state, end.exit_code)),
        _ => None,
    }
}

#[tokio::test]
async fn a_run_that_has_just_begun_when_the_process_ends_stays_as_it_was() {
    let stage = stage();
    let (mut executor, _desk, leaving) = executor(&stage.app);
    let (pending, running) =
        (recorded(&stage.app, None).await, in_state(&stage.app, RunState::Running).await);
    executor.begin(Ready::new(pending), Asked::NOTHING);
    executor.begin(Ready::new(running), Asked::NOTHING);
    leaving.send_replace(Interrupt::Soft);
    executor.leave(Interrupt::Soft);
    next_turn(&mut executor).await;
    next_turn(&mut executor).await;
    assert_eq!(state(&stage.app, &pending).await, (RunState::Pending, None));
    assert_eq!(state(&stage.app, &running).await, (RunState::Running, None));
}

#[tokio::test]
async fn a_run_that_somebody_stopped_before_the_process_ends_waits_for_a_decision() {
    let stage = stage();
    let (mut executor, _desk, leaving) = executor(&stage.app);
    let run = recorded(&stage.app, None).await;
    executor.begin(Ready::new(run), STOP);
    leaving.send_replace(Interrupt::Soft);
    executor.leave(Interrupt::Soft);
    next_turn(&mut executor).await;
    assert_eq!(state(&stage.app, &run).await, (RunState::Paused, Some(130)));
}

#[tokio::test]
async fn an_interrupt_that_a_turn_did_not_hear_is_told_to_those_who_watch_the_wait() {
    let stage = stage();
    let (mut executor, _desk, _leaving) = executor(&stage.app);
    let run = asleep(&stage.app, None).await;
    at_the_end_of_its_turn(&mut executor, run);
    let mut told = watch_run(&executor, run);
    ask(&mut executor, |reply| Message::Interrupt { run, hard: false, reply });
    executor.settle(freed(&stage.app, run).await).unwrap();
    next_turn(&mut executor).await;
    assert_eq!(end(&mut told), Some((RunState::Waiting, Exit::Waiting.code())));
    assert!(matches!(executor.known[&run].stage, At::Waiting));
    assert!(executor.active.is_empty(), "once is enough");
}

#[tokio::test]
async fn a_cancel_that_a_turn_did_not_hear_ends_the_run() {
    let stage = stage();
    let (mut executor, _desk, _leaving) = executor(&stage.app);
    let (asleep, at_rest) = (asleep(&stage.app, None).await, in_state(&stage.app, RunState::Paused).await);
    for run in [asleep, at_rest] {
        at_the_end_of_its_turn(&mut executor, run);
        let mut told = watch_run(&executor, run);
        stage.app.journal.request_cancel(&run).await.unwrap();
        ask(&mut executor, |reply| Message::Cancel { run, reply });
        // Giving up is for good.
        let wish = Wish::default();
        ask(&mut executor, |reply| Message::Take { run, wish, is_wanted: true, reply });
        let settled = match run == asleep {
            true => freed(&stage.app, run).await,
            false => paused(&stage.app, &executor, run).await,
        };
        executor.settle(settled).unwrap();
        next_turn(&mut executor).await;
        assert_eq!(end(&mut told), Some((RunState::Cancelled, 1)));
        assert_eq!(state(&stage.app, &run).await.0, RunState::Cancelled);
    }
}

#[tokio::test]
async fn a_run_that_is_taken_at_the_end_of_its_turn_goes_on_and_nobody_is_told_of_a_pause() {
    let stage = stage();
    let (mut executor, _desk, _leaving) = executor(&stage.app);
    let run = in_state(&stage.app, RunState::Paused).await;
    at_the_end_of_its_turn(&mut executor, run);
    let mut told = watch_run(&executor, run);
    let wish = Wish { doubts: vec![(None, "redo".into())], ..Wish::default() };
    ask(&mut executor, |reply| Message::Take { run, wish: wish.clone(), is_wanted: true, reply });
    executor.settle(paused(&stage.app, &executor, run).await).unwrap();
    let queued = executor.ready.pop_front().unwrap();
    assert_eq!((queued.run, queued.wish, queued.is_wanted), (run, wish, true));
    assert_eq!(end(&mut told), None);
    assert!(!told.is_closed());
}

#[tokio::test]
async fn a_run_under_way_goes_on_once_more_only_for_what_it_was_not_begun_with() {
    let stage = stage();
    let (mut executor, _desk, _leaving) = executor(&stage.app);
    let patient = Wish { patience: Some(HOUR), ..Wish::default() };
    let (asks, _hears) = watch::channel(Asked::NOTHING);
    let run = in_state(&stage.app, RunState::Paused).await;
    executor.place(run, At::Active { asks, wish: patient.clone() });
    ask(&mut executor, |reply| Message::Take { run, wish: patient, is_wanted: true, reply });
    assert_eq!(executor.known[&run].then, None);
    let wish = Wish { limits: vec!["memory=1GiB".into()], ..Wish::default() };
    ask(&mut executor, |reply| Message::Take { run, wish: wish.clone(), is_wanted: true, reply });
    assert_eq!(executor.known[&run].then, Some(Then::Again(wish, true)));
    // Who stops it afterwards means that, too.
    ask(&mut executor, |reply| Message::Interrupt { run, hard: false, reply });
    let mut told = watch_run(&executor, run);
    executor.settle(paused(&stage.app, &executor, run).await).unwrap();
    assert!(executor.ready.is_empty());
    assert_eq!(end(&mut told), Some((RunState::Paused, Exit::Waiting.code())));
}

#[tokio::test]
async fn who_comes_when_a_turn_is_over_is_not_told_of_its_pause() {
    let stage = stage();
    let (mut executor, _desk, _leaving) = executor(&stage.app);
    let run = in_state(&stage.app, RunState::Paused).await;
    at_the_end_of_its_turn(&mut executor, run);
    let mut early = watch_run(&executor, run);
    let settled = paused(&stage.app, &executor, run).await;
    let mut late = watch_run(&executor, run);
    executor.settle(settled).unwrap();
    assert_eq!(end(&mut early), Some((RunState::Paused, Exit::Waiting.code())));
    assert_eq!((end(&mut late), late.is_closed()), (None, false));
    // What that comes to is for both.
    stage.app.journal.request_cancel(&run).await.unwrap();
    ask(&mut executor, |reply| Message::Cancel { run, reply });
    next_turn(&mut executor).await;
    assert_eq!(end(&mut late), Some((RunState::Cancelled, 1)));
}

/// The runs whose wait is over.
async fn due(executor: &mut Executor<'_>) -> Vec<RunId> {
    let due = executor.waits.due(executor.app).await.unwrap();
    due.iter().map(|waiting| waiting.run).collect()
}

#[tokio::test]
async fn a_wait_that_is_found_or_stopped_ends_with_the_time_of_its_playbook() {
    let stage = stage();
    let (mut executor, _desk, _leaving) = executor(&stage.app);
    let (late, _in_time) = (asleep(&stage.app, Some(0)).await, asleep(&stage.app, Some(7_200_000)).await);
    executor.find(true).await.unwrap();
    assert_eq!(due(&mut executor).await, [late]);
    executor.begin(Ready::new(late), STOP);
    next_turn(&mut executor).await;
    assert_eq!(due(&mut executor).await, [late]);
}

#[tokio::test]
async fn a_wait_that_is_found_and_stopped_keeps_its_services() {
    let stage = stage();
    let app = &stage.app;
    let run = asleep(app, None).await;
    drop(app.journal.lease(&app.node, "web", &run, "it changes it").await.unwrap());
    let (mut executor, _desk, _leaving) = executor(app);
    executor.find(true).await.unwrap();
    let other = recorded(app, None).await;
    let is_held = async || app.journal.lease(&app.node, "web", &other, "it, too").await.is_err();
    assert!(is_held().await);
    ask(&mut executor, |reply| Message::Interrupt { run, hard: false, reply });
    next_turn(&mut executor).await;
    assert!(is_held().await);
    app.journal.request_cancel(&run).await.unwrap();
    ask(&mut executor, |reply| Message::Cancel { run, reply });
    next_turn(&mut executor).await;
    assert!(!is_held().await);
}

#[tokio::test]
async fn a_wait_that_was_given_up_while_nobody_was_there_is_due() {
    let stage = stage();
    let run = asleep(&stage.app, None).await;
    stage.app.journal.request_cancel(&run).await.unwrap();
    let (mut executor, _desk, _leaving) = executor(&stage.app);
    executor.find(true).await.unwrap();
    assert_eq!(due(&mut executor).await, [run]);
}

#[tokio::test]
async fn what_a_run_was_taken_with_is_known_to_the_next_process() {
    let stage = stage();
    let runs = [asleep(&stage.app, None).await, in_state(&stage.app, RunState::Running).await];
    let limits = vec!["memory=1GiB".to_owned()];
    let wish = Wish { patience: Some(HOUR), limits, ..Wish::default() };
    let doubts = vec![(None, "redo".to_owned())];
    with_executor(&stage.app, 10, async |desk, _leaving| {
        for run in runs {
            desk.go_on(&run, wish.clone()).await.unwrap();
        }
        let nothing_in_doubt = desk.go_on(&runs[1], Wish { doubts, ..wish.clone() }).await;
        assert_eq!(nothing_in_doubt.unwrap_err().code, Code::Usage);
    })
    .await;
    let (mut executor, desk, _leaving) = executor(&stage.app);
    executor.find(true).await.unwrap();
    assert_eq!(executor.waits.take(&runs[0]).unwrap().wish, wish);
    assert_eq!(executor.ready.pop_front().unwrap().wish, wish);
    // Who takes it otherwise does so for the rest of it.
    let asks = Wish { asks: true, ..Wish::default() };
    let (done, ()) = tokio::join!(desk.go_on(&runs[1], asks.clone()), async {
        let message = executor.messages.recv().await.unwrap();
        executor.hear(message);
    });
    done.unwrap();
    drop(executor);
    let (mut executor, _desk, _leaving) = self::executor(&stage.app);
    executor.find(true).await.unwrap();
    // Who answers comes back by himself, and is waited for.
    let (at, put_off) = executor.put_off.pop().unwrap();
    assert_eq!((put_off.run, put_off.wish.asks, at > Instant::now()), (runs[1], true, true));
}
