//! Owns the five scripts of the crash matrix, and what the world looks like when each of them is done.

use std::fs;

use journal::{Entry, Status};
use serde_json::Value;

use super::ledger::{Ledger, Page};
use super::proof::Observed;
use crate::harness::{PROGRAM, Place, in_memory, visit};
use crate::processes;

/// A script, what is there before it starts, and its end.
pub(super) struct Scene {
    pub(super) name: &'static str,
    /// What its run's name begins with.
    pub(super) run: &'static str,
    /// Runs to its end before.
    earlier: Option<&'static str>,
    script: Option<&'static str>,
    /// Whether it takes back what it did to files.
    pub(super) takes_back: bool,
    /// Points whose number depends on which branch is faster.
    pub(super) varies: &'static [&'static str],
    check: fn(&Place, &Observed),
}

pub(super) const SCENES: [Scene; 6] = [
    Scene {
        name: "files and registry",
        run: "scene.lua",
        earlier: None,
        script: Some(FILES),
        takes_back: false,
        varies: &[],
        check: check_files,
    },
    Scene {
        name: "acts of exec and http",
        run: "scene.lua",
        earlier: None,
        script: Some(ACTS),
        takes_back: false,
        varies: &[],
        check: check_acts,
    },
    Scene {
        name: "parallel branches with retry and sleep",
        run: "scene.lua",
        earlier: None,
        script: Some(BRANCHES),
        takes_back: false,
        // A run is shown as waiting while all that is under way sleeps: how often, the timing of branches decides.
        varies: &["state"],
        check: check_branches,
    },
    Scene {
        name: "roll-out of native services",
        run: "scene.lua",
        earlier: Some(ROLLOUT),
        script: Some(ROLLOUT),
        takes_back: false,
        // How often a service is asked until it answers.
        varies: &["state"],
        check: check_rollout,
    },
    Scene {
        name: "undo of a run",
        run: "undo",
        earlier: Some(CHANGES),
        script: None,
        takes_back: true,
        varies: &[],
        check: check_undone,
    },
    Scene {
        name: "transaction that fails",
        run: "scene.lua",
        earlier: None,
        script: Some(TRANSACTION),
        takes_back: true,
        varies: &[],
        check: check_undone,
    },
];

const FILES: &str = r#"
local out = params.out
local web = ports.allocate { service = "web", name = "http" }
files.directory { path = out .. "/data", mode = "0750" }
files.write { path = out .. "/a.conf", content = "a\n" }
files.write { path = out .. "/kept.txt", content = "changed\n" }
print("half", web)
files.template { path = out .. "/data/t", template = "{{ name }}", values = { name = "t" } }
registry.put { service = "web", spec = { port = web }, release = { version = "1" } }
files.write { path = out .. "/data/large", content = string.rep("x", 20000) }
files.read { path = out .. "/data/large" }
registry.put { service = "api", spec = {} }
for index = 1, 10 do
    files.write { path = `{out}/data/{index}`, content = tostring(index), mode = "0640" }
end
files.remove { path = out .. "/old.txt" }
"#;

const ACTS: &str = r#"
local assumed = { status = 200, body = "", headers = {}, url = "" }
for index = 1, 10 do
    local seen = {}
    for before = 1, index - 1 do table.insert(seen, "post-" .. before) end
    local on_doubt = if index % 2 == 0 then "redo" else "ask"
    http.request { url = params.url, json = { label = "post-" .. index, seen = seen }, on_doubt = on_doubt, assume = assumed }
end
local function run(label, on_doubt, code)
    local text = `echo $MCRUN_IDEMPOTENCY_KEY $LABEL >> ledger; exit {code}`
    return exec.run {
        argv = { "/bin/sh", "-c", text, params.marker }, env = { LABEL = label }, cwd = params.out, on_doubt = on_doubt,
        assume = { code = code, stdout = "", stderr = "" },
    }
end
run("run-1", "ask", 0)
run("run-2", "redo", 0)
print(pcall(run, "run-3", "redo", 3))
run("run-4", "ask", 0)
"#;

const BRANCHES: &str = r#"
local function act(label, seen, fail)
    local body = { label = label, seen = seen, fail = fail }
    http.request { url = params.url, json = body, check = true, on_doubt = "redo" }
end
local seen = {}
local function flaky(name)
    local tries = 0
    retry({ times = 3, backoff = "1ms" }, function()
        tries += 1
        act(`{name}-{tries}`, {}, tries < 3)
    end)
    table.insert(seen, `{name}-3`)
end
parallel {
    a = function()
        step("first", function() flaky("a") end)
        act("a-after", table.clone(seen))
    end,
    b = function()
        sleep("3ms")
        files.write { path = params.out .. "/b", content = "b" }
        sleep("2ms")
        act("b-after", table.clone(seen))
    end,
    c = function()
        parallel({ limit = 1 }, {
            x = function() act("c-x", {}) end,
            y = function() files.write { path = params.out .. "/y", content = "y" } end,
        })
        act("c-after", { "c-x" })
    end,
}
act("last", { "a-3", "a-after", "b-after", "c-after" })
"#;

const ROLLOUT: &str = r#"
local deploy = require("@std/deploy")
local web = deploy.service {
    name = "web", version = params.message, exec = { params.mcrun, "demo-server", params.message },
    routes = { { mode = "l7" } },
    health = { http = "/v1/health", within = "20s", interval = "20ms" },
}
deploy.rollout(web, { strategy = "recreate" })
"#;

const CHANGES: &str = r#"
files.write { path = params.out .. "/new.txt", content = "new\n" }
files.write { path = params.out .. "/kept.txt", content = "changed\n", mode = "0600" }
files.remove { path = params.out .. "/old.txt" }
files.directory { path = params.out .. "/folder" }
registry.put { service = "hello", spec = { a = 1 } }
"#;

const TRANSACTION: &str = r#"
local ok, fault = pcall(transaction, function()
    files.write { path = params.out .. "/new.txt", content = "new\n" }
    files.write { path = params.out .. "/kept.txt", content = "changed\n", mode = "0600" }
    step("inner", function() files.remove { path = params.out .. "/old.txt" } end)
    files.directory { path = params.out .. "/folder" }
    registry.put { service = "hello", spec = { a = 1 } }
    fail("not like this")
end)
print(ok, fault.message)
"#;

/// A scene in a place of its own, ready to be started.
pub(super) struct Stage<'a> {
    pub(super) place: Place,
    pub(super) page: Page<'a>,
    pub(super) words: Vec<String>,
}

impl Scene {
    pub(super) fn stage<'a>(&self, ledger: &'a Ledger) -> Stage<'a> {
        self.stage_in(ledger, in_memory())
    }

    pub(super) fn stage_in<'a>(&self, ledger: &'a Ledger, folder: tempfile::TempDir) -> Stage<'a> {
        let page = ledger.page();
        let place = Place::within(folder);
        fs::create_dir(place.at("out")).unwrap();
        fs::write(place.at("out/kept.txt"), "before\n").unwrap();
        fs::write(place.at("out/old.txt"), "old\n").unwrap();
        let words = |script: String, message: &str| -> Vec<String> {
            let settings = [
                format!("message={message}"),
                format!("mcrun={PROGRAM}"),
                format!("out={}", place.at("out")),
                format!("marker={}", place.at("marker")),
                format!("url={}", page.url()),
            ];
            let settings = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
            [script, "--allow".into(), "*".into()].into_iter().chain(settings).collect()
        };
        let run = |words: &[String]| {
            let words: Vec<&str> = words.iter().map(String::as_str).chain(["--json"]).collect();
            let ended = place.json(&words);
            assert_eq!(ended["state"], "done", "{ended:#}");
            ended["run"].as_str().expect("a run has an id").to_owned()
        };
        let earlier =
            self.earlier.map(|script| run(&words(place.script("earlier.lua", script), &place.at("old"))));
        let words = match (self.script, earlier) {
            (Some(script), _) => words(place.script("scene.lua", script), &place.at("new")),
            (None, earlier) => vec!["undo".into(), earlier.expect("there is a run to undo"), "--yes".into()],
        };
        Stage { place, page, words }
    }

    pub(super) fn check(&self, stage: &Stage<'_>, observed: &Observed) {
        (self.check)(&stage.place, observed);
    }
}

fn before(entry: &Entry) -> Value {
    entry.before.as_deref().map(|text| serde_json::from_str(text).unwrap()).unwrap_or_default()
}

fn at<'a>(observed: &'a Observed, name: &str, part: &str) -> &'a Entry {
    let mut found =
        observed.entries.iter().filter(|entry| entry.identity.name == name && entry.arguments.contains(part));
    found.next().unwrap_or_else(|| panic!("no {name} with {part}"))
}

fn all_done(observed: &Observed, count: usize) {
    assert_eq!(observed.entries.len(), count);
    assert!(observed.entries.iter().all(|entry| entry.status == Status::Done));
}

fn check_files(place: &Place, observed: &Observed) {
    all_done(observed, 20);
    let read = ["a.conf", "kept.txt", "data/t", "old.txt"].map(|name| place.read(&format!("out/{name}")));
    assert_eq!(read, ["a\n", "changed\n", "t", ""]);
    assert_eq!(place.read("out/data/large").len(), 20000);
    assert_eq!(before(at(observed, "files.write", "kept.txt"))["size"], 7, "the first `before` of kept.txt");
    assert_eq!(before(at(observed, "files.remove", "old.txt"))["size"], 4, "the first `before` of old.txt");
}

fn check_acts(_: &Place, observed: &Observed) {
    assert_eq!(observed.entries.len(), 14);
    let failed: Vec<_> = observed.entries.iter().filter(|entry| entry.status == Status::Failed).collect();
    assert!(matches!(&failed[..], [entry] if entry.arguments.contains("run-3")), "{failed:#?}");
}

fn check_branches(place: &Place, observed: &Observed) {
    assert_eq!((place.read("out/b"), place.read("out/y")), ("b".into(), "y".into()));
    let failed = observed.entries.iter().filter(|entry| entry.status == Status::Failed).count();
    assert_eq!((failed, observed.entries.len()), (2, 14));
}

fn check_rollout(place: &Place, observed: &Observed) {
    assert!(observed.entries.iter().all(|entry| entry.status == Status::Done));
    let container = at(observed, "containers.ensure", "web");
    assert_eq!(before(container)["argv"][2], *place.at("old"), "the first `before` of web");
    assert_eq!(processes::with_word(&place.at("old")), Vec::<u32>::new(), "the old web is gone");
    assert_eq!(processes::with_word(&place.at("new")).len(), 1, "the new web runs once");
    let result: Value =
        serde_json::from_str(at(observed, "ports.allocate", "web").result.as_deref().unwrap()).unwrap();
    let port = result["after"]["port"].as_u64().expect("a port");
    assert_eq!(visit(port), Some(place.at("new")));
}

fn check_undone(place: &Place, observed: &Observed) {
    let restored =
        observed.entries.iter().filter(|entry| entry.identity.name == "runs.restore" && entry.changed);
    assert_eq!(restored.count(), 5);
    let read = ["new.txt", "kept.txt", "old.txt"].map(|name| place.read(&format!("out/{name}")));
    assert_eq!(read, ["", "before\n", "old\n"]);
    assert!(!fs::exists(place.at("out/folder")).unwrap());
}
