//! `mcrun drift`: how services stand against what is recorded of them.

use serde_json::{Value, json};

use crate::harness::{PROGRAM, Place, until};

const SERVICE: &str = r#"
local deploy = require("@std/deploy")
deploy.rollout(deploy.service {
    name = "web",
    version = "v1",
    exec = { params.mcrun, "demo-server", "hello" },
    restart = params.restart or "no",
    replicas = params.replicas or 1,
    routes = { { mode = "l7" } },
    health = { http = "/v1/health", within = "30s", timeout = "1s" },
}, { strategy = "recreate" })
"#;

fn deploy(place: &Place, settings: &[&str]) {
    let script = place.script("web.lua", SERVICE);
    let mcrun = format!("mcrun={PROGRAM}");
    let mut words = vec![script.as_str(), "--allow", "*", "--set", &mcrun];
    for setting in settings {
        words.extend(["--set", setting]);
    }
    place.ends(0, &words);
}

fn done(place: &Place, text: &str) {
    let script = place.script("done.lua", text);
    place.ends(0, &[&script, "--allow", "*"]);
}

fn signal(place: &Place, container: &str, signal: rustix::process::Signal) {
    let pid = place.container(container).expect("it is there")["pid"].as_i64().expect("it runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Kills the program of a container and waits until its driver knows.
fn kill(place: &Place, container: &str) {
    let known = |field: &str| place.container(container).expect("it is there")[field].clone();
    let before = (known("restarts"), known("state"));
    signal(place, container, rustix::process::Signal::KILL);
    until("the end is seen", || ((known("restarts"), known("state")) != before).then_some(()));
}

/// The only service as `drift` shows it, which ends with `code`.
#[track_caller]
fn stands(place: &Place, code: i32) -> Value {
    let seen = place.ends(code, &["drift", "web", "--json"]);
    let report: Value = serde_json::from_str(&seen.stdout).unwrap();
    report["services"][0].clone()
}

#[track_caller]
fn is(place: &Place, code: i32, state: &str, reason: &str) -> Value {
    let standing = stands(place, code);
    assert_eq!(standing["state"], state, "{standing}");
    assert!(standing["reasons"].to_string().contains(reason), "{standing}");
    standing
}

#[test]
fn a_service_that_is_as_recorded_is_healthy_and_one_that_a_run_stopped_is_no_drift() {
    let place = Place::new();
    deploy(&place, &[]);
    is(&place, 0, "healthy", "");
    place.ends(0, &["stop", "web"]);
    is(&place, 0, "stopped", "web: stopped on purpose");
    place.ends(0, &["start", "web"]);
    is(&place, 0, "healthy", "");
    // Nobody wanted that.
    kill(&place, "web");
    is(&place, 3, "drifted", "web: does not run");
    let seen = place.ends(3, &["drift"]);
    assert!(seen.stdout.contains("drifted  web: does not run"), "{seen}");
}

#[test]
fn a_service_of_which_a_part_runs_or_that_does_not_answer_is_degraded() {
    let place = Place::new();
    deploy(&place, &["replicas=2"]);
    kill(&place, "web-2");
    is(&place, 3, "degraded", "web-2: does not run");
    place.ends(0, &["start", "web"]);
    signal(&place, "web-1", rustix::process::Signal::STOP);
    is(&place, 3, "degraded", "web-1: the health check fails");
    signal(&place, "web-1", rustix::process::Signal::CONT);
    is(&place, 0, "healthy", "");
}

#[test]
fn a_container_that_is_started_again_and_again_is_flapping() {
    let place = Place::new();
    deploy(&place, &["restart=always"]);
    for restarts in 1..=3 {
        kill(&place, "web");
        until("it is back", || {
            let web = place.container("web")?;
            (web["restarts"] == json!(restarts) && web["state"] == "running").then_some(())
        });
    }
    is(&place, 3, "flapping", "web: started again 3 times");
}

#[test]
fn fields_that_differ_and_containers_that_are_gone_are_named() {
    let place = Place::new();
    deploy(&place, &[]);
    done(
        &place,
        "local spec = registry.get { service = \"web\" }.spec.containers[1]\n\
         spec.env = table.clone(spec.env)\nspec.env.LEVEL = \"do-not-show\"\ncontainers.ensure(spec)\n",
    );
    let standing = is(&place, 3, "drifted", "web: env.LEVEL");
    assert_eq!(standing["differences"][0]["fields"], json!(["env.LEVEL"]));
    assert!(!standing.to_string().contains("do-not-show"), "{standing}");
    done(&place, "containers.remove { name = \"web\" }\n");
    is(&place, 3, "missing", "web: is not there");
}

#[test]
fn a_container_of_mcrun_that_no_record_knows_is_orphaned() {
    let place = Place::new();
    deploy(&place, &[]);
    done(&place, "containers.ensure { name = \"lost\", exec = { \"/bin/sleep\", \"600\" } }\n");
    let report = place.json(&["drift", "--json"]);
    assert_eq!(report["orphaned"][0]["container"], "lost", "{report}");
    place.ends(3, &["drift"]);
    // It is not the service's.
    place.ends(0, &["drift", "web"]);
}

#[test]
fn what_cannot_be_compared_is_unknown_and_says_why() {
    let place = Place::new();
    // Whoever may only write a record names what it may not touch.
    let trap = "registry.put { service = \"web\", spec = { containers = { { name = \"web\", exec = { \"/bin/sleep\", \
                \"600\" } } } } }\n";
    let script = place.script("trap.lua", trap);
    place.ends(0, &[&script, "--allow", "registry:write:web"]);
    is(&place, 1, "unknown", "MC-P001");
    place.ends(1, &["drift", "nothing"]).says(&["MC-R001", "mcrun status"]);
}

#[test]
fn what_cannot_be_compared_hides_nothing_that_differs() {
    let place = Place::new();
    // The first of both is somebody else's, and the second is not as it is recorded.
    let text = "local web = { name = \"web\", exec = { \"/bin/sleep\", \"600\" }, env = { A = \"1\" } }\n\
                containers.ensure(web)\nweb.env.A = \"2\"\n\
                local other = { name = \"other\", exec = { \"/bin/sleep\", \"600\" } }\n\
                registry.put { service = \"web\", spec = { containers = { other, web } } }\n";
    let script = place.script("partly.lua", text);
    let grants = ["--allow", "containers:write:web", "--allow", "registry:write:web", "--allow", "exec"];
    place.ends(0, &[&[script.as_str()][..], &grants].concat());
    let standing = is(&place, 3, "drifted", "web: env.A");
    assert!(standing["reasons"].to_string().contains("MC-P001"), "{standing}");
    assert_eq!(standing["differences"][0]["object"], "web", "{standing}");
}

#[test]
fn a_daemon_changes_nothing_of_what_is_seen() {
    let place = Place::new();
    deploy(&place, &[]);
    place.ends(0, &["stop", "web"]);
    let served = place.start(&["serve"]);
    until("it is ready", || served.stderr().contains("ready").then_some(()));
    is(&place, 0, "stopped", "stopped on purpose");
    place.ends(0, &["start", "web"]);
    is(&place, 0, "healthy", "");
}
