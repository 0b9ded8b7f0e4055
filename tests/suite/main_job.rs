//! Deploy, see it before, run it again, look at it, operate it, take it away.

use serde_json::Value;

use crate::harness::{Place, data, until, visit};
use crate::processes;
use crate::service::{Deploy, deploy, ports};

const GRANTS: &[&str] =
    &["--allow", "containers", "--allow", "exec", "--allow", "health", "--allow", "registry"];

fn with_grants<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().chain(GRANTS).copied().collect()
}

fn pid(container: &Value) -> u64 {
    container["pid"].as_u64().expect("a running container has a process")
}

#[test]
fn nothing_is_granted_by_default() {
    let place = Place::new();
    let script = place.script("a.lua", "exec.run { argv = { \"/bin/true\" } }\n");
    place.ends(4, &[&script]).says(&["MC-P001", "--allow exec:write:"]);
}

#[test]
fn a_new_project_is_planned_deployed_and_then_right() {
    let place = Place::new();
    place.ends(0, &["new", "project"]);
    let planned = place.ends(3, &with_grants(&["plan", "project/deploy.lua", "--detailed-exitcode"]));
    assert!(planned.stdout.contains("+ containers.ensure hello"), "{planned}");
    assert_eq!(place.containers(), Vec::<Value>::new(), "a plan changes nothing");
    place.ends(0, &with_grants(&["project/deploy.lua"]));
    let hello = place.container("hello").expect("the deploy made it");
    let again = place.ends(0, &with_grants(&["plan", "project/deploy.lua", "--detailed-exitcode"]));
    assert!(again.stdout.contains("unchanged"), "{again}");
    place.ends(0, &with_grants(&["project/deploy.lua"])).says(&[" 0 changed"]);
    assert_eq!(pid(&place.container("hello").unwrap()), pid(&hello), "a second run leaves it alone");
}

#[test]
fn a_deployed_service_answers() {
    let place = Place::new();
    let deployed = deploy(&place, 0, &["message=good day"]);
    assert_eq!(visit(ports(&deployed)[0]).as_deref(), Some("good day"));
    let again = deploy(&place, 0, &["message=good day"]);
    assert_eq!(ports(&again), ports(&deployed), "ports are stable");
    again.says(&[" 0 changed"]);
}

#[test]
fn what_is_listed_has_the_documented_shape() {
    let place = Place::new();
    deploy(&place, 0, &[]);
    let containers = place.containers();
    let shown: Vec<_> =
        containers.iter().map(|c| (&c["name"], &c["service"], &c["state"], &c["driver"])).collect();
    assert_eq!(shown, [(&"web".into(), &"web".into(), &"running".into(), &"process".into())]);
    assert_eq!(
        containers[0]["env"],
        serde_json::json!(["LEVEL", "PORT"]),
        "values of the environment stay hidden"
    );

    let status = place.json(&["status", "--json"]);
    assert_eq!((&status[0]["service"], &status[0]["version"]), (&"web".into(), &"v1".into()));
    assert_eq!(
        (&status[0]["state"], &status[0]["containers"][0]["name"]),
        (&"running".into(), &"web".into())
    );

    let run = place.newest();
    assert_eq!(
        (&run["state"], &run["exit_code"], &run["name"]),
        (&"done".into(), &0.into(), &"deploy.lua".into())
    );
    assert_eq!((&run["resumable"], &run["killed"]), (&false.into(), &false.into()));

    let entries = place.newest_shown()["entries"].as_array().unwrap().clone();
    let ensured =
        entries.iter().find(|entry| entry["identity"]["name"] == "containers.ensure").expect("its entry");
    assert_eq!(ensured["identity"]["scope"], "deploy/web");
    assert_eq!(
        (&ensured["kind"], &ensured["status"], &ensured["changed"]),
        (&"ensure".into(), &"done".into(), &true.into())
    );

    let log = place.ends(0, &["logs", &place.newest_id(), "--json"]);
    let lines: Vec<Value> = log.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "deployed" && line["level"] == "info"), "{log}");
}

#[test]
fn the_outcome_of_a_run_can_be_had_as_json() {
    let place = Place::new();
    let script = place.script("a.lua", "print(\"text\")\nfail(\"enough\")\n");
    let outcome = place.json(&["run", &script, "--json"]);
    assert_eq!((&outcome["state"], &outcome["exit_code"]), (&"failed".into(), &1.into()));
    assert_eq!(
        (&outcome["error"]["code"], &outcome["error"]["message"]),
        (&"MC-S003".into(), &"enough".into())
    );
    assert_eq!(outcome["place"], serde_json::json!({ "file": "a.lua", "line": 2 }));
}

#[test]
fn what_a_service_says_is_kept() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "containers.ensure { name = \"talker\", exec = { \"/bin/sh\", \"-c\", \"echo one; echo two >&2; exec sleep 600\" } }\n",
    );
    place.ends(0, &[&script, "--allow", "*"]);
    let said = until("both lines", || {
        let said = place.ends(0, &["logs", "talker", "--json"]);
        let lines: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() == 2).then_some(lines)
    });
    let mut streams: Vec<_> =
        said.iter().map(|line| (line["line"].as_str(), line["stream"].as_str())).collect();
    streams.sort_unstable();
    assert_eq!(streams, [(Some("one"), Some("stdout")), (Some("two"), Some("stderr"))]);
}

#[test]
fn a_service_is_stopped_started_restarted_and_removed() {
    let place = Place::new();
    let port = ports(&deploy(&place, 0, &[]))[0];
    let first = pid(&place.container("web").unwrap());

    place.ends(0, &["stop", "web"]);
    assert_eq!(visit(port), None);
    assert_eq!(place.json(&["status", "web", "--json"])[0]["state"], "stopped");

    place.ends(0, &["start", "web"]);
    assert_eq!(visit(port).as_deref(), Some("first"));
    let second = pid(&place.container("web").unwrap());
    assert_ne!(first, second);

    place.ends(0, &["restart", "web"]);
    assert_eq!(visit(port).as_deref(), Some("first"));
    assert_ne!(second, pid(&place.container("web").unwrap()));

    place.ends(2, &["undeploy", "web", "--no-input"]).says(&["MC-U001", "--yes"]);
    assert_eq!(visit(port).as_deref(), Some("first"), "what is not confirmed is not done");
    place.ends(0, &["undeploy", "web", "--yes"]);
    assert_eq!(visit(port), None);
    assert_eq!(place.container("web"), None);
    assert_eq!(place.json(&["status", "--json"]), serde_json::json!([]));
    place.ends(1, &["status", "web"]).says(&["MC-R001"]);
}

#[test]
fn a_rolling_deploy_replaces_one_replica_after_the_other() {
    let place = Place::new();
    let settings = ["replicas=2", "strategy=rolling"];
    let first = deploy(&place, 0, &settings);
    let second = deploy(&place, 0, &[&settings[..], &["message=second", "version=v2"]].concat());
    assert_eq!(ports(&first), ports(&second));
    for port in ports(&second) {
        assert_eq!(visit(port).as_deref(), Some("second"));
    }
    let entries = place.newest_shown()["entries"].as_array().unwrap().clone();
    let steps: Vec<String> = entries
        .iter()
        .filter(|entry| entry["kind"] != "read")
        .filter_map(|entry| {
            let arguments = data(&entry["arguments"]);
            Some(format!("{} {}", entry["identity"]["name"].as_str()?, arguments["name"].as_str()?))
        })
        .filter(|step| step.starts_with("containers"))
        .collect();
    assert_eq!(
        steps,
        [
            "containers.ensure web-1",
            "containers.wait_healthy web-1",
            "containers.ensure web-2",
            "containers.wait_healthy web-2",
        ]
    );
}

#[test]
fn a_rolling_deploy_of_a_single_container_starts_its_successor_beside_it() {
    let place = Place::new();
    let before = deploy(&place, 0, &["strategy=rolling"]);
    let after = deploy(&place, 0, &["strategy=rolling", "message=second"]);
    assert_ne!(ports(&before), ports(&after), "both ran for a while");
    assert_eq!(visit(ports(&after)[0]).as_deref(), Some("second"));
    assert_eq!(visit(ports(&before)[0]), None);
    assert_eq!(place.containers().len(), 1);
}

#[test]
fn a_failed_deploy_brings_the_previous_release_back() {
    for strategy in ["strategy=recreate", "strategy=rolling"] {
        let place = Place::new();
        let port = ports(&deploy(&place, 0, &["message=good", strategy]))[0];
        deploy(&place, 7, &["broken=true", "version=v2", strategy]).says(&["MC-R002", "rolled back"]);
        assert_eq!(visit(port).as_deref(), Some("good"), "{strategy}");
        assert_eq!(place.containers().len(), 1, "{strategy}");
        assert_eq!(place.json(&["status", "web", "--json"])[0]["version"], "v1", "{strategy}");
        let run = place.newest();
        assert_eq!((&run["state"], &run["exit_code"]), (&"failed".into(), &7.into()), "{strategy}");
    }
}

#[test]
fn a_failed_first_deploy_leaves_nothing() {
    let place = Place::new();
    deploy(&place, 7, &["broken=true"]).says(&["MC-R002", "nothing of it is left"]);
    assert_eq!(place.containers(), Vec::<Value>::new());
    assert_eq!(place.json(&["status", "--json"]), serde_json::json!([]));
}

#[test]
fn a_service_outlives_the_program_that_started_it() {
    let place = Place::new();
    let port = ports(&deploy(&place, 0, &[]))[0];
    let web = place.container("web").unwrap();
    let service =
        processes::all().into_iter().find(|process| u64::from(process.pid) == pid(&web)).expect("it runs");
    assert_ne!(service.parent, std::process::id());
    assert_eq!(visit(port).as_deref(), Some("first"));
}

#[test]
fn a_plan_of_a_deploy_is_data_too() {
    let place = Place::new();
    let plan = place.json(&Deploy::new(&place, &[]).words(&["plan", "--json"]));
    assert_eq!(plan["has_changes"], true);
    assert_eq!(plan["missing"], serde_json::json!([]));
    let needs: Vec<_> = plan["needs"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(needs.contains(&"containers:write:web"), "{needs:?}");
    let steps = plan["steps"].as_array().unwrap();
    assert!(
        steps
            .iter()
            .any(|step| step["action"] == "create" && step["identity"]["name"] == "containers.ensure")
    );
}
