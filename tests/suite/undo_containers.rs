//! Containers that a run made, replaced, stopped or removed are as they were before it, and a whole roll-out with them.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{PROGRAM, Place, until, visit};
use crate::undo::kill_and_resume;

const SCRIPT: &str = r#"
local deploy = require("@std/deploy")
local api = deploy.service {
    name = "api",
    version = params.version,
    exec = { params.mcrun, "demo-server", params.version },
    replicas = params.replicas or 1,
    env = { LEVEL = params.level or "info" },
    routes = { {} },
    stop_timeout = "1s",
    health = { http = "/v1/health", within = "10s", interval = "50ms" },
}
deploy.rollout(api, { strategy = params.strategy })
"#;

/// Deploys a version and returns the run.
#[track_caller]
fn deploy(place: &Place, settings: &[&str]) -> String {
    let script = place.script("deploy.lua", SCRIPT);
    let program = format!("mcrun={PROGRAM}");
    let mut words = vec![script.as_str(), "--allow", "*"];
    for setting in settings.iter().copied().chain([program.as_str()]) {
        words.extend(["--set", setting]);
    }
    place.ends(0, &words);
    place.newest_id()
}

/// What stays the same from one life of a container to the next, of all of them.
fn standing(place: &Place) -> Vec<Value> {
    let fields = ["name", "state", "argv", "env", "ports", "service", "restart", "health", "labels"];
    let one = |container: &Value| fields.iter().map(|field| container[*field].clone()).collect();
    place.containers().iter().map(one).collect()
}

/// What the first service answers, once it does.
#[track_caller]
fn served(place: &Place) -> String {
    let port = place.containers()[0]["ports"][0]["host"].as_u64().expect("it has a port");
    until("the service answers", || visit(port))
}

/// Deploys two versions one after the other and undoes the second; the run that was undone.
#[track_caller]
fn undone(strategy: &str, replicas: &str) -> (Place, String) {
    let place = Place::new();
    deploy(&place, &["version=v1", "level=debug", replicas, strategy]);
    let before = (standing(&place), place.json(&["status", "api", "--json"])[0]["version"].clone());
    let run = deploy(&place, &["version=v2", replicas, strategy]);
    assert_eq!(served(&place), "v2");
    let plan = place.json(&["undo", &run, "--plan", "--json"]);
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["error"].is_null()), "{plan:#}");
    assert!(plan.to_string().contains("outside its volumes is lost"), "{plan:#}");
    place.ends(0, &["undo", &run, "--yes"]);
    assert_eq!(served(&place), "v1");
    let after = (standing(&place), place.json(&["status", "api", "--json"])[0]["version"].clone());
    assert_eq!(after, before);
    (place, run)
}

#[test]
fn a_recreating_roll_out_is_undone_whole() {
    let (place, run) = undone("strategy=recreate", "replicas=2");
    let again = place.json(&["undo", &run, "--plan", "--json"]);
    let steps = again["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| matches!(step["action"].as_str(), Some("none" | "read"))), "{again:#}");
}

#[test]
fn a_rolling_roll_out_is_undone_whole() {
    undone("strategy=rolling", "replicas=1");
}

#[test]
fn a_blue_green_roll_out_is_undone_whole() {
    undone("strategy=blue_green", "replicas=2");
}

#[test]
fn the_first_roll_out_is_undone_to_nothing() {
    let place = Place::new();
    let run = deploy(&place, &["version=v1"]);
    place.ends(0, &["undo", &run, "--yes"]);
    assert_eq!(place.containers(), Vec::<Value>::new());
    assert_eq!(place.json(&["status", "--json"]), json!([]));
}

#[test]
fn an_undone_roll_out_that_is_killed_anywhere_goes_on_where_it_stopped() {
    for point in [2, 4, 6, 8, 9, 10, 11, 12, 13, 15] {
        let place = Place::new();
        deploy(&place, &["version=v1"]);
        let before = standing(&place);
        let run = deploy(&place, &["version=v2"]);
        kill_and_resume(&place, &["undo", &run, "--yes"], point);
        assert_eq!(standing(&place), before, "killed at {point}");
        assert_eq!(served(&place), "v1", "killed at {point}");
    }
}

#[test]
fn what_a_later_run_has_deployed_is_not_taken_away() {
    let place = Place::new();
    deploy(&place, &["version=v1"]);
    let second = deploy(&place, &["version=v2"]);
    let third = deploy(&place, &["version=v3"]);
    let refused = place.ends(1, &["undo", &second, "--yes"]);
    assert!(refused.stderr.contains("MC-B002") && refused.stderr.contains(&third), "{refused}");
    assert_eq!(served(&place), "v3");
    place.ends(0, &["undo", &third, "--yes"]);
    place.ends(0, &["undo", &second, "--yes"]);
    assert_eq!(served(&place), "v1");
}

#[test]
fn what_was_stopped_started_and_removed_is_as_it_was() {
    let place = Place::new();
    let made = r#"
    for _, name in { "one", "two", "three" } do
        containers.ensure { name = name, exec = { "/bin/sleep", "600" }, stop_timeout = "0s", labels = { of = name } }
    end
    containers.stop { name = "two" }
    "#;
    place.ends(0, &[&place.script("make.lua", made), "--allow", "*"]);
    let before = standing(&place);
    let changed = r#"
    containers.stop { name = "one" }
    containers.start { name = "two" }
    containers.restart { name = "two" }
    containers.remove { name = "three" }
    containers.ensure { name = "four", exec = { "/bin/sleep", "600" }, stop_timeout = "0s" }
    containers.restart { name = "four" }
    "#;
    place.ends(0, &[&place.script("change.lua", changed), "--allow", "*"]);
    let run = place.newest_id();
    assert_ne!(standing(&place), before);
    place.ends(0, &["undo", &run, "--yes"]);
    assert_eq!(standing(&place), before);
}

#[test]
fn a_failed_transaction_leaves_the_containers_as_they_were() {
    let place = Place::new();
    let script = r#"
    local function web(level)
        containers.ensure { name = "web", exec = { "/bin/sleep", "600" }, stop_timeout = "0s", env = { LEVEL = level } }
    end
    web("info")
    local before = containers.get { name = "web" }
    pcall(transaction, function()
        web("debug")
        containers.ensure { name = "side", exec = { "/bin/sleep", "600" }, stop_timeout = "0s" }
        fail("not today")
    end)
    local after = containers.get { name = "web" }
    assert(after.state == "running" and after.env.LEVEL["$hidden"] == before.env.LEVEL["$hidden"])
    assert(containers.get { name = "side" } == nil)
    "#;
    place.ends(0, &[&place.script("transaction.lua", script), "--allow", "*"]);
}

#[test]
fn bringing_a_container_back_takes_what_making_it_takes() {
    let place = Place::new();
    let data = place.at("data");
    fs::create_dir(&data).unwrap();
    let made = format!(
        "containers.ensure {{ name = \"web\", exec = {{ \"/bin/sleep\", \"600\" }}, stop_timeout = \"0s\", \
         volumes = {{ \"{data}:{data}\" }} }}"
    );
    place.ends(0, &[&place.script("make.lua", &made), "--allow", "*"]);
    let before = standing(&place);
    let removed = place.script("remove.lua", "containers.remove { name = \"web\" }");
    place.ends(0, &[&removed, "--allow", "containers"]);
    let run = place.newest_id();
    let refused = place.ends(4, &["undo", &run, "--yes"]);
    assert!(refused.stderr.contains(&format!("files:write:{data}/**")), "{refused}");
    assert_eq!(place.containers(), Vec::<Value>::new());
    let denied = ["--allow", "files", "--allow", "exec", "--deny", "files:write:/**"];
    place.ends(4, &[&["undo", &run, "--yes"][..], &denied].concat());
    place.ends(0, &["undo", &run, "--yes", "--allow", "files", "--allow", "exec"]);
    assert_eq!(standing(&place), before);
}

#[test]
fn a_secret_comes_back_as_long_as_it_is_the_same() {
    let place = Place::new();
    let (secret, config) = (place.at("token"), place.config());
    fs::write(&secret, "first-value").unwrap();
    let configured = format!(
        "{}[secrets.token]\nfile = \"{secret}\"\nto = [\"containers:web\"]\n",
        fs::read_to_string(&config).unwrap()
    );
    fs::write(&config, configured).unwrap();
    let made = r#"containers.ensure {
        name = "web", exec = { "/bin/sleep", "600" }, stop_timeout = "0s", secrets = { TOKEN = secrets.get("token") },
    }"#;
    place.ends(0, &[&place.script("make.lua", made), "--allow", "*"]);
    let removed = place.script("remove.lua", "containers.remove { name = \"web\" }");
    place.ends(0, &[&removed, "--allow", "*"]);
    let run = place.newest_id();
    fs::write(&secret, "second-value").unwrap();
    let refused = place.ends(1, &["undo", &run, "--yes"]);
    refused.says(&["MC-B001", "the secret `TOKEN` of `web`", "another value now"]);
    fs::write(&secret, "first-value").unwrap();
    place.ends(0, &["undo", &run, "--yes"]);
    let pid = place.container("web").unwrap()["pid"].as_u64().unwrap();
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let file = environment.split('\0').find_map(|line| line.strip_prefix("TOKEN_FILE=")).unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), "first-value");
    let journal = fs::read(place.database()).unwrap();
    let holds = |text: &[u8]| journal.windows(text.len()).any(|window| window == text);
    assert!(!holds(b"first-value") && !holds(b"second-value"), "no value is kept");
}
