//! Containers that somebody started by hand are taken over as they run: a plan of the definition that comes of it finds
//! nothing to change.

use std::fs;

use serde_json::Value;

use crate::harness::{Place, until};
use crate::on_podman::{Engine, podman};

/// As an operator types it, before the image.
const OPTIONS: &[&str] = &[
    "--env",
    "LOG_LEVEL=debug",
    "--env",
    "DB_PASSWORD=correct horse",
    "--restart",
    "on-failure:3",
    "--user",
    "1000:1000",
    "--label",
    "tier=web",
    "--memory",
    "64m",
    "--stop-timeout",
    "1",
    "--cap-drop",
    "MKNOD",
];

/// Starts one by hand, and tells its id.
fn by_hand(engine: &Engine, options: &[&str], words: &[&str]) -> String {
    let image = format!("{}:v1", engine.image());
    let named = ["run", "--detach", "--name", &engine.name];
    podman(&[&named, options, &[image.as_str()], words].concat())
}

/// What tells that nobody has touched it.
fn untouched(engine: &Engine) -> String {
    podman(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}", &engine.name])
}

/// Takes it over, and returns the path of its definition.
fn adopted(engine: &Engine) -> String {
    let folder = engine.place.at("definitions");
    engine.place.ends(0, &["adopt", &engine.name, "--out", &folder]);
    format!("{folder}/{}.lua", engine.name)
}

#[track_caller]
fn changes_nothing(engine: &Engine, definition: &str) {
    engine.place.ends(0, &["plan", definition, "--allow", "*", "--detailed-exitcode"]);
}

fn with_secret(engine: &Engine, more: &str) {
    fs::write(engine.place.path().join("password"), "correct horse\n").unwrap();
    let (file, name) = (engine.place.at("password"), &engine.name);
    engine.configure(&format!(
        "[secrets.\"{name}/DB_PASSWORD\"]\nfile = \"{file}\"\nto = [\"containers:{name}\"]\n{more}"
    ));
}

#[test]
fn an_adopted_container_is_left_alone_and_its_definition_changes_nothing() {
    let engine = Engine::new();
    let (place, name) = (&engine.place, engine.name.as_str());
    let mount = format!("{}:/data:ro", place.at("image"));
    let volume = format!("{name}:/cache");
    let more = ["--publish", "127.0.0.1::8080", "--volume", &mount, "--volume", &volume];
    let words = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/data"];
    by_hand(&engine, &[OPTIONS, &more].concat(), &words);
    let before = untouched(&engine);

    place.ends(0, &["adopt", name, "--plan", "--out", &place.at("definitions")]);
    assert!(!place.path().join("definitions").exists(), "a plan writes nothing");
    let seen = place.ends(0, &["adopt", name, "--out", &place.at("definitions")]);
    seen.shows(&[
        "left out, and gone once it is replaced: --cap-drop",
        &format!("[secrets.\"{name}/DB_PASSWORD\"]"),
    ]);
    let definition = format!("{}/{name}.lua", place.at("definitions"));
    let text = fs::read_to_string(&definition).unwrap();
    assert!(text.contains(&format!("DB_PASSWORD = secrets.get(\"{name}/DB_PASSWORD\")")), "{text}");
    let checked = place.ends(0, &["check", &definition]);
    checked.shows(&["0 errors"]);

    place.ends(1, &["plan", &definition, "--allow", "*"]).shows(&["MC-P010"]);
    with_secret(&engine, "");
    changes_nothing(&engine, &definition);
    place.ends(0, &[&definition, "--allow", "*"]).shows(&["0 changed"]);
    assert_eq!(untouched(&engine), before);
    let status = place.json(&["status", name, "--json"]);
    assert_eq!((&status[0]["state"], &status[0]["version"]), (&Value::from("running"), &Value::from("v1")));
    assert_eq!(place.container(name).unwrap()["adopted"], true);
    for written in [fs::read(place.database()).unwrap(), text.into_bytes()] {
        assert!(!String::from_utf8_lossy(&written).contains("correct horse"), "a secret is written down");
    }

    place.ends(0, &["stop", name]);
    assert_eq!(place.json(&["status", name, "--json"])[0]["state"], "stopped");
    place.ends(0, &["start", name]);
    changes_nothing(&engine, &definition);
    place.ends(0, &["undeploy", name, "--yes"]);
    assert_eq!(podman(&["ps", "--all", "--quiet", "--filter", &format!("name=^{name}$")]), "");
    podman(&["volume", "rm", name]);
}

#[test]
fn a_change_of_an_adopted_container_tells_that_its_secrets_move() {
    let engine = Engine::new();
    by_hand(&engine, OPTIONS, &[]);
    let definition = adopted(&engine);
    with_secret(&engine, "");
    let text = fs::read_to_string(&definition).unwrap();
    fs::write(&definition, text.replace("\"debug\"", "\"warn\"")).unwrap();
    let plan = engine.place.ends(0, &["plan", &definition, "--allow", "*"]);
    plan.shows(&[
        "env.LOG_LEVEL",
        "secrets leave the environment: DB_PASSWORD is in the file $DB_PASSWORD_FILE",
    ]);
    engine.place.ends(0, &[&definition, "--allow", "*"]);
    changes_nothing(&engine, &definition);
    assert_eq!(engine.place.container(&engine.name).unwrap().get("adopted"), None, "it is mcrun's own now");
}

#[test]
fn monitors_find_nothing_in_an_adopted_container_until_somebody_stops_it() {
    let engine = Engine::new();
    by_hand(&engine, OPTIONS, &[]);
    adopted(&engine);
    with_secret(&engine, "[monitors]\nevery = \"200ms\"\ndrift_every = \"300ms\"\n");
    let mut served = engine.place.start(&["serve"]);
    until("it is ready", || served.stderr().contains("ready").then_some(()));
    podman(&["stop", &engine.name]);
    let drifts = until("the drift is told", || {
        let found = drifts(&engine.place);
        (!found.is_empty()).then_some(found)
    });
    for drift in &drifts {
        assert_eq!(drift["differences"][0]["fields"], serde_json::json!(["state"]), "{drift}");
    }
    served.kill();
}

fn drifts(place: &Place) -> Vec<Value> {
    let database = rusqlite::Connection::open(place.database()).unwrap();
    let mut query = database.prepare("SELECT data FROM events WHERE name = 'drift.detected'").unwrap();
    let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|data| serde_json::from_str(&data.unwrap()).unwrap()).collect()
}

#[test]
fn undoing_an_adoption_gives_the_container_back_as_it_runs() {
    let engine = Engine::new();
    by_hand(&engine, OPTIONS, &[]);
    let before = untouched(&engine);
    let definition = adopted(&engine);
    let run = engine.place.newest_id();
    engine.place.ends(0, &["undo", &run, "--yes"]);
    assert_eq!(untouched(&engine), before);
    assert!(!fs::exists(&definition).unwrap(), "the definition goes with the record");
    engine.place.ends(1, &["stop", &engine.name]).shows(&["MC-R001"]);
    adopted(&engine);
}

#[test]
fn another_container_of_the_same_name_is_not_the_adopted_one() {
    let engine = Engine::new();
    by_hand(&engine, OPTIONS, &[]);
    let definition = adopted(&engine);
    podman(&["rm", "--force", &engine.name]);
    by_hand(&engine, OPTIONS, &[]);
    with_secret(&engine, "");
    assert_eq!(engine.place.json(&["status", "--json"])[0]["state"], "missing");
    engine.place.ends(1, &["plan", &definition, "--allow", "*"]).shows(&["MC-C008"]);
}

#[test]
fn what_cannot_be_adopted_is_refused_and_left_as_it_is() {
    let engine = Engine::new();
    let (place, name) = (&engine.place, engine.name.as_str());
    let out = place.at("definitions");
    let adopt = ["adopt", name, "--out", &out];
    place.ends(1, &adopt).shows(&["MC-C004", "mcrun ps --all"]);
    let refused = |options: &[&str], words: &[&str], says: &str| {
        by_hand(&engine, options, words);
        let before = untouched(&engine);
        place.ends(1, &adopt).shows(&["MC-C030", says]);
        assert_eq!(untouched(&engine), before);
        podman(&["rm", "--force", "--volumes", "--time", "0", name]);
    };
    refused(&["--volume", "/data"], &[], "has no name");
    refused(&["--privileged"], &[], "no definition of a service has `privileged`");
    let words = ["/bin/busybox", "sh", "-c", "sleep 100", "--db-password=hunter2"];
    refused(&[], &words, "its command line has a secret in it: --db-password");
    assert!(!fs::exists(&out).unwrap(), "nothing was written");

    by_hand(&engine, OPTIONS, &[]);
    podman(&["stop", name]);
    place.ends(1, &adopt).shows(&["MC-C030", "it is exited"]);
    podman(&["start", name]);
    fs::create_dir_all(&out).unwrap();
    fs::write(format!("{out}/{name}.lua"), "-- mine\n").unwrap();
    place.ends(2, &adopt).shows(&["MC-U001", "says something else"]);
    fs::remove_file(format!("{out}/{name}.lua")).unwrap();
    place.ends(0, &adopt);
    place.ends(1, &adopt).shows(&["MC-C030", "taken over already", "mcrun status"]);
}

#[test]
fn recording_a_container_as_a_services_takes_the_capability_to_change_it() {
    let place = Place::new();
    let put = |adopted: &str| {
        let text = format!("registry.put {{ service = \"a\", spec = {{}}, adopted = {adopted} }}\n");
        place.script("put.lua", &text)
    };
    let script = put("{ other = \"1a\" }");
    place.ends(4, &[&script, "--allow", "registry"]).shows(&["MC-P001", "containers:write:other"]);
    place.ends(0, &[&script, "--allow", "registry", "--allow", "containers:write:other"]);
    let script = put("{ other = \"../1a\" }");
    place.ends(1, &[&script, "--allow", "*"]).shows(&["MC-A001", "adopted.other"]);
}
