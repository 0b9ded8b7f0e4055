//! Owns `doctor`: what of this machine mcrun can use, and what is missing.

use containers::Driver;
use containers::docker::Docker;
use containers::podman::Podman;
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
}

impl Check {
    fn good(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, what: what.into(), hint: None }
    }

    fn of(name: &'static str, verdict: Verdict, error: &effect::Error) -> Self {
        let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self { name, verdict, what: format!("{}{cause}", error.message), hint: error.hint.clone() }
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
        checks.iter().for_each(print);
    }
    Ok(if bad { Exit::Failed } else { Exit::Done })
}

fn print(check: &Check) {
    let mark = match check.verdict {
        Verdict::Good => render::styled(render::GREEN, "✓"),
        Verdict::Missing => render::styled(render::YELLOW, "–"),
        Verdict::Bad => render::styled(render::RED, "✗"),
    };
    render::out(format_args!("{mark} {}: {}", render::styled(render::BOLD, check.name), check.what));
    if let Some(hint) = &check.hint {
        render::out(format_args!("    {} {hint}", render::styled(render::CYAN, "hint:")));
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
    Check::good(
        "secrets",
        format!(
            "{count} configured; copies in output are masked as far as they are literal, which is best effort"
        ),
    )
}

/// What the kernel gives to confine workers and `exec.query`.
fn sandbox() -> Check {
    match system::exec::confinement_missing() {
        None => Check::good("sandbox", "seccomp and Landlock are available"),
        Some(what) => Check {
            name: "sandbox",
            verdict: Verdict::Missing,
            what: format!("{what}: `exec.query` is refused, workers are confined by what there is"),
            hint: Some("Linux 5.13 or later with CONFIG_SECCOMP_FILTER and CONFIG_SECURITY_LANDLOCK".into()),
        },
    }
}

async fn drivers(app: &App) -> Vec<Check> {
    let world = wiring::containers(app);
    let engines = wiring::engines(&app.config, &app.state);
    let (podman, docker) = (Podman::new(&engines.podman), Docker::new(&engines.docker));
    let all: [(_, &dyn Driver, _); 3] = [
        ("containers: podman", &podman, Containers::Podman),
        ("containers: docker", &docker, Containers::Docker),
        ("containers: process", world.process().as_ref(), Containers::Process),
    ];
    let mut checks = Vec::new();
    for (name, driver, choice) in all {
        let finding = containers::doctor::examine(driver).await;
        let verdict = match (finding.available, app.config.drivers.containers == choice) {
            (true, _) => Verdict::Good,
            (false, true) => Verdict::Bad,
            (false, false) => Verdict::Missing,
        };
        let takes = choice != Containers::Process && world.engine().name() == driver.name();
        let takes = if takes { ", which takes images" } else { "" };
        let version = finding.version.map(|version| format!("{version} at ")).unwrap_or_default();
        checks.push(Check {
            name,
            verdict,
            what: format!("{version}{}{takes}; {}", finding.place, finding.features.join(", ")),
            hint: (!finding.problems.is_empty()).then(|| finding.problems.join("; ")),
        });
    }
    checks
}
