//! Owns `doctor`: what of this machine mcrun can use and why that is chosen, what is missing and what to do about it.
//! What a driver can do in detail is for `-v` and `--json`.

use containers::doctor::Finding;
use effect::Result;
use serde::Serialize;

use crate::app::App;
use crate::arguments::Global;
use crate::config::{Config, Containers};
use crate::exit::Exit;
use crate::{render, wiring};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Missing,
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    features: Vec<String>,
}

impl Check {
    fn good(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, what: what.into(), hint: None, features: Vec::new() }
    }

    fn of(name: &'static str, verdict: Verdict, error: &effect::Error) -> Self {
        let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        let what = format!("{}{cause}", error.message);
        Self { name, verdict, what, hint: error.advice(), features: Vec::new() }
    }
}

pub(super) async fn doctor(global: &Global, as_json: bool) -> Result<Exit> {
    let mut checks = vec![configuration(global), secrets(global), sandbox()];
    match App::open(global) {
        Ok(app) => {
            checks.push(Check::good("state directory", app.state.display().to_string()));
            checks.extend(drivers(&app).await);
        }
        Err(error) => checks.push(Check::of("state directory", Verdict::Bad, &error)),
    }
    let bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    if as_json {
        render::json(&checks);
    } else {
        let detailed = global.verbose > 0;
        checks.iter().for_each(|check| print(check, detailed));
    }
    Ok(if bad { Exit::Failed } else { Exit::Done })
}

fn print(check: &Check, detailed: bool) {
    let mark = match check.verdict {
        Verdict::Good => render::styled(render::GREEN, "✓"),
        Verdict::Missing => render::styled(render::YELLOW, "–"),
        Verdict::Bad => render::styled(render::RED, "✗"),
    };
    render::out(format_args!("{mark} {}: {}", render::styled(render::BOLD, check.name), check.what));
    if let Some(hint) = &check.hint {
        render::out(format_args!("    {} {hint}", render::styled(render::CYAN, "hint:")));
    }
    if detailed && !check.features.is_empty() {
        render::out(format_args!(
            "    {} {}",
            render::styled(render::DIM, "can:"),
            check.features.join(", ")
        ));
    }
}

fn configuration(global: &Global) -> Check {
    match Config::load(global.config.as_deref()) {
        Ok(config) => Check::good(
            "configuration",
            config
                .file
                .as_ref()
                .map_or("none, defaults are used".to_owned(), |file| file.display().to_string()),
        ),
        Err(error) => Check::of("configuration", Verdict::Bad, &error),
    }
}

fn secrets(global: &Global) -> Check {
    let count = Config::load(global.config.as_deref()).map_or(0, |config| config.secrets.len());
    let masking = "literal copies in output are masked, which is best effort";
    Check::good(
        "secrets",
        if count == 0 { "none configured".to_owned() } else { format!("{count} configured; {masking}") },
    )
}

/// What the kernel gives to confine workers and `exec.query`.
fn sandbox() -> Check {
    match system::exec::confinement_missing() {
        None => Check::good("sandbox", "seccomp and Landlock confine workers"),
        Some(what) => Check {
            name: "sandbox",
            verdict: Verdict::Missing,
            what: format!("{what}: `exec.query` is refused, workers are confined by what there is"),
            hint: Some("Linux 5.13 or later with CONFIG_SECCOMP_FILTER and CONFIG_SECURITY_LANDLOCK".into()),
            features: Vec::new(),
        },
    }
}

/// Which driver makes what, and why.
async fn drivers(app: &App) -> Vec<Check> {
    let world = wiring::containers(app);
    let choice = app.config.drivers.containers;
    let podman = containers::doctor::examine(&**world.engine()).await;
    let process = containers::doctor::examine(&**world.process()).await;
    vec![images(choice, podman), native_programs(process)]
}

fn images(choice: Containers, podman: Finding) -> Check {
    const NAME: &str = "containers: podman";
    let answers = match &podman.version {
        Some(version) => format!("podman {version} answers at {}", podman.place),
        None => format!("podman answers at {}", podman.place),
    };
    let set = |value: &str| format!("`drivers.containers` is \"{value}\" in mcrun.toml");
    let reason = podman.problems.join("; ");
    let check = |verdict, what, hint: Option<&str>, features| Check {
        name: NAME,
        verdict,
        what,
        hint: hint.map(str::to_owned),
        features,
    };
    match (choice, podman.available) {
        (Containers::Process, _) => check(
            Verdict::Missing,
            format!("not used, containers with an `image` are refused: {}", set("process")),
            Some("take the line out, or set \"auto\", to use podman where it is there"),
            Vec::new(),
        ),
        (Containers::Auto, true) => {
            check(Verdict::Good, format!("runs images, because {answers}"), None, podman.features)
        }
        (Containers::Podman, true) => check(
            Verdict::Good,
            format!("runs images, because {}; {answers}", set("podman")),
            None,
            podman.features,
        ),
        (Containers::Auto, false) => check(
            Verdict::Missing,
            format!("no engine for images: {reason}"),
            Some("install podman, or name its socket under [drivers.podman]; native programs need neither"),
            Vec::new(),
        ),
        (Containers::Podman, false) => check(
            Verdict::Bad,
            format!("{}, but it does not answer: {reason}", set("podman")),
            Some("start it or correct `socket` under [drivers.podman]; \"auto\" goes on without it"),
            Vec::new(),
        ),
    }
}

fn native_programs(process: Finding) -> Check {
    let limited = if process.problems.is_empty() { "" } else { ", with what this machine allows" };
    Check {
        name: "containers: process",
        verdict: if process.available { Verdict::Good } else { Verdict::Bad },
        what: format!("runs native programs (`exec = …`){limited}; it is built in"),
        hint: (!process.problems.is_empty()).then(|| process.problems.join("; ")),
        features: process.features,
    }
}
