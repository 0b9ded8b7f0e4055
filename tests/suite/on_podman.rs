//! Roll-outs of images on podman: the plan says what the run does, and sees what was changed by hand.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Place, until};
use crate::plan_equals_apply::compare;
use crate::undo::kill_and_resume;

pub(crate) const CONFIGURATION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/containers/tests/containers.conf");

/// A web server of two versions that says which one it is.
const SCRIPT: &str = r#"
local deploy = require("@std/deploy")
local web = deploy.service {
    name = params.name,
    image = params.image .. ":" .. (params.version or "v1"),
    env = { LEVEL = params.level or "info" },
    replicas = params.replicas or 1,
    stop_timeout = "0s",
    routes = { { port = 8080, mode = "l7" } },
    health = { http = "/", within = "20s" },
}
deploy.rollout(web, { strategy = params.strategy, stop_first = params.stop_first })
"#;

/// An engine's service at a socket of its own, and images that nobody else uses.
pub(crate) struct Engine {
    pub(crate) place: Place,
    service: Child,
    /// Of its images, and of what may be left on the machine when a test fails.
    pub(crate) name: String,
}

#[expect(clippy::disallowed_methods, reason = "a test drives the engine from outside, as an operator does")]
fn command() -> Command {
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", CONFIGURATION).stdin(Stdio::null());
    command
}

#[track_caller]
pub(crate) fn podman(words: &[&str]) -> String {
    let output = command().args(words).output().expect("podman is missing: tests/install.sh installs it");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "podman {words:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Engine {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let socket = place.at("podman.sock");
        let service = command()
            .args(["system", "service", "--time=0", &format!("unix://{socket}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("podman is missing: tests/install.sh installs it");
        let folder = place.path().file_name().and_then(|name| name.to_str()).expect("a plain name");
        let name = format!("mcrun-suite-{}", folder.trim_start_matches('.').to_lowercase());
        let engine = Self { service, name, place };
        engine.configure("");
        until("podman answers", || std::os::unix::net::UnixStream::connect(&socket).ok());
        engine.build();
        engine
    }

    /// Writes the configuration, with more beneath the driver's.
    pub(crate) fn configure(&self, more: &str) {
        let socket = self.place.at("podman.sock");
        self.place.configure(&format!(
            "[drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"{socket}\"\n{more}"
        ));
    }

    pub(crate) fn image(&self) -> String {
        format!("localhost/{}", self.name)
    }

    fn build(&self) {
        let context = self.place.path().join("image");
        for version in ["v1", "v2"] {
            fs::create_dir_all(context.join("root/bin")).expect("the place is writable");
            fs::create_dir_all(context.join("root/www")).expect("the place is writable");
            fs::copy("/bin/busybox", context.join("root/bin/busybox")).expect("busybox-static is installed");
            fs::write(context.join("root/www/index.html"), version).expect("the place is writable");
            let recipe = "FROM scratch\nCOPY root/ /\nCMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \
                 \"-h\", \"/www\"]\n";
            fs::write(context.join("Containerfile"), recipe).expect("the place is writable");
            let tag = format!("{}:{version}", self.image());
            podman(&[
                "build",
                "--no-cache",
                "--quiet",
                "--tag",
                &tag,
                context.to_str().expect("a plain name"),
            ]);
        }
    }

    /// The words after `mcrun` that deploy it.
    fn words(&self, settings: &[&str]) -> Vec<String> {
        let script = self.place.script("deploy.lua", SCRIPT);
        let mut words = vec![script, "--allow".into(), "*".into()];
        for setting in [&format!("name={}", self.name), &format!("image={}", self.image())] {
            words.extend(["--set".into(), setting.clone()]);
        }
        for setting in settings {
            words.extend(["--set".into(), (*setting).into()]);
        }
        words
    }

    #[track_caller]
    fn compare(&self, settings: &[&str]) {
        let words = self.words(settings);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        compare(&self.place, &settings.join(" "), &words, true);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let filter = format!("name=^{}", self.name);
        let left = command().args(["ps", "--all", "--quiet", "--filter", &filter]).output();
        let left =
            left.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for id in left.lines() {
            let _ = command().args(["rm", "--force", "--time", "0", id]).output();
        }
        for version in ["v1", "v2", "v1.0.0"] {
            let _ = command().args(["rmi", &format!("{}:{version}", self.image())]).output();
        }
        // It may have ended by itself.
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

fn roll_outs(strategy: &str) {
    let engine = Engine::new();
    for settings in [
        &["version=v1"][..],
        &["version=v1"],
        &["version=v2"],
        &["version=v2", "level=debug"],
        &["version=v2", "level=debug", "replicas=2"],
        &["version=v1", "level=debug", "replicas=2"],
        &["version=v1", "stop_first=true"],
        &["version=v2", "stop_first=true"],
    ] {
        engine.compare(&[settings, &[strategy]].concat());
    }
}

#[test]
fn a_recreating_roll_out_does_what_its_plan_says() {
    roll_outs("strategy=recreate");
}

#[test]
fn a_rolling_roll_out_does_what_its_plan_says() {
    roll_outs("strategy=rolling");
}

/// The names of the fields in which the plan finds the container changed.
fn planned_fields(plan: &Value) -> Vec<String> {
    let steps = plan["steps"].as_array().expect("a plan has steps");
    let ensure =
        steps.iter().find(|step| step["identity"]["name"] == "containers.ensure").expect("it ensures one");
    let fields = ensure["fields"].as_array().cloned().unwrap_or_default();
    fields.iter().filter_map(|field| Some(field["path"].as_str()?.to_owned())).collect()
}

#[test]
fn what_an_operator_changed_is_planned_and_repaired() {
    let engine = Engine::new();
    let container = engine.name.as_str();
    let image = format!("{}:v1", engine.image());
    let spec = format!(
        "containers.ensure {{ name = \"{container}\", image = \"{image}\", env = {{ A = \"1\" }}, memory = \"64MiB\", \
         cpus = 0.5, restart = \"on-failure:3\", stop_timeout = \"0s\" }}\n"
    );
    let script = engine.place.script("ensure.lua", &spec);
    engine.place.ends(0, &[&script, "--allow", "*"]);
    let managed = ["--label", "mcrun.managed=1", "--label", &format!("mcrun.service={container}")];
    let limits = ["--memory", "64m", "--memory-swap", "128m", "--cpus", "0.5"];
    let rest = ["--restart", "on-failure:3", "--stop-timeout", "0", "--name", container];
    let typed = [&["run", "--detach"][..], &managed, &limits, &rest].concat();
    let run_again = |more: &[&str]| {
        podman(&["rm", "--force", container]);
        podman(&[&typed, more, &[image.as_str()]].concat());
    };
    type Change<'a> = (&'a dyn Fn(), &'a [&'a str]);
    let changes: &[Change] = &[
        (&|| run_again(&["--env", "A=1"]), &[]),
        (&|| run_again(&["--env", "A=2"]), &["env.A"]),
        (&|| run_again(&["--env", "A=1", "--env", "B=1"]), &["env.B"]),
        (&|| run_again(&["--env", "A=1", "--user", "1:1"]), &["user"]),
        (&|| run_again(&["--env", "A=1", "--publish", "127.0.0.1::8080"]), &["ports"]),
        (&|| drop(podman(&["stop", container])), &["state"]),
        (&|| drop(podman(&["pause", container])), &["state"]),
        (&|| drop(podman(&["update", "--memory", "96m", "--memory-swap", "128m", container])), &["memory"]),
        (&|| drop(podman(&["update", "--cpus", "0.25", container])), &["cpus"]),
    ];
    for (change, fields) in changes {
        change();
        let plan = engine.place.json(&["plan", &script, "--json", "--allow", "*"]);
        assert_eq!(planned_fields(&plan), *fields);
        compare(&engine.place, &fields.join(" "), &[&script, "--allow", "*"], true);
    }
    podman(&["rename", container, &format!("{container}-renamed")]);
    let plan = engine.place.json(&["plan", &script, "--json", "--allow", "*"]);
    assert_eq!(plan["steps"][0]["action"], json!("create"));
    compare(&engine.place, "renamed", &[&script, "--allow", "*"], true);
}

/// The containers of the service: other tests have theirs on the same engine.
fn own(engine: &Engine) -> Vec<Value> {
    let mut containers = engine.place.containers();
    containers.retain(|container| container["service"] == engine.name);
    containers
}

/// Image and argument vector of every container of the service, and the version that the registry has.
fn standing(engine: &Engine) -> Value {
    let lasting = |container: Value| {
        json!([
            container["name"],
            container["state"],
            container["image"],
            container["argv"],
            container["ports"]
        ])
    };
    let service = engine.place.json(&["status", &engine.name, "--json"]);
    let version = service[0]["version"].clone();
    json!([own(engine).into_iter().map(lasting).collect::<Vec<_>>(), version])
}

fn undone(settings: &[&str], point: Option<u32>) {
    let engine = Engine::new();
    let deploy = |version: &str| {
        let words = engine.words(&[settings, &[version]].concat());
        engine.place.ends(0, &words.iter().map(String::as_str).collect::<Vec<_>>());
        engine.place.newest_id()
    };
    let served = || {
        let port = own(&engine)[0]["ports"][0]["host"].as_u64().expect("it has a port");
        until("the service answers", || crate::harness::visit(port))
    };
    deploy("version=v1");
    let before = standing(&engine);
    let run = deploy("version=v2");
    assert_eq!(served(), "v2");
    assert_ne!(standing(&engine), before);
    match point {
        Some(point) => kill_and_resume(&engine.place, &["undo", &run, "--yes"], point),
        None => drop(engine.place.ends(0, &["undo", &run, "--yes"])),
    }
    assert_eq!(standing(&engine), before);
    assert_eq!(served(), "v1");
}

#[test]
fn a_roll_out_in_place_is_undone_to_the_old_image() {
    undone(&["strategy=recreate"], None);
}

#[test]
fn a_roll_out_beside_the_old_container_is_undone() {
    undone(&["strategy=rolling"], None);
}

#[test]
fn an_undone_roll_out_that_is_killed_on_its_way_is_completed() {
    for point in [6, 8, 10] {
        undone(&["strategy=recreate"], Some(point));
    }
}
