//! `stop`, `start`, `restart` and `undeploy`: they may do what the script could that made the service, and no more.

use crate::harness::{Place, Seen};

const WEB: &str = "containers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" } }\n";

/// Records a service that says it consists of the container `web`.
fn claim(service: &str) -> String {
    format!(
        "registry.put {{ service = \"{service}\", spec = {{ containers = {{ {{ name = \"web\", exec = {{ \"/bin/sleep\", \"600\" }} }} }}, checks = {{}} }}, release = {{ version = \"v1\" }} }}\n"
    )
}

fn state_of(place: &Place, name: &str) -> Option<String> {
    Some(place.container(name)?["state"].as_str()?.to_owned())
}

fn granted(place: &Place, name: &str, text: &str, grants: &[&str]) -> Seen {
    let script = place.script(name, text);
    let mut words = vec![script.as_str()];
    for grant in grants {
        words.extend(["--allow", grant]);
    }
    place.ends(0, &words)
}

#[test]
fn a_service_is_operated_with_the_grants_of_who_recorded_it() {
    let place = Place::new();
    let grants = ["containers:write:web", "exec:write:/usr/bin/sleep", "registry:write:web"];
    granted(&place, "a.lua", &format!("{WEB}{}", claim("web")), &grants);
    place.ends(0, &["stop", "web"]);
    assert_eq!(state_of(&place, "web").as_deref(), Some("exited"));
    place.ends(0, &["start", "web"]);
    assert_eq!(state_of(&place, "web").as_deref(), Some("running"));
    place.ends(0, &["restart", "web"]);
    assert_eq!(state_of(&place, "web").as_deref(), Some("running"));
    place.ends(0, &["undeploy", "web", "--yes"]);
    assert_eq!(state_of(&place, "web"), None);
}

#[test]
fn a_record_gives_nobody_more_than_its_writer_had() {
    let place = Place::new();
    granted(&place, "a.lua", WEB, &["containers:write:web", "exec"]);
    // Whoever may only write a record names a container of somebody else in it.
    granted(&place, "b.lua", &claim("trap"), &["registry:write:trap"]);
    for command in [vec!["stop", "trap"], vec!["restart", "trap"], vec!["undeploy", "trap", "--yes"]] {
        place.ends(4, &command).says(&["MC-P001", "containers:write:web"]);
        assert_eq!(state_of(&place, "web").as_deref(), Some("running"), "{command:?}");
    }
}

#[test]
fn a_container_without_a_record_is_operated_by_its_name() {
    let place = Place::new();
    granted(&place, "a.lua", WEB, &["*"]);
    place.ends(0, &["stop", "web"]);
    assert_eq!(state_of(&place, "web").as_deref(), Some("exited"));
    place.ends(0, &["start", "web"]);
    place.ends(0, &["restart", "web"]);
    assert_eq!(state_of(&place, "web").as_deref(), Some("running"));
    place.ends(0, &["undeploy", "web", "--yes"]);
    assert_eq!(state_of(&place, "web"), None);
    place.ends(1, &["stop", "web"]).says(&["MC-R001"]);
}
