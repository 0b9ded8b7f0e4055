//! Ctrl-C, `cancel`, and two programs that want the same: what is under way ends as promised, and nothing stays locked.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, Started, until};
use crate::processes;

/// An effect, a program that runs until the file `go` is there, and another effect.
fn with_program(place: &Place) -> String {
    place.script(
        "a.lua",
        "local folder = args[1]\n\
         files.write { path = folder .. \"/first\", content = \"x\" }\n\
         exec.run { argv = { \"/bin/sh\", \"-c\", \"echo x >> times; until [ -e go ]; do sleep 0.02; done\", folder }, cwd = folder }\n\
         files.write { path = folder .. \"/last\", content = \"x\" }\n",
    )
}

fn start(place: &Place, script: &str) -> Started {
    place.start(&[script, place.path().to_str().unwrap(), "--allow", "*"])
}

fn let_go(place: &Place) {
    fs::write(place.at("go"), "").unwrap();
}

fn until_it_runs(place: &Place) {
    until("the program runs", || (!place.read("times").is_empty()).then_some(()));
}

fn until_it_waits(place: &Place) -> String {
    until("the run waits", || {
        let run = place.runs().into_iter().next()?;
        (run["state"] == "waiting").then(|| run["id"].as_str().unwrap().to_owned())
    })
}

fn interrupt(host: &Started) {
    processes::signal(host.pid(), Signal::INT);
}

fn until_it_says(host: &Started, text: &str) {
    until(text, || host.stderr().contains(text).then_some(()));
}

#[test]
fn ctrl_c_during_a_sleep_leaves_a_waiting_run() {
    let place = Place::new();
    let script = place.script("a.lua", "sleep(\"1h\")\n");
    let host = start(&place, &script);
    let run = until_it_waits(&place);
    interrupt(&host);
    let seen = host.end();
    assert_eq!(seen.code, Some(6), "{seen}");
    seen.says(&[&format!("mcrun resume {run}")]);
    assert_eq!((&place.newest()["state"], &place.newest()["resumable"]), (&"waiting".into(), &true.into()));
}

#[test]
fn a_resumed_sleep_keeps_its_first_deadline() {
    let place = Place::new();
    let script = place.script("a.lua", "sleep(\"2s\")\n");
    let host = start(&place, &script);
    let run = until_it_waits(&place);
    interrupt(&host);
    host.end();
    let cut = place.newest_shown()["entries"][0].clone();
    assert_eq!(cut["status"], "begun");
    place.ends(0, &["resume", &run]);
    let ended = place.newest_shown()["entries"][0].clone();
    assert_eq!(ended["until"], cut["until"]);
    assert!(ended["ended_at"].as_i64() >= cut["until"].as_i64(), "{ended:#}");
}

#[test]
fn ctrl_c_lets_the_running_effect_end() {
    let place = Place::new();
    let host = start(&place, &with_program(&place));
    until_it_runs(&place);
    interrupt(&host);
    until_it_says(&host, "stopping at the next effect");
    assert!(!processes::with_word(place.path().to_str().unwrap()).is_empty(), "the program goes on");
    let_go(&place);
    let seen = host.end();
    assert_eq!(seen.code, Some(130), "{seen}");
    let run = place.newest_shown();
    assert_eq!(run["state"], "paused");
    let statuses: Vec<&Value> =
        run["entries"].as_array().unwrap().iter().map(|entry| &entry["status"]).collect();
    assert_eq!(statuses, ["done", "done"], "{run:#}");
    assert_eq!(place.read("last"), "");

    place.ends(0, &["resume", &place.newest_id()]);
    assert_eq!((place.read("times").as_str(), place.read("last").as_str()), ("x\n", "x"));
}

#[test]
fn ctrl_c_twice_stops_at_once() {
    let place = Place::new();
    let host = start(&place, &with_program(&place));
    until_it_runs(&place);
    interrupt(&host);
    until_it_says(&host, "stopping at the next effect");
    interrupt(&host);
    let seen = host.end();
    assert_eq!(seen.code, Some(130), "{seen}");
    seen.says(&["stopping at once"]);
    let folder = place.path().to_str().unwrap();
    until("the program dies with its host", || processes::with_word(folder).is_empty().then_some(()));
    assert_eq!(place.newest()["state"], "paused");

    let_go(&place);
    let run = place.newest_id();
    place.ends(6, &["resume", &run]).says(&["MC-J002"]);
    place.ends(0, &["resume", &run, "--doubt", "redo"]);
    assert_eq!((place.read("times").as_str(), place.read("last").as_str()), ("x\nx\n", "x"));
}

/// What a terminal does with Ctrl-C, a lost connection or Ctrl-\\, and a service manager with the whole control group.
#[test]
fn a_worker_leaves_signals_to_its_host() {
    let place = Place::new();
    let host = start(&place, &with_program(&place));
    until_it_runs(&place);
    let worker = processes::worker_of(host.pid()).expect("a host has a worker");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        processes::signal(worker, signal);
    }
    let_go(&place);
    let seen = host.end();
    assert_eq!((seen.code, place.read("last").as_str()), (Some(0), "x"), "{seen}");
}

#[test]
fn a_signal_to_the_whole_group_ends_the_run_orderly() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = Place::new();
        let script = with_program(&place);
        let host = place.start_in_own_group(&[&script, place.path().to_str().unwrap(), "--allow", "*"]);
        until_it_runs(&place);
        assert!(processes::worker_of(host.pid()).is_some());
        processes::signal_group(host.pid(), signal);
        until_it_says(&host, "stopping at the next effect");
        let_go(&place);
        let seen = host.end();
        assert_eq!(seen.code, Some(130), "{signal:?}: {seen}");
        assert!(!seen.stderr.contains("MC-"), "nothing was lost: {seen}");
        let run = place.newest();
        assert_eq!((&run["state"], &run["resumable"]), (&"paused".into(), &true.into()));
        place.ends(0, &["resume", &place.newest_id()]);
        assert_eq!((place.read("times").as_str(), place.read("last").as_str()), ("x\n", "x"));
    }
}

#[test]
fn a_script_that_computes_is_interrupted_too() {
    let place = Place::new();
    let script = place.script("a.lua", "print(\"here\")\nwhile true do end\n");
    let host = place.start(&[&script, "--limit", "exec=10m"]);
    until("the script runs", || host.shown().contains("here").then_some(()));
    interrupt(&host);
    let seen = host.end();
    assert_eq!((seen.code, &place.newest()["state"]), (Some(130), &"paused".into()), "{seen}");
}

#[test]
fn a_run_that_is_under_way_can_be_cancelled() {
    let place = Place::new();
    let script = place.script("a.lua", "while true do sleep(\"10ms\") end\n");
    let host = start(&place, &script);
    let run = until("the run is recorded", || {
        let run = place.runs().into_iter().next()?;
        (run["effects"].as_u64()? > 0).then(|| run["id"].as_str().unwrap().to_owned())
    });
    place.ends(0, &["cancel", &run]).says(&["stops at its next effect"]);
    let seen = host.end();
    assert_eq!(seen.code, Some(1), "{seen}");
    seen.says(&["MC-J010"]);
    assert_eq!(place.newest()["state"], "cancelled");
    place.ends(1, &["resume", &run]).says(&["MC-J009"]);
}

/// The signal of `mcrun cancel` may get lost, or reach nobody across a boundary of users or containers.
#[test]
fn a_cancellation_is_noticed_without_its_signal() {
    let place = Place::new();
    let script = place.script("a.lua", "sleep(\"1h\")\n");
    let host = start(&place, &script);
    let run = until_it_waits(&place);
    let database = rusqlite::Connection::open(place.database()).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    assert_eq!(database.execute("UPDATE runs SET cancel = 1", []).unwrap(), 1);
    drop(database);
    let seen = host.end();
    assert_eq!(seen.code, Some(1), "{seen}");
    seen.says(&["MC-J010"]);
    assert_eq!(place.newest()["state"], "cancelled");
    place.ends(1, &["resume", &run]).says(&["MC-J009"]);
}

#[test]
fn a_run_that_waits_can_be_cancelled() {
    let place = Place::new();
    let script = place.script("a.lua", "sleep(\"1h\")\n");
    let host = start(&place, &script);
    let run = until_it_waits(&place);
    interrupt(&host);
    host.end();
    place.ends(0, &["cancel", &run]);
    assert_eq!(
        (&place.newest()["state"], &place.newest()["resumable"]),
        (&"cancelled".into(), &false.into())
    );
    place.ends(1, &["cancel", &run]).says(&["MC-J009"]);
    place.ends(1, &["resume", &run]).says(&["MC-J009"]);
}

#[test]
fn a_run_has_one_holder() {
    let place = Place::new();
    let script = place.script("a.lua", "sleep(\"1h\")\n");
    let host = start(&place, &script);
    let run = until_it_waits(&place);
    place.ends(5, &["resume", &run]).says(&["MC-J003", &format!("process {}", host.pid())]);
    interrupt(&host);
    host.end();

    let mut resumed = place.start(&["resume", &run]);
    let holder = format!("process {}", resumed.pid());
    // Until the first has taken the run, the second would take it: it is only asked once the first holds the lock.
    let lock = place.state().join("locks").join(format!("run-{run}"));
    until("the run is held", || {
        fs::read_to_string(&lock).ok()?.contains(&resumed.pid().to_string()).then_some(())
    });
    place.ends(5, &["resume", &run]).says(&["MC-J003", &holder]);
    resumed.kill();
    let again = place.start(&["resume", &run]);
    until("the kernel has freed the lock", || {
        fs::read_to_string(&lock).ok()?.contains(&again.pid().to_string()).then_some(())
    });
}

#[test]
fn a_service_has_one_deploy_at_a_time() {
    let place = Place::new();
    let deploy = |name: &str, seconds: u32, rest: &str| {
        let made =
            format!("containers.ensure {{ name = \"web\", exec = {{ \"/bin/sleep\", \"{seconds}\" }} }}\n");
        place.script(name, &format!("{made}{rest}"))
    };
    let wait = "exec.run { argv = { \"/bin/sh\", \"-c\", \"echo x >> times; until [ -e go ]; do sleep 0.02; done\" }, cwd = args[1] }\n";
    let (first, second) = (deploy("first.lua", 600, wait), deploy("second.lua", 601, ""));
    let host = start(&place, &first);
    until_it_runs(&place);
    place.ends(5, &[&second, "--allow", "*"]).says(&["MC-J003", "web", &format!("process {}", host.pid())]);
    let_go(&place);
    assert_eq!(host.end().code, Some(0));
    place.ends(0, &[&second, "--allow", "*"]);
    assert_eq!(place.container("web").unwrap()["argv"][1], "601");
}
