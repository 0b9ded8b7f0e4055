//! A saved plan does what it showed, once, and only while the world is as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::errors::shows;
use crate::harness::{PROGRAM, Place, until};
use crate::service::Deploy;

const SCRIPT: &str = "local name = require(\"./name\")\n\
    local seen = files.read({ path = \"seen\" }).content\n\
    files.write { path = name, content = `{seen} {args[1]} {params.tag} {random(1000000)}` }\n\
    files.remove { path = \"old\" }\n";

/// A place with a saved plan of `SCRIPT`.
fn planned() -> (Place, String) {
    let place = Place::new();
    place.script("name.lua", "return \"new\"\n");
    place.script("seen", "world");
    place.script("old", "x");
    let script = place.script("a.lua", SCRIPT);
    let plan = place.at("a.plan");
    let words = ["plan", &script, "one", "--set", "tag=v1", "--allow", "files", "--out", &plan];
    place.ends(0, &words).says(&["is saved", "mcrun apply"]);
    (place, plan)
}

fn exists(place: &Place, name: &str) -> bool {
    place.path().join("scripts").join(name).exists()
}

#[test]
fn a_saved_plan_is_applied_with_the_sources_it_was_made_of() {
    let (place, plan) = planned();
    assert_eq!(fs::metadata(&plan).unwrap().permissions().mode() & 0o777, 0o600);
    // What it runs is in the plan, whatever has become of the files.
    place.script("a.lua", "fail(\"not this one\")\n");
    place.script("name.lua", "return \"other\"\n");
    place.ends(0, &["apply", &plan]).says(&["applied as planned: a.lua, name.lua"]);
    assert!(place.read("scripts/new").starts_with("world one v1 "), "{}", place.read("scripts/new"));
    assert!(!exists(&place, "old") && !exists(&place, "other"));
    let run = place.newest_shown();
    assert_eq!(run["state"], "done");
    assert!(run["plan"].is_string(), "{run:#}");
}

#[test]
fn a_plan_is_applied_once() {
    let (place, plan) = planned();
    place.ends(0, &["apply", &plan]);
    let run = place.newest_id();
    place.ends(5, &["apply", &plan]).says(&["MC-J013", &run]);
    assert_eq!(place.runs().len(), 1);
}

#[test]
fn two_applies_at_once_apply_it_once() {
    let (place, plan) = planned();
    let started: Vec<_> = (0..3).map(|_| place.start(&["apply", &plan])).collect();
    let mut codes: Vec<_> = started.into_iter().map(|started| started.end().code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(5), Some(5)]);
    assert_eq!(place.runs().len(), 1);
}

#[test]
fn a_plan_that_was_killed_is_taken_and_its_run_goes_on_as_planned() {
    let (place, plan) = planned();
    for point in 1.. {
        assert!(point < 60, "no kill left a run behind");
        let mut command = place.command(&["apply", &plan]);
        command.env("MCRUN_CRASH_AT", point.to_string()).output().unwrap();
        if !place.runs().is_empty() {
            break;
        }
    }
    let run = place.newest_id();
    place.script("name.lua", "return \"other\"\n");
    place.ends(5, &["apply", &plan]).says(&["MC-J013", &format!("mcrun resume {run}")]);
    place.ends(0, &["resume", &run]);
    assert!(place.read("scripts/new").starts_with("world one v1 "));
    assert!(!exists(&place, "other"));
}

#[test]
fn what_moved_is_shown_and_nothing_is_done() {
    let (place, plan) = planned();
    place.script("seen", "moved");
    place.script("new", "somebody was here");
    let seen = place.ends(5, &["apply", &plan]);
    seen.says(&[
        "MC-J011",
        "files.read",
        "content: was \"world\", is \"moved\"",
        "was to create, now update",
    ]);
    assert!(seen.stdout.contains("files.write"), "the plan as it is now is shown: {seen}");
    assert_eq!(place.read("scripts/new"), "somebody was here");
    assert!(exists(&place, "old") && place.runs().is_empty());
    let shown = place.json(&["apply", &plan, "--json"]);
    assert_eq!((shown["state"].as_str(), shown["exit_code"].as_u64()), (Some("stale"), Some(5)));
    // It was not used up: once the world is back it counts again.
    place.script("seen", "world");
    fs::remove_file(place.at("scripts/new")).unwrap();
    place.ends(0, &["apply", &plan]);
}

#[test]
fn a_plan_is_bound_to_the_policy() {
    let (place, plan) = planned();
    place.configure("[drivers]\ncontainers = \"process\"\n[policy]\nscripts = [\"files\", \"ports\"]\n");
    place.ends(5, &["apply", &plan]).says(&["MC-J011", "policy of scripts"]);
}

#[test]
fn a_damaged_or_foreign_plan_is_refused() {
    let (place, plan) = planned();
    let text = fs::read_to_string(&plan).unwrap();
    for (what, changed) in [
        ("cut", text[..text.len() / 2].to_owned()),
        ("empty", String::new()),
        ("changed", text.replacen("\"v1\"", "\"v2\"", 1)),
        ("other version", text.replacen("\"mcrun_plan\":1", "\"mcrun_plan\":7", 1)),
        ("no plan", "{\"a\":1}".to_owned()),
    ] {
        assert_ne!(changed, text, "{what}");
        fs::write(&plan, changed).unwrap();
        place.ends(1, &["apply", &plan]).says(&["MC-J012", "hint:"]);
    }
    place.ends(1, &["apply", place.path().to_str().unwrap()]).says(&["MC-J012"]);
    fs::write(&plan, text).unwrap();
    let elsewhere = place.at("elsewhere");
    place.ends(1, &["apply", &plan, "--state", &elsewhere]).says(&["MC-J012", "another state directory"]);
    place.ends(0, &["apply", &plan]);
}

#[test]
fn a_plan_that_does_not_go_to_the_end_is_not_saved() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "local out = exec.run { argv = { \"/bin/true\" } }\nif out.code == 0 then files.write { path = \"b\", content = \"x\" } end\n",
    );
    let plan = place.at("a.plan");
    shows!("plan_open", place, &["plan", &script, "--allow", "*", "--out", &plan]);
    assert!(!fs::exists(&plan).unwrap());
    let denied = place.ends(4, &["plan", &script, "--out", &plan]);
    denied.says(&["not saved"]);
    assert!(!fs::exists(&plan).unwrap());
}

#[test]
fn what_moves_while_the_plan_is_carried_out_stops_it_before_it_acts() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "files.write { path = \"first\", content = \"x\" }\n\
         exec.run { argv = { \"/bin/sh\", \"-c\", \"echo moved > \" .. args[1] }, assume = { code = 0 } }\n\
         files.write { path = \"second\", content = \"x\" }\n",
    );
    let (plan, second) = (place.at("a.plan"), place.at("scripts/second"));
    place.ends(0, &["plan", &script, &second, "--allow", "*", "--out", &plan]);
    place.ends(5, &["apply", &plan]).says(&["MC-J011", "was to create, now update", "--leave-plan"]);
    assert_eq!(place.read("scripts/second"), "moved\n");
    let run = place.newest();
    assert_eq!((run["state"].as_str(), run["resumable"].as_bool()), (Some("paused"), Some(true)));
    let id = run["id"].as_str().unwrap();
    place.ends(5, &["resume", id]).says(&["MC-J011"]);
    place.ends(0, &["resume", id, "--leave-plan"]);
    assert_eq!(place.read("scripts/second"), "x");
}

#[test]
fn a_script_puts_right_what_failed_although_the_plan_does_not_say_so() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "on_failure(function() files.write { path = \"failed\", content = \"x\" } end)\n\
         transaction(function()\n\
             files.write { path = \"one\", content = \"x\" }\n\
             exec.run { argv = { \"/bin/false\" }, check = true, assume = { code = 0 }, undo = function() end }\n\
         end)\n",
    );
    let plan = place.at("a.plan");
    place.ends(0, &["plan", &script, "--allow", "*", "--out", &plan]);
    place.ends(1, &["apply", &plan]).says(&["MC-X003"]);
    assert!(!exists(&place, "one") && exists(&place, "failed"));
}

#[test]
fn a_roll_out_is_saved_and_applied() {
    let place = Place::new();
    for (settings, again) in [(&["version=v1"][..], false), (&["version=v2", "message=second"], true)] {
        let deploy = Deploy::new(&place, settings);
        let plan = place.at("deploy.plan");
        let out = ["--out", &plan];
        let words = deploy.words(&out);
        place.ends(0, &[&["plan"][..], &words].concat());
        place.ends(0, &["apply", &plan]);
        let run = place.newest_shown();
        assert!(run["changed"].as_u64().unwrap() > 0, "{again}: {run:#}");
    }
}

#[test]
fn a_plan_holds_the_lease_of_what_it_changes() {
    let place = Place::new();
    let holder = place.script(
        "holder.lua",
        "containers.ensure { name = \"web\", service = \"web\", exec = { \"/bin/sleep\", \"600\" } }\nfiles.write { path = \"held\", content = \"x\" }\nsleep(\"1h\")\n",
    );
    let script = place.script(
        "a.lua",
        "containers.ensure { name = \"web\", service = \"web\", exec = { \"/bin/sleep\", \"601\" } }\n",
    );
    let plan = place.at("a.plan");
    place.ends(0, &["plan", &script, "--allow", "*", "--out", &plan]);
    let _held = place.start(&[&holder, "--allow", "*"]);
    until("the lease is held", || exists(&place, "held").then_some(()));
    place.ends(5, &["apply", &plan]).says(&["MC-J003"]);
}

#[test]
fn a_plan_holds_no_secret() {
    let place = Place::new();
    fs::write(place.at("secret"), "hunter2hunter2").unwrap();
    let secret = place.at("secret");
    place.configure(&format!(
        "[drivers]\ncontainers = \"process\"\n[secrets.db]\nfile = \"{secret}\"\nto = [\"containers:web\"]\n"
    ));
    place.script("copy", "the literal hunter2hunter2");
    let script = place.script(
        "a.lua",
        "local password = secrets.get(\"db\")\n\
         local copy = files.read({ path = \"copy\" }).content\n\
         files.write { path = \"to\", content = copy }\n\
         containers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" }, secrets = { DB = password }, env = { PROGRAM = args[1] } }\n",
    );
    let plan = place.at("a.plan");
    place.ends(0, &["plan", &script, PROGRAM, "--allow", "*", "--out", &plan]);
    let text = fs::read_to_string(&plan).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    let parsed: Value = serde_json::from_str(&text).unwrap();
    assert!(parsed["plan"]["steps"].as_array().unwrap().len() == 4);
    place.ends(0, &["apply", &plan]);
}
