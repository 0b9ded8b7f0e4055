//! What the executor says without a worker.

use std::sync::Arc;

use daemon::runs::{By, Cause, Runs as _, Submission, Told};
use effect::Code;
use journal::RunState;
use serde_json::Value;

use super::*;
use crate::arguments::Global;
use crate::execute::many::BY_THEMSELVES;

struct Stage {
    app: App,
    _folder: tempfile::TempDir,
}

fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let global = Global {
        state: Some(folder.path().join("state")),
        config: Some("/dev/null".into()),
        yes: false,
        no_input: true,
        verbose: 0,
    };
    Stage { app: App::open(&global).unwrap(), _folder: folder }
}

fn submission() -> Submission {
    let by = By::Caller { caller: "user test".into() };
    Submission {
        name: "a.lua".into(),
        source: "print(1)\n".into(),
        modules: Vec::new(),
        args: Vec::new(),
        params: serde_json::json!({}),
        allow: Vec::new(),
        deny: Vec::new(),
        limits: Vec::new(),
        cause: Cause { by, event: Value::Null, within: None },
        writes: Vec::new(),
    }
}

/// Does `what` while an executor listens that gives no run a worker.
async fn with_executor<T>(
    app: &App,
    queue: usize,
    what: impl AsyncFnOnce(Desk, watch::Sender<Interrupt>) -> T,
) -> T {
    let leaving = watch::Sender::new(Interrupt::None);
    let (executor, desk) = Executor::new(app, Bounds { workers: 0, queue }, leaving.subscribe());
    tokio::select! {
        done = what(desk, leaving) => done,
        ran = executor.run() => panic!("it ended: {ran:?}"),
    }
}

#[tokio::test]
async fn what_is_not_executed_here_is_not_interrupted_here() {
    let stage = stage();
    let run = stage.app.journal.next_id().unwrap();
    with_executor(&stage.app, 10, async |desk, _leaving| {
        assert_eq!(desk.interrupt(&run, false).await.unwrap_err().code, Code::NotExecuted);
        assert_eq!(desk.answer(&run, 1, true).await.unwrap_err().code, Code::NotExecuted);
        assert_eq!(desk.watch(&run, false).await.unwrap_err().code, Code::RunUnknown);
    })
    .await;
}

#[tokio::test]
async fn a_queue_has_an_end_and_nothing_is_recorded_beyond_it() {
    let stage = stage();
    with_executor(&stage.app, 1, async |desk, _leaving| {
        desk.submit(submission()).await.unwrap();
        // The executor tells how many there are when it has looked at what came.
        let error = loop {
            match desk.submit(submission()).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert_eq!((error.code, error.retryable), (Code::DaemonBusy, true));
        let queued = stage.app.journal.runs_in(BY_THEMSELVES).await.unwrap().len();
        desk.submit(submission()).await.unwrap_err();
        assert_eq!(stage.app.journal.runs_in(BY_THEMSELVES).await.unwrap().len(), queued);
    })
    .await;
}

#[tokio::test]
async fn a_run_in_the_queue_is_given_up_without_a_worker() {
    let stage = stage();
    with_executor(&stage.app, 10, async |desk, _leaving| {
        let run = desk.submit(submission()).await.unwrap();
        let mut watching = desk.watch(&run, false).await.unwrap();
        desk.cancel(&run).await.unwrap();
        let Some(Told::End(end)) = watching.told.recv().await else { panic!("it has no end") };
        assert_eq!((end.run.state, end.exit_code), (RunState::Cancelled, 1));
        assert_eq!(desk.cancel(&run).await.unwrap_err().code, Code::RunState);
        assert_eq!(desk.go_on(&run, Wish::default()).await.unwrap_err().code, Code::RunState);
        // Whoever asks later is told the end at once.
        let mut late = desk.watch(&run, true).await.unwrap();
        assert!(matches!(late.told.recv().await, Some(Told::End(_))));
    })
    .await;
}

#[tokio::test]
async fn a_run_in_the_queue_that_is_interrupted_waits_for_a_decision() {
    let stage = stage();
    with_executor(&stage.app, 10, async |desk, _leaving| {
        let run = desk.submit(submission()).await.unwrap();
        let mut watching = desk.watch(&run, false).await.unwrap();
        desk.interrupt(&run, false).await.unwrap();
        let Some(Told::End(end)) = watching.told.recv().await else { panic!("it has no end") };
        assert_eq!((end.run.state, end.exit_code), (RunState::Paused, 130));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_begun_while_the_process_ends() {
    let stage = stage();
    let leaving = watch::Sender::new(Interrupt::None);
    let (executor, desk) = Executor::new(&stage.app, Bounds { workers: 0, queue: 10 }, leaving.subscribe());
    let run = tokio::join!(executor.run(), async {
        let run = desk.submit(submission()).await.unwrap();
        leaving.send_replace(Interrupt::Soft);
        run
    })
    .1;
    assert_eq!(desk.submit(submission()).await.unwrap_err().code, Code::DaemonStops);
    // What was recorded stays for the next one.
    let left = stage.app.journal.runs_in(BY_THEMSELVES).await.unwrap();
    assert_eq!(left, [(run, RunState::Pending)]);
    let (executor, _desk) = Executor::new(&stage.app, Bounds { workers: 0, queue: 10 }, leaving.subscribe());
    let found = Arc::clone(&executor.shared);
    executor.run().await.unwrap();
    assert_eq!(found.queued.load(Ordering::Relaxed), 1);
}

mod turns;
