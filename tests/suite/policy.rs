//! What is denied is denied on every way: by the plan, by the run, within a transaction, and when it is brought back.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::docs::{blocks, pages};
use crate::harness::Place;

/// The examples of every effect that takes a capability, each with the effect's name.
fn examples() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (_, page) in pages() {
        for section in page.split("\n## ").skip(1) {
            let name = section.lines().next().unwrap_or_default();
            let takes_one = section.contains("\n- Capability: `");
            if let (true, Some(example)) = (takes_one, blocks(section, &["lua"]).into_iter().next()) {
                found.push((name.to_owned(), example));
            }
        }
    }
    found
}

/// What a plan says that a script takes, as `--allow` and `--deny` take it.
fn needs(place: &Place, script: &str) -> BTreeSet<String> {
    let plan = place.json(&["plan", script, "--allow", "*", "--json"]);
    let needs = plan["needs"].as_array().expect("a plan lists what it takes");
    needs.iter().filter_map(|need| Some(need.as_str()?.to_owned())).collect()
}

#[track_caller]
fn is_denied(place: &Place, words: &[&str], need: &str) {
    let denied = place.ends(4, &[words, &["--allow", "*", "--deny", need]].concat());
    let said = denied.stderr.contains("MC-P001") || denied.stdout.contains("MC-P001");
    assert!(said, "{words:?} without {need}: {denied}");
}

/// A kind of need stands for all of its kind: `files:write` of one path for that of another.
fn kind(need: &str) -> String {
    need.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")
}

#[test]
fn what_is_denied_by_one_way_is_denied_by_all() {
    let place = Place::new();
    let examples = examples();
    assert!(examples.len() >= 35, "{} examples", examples.len());
    let mut tried = BTreeSet::new();
    for (name, example) in examples {
        let script = place.script("example.lua", &example);
        let wrapped = format!("transaction(function()\n{example}\nend)");
        for need in needs(&place, &script) {
            let primitive = name.split('.').next().unwrap_or_default();
            if !need.starts_with(primitive) && !tried.insert((name.clone(), kind(&need))) {
                continue;
            }
            tried.insert((name.clone(), kind(&need)));
            is_denied(&place, &["plan", &script], &need);
            is_denied(&place, &[&script], &need);
            // An act without a way back is refused there before anybody asks what it may do.
            let inside = place.script("wrapped.lua", &wrapped);
            let denied = place.run(&[&inside, "--allow", "*", "--deny", &need]);
            let said = ["MC-P001", "MC-B003"].iter().any(|code| denied.stderr.contains(code));
            assert!(said, "{name} in a transaction without {need}: {denied}");
        }
    }
    let families: BTreeSet<&str> = tried.iter().filter_map(|(name, _)| name.split('.').next()).collect();
    for family in ["containers", "exec", "files", "http", "images", "ports", "registry", "secrets"] {
        assert!(families.contains(family), "{family}: {tried:?}");
    }
}

/// One change of each primitive that can be undone here.
const CHANGES: &str = r#"
files.write { path = "written.txt", content = "new" }
files.template { path = "rendered.txt", template = "{{ a }}", values = { a = "new" } }
files.directory { path = "folder" }
files.sync { path = "copied", source = "source" }
files.archive { path = "packed.tar", source = "source" }
files.extract { path = "unpacked", archive = "packed.tar" }
files.remove { path = "old.txt" }
ports.allocate { service = "api" }
registry.put { service = "api", spec = { port = 1 } }
containers.ensure { name = "made", exec = { "/bin/sleep", "600" }, stop_timeout = "0s" }
containers.stop { name = "stopped" }
containers.start { name = "started" }
containers.remove { name = "removed" }
"#;

const EARLIER: &str = r#"
for _, name in { "stopped", "started", "removed" } do
    containers.ensure { name = name, exec = { "/bin/sleep", "600" }, stop_timeout = "0s" }
end
containers.stop { name = "started" }
"#;

#[test]
fn what_is_denied_is_not_brought_back_either() {
    let place = Place::new();
    std::fs::create_dir_all(place.at("scripts/source")).unwrap();
    for name in ["old.txt", "source/file"] {
        std::fs::write(place.at(&format!("scripts/{name}")), "old").unwrap();
    }
    place.ends(0, &[&place.script("earlier.lua", EARLIER), "--allow", "*"]);
    let script = place.script("changes.lua", CHANGES);
    place.ends(0, &[&script, "--allow", "*"]);
    let run = place.newest_id();
    let plan = place.json(&["undo", &run, "--plan", "--json"]);
    let steps = plan["steps"].as_array().unwrap();
    let restores: Vec<&Value> =
        steps.iter().filter(|step| step["identity"]["name"] == "runs.restore").collect();
    assert_eq!(restores.len(), CHANGES.trim().lines().count(), "{plan:#}");
    let mut denied = BTreeSet::new();
    for step in restores {
        let mut needs = step["needs"].as_array().unwrap().iter().filter_map(Value::as_str);
        // The last is what the change itself takes; looking at the run is taken by every undo.
        let need = needs.rfind(|need| !need.starts_with("runs:")).expect("every change takes something");
        denied.insert(need.to_owned());
        for words in [&["undo", &run, "--plan"][..], &["undo", &run, "--yes"]] {
            let refused = place.ends(4, &[words, &["--deny", need]].concat());
            assert!(
                refused.stderr.contains("MC-P001") || refused.stdout.contains("MC-P001"),
                "{need}: {refused}"
            );
        }
        let (scope, counter) = restored(&place, &run, step);
        let restore = format!("runs.restore {{ run = \"{run}\", scope = \"{scope}\", counter = {counter} }}");
        is_denied(&place, &[&place.script("restore.lua", &restore)], need);
    }
    assert!(denied.len() >= 12, "{denied:?}");
    let again = place.json(&["undo", &run, "--plan", "--json"]);
    let planned = |plan: &Value| {
        let steps = plan["steps"].as_array().unwrap().iter();
        steps.map(|step| (step["subject"].clone(), step["action"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(planned(&again), planned(&plan), "nothing was brought back on the way");
    place.ends(0, &["undo", &run, "--yes"]);
}

/// The change that a step of an undo's plan is about: the steps are the changes, the last one first.
fn restored(place: &Place, run: &str, step: &Value) -> (String, u64) {
    let shown = place.json(&["show", run, "--json"]);
    let entries = shown["entries"].as_array().unwrap();
    let subject = |entry: &&Value| entry["identity"]["name"] != "runs.changes";
    let total = entries.iter().filter(subject).count() as u64;
    // The first effect of the undo looks at the run.
    let position = step["identity"]["counter"].as_u64().unwrap() - 1;
    let entry = &entries[usize::try_from(total - position).unwrap()];
    let scope = entry["identity"]["scope"].as_str().unwrap().to_owned();
    (scope, entry["identity"]["counter"].as_u64().unwrap())
}
