//! The runbook: what recreates services when mcrun is gone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{PROGRAM, Place, program, until};
use crate::on_podman::{CONFIGURATION, Engine, podman};

const NATIVE: &str = r#"
local deploy = require("@std/deploy")
deploy.rollout(deploy.service {
    name = "web",
    version = "v1",
    exec = { params.mcrun, "demo-server", "hello" },
    routes = { { mode = "l7" } },
}, { strategy = "recreate" })
"#;

fn deploy(place: &Place) -> crate::harness::Seen {
    let script = place.script("web.lua", NATIVE);
    place.ends(0, &[&script, "--allow", "*", "--set", &format!("mcrun={PROGRAM}")])
}

fn sh(file: &Path) -> Command {
    let mut command = program("sh");
    command.arg(file).env("CONTAINERS_CONF", CONFIGURATION);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn kept(place: &Place) -> String {
    fs::read_to_string(place.state().join("runbook.sh")).unwrap_or_default()
}

#[test]
fn the_runbook_of_the_state_directory_follows_the_registry() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let file = place.state().join("runbook.sh");
    // A run that touches no service leaves none.
    place.ends(0, &[&place.script("a.lua", "print(1)\n")]);
    assert!(!file.exists());
    deploy(&place);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(kept(&place).contains("# == web, version v1, recorded "), "{}", kept(&place));
    assert_eq!(place.ends(0, &["export-runbook"]).stdout, kept(&place));
    place.ends(0, &["undeploy", "web", "--yes"]);
    assert!(kept(&place).contains("# No service is recorded."), "{}", kept(&place));
    // The daemon executes what follows.
    let served = place.start(&["serve"]);
    until("it is ready", || served.stderr().contains("ready").then_some(()));
    deploy(&place);
    assert!(kept(&place).contains("# == web, version v1, recorded "), "{}", kept(&place));
}

#[test]
fn a_runbook_that_cannot_be_written_is_a_warning_and_fails_no_run() {
    let place = Place::new();
    place.ends(0, &["runs"]);
    fs::create_dir(place.state().join("runbook.sh")).unwrap();
    deploy(&place).says(&["warning:", "runbook.sh"]);
    let folder = place.at("runbook-folder");
    fs::create_dir(&folder).unwrap();
    place.ends(1, &["export-runbook", "--out", &folder]).says(&["MC-J005"]);
}

#[test]
fn a_native_program_comes_back_once_by_its_command_line() {
    let place = Place::new();
    deploy(&place);
    let port = place.container("web").unwrap()["ports"][0]["host"].as_u64().unwrap();
    let file = place.state().join("runbook.sh");
    let start = || {
        let output = sh(&file).env("TMPDIR", place.path()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    assert!(start().contains("web: runs already, left as it is"));
    // A folder of its own, so that the program can be found by it.
    place.ends(0, &["stop", "web"]);
    let told = start();
    let process = told.split("started as process ").nth(1).and_then(|rest| rest.split(';').next());
    let process: i32 = process.and_then(|process| process.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    let answers = until("it answers", || crate::harness::visit(port));
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap();
    let again = start();
    let process = rustix::process::Pid::from_raw(process).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    assert!(answers.contains("hello"), "{answers}");
    assert!(String::from_utf8_lossy(&environment).contains(&format!("PORT={port}")));
    assert!(again.contains("web: runs already, left as it is"), "{again}");
}

/// An engine that only notes what it is told, and has nothing.
const NOTES: &str = "#!/bin/sh\ncase \"$1 $2\" in\n'container inspect' | 'container exists') exit 1 ;;\n\
    info*) echo /nowhere && exit ;;\nps*) exit ;;\nesac\nprintf '%s\\0' \"$@\" >>\"$NOTED\"\n";

#[test]
fn words_of_a_record_reach_the_engine_as_they_are() {
    let place = Place::new();
    let hostile = [
        "'; touch owned; '",
        "$(touch owned)",
        "`touch owned`",
        "a\nb\n",
        "",
        "-v/:/host",
        "\\",
        "\u{1b}[31mé",
    ];
    let spec = json!({
        "name": "web", "image": "mcr.test/web:v1", "cmd": hostile, "env": { "A": hostile[0], "B": hostile[3] },
    });
    let script = format!(
        "local spec = json.decode([==[{spec}]==])\nregistry.put {{ service = \"web\", spec = {{ containers = {{ spec }}, \
         ingress = {{ routes = {{ {{ hostname = \"x\\ntouch owned\", backends = {{}} }} }} }} }}, \
         release = {{ version = \"v1\\ntouch owned #\" }} }}\n"
    );
    place.ends(0, &[&place.script("record.lua", &script), "--allow", "*"]);
    let engine = place.path().join("bin/podman");
    fs::create_dir(place.path().join("bin")).unwrap();
    fs::write(&engine, NOTES).unwrap();
    fs::set_permissions(&engine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let noted = place.path().join("noted");
    let path = format!("{}:/usr/bin:/bin", place.path().join("bin").display());
    let mut command = sh(&place.state().join("runbook.sh"));
    let output = command.current_dir(place.path()).env("PATH", path).env("NOTED", &noted).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!place.path().join("owned").exists());
    let noted = fs::read_to_string(noted).unwrap();
    let words: Vec<&str> = noted.strip_suffix('\0').unwrap().split('\0').collect();
    assert_eq!(words[words.len() - hostile.len()..], hostile);
    for variable in [format!("A={}", hostile[0]), format!("B={}", hostile[3])] {
        assert!(words.contains(&variable.as_str()), "{words:?}");
    }
}

#[test]
fn a_runbook_does_no_more_than_the_run_that_recorded_it_might() {
    let place = Place::new();
    let trap = "registry.put { service = \"trap\", spec = { containers = { { name = \"trap\", image = \"x:1\", \
                privileged = true, volumes = { \"/:/host\" } } } } }\n";
    place.ends(0, &[&place.script("trap.lua", trap), "--allow", "registry:write:trap"]);
    let text = kept(&place);
    assert!(text.contains("trap: left out: MC-P001") && !text.contains("--privileged"), "{text}");
    let output = sh(&place.state().join("runbook.sh")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

const TWO: &str = r#"
local deploy = require("@std/deploy")
local function service(name: string, more: { [string]: any })
    more.name = params.name .. name
    more.image = params.image .. ":v1"
    more.restart = "on-failure:3"
    more.stop_timeout = "0s"
    more.routes = { { port = 8080, mode = "l7" } }
    deploy.rollout(deploy.service(more :: any), { strategy = "recreate" })
end
service("-b", { env = { TEXT = "it's $HOME\n`x`" }, volumes = { params.folder .. ":/data" }, memory = "64MiB" })
service("-a", {
    cmd = { "/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/data" },
    volumes = { params.folder .. ":/data:ro" },
    secrets = { DB = secrets.get("db") },
})
"#;

/// What an operator sees of a container, but for what only mcrun can say of it.
fn seen(name: &str) -> Value {
    let inspected: Value = serde_json::from_str(&podman(&["container", "inspect", name])).unwrap();
    let container = &inspected[0];
    let sorted = |list: &Value| {
        let mut list: Vec<String> = list.as_array().into_iter().flatten().map(Value::to_string).collect();
        list.sort();
        list
    };
    let mounts = container["Mounts"].as_array().unwrap().iter();
    let mounts: Vec<Value> =
        mounts.map(|mount| json!([mount["Source"], mount["Destination"], mount["RW"]])).collect();
    let mut labels = container["Config"]["Labels"].as_object().unwrap().clone();
    labels.retain(|label, _| {
        label != "mcrun.spec" && !label.starts_with("mcrun.secret.") && !label.starts_with("mcrun.origin.")
    });
    // It takes the host's name from the container's id.
    let env: Vec<&Value> = container["Config"]["Env"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|variable| !variable.as_str().unwrap().starts_with("HOSTNAME="))
        .collect();
    json!({
        "running": container["State"]["Running"],
        "image": container["Image"],
        "path": [container["Path"], container["Args"]],
        "env": sorted(&json!(env)),
        "mounts": sorted(&json!(mounts)),
        "labels": labels,
        "ports": container["HostConfig"]["PortBindings"],
        "restart": container["HostConfig"]["RestartPolicy"],
        "memory": [container["HostConfig"]["Memory"], container["HostConfig"]["MemorySwap"]],
        "stop": container["Config"]["StopTimeout"],
        "network": container["HostConfig"]["NetworkMode"],
    })
}

#[test]
fn a_runbook_recreates_what_podman_had_when_mcrun_is_gone() {
    let engine = Engine::new();
    let place = &engine.place;
    fs::write(place.path().join("password"), "hunter2").unwrap();
    engine
        .configure(&format!("[secrets.db]\nfile = \"{}\"\nto = [\"containers:*\"]\n", place.at("password")));
    let folder = place.at("data");
    fs::create_dir(&folder).unwrap();
    fs::write(place.path().join("data/index.html"), "what was kept").unwrap();
    let settings =
        [format!("name={}", engine.name), format!("image={}", engine.image()), format!("folder={folder}")];
    let script = place.script("two.lua", TWO);
    let mut words = vec![script.as_str(), "--allow", "*"];
    settings.iter().for_each(|setting| words.extend(["--set", setting]));
    place.ends(0, &words);

    // In the order in which they were recorded, not by name.
    let names = [format!("{}-b", engine.name), format!("{}-a", engine.name)];
    let file = place.path().join("runbook");
    place.ends(0, &["export-runbook", "--out", file.to_str().unwrap()]);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, kept(place));
    assert!(text.find(&names[0]) < text.find(&names[1]), "{text}");
    assert!(!text.contains("hunter2"), "{text}");

    let before = names.clone().map(|name| seen(&name));
    let port = before[1]["ports"]["8080/tcp"][0]["HostPort"].as_str().unwrap().parse().unwrap();
    let secret: Value = serde_json::from_str(&podman(&["container", "inspect", &names[1]])).unwrap();
    let mounts = secret[0]["Mounts"].as_array().unwrap().iter();
    let secret = mounts.map(|mount| mount["Source"].as_str().unwrap()).find(|path| path.ends_with("/DB"));
    let secrets = Path::new(secret.unwrap()).parent().unwrap().to_owned();
    for name in &names {
        podman(&["rm", "--force", "--time", "0", name]);
    }
    let state = place.path().join("state-that-was");
    fs::rename(place.state(), &state).unwrap();
    fs::remove_dir_all(&secrets).unwrap();

    // Without the secret it ends where that is needed, and not before.
    let output = sh(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(&format!("{}: made", names[0])), "{}", said(&output));
    assert!(said(&output).contains("MCRUN_SECRET_DB"), "{}", said(&output));

    let output = sh(&file).env("MCRUN_SECRET_DB", "hunter2").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains(&format!("{}: runs already, left as it is", names[0])),
        "{}",
        said(&output)
    );
    assert_eq!(names.clone().map(|name| seen(&name)), before);
    assert_eq!(until("it answers", || crate::harness::visit(port)), "what was kept");
    assert_eq!(fs::read_to_string(secrets.join("DB")).unwrap(), "hunter2");

    // One that does not run is started as it is.
    podman(&["stop", &names[0]]);
    let output = sh(&file).output().unwrap();
    assert!(said(&output).contains("was there and did not run, started as it is"), "{}", said(&output));
    assert!(output.status.success(), "{}", said(&output));

    // mcrun takes them for its own when it is there again; what it was not told of is who gave the secret.
    fs::rename(&state, place.state()).unwrap();
    place.ends(0, &["drift", &names[0]]);
    let report = place.json(&["drift", &names[1], "--json"]);
    assert_eq!(report["services"][0]["differences"][0]["fields"], json!(["secrets.DB"]), "{report}");
    for name in &names {
        place.ends(0, &["undeploy", name, "--yes"]);
    }
    assert!(!secrets.exists());
}
