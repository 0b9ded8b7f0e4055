//! The host dies at every point of a deploy that the journal or a driver call passes, and the run is resumed.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::harness::{PROGRAM, Place, Seen, data, visit};
use crate::processes;

/// Ten effects. `web` runs already and is replaced, `b.conf` is there and is changed, `old.conf` goes away.
const DEPLOY: &str = r#"
local out = params.out
local web = ports.allocate { service = "web", name = "http" }
files.write { path = out .. "/a.conf", content = "a\n" }
files.write { path = out .. "/b.conf", content = "changed\n" }
files.directory { path = out .. "/data", mode = "0750" }
containers.ensure { name = "web", exec = { params.mcrun, "demo-server", params.message }, env = { PORT = tostring(web) } }
containers.ensure { name = "side", exec = { "/usr/bin/tail", "-f", out .. "/a.conf" } }
health.http { url = `http://127.0.0.1:{web}/v1/health`, within = "20s" }
exec.run { argv = { "/bin/sh", "-c", "echo $MCRUN_IDEMPOTENCY_KEY >> acts" }, cwd = out, on_doubt = "redo" }
registry.put { service = "web", spec = { message = params.message }, release = { version = "2" } }
files.remove { path = out .. "/old.conf" }
"#;
const EFFECTS: usize = 10;

const EARLIER: &str = r#"
local web = ports.allocate { service = "web", name = "http" }
containers.ensure { name = "web", exec = { params.mcrun, "demo-server", params.message }, env = { PORT = tostring(web) } }
"#;

/// One deploy in a place of its own.
struct Deploy {
    place: Place,
    words: Vec<String>,
    old: String,
    new: String,
}

impl Deploy {
    fn new() -> Self {
        let place = Place::new();
        fs::create_dir(place.at("out")).unwrap();
        fs::write(place.at("out/b.conf"), "old\n").unwrap();
        fs::write(place.at("out/old.conf"), "gone\n").unwrap();
        let (old, new) = (place.at("old"), place.at("new"));
        let words = |script: String, message: &str| -> Vec<String> {
            let settings = [
                format!("message={message}"),
                format!("mcrun={PROGRAM}"),
                format!("out={}", place.at("out")),
            ];
            let settings = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
            [script, "--allow".into(), "*".into()].into_iter().chain(settings).collect()
        };
        let earlier = words(place.script("earlier.lua", EARLIER), &old);
        place.ends(0, &earlier.iter().map(String::as_str).collect::<Vec<_>>());
        let words = words(place.script("deploy.lua", DEPLOY), &new);
        Self { place, words, old, new }
    }

    fn run(&self, words: &[&str], variable: (&str, &str)) -> Seen {
        self.place.start_with(words, &[variable]).end()
    }

    fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    /// The deploy's run, when it has been recorded.
    fn recorded(&self) -> Option<Value> {
        let run = self.place.newest();
        (run["name"] == "deploy.lua").then(|| self.place.newest_shown())
    }

    /// Goes on with the deploy until it is done. At most one further attempt may be killed.
    fn finish(&self, position: usize, again: Option<usize>) {
        let mut executions = 1;
        let mut earlier = self.recorded();
        for fatal in again.into_iter().map(|point| point.to_string()).chain([String::new()]) {
            executions += usize::from(earlier.as_ref().is_some_and(|run| is_begun(run, "exec.run")));
            let seen = match &earlier {
                Some(run) if run["state"] == "done" => break,
                Some(run) => self.run(&["resume", run["id"].as_str().unwrap()], ("MCRUN_CRASH_AT", &fatal)),
                None => self.run(&self.words(), ("MCRUN_CRASH_AT", &fatal)),
            };
            assert!(
                seen.code == Some(0) || (seen.code.is_none() && !fatal.is_empty()),
                "at {position}: {seen}"
            );
            let later = self.recorded();
            if let (Some(earlier), Some(later)) = (&earlier, &later) {
                check_nothing_completed_is_repeated(position, earlier, later);
            }
            earlier = later;
        }
        self.check(position, executions);
    }

    /// The end is the same wherever the deploy was cut.
    fn check(&self, position: usize, executions: usize) {
        let run = self.recorded().expect("it has been finished");
        assert_eq!(run["state"], "done", "at {position}: {run:#}");
        let entries = entries(&run);
        assert_eq!(entries.len(), EFFECTS, "at {position}: {entries:#?}");
        for (index, entry) in entries.iter().enumerate() {
            let what = format!("at {position}: {entry:#}");
            assert_eq!(
                (&entry["order"], &entry["identity"]["counter"]),
                (&(index + 1).into(), &(index + 1).into()),
                "{what}"
            );
            assert_eq!(entry["status"], "done", "{what}");
        }
        assert_eq!(before(&entries[2])["size"], 4, "at {position}: the first `before` of b.conf is kept");
        assert_eq!(
            before(&entries[4])["argv"][2],
            *self.old,
            "at {position}: the first `before` of web is kept"
        );
        assert_eq!(before(&entries[5]), Value::Null, "at {position}: side was not there");
        assert_eq!(before(&entries[9])["size"], 5, "at {position}: the first `before` of old.conf is kept");

        let contents = ["a.conf", "b.conf", "old.conf"].map(|name| self.place.read(&format!("out/{name}")));
        assert_eq!(contents, ["a\n", "changed\n", ""], "at {position}");
        let acts = self.place.read("out/acts");
        let keys: Vec<&str> = acts.lines().collect();
        assert!((1..=executions).contains(&keys.len()), "at {position}: {keys:?}, at most {executions}");
        assert!(keys.iter().all(|key| key == &keys[0] && key.len() == 32), "at {position}: {keys:?}");

        assert_eq!(processes::with_word(&self.old), Vec::<u32>::new(), "at {position}: the old web is gone");
        for (name, word) in [("web", &self.new), ("side", &self.place.at("out/a.conf"))] {
            let container = self.place.container(name).expect("it is there");
            let alive: Vec<Value> = processes::with_word(word).into_iter().map(Value::from).collect();
            assert_eq!(alive, [container["pid"].clone()], "at {position}: {name} runs once");
        }
        let spec = data(&entries[4]["arguments"]);
        let port = spec["env"]["PORT"].as_str().and_then(|port| port.parse().ok()).expect("web has a port");
        assert_eq!(visit(port).as_ref(), Some(&self.new), "at {position}");
    }
}

fn entries(run: &Value) -> Vec<Value> {
    run["entries"].as_array().expect("a shown run has entries").clone()
}

fn before(entry: &Value) -> Value {
    data(&entry["before"])
}

fn is_begun(run: &Value, name: &str) -> bool {
    entries(run).iter().any(|entry| entry["identity"]["name"] == name && entry["status"] == "begun")
}

fn check_nothing_completed_is_repeated(position: usize, earlier: &Value, later: &Value) {
    let later = entries(later);
    for completed in entries(earlier).iter().filter(|entry| entry["status"] != "begun") {
        assert!(later.contains(completed), "at {position}: this was done again: {completed:#}");
    }
    for begun in entries(earlier).iter().filter(|entry| entry["status"] == "begun") {
        let now = later
            .iter()
            .find(|entry| entry["identity"] == begun["identity"])
            .expect("an entry never goes away");
        let kept = |entry: &Value| ["before", "change", "begun_at"].map(|field| entry[field].clone());
        assert_eq!(kept(now), kept(begun), "at {position}: what was written at first stays");
    }
}

/// How many points one undisturbed deploy passes.
fn points() -> usize {
    let deploy = Deploy::new();
    let log = deploy.place.at("points");
    let seen = deploy.run(&deploy.words(), ("MCRUN_CRASH_LOG", &log));
    assert_eq!(seen.code, Some(0), "{seen}");
    deploy.check(0, 1);
    let log = deploy.place.read("points");
    for kind in ["begin:", "end:", "driver:before", "driver:after", "run:", "state:"] {
        assert!(log.lines().any(|point| point.starts_with(kind)), "no point of `{kind}` is passed:\n{log}");
    }
    log.lines().count()
}

#[test]
fn a_deploy_killed_at_any_point_is_resumed_to_the_same_end() {
    let points = points();
    let next = AtomicUsize::new(1);
    let missed = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    // Two at a time: more would only wait for each other's disk.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    if position > points {
                        return;
                    }
                    match std::panic::catch_unwind(|| kill_at(position)) {
                        Ok(reached) => _ = missed.fetch_add(usize::from(!reached), Ordering::Relaxed),
                        Err(_) => failed.lock().unwrap().push(position),
                    }
                }
            });
        }
    });
    assert_eq!(
        failed.into_inner().unwrap(),
        Vec::<usize>::new(),
        "positions that did not end well, of {points}"
    );
    // Requests that arrive together pass fewer points than one after the other, so that the last ones may be missed.
    assert!(missed.into_inner() <= points / 10, "of {points} points too many were not reached");
}

/// Kills a deploy there and brings it to its end. Returns whether the point was reached.
fn kill_at(position: usize) -> bool {
    let deploy = Deploy::new();
    let killed = deploy.run(&deploy.words(), ("MCRUN_CRASH_AT", &position.to_string()));
    if killed.code == Some(0) {
        deploy.check(position, 1);
        return false;
    }
    assert_eq!(killed.code, None, "at {position}: it is killed: {killed}");
    // Every other time the resume is killed as well, a few points further on.
    deploy.finish(position, (position % 2 == 1).then_some(position % 9 + 1));
    true
}
