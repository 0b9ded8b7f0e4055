//! Many runs in one process: how many durable steps they make together, and what sleeping ones cost.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{Begin, Identity, Journal, Kind, NewRun, RunState, SystemClock, Timestamp};
use serde_json::json;

use crate::whole::{command, place};
use crate::{Row, micros, steps};

const RUNS: u32 = 1_000;
const STEPS: u32 = 100;
const SLEEPERS: u32 = 10_000;
/// How many runs have a worker at once.
const ACTIVE: &str = "32";

fn new_run(journal: &Journal, source: &str) -> NewRun {
    NewRun {
        id: journal.next_id().unwrap(),
        name: "many.lua".into(),
        script: "/many.lua".into(),
        args: vec![],
        params: json!({}),
        grants: json!({ "allow": [], "deny": [] }),
        limits: json!({}),
        seed: 1,
        node: "here".into(),
        source: source.to_owned(),
        root: "/".into(),
        modules: BTreeMap::new(),
        plan: None,
        cause: None,
    }
}

fn open(state: &Path) -> (tokio::runtime::Runtime, Journal) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let journal = Journal::open(state, Arc::new(SystemClock)).unwrap();
    (runtime, journal)
}

/// A thousand runs that are submitted together, each of a hundred durable steps, with all their workers.
pub(crate) fn throughput(program: &Path) -> Row {
    let place = place();
    let raw = steps::raw_commits(place.path());
    let started = Instant::now();
    {
        let (runtime, journal) = open(place.path());
        let source = format!("for _ = 1, {STEPS} do sleep(\"0s\") end\n");
        runtime.block_on(async {
            let submitted: Vec<_> = (0..RUNS)
                .map(|_| {
                    let (journal, run) = (journal.clone(), new_run(&journal, &source));
                    tokio::spawn(async move { journal.create_run(run).await })
                })
                .collect();
            for run in submitted {
                run.await.unwrap().unwrap();
            }
        });
    }
    let words = ["resume", "--all", "--active", ACTIVE].map(OsStr::new);
    assert!(command(program, place.path(), &words).status().unwrap().success());
    let took = started.elapsed();
    let (runtime, journal) = open(place.path());
    let done = runtime.block_on(journal.runs_in(&[RunState::Done])).unwrap();
    assert_eq!(done.len() as u32, RUNS);
    let rate = f64::from(RUNS * STEPS) / took.as_secs_f64();
    Row {
        what: "1,000 runs of 100 durable steps submitted together, workers included",
        measured: format!("{rate:.0} steps/s ({:.1} s)", took.as_secs_f64()),
        baseline: format!(
            "raw SQLite WAL-FULL commit {}, one after the other {:.0}/s",
            micros(raw),
            1.0 / raw.as_secs_f64()
        ),
        ratio: format!("{:.1} × the raw rate", rate * raw.as_secs_f64()),
        promise: "≥ 15,000 steps/s",
    }
}

/// Ten thousand runs that sleep, held by one process.
pub(crate) fn sleepers(program: &Path) -> Row {
    let place = place();
    {
        let (runtime, journal) = open(place.path());
        runtime.block_on(async {
            let sleeping: Vec<_> = (0..SLEEPERS)
                .map(|_| {
                    let (journal, run) = (journal.clone(), new_run(&journal, "sleep(\"1h\")\n"));
                    tokio::spawn(async move { sleep(&journal, run).await })
                })
                .collect();
            for run in sleeping {
                run.await.unwrap();
            }
        });
    }
    let words = ["resume", "--all", "--active", ACTIVE].map(OsStr::new);
    let mut host = command(program, place.path(), &words).spawn().unwrap();
    let resident = settled(&host);
    host.kill().unwrap();
    host.wait().unwrap();
    Row {
        what: "10,000 sleeping runs in one process",
        measured: format!("{:.1} MB", resident as f64 / 1024.0),
        baseline: "–".into(),
        ratio: format!("{:.1} KiB a run", resident as f64 / f64::from(SLEEPERS)),
        promise: "≤ 200 MB",
    }
}

/// What a run leaves that has come to `sleep("1h")`.
async fn sleep(journal: &Journal, run: NewRun) {
    let id = run.id;
    match journal.create_run(run).await {
        // Runs of one millisecond are told apart by 25 bits of chance, and a hundred are made in each: one fewer sleeps.
        Err(journal::Error::Conflict { .. }) => return,
        created => created.unwrap(),
    }
    let until = Timestamp(journal.clock().now().0 + 3_600_000);
    let begin = Begin {
        identity: Identity { scope: String::new(), counter: 1, name: "sleep".into() },
        kind: Kind::Wait,
        arguments: "\"1h\"".into(),
        arguments_hash: [0; 16],
        place: None,
        before: None,
        change: None,
        until: Some(until),
        fence: None,
    };
    journal.begin(&id, begin).await.unwrap();
    journal.set_state(&id, RunState::Waiting, None, None).await.unwrap();
}

/// The resident memory of a process in KiB, once it no longer grows.
fn settled(host: &Child) -> u64 {
    let mut last = 0;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = status(host.id(), "VmRSS");
        if now > 0 && now == last {
            return now;
        }
        last = now;
    }
}

/// A line of a process's status, in KiB.
pub(crate) fn status(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.trim().parse().ok()
        })
        .unwrap_or_default()
}
