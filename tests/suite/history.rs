//! Histories that are gone back in, copied and replayed against another source.

use std::fs;

use serde_json::Value;

use crate::harness::Place;

/// Counts its acts in a file; fails until `ready` is there.
const SCRIPT: &str = r#"
local function act(name)
    exec.run { argv = { "/bin/sh", "-c", `echo {name} >> {args[1]}` } }
end
step("build", function()
    files.write { path = "built", content = "x" }
    act("build")
end)
step("migrate", function()
    files.write { path = "migrated", content = "x" }
    act("migrate")
end)
step("check", function()
    if not files.stat({ path = "ready" }).exists then
        fail("not ready")
    end
end)
act("end")
"#;

/// A place in which a run of `SCRIPT` has failed; the run's id.
fn failed() -> (Place, String) {
    let place = Place::new();
    let script = place.script("a.lua", SCRIPT);
    place.ends(1, &[&script, &place.at("acts"), "--allow", "*"]);
    let run = place.newest_id();
    assert_eq!(place.read("acts"), "build\nmigrate\n");
    (place, run)
}

fn state(run: &Value) -> &str {
    run["state"].as_str().unwrap()
}

#[test]
fn a_failed_run_goes_on_from_a_step() {
    let (place, run) = failed();
    place.script("ready", "");
    let seen = place.ends(0, &["resume", &run, "--from", "check"]);
    seen.says(&["from `check` on: 1 effect once more"]);
    assert_eq!(place.read("acts"), "build\nmigrate\nend\n");
    assert_eq!((place.runs().len(), state(&place.newest())), (1, "done"));
}

#[test]
fn acts_are_done_again_only_when_somebody_says_so() {
    let (place, run) = failed();
    place.script("ready", "");
    let refused = place.ends(2, &["resume", &run, "--from", "migrate"]);
    refused.says(&["! migrate#2 exec.run", "a.lua:3", "done", "Do 1 act again?", "--yes"]);
    assert_eq!((place.read("acts").as_str(), state(&place.newest())), ("build\nmigrate\n", "failed"));

    fs::remove_file(place.at("scripts/migrated")).unwrap();
    place.ends(0, &["resume", &run, "--from", "migrate", "--yes"]);
    assert_eq!(place.read("acts"), "build\nmigrate\nmigrate\nend\n");
    assert_eq!(place.read("scripts/migrated"), "x");
    let shown = place.ends(0, &["show", &run]);
    assert!(shown.stdout.contains("× #1/migrate#2 exec.run"), "{shown}");
    // What was forgotten is undone all the same.
    place.ends(0, &["undo", &run, "--yes"]);
    assert!(
        !fs::exists(place.at("scripts/migrated")).unwrap() && !fs::exists(place.at("scripts/built")).unwrap()
    );
    place.ends(1, &["resume", &run, "--from", "check"]).says(&["MC-J009", "was undone by run"]);
    place.ends(1, &["fork", &run, "--from", "check"]).says(&["MC-J009", "was undone by run"]);
}

#[test]
fn a_killed_way_back_is_gone_on_with() {
    for point in [1, 2, 3, 4, 6, 8, 11] {
        let (place, run) = failed();
        place.script("ready", "");
        let mut command = place.command(&["resume", &run, "--from", "#1", "--yes"]);
        command.env("MCRUN_CRASH_AT", point.to_string()).output().unwrap();
        let before = place.read("acts");
        let seen = place.run(&["resume", &run, "--from", "check"]);
        assert!(matches!(seen.code, Some(0 | 2)), "at {point}: {seen}");
        assert!(before.lines().count() <= 3, "at {point}: {before}");
    }
}

#[test]
fn a_step_that_is_not_there_or_not_the_only_one_is_told() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "for _, name in { \"one\", \"two\" } do step(name, function() step(\"inner\", function() now() end) end) end\n",
    );
    place.ends(0, &[&script]);
    let run = place.newest_id();
    place.ends(2, &["resume", &run, "--from", "inner"]).says(&["one/inner", "two/inner", "whole path"]);
    place.ends(2, &["fork", &run, "--from", "nothing"]).says(&["no step `nothing`", "one/inner", "SCOPE#N"]);
    place.ends(0, &["resume", &run, "--from", "two/inner"]);
    place.ends(0, &["resume", &run, "--from", "one/inner#1"]);
}

#[test]
fn a_fork_begins_with_the_history_and_leaves_the_old_run_alone() {
    let (place, run) = failed();
    let before = place.json(&["show", &run, "--json"]);
    place.script("ready", "");
    // The sources are those of the old run, whatever has become of the file.
    place.script("a.lua", "fail(\"not this one\")\n");
    place.ends(0, &["fork", &run, "--from", "check"]).says(&["once more"]);
    assert_eq!(place.read("acts"), "build\nmigrate\nend\n");
    let fork = place.newest_shown();
    assert_ne!(fork["id"], before["id"]);
    assert_eq!((state(&fork), fork["changed"].as_u64()), ("done", Some(1)), "{fork:#}");
    assert_eq!(place.json(&["show", &run, "--json"]), before);
    let id = fork["id"].as_str().unwrap();
    let shown = place.ends(0, &["show", id]);
    assert!(shown.stdout.contains(&format!("forked   from run {run} before check")), "{shown}");
    // What it has from the old run is not its own to undo, nor in the way of the old run's undo.
    place.ends(0, &["undo", id, "--yes"]);
    assert_eq!(place.read("scripts/migrated"), "x");
    place.ends(0, &["undo", &run, "--yes"]);
    assert!(!fs::exists(place.at("scripts/migrated")).unwrap());
}

#[test]
fn a_transaction_that_was_forked_in_its_middle_says_what_it_cannot_take_back() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "transaction(function()\n\
             files.write { path = \"one\", content = \"x\" }\n\
             step(\"second\", function() files.write { path = \"two\", content = \"x\" } end)\n\
             if files.stat({ path = \"broken\" }).exists then fail(\"broken\") end\n\
         end)\n",
    );
    place.ends(0, &[&script, "--allow", "*"]);
    let run = place.newest_id();
    place.script("broken", "");
    place
        .ends(1, &["fork", &run, "--from", "second"])
        .says(&["MC-B004", "was done by the run that this one was forked from"]);
    assert_eq!(place.read("scripts/one"), "x");
}

#[test]
fn a_source_that_asks_for_the_same_accepts_the_history() {
    let (place, run) = failed();
    let same = place.script("b.lua", &format!("-- a comment\n{SCRIPT}"));
    let seen = place.ends(0, &["replay", &run, "--against", &same]);
    assert!(seen.stdout.contains("accepts the history") && seen.stdout.contains("5 effects"), "{seen}");
    // A correction that goes on where the old one failed.
    let on = place.script("c.lua", &SCRIPT.replace("fail(\"not ready\")", "print(\"go\")"));
    let seen = place.ends(0, &["replay", &run, "--against", &on]);
    assert!(seen.stdout.contains("then it asks for #1 exec.run (c.lua:3)"), "{seen}");
    assert!(!seen.stdout.contains("go\n"), "it logs nothing: {seen}");
    assert_eq!((place.read("acts").as_str(), place.runs().len()), ("build\nmigrate\n", 1));
}

#[test]
fn the_first_difference_is_told_with_both_sides_and_the_line() {
    let (place, run) = failed();
    let other = place.script("b.lua", &SCRIPT.replace("path = \"migrated\"", "path = \"moved\""));
    let seen = place.ends(1, &["replay", &run, "--against", &other]);
    seen.says(&[
        "MC-J001",
        "recorded:  migrate#1 files.write",
        "migrated",
        "requested: migrate#1 files.write",
        "moved",
        "b.lua:10",
    ]);
    let fewer = place.script(
        "c.lua",
        "step(\"build\", function() files.write { path = \"built\", content = \"x\" } end)\n",
    );
    place.ends(1, &["replay", &run, "--against", &fewer]).says(&["MC-J001", "requested: nothing"]);
    let shown = place.json(&["replay", &run, "--against", &fewer, "--json"]);
    assert_eq!(
        (shown["accepted"].as_bool(), shown["error"]["code"].as_str()),
        (Some(false), Some("MC-J001"))
    );
    let broken = place.script("d.lua", "local x = = 1\n");
    place.ends(1, &["replay", &run, "--against", &broken]).says(&[
        "MC-J001",
        "nothing: the script failed with MC-S001",
        "d.lua:1",
    ]);
}

#[test]
fn a_run_that_is_done_asks_for_nothing_more() {
    let place = Place::new();
    let script = place.script("a.lua", "files.write { path = \"a\", content = \"x\" }\n");
    place.ends(0, &[&script, "--allow", "*"]);
    let run = place.newest_id();
    let more = place
        .script("b.lua", "files.write { path = \"a\", content = \"x\" }\nfiles.remove { path = \"b\" }\n");
    place.ends(1, &["replay", &run, "--against", &more]).says(&[
        "MC-J001",
        "the run is done",
        "files.remove",
        "b.lua:2",
    ]);
    place.ends(0, &["replay", &run, "--against", &script]);
}

#[test]
fn what_exhausted_the_retries_is_shown_until_somebody_goes_on() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "retry({ times = 2, backoff = \"1ms\", on = \"MC-S003\", on_exhausted = \"pause\" }, function()\n\
             if not files.stat({ path = \"ready\" }).exists then fail(\"the gate is shut\") end\n\
         end)\n",
    );
    place.ends(6, &[&script, "--allow", "*"]).says(&["MC-S031", "retries are exhausted", "the gate is shut"]);
    let run = place.newest_id();
    let listed = place.ends(0, &["runs"]);
    assert!(listed.stdout.contains("MC-S031") && listed.stdout.contains("retries are exhausted"), "{listed}");
    let shown = place.ends(0, &["show", &run]);
    for text in ["retries are exhausted after 2 attempts", "the gate is shut", "mcrun resume"] {
        assert!(shown.stdout.contains(text), "{text} is missing: {shown}");
    }
    place.script("ready", "");
    place.ends(0, &["resume", &run]);
}
