//! Owns the service that most tests deploy: the demo's server, described by what `--set` says.

use crate::harness::{PROGRAM, Place, Seen};

/// `@std/deploy` with every knob that a test turns.
const DEPLOY: &str = r#"
local deploy = require("@std/deploy")
local web = deploy.service {
    name = params.name or "web",
    version = params.version or "v1",
    exec = if params.broken then { "/bin/sleep", "600" } else { params.mcrun, "demo-server", params.message or "first" },
    replicas = params.replicas or 1,
    env = { LEVEL = params.level or "info" },
    routes = { { mode = "l7" } },
    health = { http = "/v1/health", within = if params.broken then "500ms" else "10s" },
}
local release = deploy.rollout(web, { strategy = params.strategy or "recreate", stop_first = params.stop_first, soak = params.soak })
log.info("deployed", { changed = release.changed, version = release.version })
for _, endpoint in release.endpoints do
    print(endpoint.port)
end
"#;

/// The words after `mcrun` that deploy it.
pub(crate) struct Deploy {
    words: Vec<String>,
}

impl Deploy {
    /// With these settings, `message=second`.
    pub(crate) fn new(place: &Place, settings: &[&str]) -> Self {
        let script = place.script("deploy.lua", DEPLOY);
        let mut words =
            vec![script, "--allow".into(), "*".into(), "--set".into(), format!("mcrun={PROGRAM}")];
        for setting in settings {
            words.extend(["--set".into(), (*setting).into()]);
        }
        Self { words }
    }

    /// The words of another command, `plan --json`, with the script's.
    pub(crate) fn words<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        command.iter().copied().chain(self.words.iter().map(String::as_str)).collect()
    }
}

/// Deploys it and checks the exit code.
#[track_caller]
pub(crate) fn deploy(place: &Place, code: i32, settings: &[&str]) -> Seen {
    place.ends(code, &Deploy::new(place, settings).words(&[]))
}

/// The ports that a deploy has printed.
pub(crate) fn ports(deployed: &Seen) -> Vec<u64> {
    deployed.stdout.lines().map(|line| line.parse().expect("a deploy prints ports only")).collect()
}
