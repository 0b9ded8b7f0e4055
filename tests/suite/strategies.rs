//! Strategies, releases and rollback with native services: what runs afterwards, and what a kill in the middle leaves.

use serde_json::{Value, json};

use crate::harness::{PROGRAM, Place, until, visit};

const SCRIPT: &str = r#"
local deploy = require("@std/deploy")
local api = deploy.service {
    name = "api",
    version = params.version,
    exec = if params.broken then { "/bin/sleep", "600" } else { params.mcrun, "demo-server", params.version },
    replicas = params.replicas or 2,
    env = { LEVEL = params.level or "info" },
    routes = { {} },
    health = { http = "/v1/health", within = if params.broken then "300ms" else "10s", interval = "50ms" },
}
local options = { strategy = params.strategy, soak = params.soak, keep = params.keep, steps = params.steps, releases = params.releases }
for _, endpoint in deploy.rollout(api, options).endpoints do
    print(endpoint.port)
end
"#;

struct Api<'a> {
    place: &'a Place,
    script: String,
}

impl<'a> Api<'a> {
    fn new(place: &'a Place) -> Self {
        Self { place, script: place.script("deploy.lua", SCRIPT) }
    }

    fn words(&self, settings: &[&str]) -> Vec<String> {
        let program = format!("mcrun={PROGRAM}");
        let settings = settings.iter().copied().chain([program.as_str()]);
        let settings = settings.flat_map(|setting| ["--set".to_owned(), setting.to_owned()]);
        [self.script.clone(), "--allow".into(), "*".into()].into_iter().chain(settings).collect()
    }

    /// Deploys and returns the ports.
    #[track_caller]
    fn deploy(&self, code: i32, settings: &[&str]) -> Vec<u64> {
        let words = self.words(settings);
        let seen = self.place.ends(code, &words.iter().map(String::as_str).collect::<Vec<_>>());
        seen.stdout.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Name and version of every container.
    fn running(&self) -> Vec<(String, String)> {
        let shown = |container: &Value| {
            assert_eq!(container["state"], "running", "{container}");
            let word = container["argv"][2].as_str().unwrap_or("broken").to_owned();
            (container["name"].as_str().unwrap().to_owned(), word)
        };
        self.place.containers().iter().map(shown).collect()
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}

#[test]
fn blue_green_switches_to_a_second_set_and_goes_back_when_it_fails() {
    let place = Place::new();
    let api = Api::new(&place);
    let first = api.deploy(0, &["version=v1", "strategy=blue_green"]);
    let second = api.deploy(0, &["version=v2", "strategy=blue_green", "soak=100ms", "keep=50ms"]);
    assert!(first.iter().all(|port| !second.contains(port)), "{first:?} {second:?}");
    assert_eq!(api.running(), pairs(&[("api-b-1", "v2"), ("api-b-2", "v2")]));
    assert_eq!(visit(second[0]).as_deref(), Some("v2"));
    let before = place.containers();
    api.deploy(7, &["version=v3", "strategy=blue_green", "broken=true"]);
    assert_eq!(place.containers(), before, "the set in use was never touched");
    let status = place.json(&["status", "api", "--json"]);
    assert_eq!(status[0]["version"], "v2");
    place.ends(0, &["undeploy", "api", "--yes"]);
    assert_eq!(place.containers(), Vec::<Value>::new());
}

#[test]
fn a_kill_while_the_old_set_is_kept_is_taken_up_again() {
    let place = Place::new();
    let api = Api::new(&place);
    api.deploy(0, &["version=v1", "strategy=blue_green", "replicas=1"]);
    let words = api.words(&["version=v2", "strategy=blue_green", "replicas=1", "keep=2s"]);
    let mut host = place.start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    until("the old set is kept", || {
        let run = place.runs().into_iter().next()?;
        (run["state"] == "waiting" && api.running().len() == 2).then_some(())
    });
    host.kill();
    assert_eq!(api.running(), pairs(&[("api", "v1"), ("api-b", "v2")]));
    place.ends(0, &["resume", &place.newest_id()]);
    assert_eq!(api.running(), pairs(&[("api-b", "v2")]));
    api.deploy(0, &["version=v2", "strategy=blue_green", "replicas=1"]);
    assert_eq!(place.json(&["releases", "api", "--json"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_canary_that_fails_brings_every_replica_back_as_it_was() {
    let place = Place::new();
    let api = Api::new(&place);
    api.deploy(0, &["version=v1", "replicas=3", "level=debug"]);
    let spec = |place: &Place| {
        let containers = place.containers();
        containers.iter().map(|made| json!([made["argv"], made["ports"], made["env"]])).collect::<Vec<_>>()
    };
    let before = spec(&place);
    api.deploy(7, &["version=v2", "replicas=3", "strategy=canary", "broken=true"]);
    assert_eq!(spec(&place), before);
    let entries = place.newest_shown()["entries"].as_array().unwrap().clone();
    let restarts = entries.iter().filter(|entry| entry["identity"]["name"] == "containers.restart").count();
    assert_eq!(restarts, 1, "one restart before giving up");
    let replaced = |name: &str| {
        entries.iter().any(|entry| {
            entry["identity"]["scope"] == "deploy/api"
                && entry["identity"]["name"] == "containers.ensure"
                && entry["arguments"].to_string().contains(name)
        })
    };
    assert!(replaced("api-1") && !replaced("api-2"), "it stops at the first unhealthy one");
    api.deploy(0, &["version=v2", "replicas=3", "strategy=canary", "steps=[40]", "soak=100ms"]);
    assert!(api.running().iter().all(|(_, version)| version == "v2"));
}

#[test]
fn releases_are_listed_retained_and_brought_back() {
    let place = Place::new();
    let api = Api::new(&place);
    place.ends(1, &["releases", "api"]).says(&["MC-R001"]);
    place.ends(1, &["rollback", "api"]).says(&["MC-R001"]);
    let ports = api.deploy(0, &["version=v1", "level=debug"]);
    place.ends(1, &["rollback", "api"]).says(&["MC-R004", "mcrun releases api"]);
    api.deploy(0, &["version=v2"]);
    let shown = place.ends(0, &["releases", "api"]);
    assert!(shown.stdout.contains("v2") && shown.stdout.contains("current"), "{shown}");

    let plan = place.json(&["rollback", "api", "--plan", "--json"]);
    let planned: Vec<(&Value, &Value)> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (&step["identity"], &step["action"]))
        .filter(|(_, action)| *action != "read")
        .collect();
    assert!(api.running().iter().all(|(_, version)| version == "v2"), "a plan changes nothing");
    place.ends(0, &["rollback", "api"]);
    let run = place.newest_shown();
    let done = run["entries"].as_array().unwrap();
    let done: Vec<&Value> =
        done.iter().filter(|entry| entry["kind"] != "read").map(|entry| &entry["identity"]).collect();
    assert_eq!(planned.iter().map(|(identity, _)| *identity).collect::<Vec<_>>(), done);
    assert!(api.running().iter().all(|(_, version)| version == "v1"));
    assert_eq!(visit(ports[0]).as_deref(), Some("v1"));
    let summary = |releases: &Value| {
        let releases = releases.as_array().unwrap();
        let line = |release: &Value| {
            format!(
                "{} {} {} {}",
                release["number"], release["version"], release["current"], release["rolled_back_to"]
            )
        };
        releases.iter().map(line).collect::<Vec<_>>()
    };
    let releases = place.json(&["releases", "api", "--json"]);
    assert_eq!(summary(&releases), ["3 \"v1\" true 1", "2 \"v2\" false null", "1 \"v1\" false null"]);
    assert!(!releases.to_string().contains("debug"), "values of the environment stay hidden");
    assert_eq!(releases[0]["run"], run["id"]);

    place.ends(0, &["rollback", "api", "--to", "2"]);
    assert!(api.running().iter().all(|(_, version)| version == "v2"));
    place.ends(1, &["rollback", "api", "--to", "9"]).says(&["MC-R004"]);
    api.deploy(0, &["version=v5", "releases=2"]);
    assert_eq!(
        summary(&place.json(&["releases", "api", "--json"])),
        ["5 \"v5\" true null", "4 \"v2\" false 2"]
    );
}

#[test]
fn a_rollback_that_was_killed_is_resumed_and_may_do_no_more_than_the_deploy() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "registry.put { service = \"trap\", spec = { definition = { volumes = {}, ports = {}, routes = {} }, containers = { { name = \"other\", exec = { \"/bin/sleep\", \"600\" } } }, checks = {} }, release = { version = args[1] } }\n",
    );
    for version in ["v1", "v2"] {
        place.ends(0, &[&script, version, "--allow", "registry:write:trap"]);
    }
    place.ends(4, &["rollback", "trap"]).says(&["MC-P001"]);
    assert_eq!(place.containers(), Vec::<Value>::new());

    let api = Api::new(&place);
    api.deploy(0, &["version=v1"]);
    api.deploy(0, &["version=v2"]);
    let mut host = place.start(&["rollback", "api"]);
    until("the first container is back", || {
        place.container("api-1").filter(|made| made["argv"][2] == "v1").map(|_| ())
    });
    host.kill();
    let run = place.newest();
    assert_eq!(run["name"], "rollback api");
    if run["state"] != "done" {
        place.ends(0, &["resume", run["id"].as_str().unwrap()]);
    }
    assert_eq!(api.running(), pairs(&[("api-1", "v1"), ("api-2", "v1")]));
}
