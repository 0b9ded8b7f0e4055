//! What a person sees of bad input: each kind has its own code, cause and hint. The snapshots are what is shown.

use std::net::TcpListener;

use crate::harness::{Place, Seen};
use crate::processes;

/// What was shown, without what differs from run to run.
pub(crate) fn shown(place: &Place, seen: &Seen) -> String {
    let folder = std::fs::canonicalize(place.path()).expect("the place is there");
    let node =
        place.path().file_name().and_then(|name| name.to_str()).expect("temporary folders have plain names");
    let text = format!(
        "exit {}\n{}",
        seen.code.map_or("by signal".to_owned(), |code| code.to_string()),
        seen.stderr
    );
    let mut text = text
        .replace(folder.to_str().expect("a plain name"), "PLACE")
        .replace(place.path().to_str().expect("a plain name"), "PLACE")
        .replace(node, "NODE");
    if place.database().is_file() {
        // Where the journal cannot be read there is no id to hide.
        let runs = serde_json::from_str::<Vec<serde_json::Value>>(&place.run(&["runs", "--json"]).stdout);
        for run in runs.unwrap_or_default() {
            text = text.replace(run["id"].as_str().unwrap_or("-"), "RUN");
        }
    }
    text.lines().map(without_times).collect::<Vec<_>>().join("\n")
}

/// `12 ms` and `0.07 s` as `TIME`, `(3 probes)` as `(N probes)`: a slow machine shows others.
fn without_times(line: &str) -> String {
    let mut shown = Vec::new();
    let mut words = line.split(' ').peekable();
    while let Some(word) = words.next() {
        let is_number = word.trim_start_matches('(').parse::<f64>().is_ok();
        match words.peek() {
            Some(&("ms" | "s")) if is_number => {
                words.next();
                shown.push("TIME");
            }
            Some(&("probe)" | "probes)")) if is_number => {
                words.next();
                shown.push("(N probes)");
            }
            _ => shown.push(word),
        }
    }
    shown.join(" ")
}

/// Compares what `mcrun WORDS` shows with the snapshot of this name.
macro_rules! shows {
    ($name:literal, $place:expr, $words:expr) => {{
        let seen = $place.run($words);
        insta::assert_snapshot!($name, $crate::errors::shown(&$place, &seen));
    }};
}
pub(crate) use shows;

fn script(text: &str) -> (Place, String) {
    let place = Place::new();
    let script = place.script("a.lua", text);
    (place, script)
}

#[test]
fn a_script_that_does_not_compile() {
    let (place, script) = script("local a = 1\nlocal b = = 2\n");
    shows!("syntax", place, &[&script]);
    assert!(place.runs().len() <= 1);
}

#[test]
fn a_run_time_error_in_a_module() {
    let (place, script) = script(
        "local util = require(\"./lib/util\")\n\nlocal function outer()\n    return util.port({})\nend\nouter()\n",
    );
    place.script(
        "lib/util.luau",
        "local util = {}\n\nfunction util.port(service)\n    return service.ports.http\nend\n\nreturn util\n",
    );
    shows!("run_time_error", place, &[&script]);
}

#[test]
fn a_field_that_the_effect_does_not_have() {
    let (place, script) = script("containers.ensure { name = \"web\", exce = { \"/bin/true\" } }\n");
    shows!("unknown_field", place, &[&script, "--allow", "*"]);
}

#[test]
fn a_field_of_the_wrong_type() {
    let (place, script) = script("files.write { path = \"a\", content = \"x\", mode = 640 }\n");
    shows!("wrong_type", place, &[&script, "--allow", "*"]);
}

#[test]
fn an_unknown_capability() {
    let (place, script) = script("print(1)\n");
    shows!("unknown_capability", place, &[&script, "--allow", "contianers:write:web"]);
    shows!("malformed_capability", place, &[&script, "--allow", "containers:own:web"]);
}

#[test]
fn a_denied_effect() {
    let (place, script) = script("files.write { path = \"/etc/mcrun-test\", content = \"x\" }\n");
    shows!("denied", place, &[&script, "--allow", "files:read"]);
    assert!(!std::path::Path::new("/etc/mcrun-test").exists());
}

#[test]
fn an_effect_where_none_can_be() {
    let (place, script) = script(
        "local list = { 3, 1, 2 }\ntable.sort(list, function(a, b)\n    now()\n    return a < b\nend)\n",
    );
    shows!("effect_place", place, &[&script]);
}

#[test]
fn an_effect_in_an_error_handler() {
    let (place, script) = script(
        "local ok, reason = xpcall(function()\n    fail(\"first\")\nend, function(reason)\n    now()\n    return reason\nend)\nif not ok then error(reason) end\n",
    );
    shows!("effect_in_handler", place, &[&script]);
}

#[test]
fn names_that_nobody_gave() {
    let (place, script) = script("local web = \"web\"\ncontainer.ensure { name = web }\n");
    shows!("unknown_primitive", place, &[&script]);
    let script = place.script("a.lua", "containers.ensur { name = \"web\" }\n");
    shows!("unknown_effect", place, &[&script]);
    let script = place.script("a.lua", "slep(\"1s\")\n");
    shows!("unknown_global", place, &[&script]);
    let script = place.script("a.lua", "local run = loadstring(\"1\")\n");
    shows!("gone_global", place, &[&script]);
}

#[test]
fn branches_that_fail_together() {
    let (place, script) = script(
        "parallel {\n    api = function()\n        exec.run { argv = { \"/bin/false\" } }\n    end,\n    web = function()\n        fail(\"no web today\")\n    end,\n}\n",
    );
    shows!("branches", place, &[&script, "--allow", "*"]);
}

#[test]
fn a_program_that_takes_too_long() {
    let (place, script) = script("exec.run { argv = { \"/bin/sleep\", \"60\" }, timeout = \"100ms\" }\n");
    shows!("timed_out", place, &[&script, "--allow", "*"]);
}

#[test]
fn an_address_that_is_refused_or_does_not_answer() {
    let (place, script) = script("http.get { url = \"http://169.254.169.254/latest/\" }\n");
    shows!("http_refused", place, &[&script, "--allow", "*"]);
    let script = place.script("a.lua", "http.get { url = \"http://127.0.0.1:1/\" }\n");
    shows!("http_failed", place, &[&script, "--allow", "*"]);
    let script = place.script("a.lua", "health.http { url = \"http://127.0.0.1:1/\", within = \"100ms\" }\n");
    shows!("never_healthy", place, &[&script, "--allow", "*"]);
}

#[test]
fn a_template_that_cannot_be_rendered() {
    let (place, script) =
        script("files.template { path = \"a\", template = \"one\\n{{ two }}\\n\", values = {} }\n");
    shows!("template", place, &[&script, "--allow", "*"]);
}

#[test]
fn a_file_that_cannot_be_read() {
    let place = Place::new();
    shows!("no_such_script", place, &["run", "missing.lua"]);
    std::fs::create_dir_all(place.at("scripts/folder.lua")).unwrap();
    shows!("script_is_a_folder", place, &["run", "scripts/folder.lua"]);
    std::fs::write(place.at("scripts/latin.lua"), b"print(\"\xe4\")\n").unwrap();
    shows!("script_is_not_text", place, &["run", "scripts/latin.lua"]);
}

#[test]
fn a_module_that_is_not_there() {
    let (place, script) = script("require(\"./nothing\")\n");
    shows!("no_such_module", place, &[&script]);
}

#[test]
fn a_module_outside_of_the_folder() {
    let (place, script) = script("require(\"../../secret\")\n");
    shows!("module_outside", place, &[&script]);
}

#[test]
fn an_engine_that_is_not_there() {
    let (place, script) = script("containers.ensure { name = \"web\", image = \"example/web:v1\" }\n");
    place.configure(
        "[drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"/nonexistent/podman.sock\"\n",
    );
    shows!("no_engine", place, &[&script, "--allow", "*"]);
}

#[test]
fn an_image_that_is_not_there() {
    let (place, script) = script(
        "containers.ensure { name = \"mcrun-test-missing\", image = \"localhost/mcrun-test/missing:v1\" }\n",
    );
    place.configure("[drivers]\ncontainers = \"podman\"\n");
    shows!("no_image", place, &[&script, "--allow", "*"]);
    // Started for this state directory, and it would stay for a minute.
    for service in processes::with_word(&format!("unix://{}", place.at("state/podman.sock"))) {
        processes::signal(service, rustix::process::Signal::TERM);
    }
}

#[test]
fn an_image_under_a_driver_that_has_none() {
    let (place, script) = script("containers.ensure { name = \"web\", image = \"example/web:v1\" }\n");
    shows!("unsupported", place, &["plan", &script, "--allow", "*"]);
}

#[test]
fn a_program_that_is_not_there() {
    let (place, script) = script("containers.ensure { name = \"web\", exec = { \"/nonexistent/web\" } }\n");
    shows!("no_program", place, &[&script, "--allow", "*"]);
}

#[test]
fn an_occupied_port_and_who_holds_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ports = format!("ports = {{ {{ host = {port}, container = {port} }} }}");
    let (place, script) = script(&format!(
        "containers.ensure {{ name = \"web\", exec = {{ \"/bin/sleep\", \"60\" }}, {ports} }}\n"
    ));
    let mut seen = place.run(&[&script, "--allow", "*"]);
    seen.stderr =
        seen.stderr.replace(&port.to_string(), "PORT").replace(&std::process::id().to_string(), "PID");
    // The test's thread may give the process another name.
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    insta::assert_snapshot!(
        "occupied_port",
        shown(&place, &seen).replace(&format!("`{}`", name.trim()), "`HOLDER`")
    );
}

#[test]
fn a_service_that_never_becomes_healthy() {
    let (place, script) = script(
        "containers.ensure { name = \"web\", exec = { \"/bin/sh\", \"-c\", \"echo no config; exec sleep 60\" }, health = { exec = { \"/bin/false\" } } }\n\
         containers.wait_healthy { name = \"web\", within = \"300ms\" }\n",
    );
    shows!("unhealthy", place, &[&script, "--allow", "*"]);
}

#[test]
fn a_program_that_fails() {
    let (place, script) =
        script("exec.run { argv = { \"/bin/sh\", \"-c\", \"echo broken >&2; exit 3\" } }\n");
    shows!("exit_status", place, &[&script, "--allow", "*"]);
}

#[test]
fn a_script_that_never_ends() {
    let (place, script) = script("local n = 0\nwhile true do\n    n += 1\nend\n");
    shows!("limit_execution", place, &[&script, "--limit", "exec=200ms"]);
}

#[test]
fn a_retry_that_pauses_the_run() {
    let (place, script) = script(
        "retry({ times = 2, on_exhausted = \"pause\" }, function()\n    http.get { url = \"http://127.0.0.1:1/\" }\nend)\n",
    );
    shows!("retries_exhausted", place, &[&script, "--allow", "*"]);
    assert_eq!(place.newest()["resumable"], true);
}

#[test]
fn words_that_are_not_understood() {
    let (place, script) = script("print(1)\n");
    shows!("bad_limit", place, &[&script, "--limit", "memroy=1GiB"]);
    shows!("bad_limit_value", place, &[&script, "--limit", "exec=soon"]);
    shows!("bad_set", place, &[&script, "--set", "message"]);
    shows!("unknown_run", place, &["show", "nothing"]);
    shows!("unknown_service", place, &["stop", "nothing"]);
    shows!("unknown_subject", place, &["logs", "nothing"]);
    shows!("unknown_command", place, &["deplyo"]);
}

#[test]
fn a_wrong_configuration() {
    let place = Place::new();
    let write = |text: &str| std::fs::write(place.at("mcrun.toml"), text).unwrap();
    write("[drivers]\n# a comment\ncontainer = \"podman\"\n");
    shows!("config_unknown_key", place, &["runs"]);
    for (name, text) in [
        ("config_node_address", "[node]\naddress = \"100.95.252.120\"\n"),
        ("config_drivers_routes", "[drivers]\ncontainers = \"auto\"\nroutes = \"embedded\"\n"),
        ("config_playbooks", "[node]\nname = \"rift\"\n\n[playbooks]\nfolder = [\"/etc/mcrun/playbooks\"]\n"),
        ("config_secret_key", "[secrets.\"a/b\"]\nfiel = \"/run/a\"\nto = []\n"),
    ] {
        write(text);
        insta::assert_snapshot!(name, shown(&place, &place.run(&["runs"])));
    }
    write("[drivers]\ncontainers = \"docker-compose\"\n");
    shows!("config_bad_value", place, &["runs"]);
    write("[drivers\n");
    shows!("config_syntax", place, &["runs"]);
}

#[test]
fn a_configuration_where_scripts_lie() {
    let (place, script) = script("print(1)\n");
    std::fs::copy(place.config(), place.at("scripts/mcrun.toml")).unwrap();
    shows!("config_beside_script", place, &["--config", "scripts/mcrun.toml", "run", &script]);
}
