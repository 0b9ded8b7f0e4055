//! Each kind of command, with a daemon and without: the same exit code, output, errors and journal.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use super::{holder_of, serving, stop};
use crate::errors::shown;
use crate::harness::{Place, Seen, Started, until};
use crate::processes;
use crate::terminal::Terminal;

/// What a command came to, without what differs from place to place.
fn plain(place: &Place, seen: &Seen) -> String {
    let out = Seen { code: seen.code, stdout: String::new(), stderr: seen.stdout.clone() };
    let mut text = format!("{}\nstdout:\n{}", shown(place, seen), shown(place, &out));
    for run in place.runs() {
        text = text.replace(run["id"].as_str().unwrap(), "RUN");
    }
    text
}

/// What is recorded of every run, without times and names of places.
fn journal(place: &Place) -> String {
    const TIMES: [&str; 8] =
        ["at", "begun_at", "ended_at", "created", "updated", "started", "ended", "until"];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in TIMES.iter().chain(&["seed", "arguments_hash", "order"]) {
                    fields.remove(*name);
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut text = String::new();
    for run in place.runs().iter().rev() {
        let mut shown = place.json(&["show", run["id"].as_str().unwrap(), "--json"]);
        strip(&mut shown);
        text.push_str(&format!("{shown:#}\n"));
        text.push_str(&place.run(&["logs", run["id"].as_str().unwrap()]).stdout);
    }
    plain(place, &Seen { code: Some(0), stdout: String::new(), stderr: text })
}

/// Does `what` in a place without a daemon and in one with it, and compares everything that can be seen.
#[track_caller]
fn same(what: impl Fn(&Place) -> Vec<Seen>) {
    let done = |with_daemon: bool| {
        let place = Place::new();
        let daemon = with_daemon.then(|| serving(&place));
        let seen: Vec<String> = what(&place).iter().map(|seen| plain(&place, seen)).collect();
        let journal = journal(&place);
        if let Some(daemon) = daemon {
            assert!(!daemon.stderr().contains("MC-"), "{}", daemon.stderr());
            stop(daemon);
        }
        (seen.join("\n"), journal)
    };
    let (without, with) = (done(false), done(true));
    assert_eq!(without.0, with.0, "what is shown is not the same");
    assert_eq!(without.1, with.1, "what is recorded is not the same");
}

fn interrupt(started: &Started) {
    processes::signal(started.pid(), Signal::INT);
}

/// An effect, a program that runs until the file `go` is there, and another effect.
fn with_program(place: &Place) -> Started {
    let script = place.script(
        "a.lua",
        "local folder = args[1]\n\
         files.write { path = folder .. \"/first\", content = \"x\" }\n\
         exec.run { argv = { \"/bin/sh\", \"-c\", \"echo x >> times; until [ -e go ]; do sleep 0.02; done\" }, cwd = folder }\n\
         files.write { path = folder .. \"/last\", content = \"x\" }\n",
    );
    let started = place.start(&[&script, place.path().to_str().unwrap(), "--allow", "*"]);
    until("the program runs", || (!place.read("times").is_empty()).then_some(()));
    started
}

#[test]
fn a_run_that_ends_well_or_fails() {
    same(|place| {
        place.script("lib.lua", "return function(name)\n    error(\"bad \" .. name)\nend\n");
        let well = place.script(
            "well.lua",
            "print(\"out\", args[1], params.tag)\nlog.info(\"hello\", { a = 1 })\nlog.warn(\"careful\")\nlog.debug(\"no\")\n\
             progress(\"half\")\n\
             step(\"one\", function() files.write { path = \"x\", content = \"x\" } end)\n\
             local seen = parallel { a = function() return files.read({ path = \"x\" }).content end, b = function() return 2 end }\n\
             print(seen.a, seen.b)\nfiles.write { path = \"x\", content = \"x\" }\nsleep(\"10ms\")\n",
        );
        let bad = place.script("bad.lua", "local lib = require(\"./lib\")\nfiles.remove { path = \"x\" }\nlib(\"thing\")\n");
        let fails = place.script("fails.lua", "fail(\"on purpose\")\n");
        let broken = place.script("broken.lua", "local = 1\n");
        vec![
            place.run(&[&well, "word", "--set", "tag=v1", "--allow", "*"]),
            place.run(&[&well, "word", "--set", "tag=v1", "--allow", "*", "--json"]),
            place.run(&[&bad, "--allow", "*"]),
            place.run(&[&bad, "--allow", "*", "--json"]),
            place.run(&[&fails]),
            place.run(&[&broken]),
            place.run(&[&well]),
            place.run(&[&well, "--allow", "files:read:/elsewhere", "--no-input"]),
        ]
    });
}

#[test]
fn a_run_that_is_paused_goes_on() {
    same(|place| {
        let limited = place.script("a.lua", "for index = 1, 5 do files.write { path = `{index}`, content = \"x\" } end\n");
        let paused = place.script(
            "b.lua",
            "if not files.stat({ path = \"ready\" }).exists then pause(\"not ready\") end\nprint(\"went on\")\n",
        );
        let first = place.run(&[&limited, "--allow", "*", "--limit", "effects=2"]);
        let run = place.newest_id();
        let mut seen = vec![first, place.run(&["resume", &run])];
        seen.push(place.run(&["resume", &run, "--limit", "effects=100"]));
        seen.push(place.run(&["resume", &run]));
        seen.push(place.run(&[&paused, "--allow", "*"]));
        let run = place.newest_id();
        seen.push(place.run(&["resume", &run, "--json"]));
        seen.push(place.run(&["resume", &run, "--doubt", "redo"]));
        seen.push(place.run(&["cancel", &run]));
        seen.push(place.run(&["cancel", &run]));
        seen
    });
}

#[test]
fn a_run_that_is_interrupted_once() {
    same(|place| {
        let started = with_program(place);
        interrupt(&started);
        until("it is said", || started.stderr().contains("stopping at the next effect").then_some(()));
        fs::write(place.at("go"), "").unwrap();
        let cut = started.end();
        let resumed = place.run(&["resume", &place.newest_id()]);
        assert_eq!(place.read("times"), "x\n");
        vec![cut, resumed]
    });
}

#[test]
fn a_run_that_is_interrupted_twice_and_in_doubt() {
    same(|place| {
        let started = with_program(place);
        interrupt(&started);
        until("it is said", || started.stderr().contains("stopping at the next effect").then_some(()));
        interrupt(&started);
        let cut = started.end();
        fs::write(place.at("go"), "").unwrap();
        let run = place.newest_id();
        let asked = place.run(&["resume", &run]);
        let decided = place.run(&["resume", &run, "--doubt", "redo"]);
        assert_eq!(place.read("times"), "x\nx\n");
        vec![cut, asked, decided]
    });
}

#[test]
fn a_sleep_that_is_interrupted_waits_on() {
    same(|place| {
        let script = place.script("a.lua", "print(\"before\")\nsleep(\"1h\")\n");
        let started = place.start(&[&script]);
        until("the run waits", || (place.runs().first()?["state"] == "waiting").then_some(()));
        interrupt(&started);
        let cut = started.end();
        let cancelled = place.run(&["cancel", &place.newest_id()]);
        vec![cut, cancelled]
    });
}

#[test]
fn a_run_that_somebody_cancels() {
    same(|place| {
        let started = with_program(place);
        let cancelled = place.run(&["cancel", &place.newest_id()]);
        until("it is said", || started.stderr().contains("cancelled: stopping").then_some(()));
        fs::write(place.at("go"), "").unwrap();
        vec![cancelled, started.end()]
    });
}

#[test]
fn what_was_done_is_taken_back_copied_and_gone_back_in() {
    same(|place| {
        let script = place.script(
            "a.lua",
            "step(\"one\", function() files.write { path = \"x\", content = \"1\" } end)\n\
             step(\"two\", function() files.write { path = \"y\", content = `{random(100) > 0}` } end)\n",
        );
        let mut seen = vec![place.run(&[&script, "--allow", "*"])];
        let run = place.newest_id();
        seen.push(place.run(&["fork", &run, "--from", "two"]));
        seen.push(place.run(&["resume", &run, "--from", "two"]));
        seen.push(place.run(&["undo", &place.newest_id(), "--yes"]));
        seen.push(place.run(&["undo", &run, "--yes", "--json", "--force"]));
        seen.push(place.run(&["undo", &run, "--plan"]));
        seen
    });
}

#[test]
fn a_saved_plan_that_is_applied_once() {
    same(|place| {
        let script = place.script("a.lua", "files.write { path = \"x\", content = \"1\" }\nprint(\"done\")\n");
        let plan = place.at("a.plan");
        place.ends(0, &["plan", &script, "--allow", "files", "--out", &plan]);
        vec![place.run(&["apply", &plan])]
    });
}

#[test]
fn services_and_lines_of_one_effect() {
    same(|place| {
        let script = place.script(
            "a.lua",
            "containers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" } }\n",
        );
        // A process that is started anew has another number, which the journal tells.
        let mut seen = vec![place.run(&[&script, "--allow", "*", "--json"])];
        for words in [&["stop", "web"][..], &["start", "nothing"], &["undeploy", "web", "--yes"], &["rollback", "web"]] {
            seen.push(place.run(words));
        }
        for seen in &mut seen {
            seen.stderr = seen.stderr.lines().filter(|line| !line.contains("pid")).map(|line| format!("{line}\n")).collect();
        }
        seen.push(place.run(&["records", "set", "nowhere.test", "a", "A", "127.0.0.1"]));
        seen.truncate(6);
        seen
    });
}

#[test]
fn a_service_that_another_run_holds() {
    same(|place| {
        let holder = place.script(
            "holder.lua",
            "containers.ensure { name = \"web\", service = \"web\", exec = { \"/bin/sleep\", \"600\" } }\n\
             files.write { path = \"held\", content = \"x\" }\n\
             while not files.stat({ path = \"go\" }).exists do sleep(\"10ms\") end\n",
        );
        let second = place.script("second.lua", "containers.remove { name = \"web\" }\n");
        let held = place.start(&[&holder, "--allow", "*"]);
        until("the lease is held", || fs::exists(place.at("scripts/held")).unwrap().then_some(()));
        let first = place.newest_id();
        let refused = place.run(&[&second, "--allow", "*"]);
        let waiting = place.start(&[&second, "--allow", "*", "--wait"]);
        until("it waits", || waiting.stderr().contains("waiting: run ").then_some(()));
        fs::write(place.at("scripts/go"), "").unwrap();
        let (held, waited) = (held.end(), waiting.end());
        assert_eq!((held.code, waited.code, refused.code), (Some(0), Some(0), Some(5)), "{refused}");
        // How often it looked is up to the machine; since when it is held, to the clock.
        place.run(&["gc"]);
        let _ = first;
        vec![Seen { stderr: waited.stderr.lines().last().unwrap().to_owned(), ..waited }]
    })
}

#[test]
fn a_question_is_asked_on_the_terminal_of_whoever_started_the_run() {
    for with_daemon in [false, true] {
        let place = Place::new();
        let daemon = with_daemon.then(|| serving(&place));
        let script = place.script(
            "a.lua",
            "files.write { path = \"one\", content = \"x\" }\nfiles.write { path = \"two\", content = \"x\" }\n",
        );
        let mut terminal = Terminal::start(&place, &[&script], &[("NO_COLOR", "1")], "");
        terminal.shows("[once/No]", 1);
        assert!(terminal.shown().contains("files.write one"), "{}", terminal.shown());
        terminal.types("once\n");
        terminal.shows("[once/No]", 2);
        assert_eq!(place.read("scripts/one"), "x");
        terminal.types("no\n");
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(4), "{shown}");
        assert_eq!(place.read("scripts/two"), "");
        // Ctrl-C at the question decides nothing.
        let mut terminal = Terminal::start(&place, &[&script], &[("NO_COLOR", "1")], "");
        terminal.shows("[once/No]", 1);
        terminal.types("\u{3}");
        assert_eq!(terminal.end().0, Some(130));
        assert_eq!(place.newest()["state"], "paused");
        if let Some(daemon) = daemon {
            stop(daemon);
        }
    }
}

#[test]
fn a_run_is_executed_by_the_daemon_and_not_beside_it() {
    let place = Place::new();
    let daemon = serving(&place);
    let started = with_program(&place);
    assert_eq!(holder_of(&place, &place.newest_id()), Some(daemon.pid().into()));
    fs::write(place.at("go"), "").unwrap();
    assert_eq!(started.end().code, Some(0));
    stop(daemon);
}
