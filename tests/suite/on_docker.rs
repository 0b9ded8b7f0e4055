//! What docker runs is taken over, compared and written out like what podman does.

#[path = "../../runtime/containers/tests/conformance/dockerd.rs"]
mod dockerd;
#[path = "../../runtime/containers/tests/conformance/image.rs"]
mod image;

use std::fs;

use crate::harness::{Place, Seen, program};

/// A container by hand, which goes with the test.
struct ByHand {
    place: Place,
    name: String,
}

impl ByHand {
    fn new(options: &[&str]) -> Self {
        let place = Place::new();
        let folder = place.path().file_name().and_then(|name| name.to_str()).expect("a plain name");
        let name = format!("mcrun-suite-{}", folder.trim_start_matches('.').to_lowercase());
        place.configure(&format!(
            "[drivers]\ncontainers = \"docker\"\n[drivers.docker]\nsocket = \"{}\"\n",
            dockerd::socket().display()
        ));
        let by_hand = Self { place, name };
        let run = ["run", "--detach", "--name", &by_hand.name];
        by_hand.docker(&[&run[..], options, &[image::IMAGE]].concat());
        by_hand
    }

    fn docker(&self, words: &[&str]) -> String {
        dockerd::command(words)
    }

    /// What tells that nobody has touched it.
    fn untouched(&self) -> String {
        self.docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}", &self.name])
    }

    fn runbook(&self, file: &str) -> Seen {
        let mut sh = program("sh");
        sh.arg(file).env("DOCKER_HOST", format!("unix://{}", dockerd::socket().display()));
        Seen::of(sh.output().expect("sh starts"))
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let mut docker = program("docker");
        docker.env("DOCKER_HOST", format!("unix://{}", dockerd::socket().display()));
        // It may be gone, and nothing in here may fail a test again.
        let _ = docker.args(["rm", "--force", "--volumes", &self.name]).output();
    }
}

#[test]
fn what_docker_runs_is_taken_over_compared_and_brought_back_by_a_runbook() {
    let by_hand = ByHand::new(&[
        "--env",
        "LEVEL=info debug",
        "--restart",
        "on-failure:3",
        "--user",
        "1000:1000",
        "--memory",
        "64m",
        "--hostname",
        "web",
        "--publish",
        "127.0.0.1::8080",
    ]);
    let (place, name) = (&by_hand.place, by_hand.name.as_str());
    let before = by_hand.untouched();
    let definitions = place.at("definitions");
    let left = "left out, and gone once it is replaced: --hostname, --publish without a host port";
    place.ends(0, &["adopt", name, "--out", &definitions]).shows(&[left]);
    let definition = format!("{definitions}/{name}.lua");
    let text = fs::read_to_string(&definition).unwrap();
    assert!(text.contains("container = 8080, address = \"127.0.0.1\""), "the port that docker chose: {text}");
    place.ends(0, &["plan", &definition, "--allow", "*", "--detailed-exitcode"]);
    place.ends(0, &["drift", name]).shows(&["healthy"]);
    assert_eq!(by_hand.untouched(), before);

    by_hand.docker(&["update", "--memory", "96m", "--memory-swap", "192m", name]);
    place.ends(3, &["drift", name]).shows(&["drifted", "memory"]);

    let runbook = place.at("runbook.sh");
    place.ends(0, &["export-runbook", "--out", &runbook]);
    by_hand.docker(&["rm", "--force", name]);
    place.ends(3, &["drift", name]).shows(&["missing", "is not there"]);
    let seen = by_hand.runbook(&runbook);
    assert_eq!(seen.code, Some(0), "{seen}");
    seen.shows(&["made"]);
    place.ends(0, &["drift", name]).shows(&["healthy"]);
    let made = by_hand.untouched();
    by_hand.runbook(&runbook).shows(&["runs already, left as it is"]);
    assert_eq!(by_hand.untouched(), made);
}
