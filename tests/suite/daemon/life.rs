//! The daemon's own life: many runs at once, its end and its return, a full disk, a second one.

use std::fs;

use rustix::process::Signal;

use super::{comes_to, serving, serving_with, stop};
use crate::errors_of_state::Small;
use crate::harness::{Place, Started, until};
use crate::processes;
use crate::terminal::Terminal;

/// Writes its word into a ledger, waits for a file and writes again.
const LEDGER: &str = "local function act(word)\n\
     exec.run { argv = { \"/bin/sh\", \"-c\", `echo {args[2]} {word} >> {args[1]}/ledger` } }\n\
     end\n\
     act(\"begin\")\n\
     while not files.stat({ path = `{args[1]}/go` }).exists do sleep(\"20ms\") end\n\
     act(\"end\")\n";

/// Starts a run for each word.
fn follow(place: &Place, words: &[String]) -> Vec<Started> {
    let script = place.script("ledger.lua", LEDGER);
    let folder = place.path().to_str().unwrap();
    words.iter().map(|word| place.start(&[&script, folder, word, "--allow", "*"])).collect()
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("r{index:02}")).collect()
}

/// What the ledger has when each run has come to its end.
fn whole(words: &[String]) -> Vec<String> {
    words.iter().flat_map(|word| [format!("{word} begin"), format!("{word} end")]).collect()
}

fn ledger(place: &Place) -> Vec<String> {
    let mut lines: Vec<String> = place.read("ledger").lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn fifty_runs_at_once_are_all_executed() {
    const RUNS: usize = 50;
    let place = Place::new();
    let daemon = serving(&place);
    fs::write(place.at("go"), "").unwrap();
    let words = words(RUNS);
    for run in follow(&place, &words) {
        let seen = run.end();
        assert_eq!(seen.code, Some(0), "{seen}");
    }
    assert_eq!(ledger(&place), whole(&words));
    stop(daemon);
}

#[test]
fn runs_stop_at_their_next_effect_and_go_on_after_the_start() {
    let place = Place::new();
    let daemon = serving(&place);
    let words = words(3);
    let runs = follow(&place, &words);
    until("all have begun", || (ledger(&place).len() == 3).then_some(()));
    stop(daemon);
    for run in place.runs() {
        assert!(["running", "waiting"].contains(&run["state"].as_str().unwrap()), "{run:#}");
    }
    until("it is said", || {
        runs.iter().all(|run| run.stderr().contains("goes on when it is back")).then_some(())
    });
    let daemon = serving(&place);
    fs::write(place.at("go"), "").unwrap();
    for run in runs {
        let seen = run.end();
        assert_eq!(seen.code, Some(0), "{seen}");
        seen.says(&["done ledger.lua"]);
    }
    assert_eq!(ledger(&place), whole(&words));
    stop(daemon);
}

#[test]
fn a_second_signal_stops_runs_at_once() {
    let place = Place::new();
    let daemon = serving(&place);
    let script = place.script(
        "a.lua",
        "exec.run { argv = { \"/bin/sh\", \"-c\", \"echo x >> times; sleep 600\" }, cwd = args[1], on_doubt = \"fail\" }\n",
    );
    let run = place.start(&[&script, place.path().to_str().unwrap(), "--allow", "*"]);
    until("the program runs", || (!place.read("times").is_empty()).then_some(()));
    let id = place.newest_id();
    processes::signal(daemon.pid(), Signal::TERM);
    until("it waits for the effect", || daemon.stderr().contains("stopping").then_some(()));
    processes::signal(daemon.pid(), Signal::TERM);
    assert_eq!(daemon.end().code, Some(0));
    assert_eq!(place.json(&["show", &id, "--json"])["state"], "running");
    // The script is told that the act is in doubt, as after a kill.
    let daemon = serving(&place);
    assert_eq!(comes_to(&place, &id, &["failed", "paused"]), "failed");
    assert_eq!((run.end().code, place.read("times").as_str()), (Some(1), "x\n"));
    stop(daemon);
}

#[test]
fn a_daemon_that_does_not_come_back_leaves_the_run_waiting_for_it() {
    let place = Place::new();
    let mut daemon = serving(&place);
    let words = words(1);
    let mut runs = follow(&place, &words);
    // Behind the act: one that is cut would be in doubt.
    until("it waits for its file", || (place.runs().first()?["effects"].as_u64()? > 1).then_some(()));
    daemon.kill();
    let seen = runs.remove(0).end();
    assert_eq!(seen.code, Some(6), "{seen}");
    let id = place.newest_id();
    seen.says(&["MC-V010", &format!("mcrun resume {id}")]);
    fs::write(place.at("go"), "").unwrap();
    let daemon = serving(&place);
    assert_eq!(comes_to(&place, &id, &["done", "failed", "paused"]), "done");
    assert_eq!(ledger(&place), whole(&words));
    stop(daemon);
}

#[test]
fn ctrl_c_ends_the_command_although_the_daemon_hangs() {
    let place = Place::new();
    let daemon = serving(&place);
    let run = follow(&place, &words(1)).remove(0);
    until("it waits for its file", || (place.runs().first()?["effects"].as_u64()? > 1).then_some(()));
    processes::signal(daemon.pid(), Signal::STOP);
    processes::signal(run.pid(), Signal::INT);
    let seen = run.end();
    assert_eq!(seen.code, Some(6), "{seen}");
    let id = place.newest_id();
    seen.says(&["MC-V010", "does not hear", &format!("mcrun show {id}")]);
    // It has heard it by then, and nobody has gone on with the run beside it.
    processes::signal(daemon.pid(), Signal::CONT);
    stop(daemon);
    assert_eq!(ledger(&place), ["r00 begin"]);
}

#[test]
fn a_state_directory_has_one_daemon() {
    let place = Place::new();
    let daemon = serving(&place);
    place.ends(5, &["serve"]).says(&["MC-J003", &format!("process {}", daemon.pid())]);
    let script = place.script("a.lua", "print(\"still here\")\n");
    assert_eq!(place.ends(0, &[&script]).stdout, "still here\n");
    stop(daemon);
}

#[test]
fn a_daemon_that_does_not_answer_is_named_and_nothing_runs_beside_it() {
    let place = Place::new();
    let daemon = serving(&place);
    fs::remove_file(place.state().join("daemon.sock")).unwrap();
    let script = place.script("a.lua", "files.write { path = \"x\", content = \"x\" }\n");
    place.ends(5, &[&script, "--allow", "*"]).says(&["MC-V011", &format!("process {}", daemon.pid())]);
    assert_eq!(place.read("scripts/x"), "");
    assert!(place.runs().is_empty(), "nothing is recorded that would surprise later");
    stop(daemon);
}

#[test]
fn a_state_directory_may_have_a_long_name() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(60)).join("e".repeat(60));
    fs::create_dir_all(&deep).unwrap();
    let place = Place::within(tempfile::tempdir_in(&deep).unwrap());
    let daemon = serving(&place);
    let script = place.script("a.lua", "print(\"here\")\n");
    assert_eq!(place.ends(0, &[&script]).stdout, "here\n");
    stop(daemon);
}

#[test]
fn a_full_disk_is_waited_out() {
    let place = Place::new();
    let _small = Small::mount(&place);
    let daemon = serving(&place);
    let script = place.script(
        "a.lua",
        "local text = string.rep(\"x\", 40000)\n\
         for index = 1, 60 do\n    files.write { path = `{args[1]}/{index}`, content = text .. index }\nend\n",
    );
    let out = place.at("out");
    fs::create_dir(&out).unwrap();
    let seen = place.run(&[&script, &out, "--allow", "*"]);
    assert_eq!(seen.code, Some(1), "{seen}");
    seen.says(&["MC-J006"]);
    let written = fs::read_dir(&out).unwrap().count();
    assert!((1..60).contains(&written), "{written} files");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount_remount(place.state(), flags, "size=64m").unwrap();
    let run = place.newest_id();
    assert_eq!(comes_to(&place, &run, &["done", "failed"]), "done");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 60);
    stop(daemon);
}

#[test]
fn a_run_that_waits_has_no_worker_and_goes_on_with_its_event() {
    let place = Place::new();
    let daemon = serving(&place);
    let script =
        place.script("a.lua", "local told = wait_for { event = \"go\" }\nprint(`told {told.data.word}`)\n");
    let run = place.start(&[&script, "--allow", "*", "--limit", "idle=100ms"]);
    until("the worker is gone", || {
        let waits = place.runs().first()?["state"] == "waiting";
        let has_worker = processes::all().iter().any(|process| {
            process.parent == daemon.pid() && process.words.get(1).is_some_and(|word| word == "worker")
        });
        (waits && !has_worker).then_some(())
    });
    place.ends(0, &["emit", "go", "--data", "{\"word\":\"now\"}"]);
    let seen = run.end();
    assert_eq!((seen.code, seen.stdout.as_str()), (Some(0), "told now\n"), "{seen}");
    stop(daemon);
}

#[test]
fn one_worker_executes_runs_one_after_the_other() {
    let place = Place::new();
    place.configure("[drivers]\ncontainers = \"process\"\n[daemon]\nworkers = 1\n");
    let daemon = serving_with(&place, &[]);
    let runs = follow(&place, &words(2));
    until("one has begun", || (ledger(&place).len() == 1 && place.runs().len() == 2).then_some(()));
    // The one in the queue can be given up, and whoever follows it is told.
    let queued = place.runs().into_iter().find(|run| run["state"] == "pending");
    let queued = queued.unwrap_or_else(|| panic!("{:#?}", place.runs()));
    place.ends(0, &["cancel", queued["id"].as_str().unwrap()]).says(&["is cancelled"]);
    fs::write(place.at("go"), "").unwrap();
    let mut codes: Vec<Option<i32>> = runs.into_iter().map(|run| run.end().code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1)]);
    stop(daemon);
}

#[test]
fn a_service_stays_held_and_waited_for_while_the_daemon_is_away() {
    let place = Place::new();
    let daemon = serving(&place);
    let put = |name: &str, more: &str| {
        place.script(
            name,
            &format!("registry.put {{ service = \"q\", spec = {{ by = \"{name}\" }} }}\n{more}"),
        )
    };
    let holds = put("holds.lua", "wait_for { event = \"go\" }\n");
    let mut follower = place.start(&[&holds, "--allow", "*", "--limit", "idle=100ms"]);
    until("it waits", || (place.runs().first()?["state"] == "waiting").then_some(()));
    let holder = place.newest_id();
    // Nobody is there to hand them over again.
    follower.kill();
    let mut follower = place.start(&[&put("waits.lua", ""), "--allow", "*", "--wait=10m"]);
    until("it is held up", || follower.stderr().contains("waiting: run ").then_some(()));
    let waiter = place.newest_id();
    follower.kill();
    stop(daemon);
    let daemon = serving(&place);
    let refused = place.ends(5, &[&put("refused.lua", ""), "--allow", "*"]);
    refused.says(&["MC-J003", &format!("run {holder} holds service q")]);
    place.ends(0, &["emit", "go"]);
    for run in [holder, waiter] {
        assert_eq!(comes_to(&place, &run, &["done", "failed", "paused"]), "done");
    }
    stop(daemon);
}

#[test]
fn a_question_is_asked_again_after_the_daemon_was_away() {
    let place = Place::new();
    let daemon = serving(&place);
    let script = place.script("a.lua", "files.write { path = \"one\", content = \"x\" }\n");
    let mut terminal = Terminal::start(&place, &[&script], &[("NO_COLOR", "1")], "");
    terminal.shows("[once/No]", 1);
    stop(daemon);
    let daemon = serving(&place);
    terminal.shows("[once/No]", 2);
    terminal.types("once\n");
    let (code, shown) = terminal.end();
    assert_eq!((code, place.read("scripts/one").as_str()), (Some(0), "x"), "{shown}");
    stop(daemon);
}
