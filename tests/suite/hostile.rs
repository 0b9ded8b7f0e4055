//! Hostile scripts that need the whole program: what is durable, what is recorded, what other runs have left. The form of the
//! corpus is that of the worker's own.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Place, report};

#[path = "../../runtime/script/tests/worker/cases.rs"]
mod cases;

/// What one script may take, starting included.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn every_hostile_script_ends_with_its_code_and_its_host_goes_on() {
    let place = Place::new();
    let earlier = place.script("earlier.lua", "files.write { path = args[1], content = 'x' }\n");
    place.ends(0, &[&earlier, &place.at("earlier"), "--allow", "*"]);
    let run = place.newest_id();
    let cases = cases::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile"));
    assert!(cases.len() >= 40, "only {} scripts", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let script = place.script("hostile.lua", &case.source);
        let folder = place.at("work");
        let mut words: Vec<&str> = vec![&script, &folder, &run];
        for setting in &case.settings {
            words.extend(match setting.strip_prefix("allow=") {
                Some(allow) => ["--allow", allow],
                None => ["--limit", setting],
            });
        }
        let started = Instant::now();
        let seen = place.run(&words);
        let ended =
            if case.expected == "done" { seen.code == Some(0) } else { seen.stderr.contains(&case.expected) };
        if !ended || seen.stderr.contains("panicked") || seen.stderr.contains("MC-Z001") {
            wrong.push(format!("{}: expected {}\n{seen}", case.name, case.expected));
        }
        assert!(started.elapsed() < PATIENCE, "{}: took {:?}", case.name, started.elapsed());
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // Every run can be shown, and nobody holds anything any more.
    for shown in place.runs() {
        let state = shown["state"].as_str().unwrap();
        assert!(["done", "failed", "paused"].contains(&state), "{shown}");
        place.ends(0, &["show", shown["id"].as_str().unwrap(), "--json"]);
    }
    place.ends(0, &[&place.script("after.lua", "print(1)\n")]);
    report("hostile scripts through the whole program", cases.len(), "scripts", 0);
}
