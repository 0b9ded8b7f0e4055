//! That commits are grouped, and that probes are reached: in a program of its own, because a probe is for the whole
//! process.

#![allow(clippy::unwrap_used, reason = "a test helper that cannot go on fails the test")]

#[path = "journal/support.rs"]
#[expect(dead_code, reason = "the other program uses the rest")]
mod support;

use std::sync::{Condvar, Mutex};

use futures::future_of;
use support::{add_run, begin, completed, end, open_lazy};

const RUNS: usize = 8;

/// The points that were reached, and whether the writer may go on from its first commit of a begin.
static SEEN: Mutex<(Vec<&'static str>, bool)> = Mutex::new((Vec::new(), false));
static GO_ON: Condvar = Condvar::new();

fn probe(point: &'static str) {
    let mut seen = SEEN.lock().unwrap();
    seen.0.push(point);
    if point == "begin:before-commit" {
        drop(GO_ON.wait_while(seen, |(_, go_on)| !*go_on).unwrap());
    }
}

mod futures {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    /// A future that has been started: what it asks for is queued.
    pub(crate) fn future_of<F: Future>(future: F) -> Pin<Box<F>> {
        let mut future = Box::pin(future);
        let started = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(started, Poll::Pending));
        future
    }
}

#[tokio::test]
async fn what_arrives_during_a_commit_is_committed_together() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_lazy(folder.path());
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(add_run(&journal).await);
    }
    // With others at work a commit is made on the writer's thread.
    let _others = (journal.working(journal::Work::Run), journal.working(journal::Work::Run));
    journal::set_probe(probe);
    let first = future_of(journal.begin(&runs[0], begin(1)));
    while !SEEN.lock().unwrap().0.contains(&"begin:before-commit") {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = runs[1..].iter().map(|run| future_of(journal.begin(run, begin(1)))).collect();
    let _queued = journal.end(&runs[0], end(1));
    SEEN.lock().unwrap().1 = true;
    GO_ON.notify_all();
    first.await.unwrap();
    for other in others {
        other.await.unwrap();
    }

    let mut expected = vec!["begin:before-commit", "end:enqueued", "begin:after-commit"];
    for (begin, end) in
        [("begin:before-commit", "end:before-commit"), ("begin:after-commit", "end:after-commit")]
    {
        expected.extend([begin; RUNS - 1]);
        expected.push(end);
    }
    assert_eq!(SEEN.lock().unwrap().0, expected);
    assert_eq!(completed(&journal, &runs[0]).await, [1]);
}
