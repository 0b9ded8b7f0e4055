//! Playbooks in folders, whole: what `serve` loads and keeps, what `mcrun playbooks` shows with and without it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Place, Started, until};

fn folder(place: &Place) -> PathBuf {
    place.path().join("playbooks")
}

fn write(place: &Place, name: &str, text: &str) {
    let path = folder(place).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A place with a folder of playbooks.
fn place() -> Place {
    let place = Place::new();
    fs::create_dir(folder(&place)).unwrap();
    let folders = format!("[playbooks]\nfolders = [\"{}\"]\n", folder(&place).display());
    place.configure(&format!("{folders}[drivers]\ncontainers = \"process\"\n"));
    place
}

fn serve(place: &Place) -> Started {
    let started = place.start(&["serve"]);
    until("it is ready", || started.stderr().contains("ready").then_some(()));
    started
}

fn terminate(started: Started) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(started.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let end = started.end();
    assert_eq!(end.code, Some(0), "{end}");
}

fn playbook(name: &str, what: &str) -> String {
    format!(
        "--!strict\nlocal fleet = require(\"./lib/fleet\")\nreturn playbook {{\n    name = \"{name}\",\n    description = \"{what}\",\n    \
         on = {{ cron = \"17 3 * * *\" }},\n    run = function(event)\n        print(fleet.size, event.kind)\n    end,\n}}\n"
    )
}

const FLEET: &str = "--!strict\nreturn { size = 3 }\n";

/// What is shown of a playbook, once it is so.
fn shown(place: &Place, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let list = place.json(&["playbooks", "--json"]);
        let found = list["playbooks"].as_array().unwrap().iter().find(|playbook| playbook["name"] == name);
        found.filter(|found| is_so(found)).cloned()
    })
}

#[test]
fn a_playbook_is_loaded_shown_changed_and_compared() {
    let place = place();
    write(&place, "lib/fleet.luau", FLEET);
    write(&place, "greet.lua", &playbook("greet", "the first"));
    let served = serve(&place);
    let first = shown(&place, "greet", "it is loaded", |_| true);
    assert_eq!((first["number"].as_u64(), first["state"].as_str()), (Some(1), Some("active")));
    assert_eq!(first["triggers"], serde_json::json!(["cron 17 3 * * *"]));
    write(&place, "lib/fleet.luau", &FLEET.replace('3', "4"));
    shown(&place, "greet", "its module counts", |playbook| playbook["number"] == 2);
    write(&place, "greet.lua", &playbook("greet", "the third"));
    shown(&place, "greet", "its text counts", |playbook| playbook["description"] == "the third");

    let table = place.ends(0, &["playbooks"]);
    assert!(table.stdout.contains("greet") && table.stdout.contains("cron 17 3 * * *"), "{table}");
    assert!(!table.stderr.contains("no daemon"), "{table}");
    let one = place.ends(0, &["playbooks", "show", "greet"]);
    assert!(one.stdout.contains("lib/fleet.luau") && one.stdout.contains("the third"), "{one}");
    let history = place.json(&["playbooks", "history", "greet", "--json"]);
    let numbers: Vec<_> =
        history.as_array().unwrap().iter().map(|version| version["number"].as_u64()).collect();
    assert_eq!(numbers, [Some(3), Some(2), Some(1)]);
    let newest = place.ends(0, &["playbooks", "diff", "greet"]).stdout;
    assert!(newest.contains("--- greet.lua version 2\n+++ greet.lua version 3\n"), "{newest}");
    assert!(
        newest.contains("-    description = \"the first\",\n+    description = \"the third\",\n"),
        "{newest}"
    );
    let module = place.ends(0, &["playbooks", "diff", "greet", "1", "2"]).stdout;
    assert!(module.contains("-return { size = 3 }\n+return { size = 4 }\n"), "{module}");
    assert!(!module.contains("greet.lua"), "{module}");

    place.ends(1, &["playbooks", "show", "great"]).says(&["MC-L008", "`great`"]);
    place.ends(1, &["playbooks", "diff", "greet", "9"]).says(&["MC-L009", "version 9"]);
    terminate(served);
    let without = place.ends(0, &["playbooks"]);
    without.says(&["no daemon serves this state directory"]);
    assert!(without.stdout.contains("greet"), "{without}");
}

#[test]
fn a_broken_playbook_goes_on_as_it_was_and_says_why() {
    let place = place();
    write(&place, "lib/fleet.luau", FLEET);
    write(&place, "greet.lua", &playbook("greet", "the first"));
    let mut served = serve(&place);
    write(&place, "greet.lua", "return playbook {\n    name = \"greet\",\n    on = { cron = \"17 3\n}\n");
    let broken = shown(&place, "greet", "it is broken", |playbook| playbook["state"] == "broken");
    assert_eq!(
        (broken["number"].as_u64(), broken["broken"]["line"].as_u64()),
        (Some(1), Some(3)),
        "{broken:#}"
    );
    served.kill();
    // Killed, and started again: what was good last is still there.
    let served = serve(&place);
    let again = shown(&place, "greet", "it is still broken", |playbook| playbook["state"] == "broken");
    assert_eq!(again["description"], "the first");
    let seen = place.ends(0, &["playbooks"]);
    seen.says(&["MC-S001", "greet.lua:3", "`greet` goes on as it was before"]);
    // What does not pass the type check is broken as well.
    write(&place, "greet.lua", &playbook("greet", "the second").replace("fleet.size", "fleet.sice"));
    let typed = shown(&place, "greet", "its types are wrong", |playbook| {
        playbook["broken"]["error"]["code"] != "MC-S001"
    });
    assert!(typed["broken"].to_string().contains("sice"), "{typed:#}");
    write(&place, "greet.lua", &playbook("greet", "mended"));
    shown(&place, "greet", "it is mended", |playbook| playbook["description"] == "mended");
    write(&place, "other.lua", &playbook("greet", "of the same name"));
    let list = until("the other is left out", || {
        let list = place.json(&["playbooks", "--json"]);
        list["broken"].as_array().is_some_and(|broken| !broken.is_empty()).then_some(list)
    });
    assert_eq!(list["broken"][0]["error"]["code"], "MC-L007", "{list:#}");
    terminate(served);
}

#[test]
fn a_folder_that_vanishes_is_told_and_its_playbooks_stay() {
    let place = place();
    write(&place, "lib/fleet.luau", FLEET);
    write(&place, "greet.lua", &playbook("greet", "the first"));
    let served = serve(&place);
    fs::rename(folder(&place), place.path().join("away")).unwrap();
    until("it is told", || place.run(&["playbooks"]).stderr.contains("MC-L006").then_some(()));
    shown(&place, "greet", "it stays", |playbook| playbook["state"] == "active");
    fs::rename(place.path().join("away"), folder(&place)).unwrap();
    until("it is back", || (!place.run(&["playbooks"]).stderr.contains("MC-L006")).then_some(()));
    terminate(served);
}

#[test]
fn the_configuration_does_not_lie_where_playbooks_do() {
    let place = Place::new();
    let own = place.path().display().to_string();
    place.configure(&format!("[playbooks]\nfolders = [\"{own}\"]\n"));
    place.ends(2, &["serve"]).says(&["MC-U002", "lies in the script's own folder"]);
    place.configure("[playbooks]\nfolders = [\"playbooks\"]\n");
    place.ends(2, &["serve"]).says(&["MC-U002", "no absolute path"]);
    place.configure("[playbooks]\nfolder = [\"/playbooks\"]\n");
    place.ends(2, &["serve"]).says(&["MC-U002", "folder", "folders"]);
    // A link that leads to a folder with the configuration is no way around it.
    let link_to = place.script("a.lua", "return playbook { name = \"a\", run = function() end }\n");
    let outside = place.path().join("linked.lua");
    fs::copy(link_to, &outside).unwrap();
    fs::create_dir(folder(&place)).unwrap();
    std::os::unix::fs::symlink(&outside, folder(&place).join("linked.lua")).unwrap();
    place.configure(&format!("[playbooks]\nfolders = [\"{}\"]\n", folder(&place).display()));
    let served = serve(&place);
    let list = place.json(&["playbooks", "--json"]);
    assert_eq!(list["broken"][0]["error"]["code"], "MC-U002", "{list:#}");
    assert_eq!(list["playbooks"].as_array().map(Vec::len), Some(0));
    terminate(served);
}

/// Runs of a playbook, the first first.
fn runs_of(place: &Place, name: &str) -> Vec<Value> {
    let mut runs = place.runs();
    runs.retain(|run| run["playbook"] == name);
    runs.reverse();
    runs
}

#[test]
fn a_run_goes_on_with_the_sources_that_it_was_started_with() {
    let place = place();
    write(&place, "lib/word.luau", "return \"the old word\"\n");
    let slow = "local word = require(\"./lib/word\")\nreturn playbook {\n    name = \"slow\",\n    on = { event = \"slow.start\" },\n    \
                run = function()\n        wait_for { event = \"slow.end\" }\n        print(word)\n    end,\n}\n";
    write(&place, "slow.lua", slow);
    let served = serve(&place);
    let words = ["the old word", "the new word"];
    for (round, word) in words.iter().enumerate() {
        place.ends(0, &["emit", "slow.start"]);
        let waiting = |run: &Value| run["state"] == "waiting";
        until("its run waits", || runs_of(&place, "slow").get(round).filter(|run| waiting(run)).map(|_| ()));
        if round == 0 {
            write(&place, "lib/word.luau", "return \"the new word\"\n");
            shown(&place, "slow", "the module counts", |playbook| playbook["number"] == 2);
        }
        place.ends(0, &["emit", "slow.end"]);
        let done = |run: &Value| run["state"] == "done";
        let run =
            until("its run is done", || runs_of(&place, "slow").get(round).filter(|run| done(run)).cloned());
        let log = place.ends(0, &["logs", run["id"].as_str().unwrap()]);
        assert!(log.stdout.contains(word), "{log}");
    }
    terminate(served);
}

#[test]
fn runs_go_on_while_their_playbook_is_saved_a_hundred_times_a_second() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;
    let place = place();
    let text = |round: u64| {
        format!(
            "return playbook {{\n    name = \"busy\",\n    on = {{ event = \"busy.start\" }},\n    overlap = \"queue\",\n    \
             run = function()\n        sleep(\"10ms\")\n        print(\"round {round}\")\n    end,\n}}\n"
        )
    };
    write(&place, "busy.lua", &text(0));
    let served = serve(&place);
    shown(&place, "busy", "it is loaded", |_| true);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    const STARTS: usize = 12;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let round = rounds.fetch_add(1, Ordering::Relaxed) + 1;
                write(&place, "busy.lua", &text(round));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let before = shown(&place, "busy", "it is there", |_| true)["number"].as_u64();
        for _ in 0..STARTS {
            place.ends(0, &["emit", "busy.start"]);
            std::thread::sleep(Duration::from_millis(200));
        }
        shown(&place, "busy", "it is followed", |playbook| playbook["number"].as_u64() > before);
        stop.store(true, Ordering::Relaxed);
    });
    let last = format!("round {}\\\"", rounds.load(Ordering::Relaxed));
    until("the last text is active", || {
        let newest = place.json(&["playbooks", "diff", "busy", "--json"]).to_string();
        newest.contains(&format!("+        print(\\\"{last}")).then_some(())
    });
    until("every run is done", || {
        let runs = runs_of(&place, "busy");
        (runs.len() == STARTS && runs.iter().all(|run| run["state"] == "done")).then_some(())
    });
    let list = place.json(&["playbooks", "--json"]);
    assert_eq!(
        (list["playbooks"][0]["state"].as_str(), list["broken"].as_array().map(Vec::len)),
        (Some("active"), Some(0))
    );
    terminate(served);
}

#[test]
fn a_playbook_that_takes_more_than_the_policy_grants_is_warned_of() {
    let place = place();
    let takes = " allow = { \"images\", \"registry:read\" },\n    on = {";
    write(&place, "lib/fleet.luau", FLEET);
    write(&place, "prune.lua", &playbook("prune", "takes much").replace(" on = {", takes));
    let served = serve(&place);
    let warned = "`prune` takes `images`, `registry:read`, which the operator's policy does not grant";
    until("the log has it", || served.stderr().contains(warned).then_some(()));
    place.ends(0, &["playbooks"]).says(&[warned, "[policy]"]);
    assert_eq!(place.json(&["playbooks", "--json"])["playbooks"][0]["lacking"][0], "images");

    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), format!("{config}[policy]\nscripts = [\"images\"]\n")).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(served.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let left = "`prune` takes `registry:read`, which";
    until("the policy counts at once", || served.stderr().contains(left).then_some(()));
    let one = place.ends(0, &["playbooks", "show", "prune"]).stdout;
    assert!(
        one.lines().any(|line| line.starts_with("not granted") && line.ends_with(" registry:read")),
        "{one}"
    );
    fs::write(place.config(), format!("{config}[policy]\nscripts = [\"images\", \"registry\"]\n")).unwrap();
    let listed = place.ends(0, &["playbooks"]);
    assert!(!listed.stderr.contains("does not grant"), "{listed}");
    terminate(served);
}
