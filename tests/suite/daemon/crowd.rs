//! Whoever follows takes one of the daemon's places: what commands do when others have taken them.

use std::fs;
use std::sync::Arc;

use daemon::api::client::{Client, Events};
use daemon::runs::Wish;
use journal::{Journal, NewRun, RunState, SystemClock};
use rustix::process::Signal;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{serving, serving_with, stop};
use crate::harness::{Place, until};

/// The places for callers of this machine.
const PLACES: usize = 1024;
/// Streams of one connection.
const OF_ONE: usize = 256;

/// Others who follow.
struct Crowd {
    _following: Vec<Events>,
    // Their connections end with it.
    _runtime: Runtime,
}

impl Crowd {
    fn of(count: usize, place: &Place) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = place.state().join("daemon.sock");
        let following = runtime.block_on(async {
            let mut following = Vec::with_capacity(count);
            while following.len() < count {
                let client = Client::connect(&path).await.unwrap();
                for _ in 0..OF_ONE.min(count - following.len()) {
                    following.push(client.watch_events(Vec::new(), None).await.unwrap());
                }
            }
            following
        });
        Self { _following: following, _runtime: runtime }
    }
}

#[test]
fn a_command_that_finds_no_place_leaves_no_run_that_begins_later() {
    let place = Place::new();
    let script = place.script("a.lua", "files.write { path = \"x\", content = \"x\" }\n");
    let daemon = serving(&place);
    let crowd = Crowd::of(PLACES, &place);
    let seen = place.ends(1, &[&script, "--allow", "*"]);
    let run = place.newest_id();
    seen.says(&["MC-V007", &format!("run {run} was given up before it began")]);
    assert_eq!(place.newest()["state"], "cancelled");
    // Nor does one that was recorded with a saved plan.
    let plan = place.at("saved.plan");
    place.ends(0, &["plan", &script, "--allow", "*", "--out", &plan]);
    place.ends(1, &["apply", &plan]).says(&["MC-V007", "was given up"]);
    assert_eq!(place.newest()["state"], "cancelled");
    assert_eq!(place.read("scripts/x"), "");
    drop(crowd);
    until("there is a place", || (place.run(&[&script, "--allow", "*"]).code == Some(0)).then_some(()));
    assert_eq!(place.read("scripts/x"), "x");
    stop(daemon);
}

/// Whether a process has begun to hear Ctrl-C.
fn listens(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    caught & 1 << (Signal::INT.as_raw() - 1) != 0
}

/// Hands a run over.
async fn hand_over(journal: &Journal, client: &Client, place: &Place) {
    let id = journal.next_id().unwrap();
    let new = NewRun {
        id,
        name: "b.lua".into(),
        script: place.at("b.lua"),
        args: Vec::new(),
        params: json!({}),
        grants: json!({ "allow": [], "deny": [] }),
        limits: json!({}),
        seed: 1,
        node: "here".into(),
        source: "print(1)\n".into(),
        root: place.at("scripts"),
        modules: [].into(),
        plan: None,
        cause: None,
    };
    journal.create_run(new).await.unwrap();
    client.take(&id, &Wish::default()).await.unwrap();
}

#[test]
fn all_that_go_on_are_followed_where_few_places_are_left() {
    const LEFT: usize = 64;
    const RUNS: usize = LEFT + 16;
    let place = Place::new();
    place.configure("[drivers]\ncontainers = \"process\"\n[daemon]\nworkers = 1\n");
    let daemon = serving_with(&place, &[]);
    let script = place.script(
        "a.lua",
        "while not files.stat({ path = args[1] }).exists do sleep(\"20ms\") end\nprint(1)\n",
    );
    let go = place.at("go");
    let first = place.start(&[&script, &go, "--allow", "*"]);
    until("it has the worker", || (place.runs().first()?["state"] != "pending").then_some(()));
    let crowd = Crowd::of(PLACES - LEFT - 1, &place);
    // Behind the first, with which the only worker is busy.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::open(&place.state(), Arc::new(SystemClock)).unwrap();
        let client = Client::connect(&place.state().join("daemon.sock")).await.unwrap();
        for _ in 0..RUNS {
            hand_over(&journal, &client, &place).await;
        }
        assert_eq!(journal.runs_in(&[RunState::Pending]).await.unwrap().len(), RUNS);
    });
    let all = place.start(&["resume", "--all"]);
    until("it knows which there are", || listens(all.pid()).then_some(()));
    fs::write(&go, "").unwrap();
    let seen = all.end();
    assert_eq!(seen.code, Some(0), "{seen}");
    assert_eq!(seen.stderr.matches("b.lua").count(), RUNS, "{seen}");
    assert_eq!(first.end().code, Some(0));
    drop(crowd);
    stop(daemon);
}
