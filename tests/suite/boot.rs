//! `mcrun boot`: a platform comes up in stages after everything has ended, however often the boot itself is killed.

use std::fs;

use crate::harness::{PROGRAM, Place, until};
use crate::on_podman::{Engine, podman};

/// Two stages: one service, and two that need it.
fn platform(more: &str) -> String {
    format!(
        r#"
local boot = require("@std/boot")
local deploy = require("@std/deploy")

local function service(name: string)
    return deploy.service {{
        name = name,
        version = "v1",
        exec = {{ "{PROGRAM}", "demo-server", name }},
        routes = {{ {{ mode = "l7" }} }},
        health = {{ http = "/v1/health", within = "10s" }},
    }}
end

boot.sequence {{
    {{ stage = "foundation", services = {{ service("names") }} }},
    {{ stage = "services", services = {{ service("left"), service("right") }}, within = "20s" }},
    {more}
}}
"#
    )
}

/// A place whose configuration lets a boot do what it needs.
fn place(more: &str) -> Place {
    let place = Place::new();
    place.configure("[drivers]\ncontainers = \"process\"\n[policy]\nscripts = [\"*\"]\n");
    place.script("boot.lua", &platform(more));
    place
}

/// Takes every container away, as a reboot does that lost them.
fn lose_all(place: &Place) {
    let clean = place.script(
        "lose.lua",
        "for _, made in containers.list {} do containers.remove { name = made.name } end\n",
    );
    place.ends(0, &[&clean, "--allow", "*"]);
}

fn changed(place: &Place) -> usize {
    let shown = place.newest_shown();
    let entries = shown["entries"].as_array().expect("a run has entries");
    let containers = |entry: &&serde_json::Value| {
        entry["identity"]["name"] == "containers.ensure" && entry["result"]["changed"] == true
    };
    entries.iter().filter(containers).count()
}

#[test]
fn the_script_beside_the_configuration_is_run_and_granted_what_the_policy_says() {
    let place = place("");
    let seen = place.ends(0, &["boot"]);
    assert!(seen.stderr.contains("stage foundation: ready after"), "{seen}");
    assert!(seen.stderr.contains("critical_path=\"foundation → services\""), "{seen}");
    assert_eq!(place.containers().len(), 3);
    place.ends(0, &["boot"]);
    assert_eq!(changed(&place), 0, "what is up is left alone");
}

#[test]
fn without_a_policy_nothing_is_granted() {
    let place = place("");
    place.configure("[drivers]\ncontainers = \"process\"\n");
    place.ends(4, &["boot", "--no-input"]);
    assert_eq!(place.containers().len(), 0);
}

#[test]
fn what_a_reboot_has_lost_comes_back_as_it_was_recorded() {
    let place = place("");
    place.ends(0, &["boot"]);
    let before = place.container("left").expect("it runs");
    lose_all(&place);
    let plan = place.ends(0, &["boot", "--plan"]);
    assert!(plan.stdout.contains("containers.ensure"), "{plan}");
    assert_eq!(place.containers().len(), 0, "a plan does nothing");
    place.ends(0, &["boot"]);
    let after = place.container("left").expect("it is back");
    assert_eq!(before["ports"], after["ports"]);
    assert_eq!(place.containers().len(), 3);
}

#[test]
fn a_boot_that_is_killed_goes_on_where_it_stopped() {
    let place = place("");
    place.ends(0, &["boot"]);
    lose_all(&place);
    for container in ["names", "left", "right"] {
        let mut boot = if place.newest()["name"] == "boot.lua" && place.newest()["state"] == "running" {
            place.start(&["resume", &place.newest_id()])
        } else {
            place.start(&["boot"])
        };
        until("a container is up", || place.container(container).is_some().then_some(()));
        boot.kill();
    }
    let run = place.newest();
    if run["state"] != "done" {
        place.ends(0, &["resume", &place.newest_id()]);
    }
    assert_eq!(place.containers().len(), 3);
    assert_eq!(place.newest()["state"], "done");
}

#[test]
fn a_stage_that_is_never_ready_stops_the_boot_and_says_why() {
    let place =
        place("{ stage = \"last\", ready = { tcp = { address = \"127.0.0.1:1\" } }, within = \"200ms\" },");
    let seen = place.ends(1, &["boot"]);
    assert!(seen.stderr.contains("error[MC-R005]: the boot stopped at the stage last"), "{seen}");
    assert!(seen.stderr.contains("foundation: ready"), "{seen}");
    assert!(seen.stderr.contains("mcrun boot --stage last"), "{seen}");
    assert_eq!(place.containers().len(), 3, "what is up stays up");
}

#[test]
fn one_stage_can_be_brought_up_by_itself() {
    let place = place("");
    place.ends(0, &["boot", "--stage", "services"]);
    assert_eq!((changed(&place), place.containers().len()), (2, 2));
    let seen = place.ends(1, &["boot", "--stage", "servces"]);
    assert!(seen.stderr.contains("the stages are foundation, services"), "{seen}");
}

#[test]
fn a_boot_without_a_script_says_where_it_is_looked_for() {
    let place = place("");
    fs::remove_file(place.path().join("scripts/boot.lua")).expect("it was written");
    let seen = place.ends(1, &["boot"]);
    assert!(seen.stderr.contains("scripts/boot.lua` does not exist"), "{seen}");
}

/// A stage with one native program that answers while the file `up` is there; `body` is its shell script.
fn flapping(place: &Place, body: &str, stage: &str) {
    let up = place.at("up");
    let text = format!(
        r#"
local boot = require("@std/boot")
local deploy = require("@std/deploy")
boot.sequence {{
    {{ stage = "shaky", {stage}, services = {{ deploy.service {{
        name = "shaky",
        version = "v1",
        exec = {{ "/bin/sh", "-c", [[{body}]] }},
        env = {{ UP = "{up}" }},
        restart = "unless-stopped",
        stop_timeout = "0s",
        health = {{ exec = {{ "/usr/bin/test", "-f", "{up}" }}, interval = "50ms" }},
    }} }} }},
    {{ stage = "next" }},
}}
"#
    );
    place.configure("[drivers]\ncontainers = \"process\"\n[policy]\nscripts = [\"*\"]\n");
    place.script("boot.lua", &text);
}

#[test]
fn what_flaps_is_not_up_because_a_probe_was_lucky() {
    let place = Place::new();
    let body = r#"echo begins; touch "$UP"; sleep 0.3; rm -f "$UP"; echo gives up; exit 1"#;
    flapping(&place, body, "within = \"5s\"");
    let seen = place.ends(1, &["boot"]);
    assert!(seen.stderr.contains("error[MC-R005]: the boot stopped at the stage shaky"), "{seen}");
    assert!(seen.stderr.contains("`shaky` does not stay up: it was restarted"), "{seen}");
    assert!(seen.stderr.contains("[MC-H005]") && seen.stderr.contains("gives up"), "{seen}");
    assert!(seen.stderr.contains("next: skipped"), "{seen}");
}

#[test]
fn what_ends_a_few_times_and_then_stays_is_waited_for() {
    let place = Place::new();
    let body = r#"echo life >> "$UP.lives"; touch "$UP"; [ $(wc -l < "$UP.lives") -ge 3 ] && exec sleep 1000; sleep 0.2; rm -f "$UP"; exit 1"#;
    flapping(&place, body, "within = \"60s\", steady = \"500ms\"");
    place.ends(0, &["boot"]);
    let lives = fs::read_to_string(place.at("up.lives")).expect("it ran");
    assert_eq!(lives.lines().count(), 3);
    let before = place.container("shaky").expect("it runs");
    place.ends(0, &["boot"]);
    assert_eq!(place.container("shaky").expect("it runs")["pid"], before["pid"]);
}

#[test]
fn a_container_of_somebody_else_under_a_recorded_name_stops_the_boot() {
    let engine = Engine::new();
    engine.configure("[policy]\nscripts = [\"*\"]\n");
    let (name, image) = (&engine.name, engine.image());
    let text = format!(
        "local deploy = require(\"@std/deploy\")\nrequire(\"@std/boot\").sequence {{ {{ stage = \"web\", services = {{ \
         deploy.service {{ name = \"{name}\", image = \"{image}:v1\", stop_timeout = \"0s\" }} }} }} }}\n"
    );
    engine.place.script("boot.lua", &text);
    engine.place.ends(0, &["boot"]);
    podman(&["rm", "--force", "--time", "0", name]);
    let theirs = podman(&["run", "--detach", "--name", name, &format!("{image}:v1")]);
    for words in [&["boot"][..], &["boot", "--plan"]] {
        let seen = engine.place.run(words);
        assert_eq!(seen.code, Some(1), "{seen}");
        assert!(seen.stderr.contains("MC-C008"), "{seen}");
    }
    let live = podman(&["inspect", "--format", "{{.Id}} {{.State.Status}}", name]);
    assert_eq!(live, format!("{theirs} running"), "it is nobody's to touch");
}
