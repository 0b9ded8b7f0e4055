//! Owns `doctor`: what of this machine mcrun can use and why that is chosen, what is missing and what to do about it.
//! What a driver can do in detail is for `-v` and `--json`.

mod certificates;
mod clock;
mod names;
mod routes;
mod sealed;

use containers::Driver;
use containers::docker::Docker;
use containers::doctor::Finding;
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
    let mut checks = vec![configuration(global), secrets(global), sandbox(), clock::check()];
    match App::open(global) {
        Ok(app) => {
            checks.push(Check::good("state directory", app.state.display().to_string()));
            checks.extend(sealed::checks(&app).await);
            checks.extend(drivers(&app).await);
            checks.extend(certificates::checks(&app).await);
            checks.extend(names::checks(&app).await);
            checks.extend(routes::checks(&app).await);
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
    let engines = wiring::engines(&app.config, &app.state);
    let (podman, docker) = (Podman::new(&engines.podman), Docker::new(&engines.docker));
    let all: [(_, &dyn Driver, _); 2] = [
        ("containers: podman", &podman, Containers::Podman),
        ("containers: docker", &docker, Containers::Docker),
    ];
    let choice = app.config.drivers.containers;
    let mut checks = Vec::new();
    for (name, driver, own) in all {
        let finding = containers::doctor::examine(driver).await;
        // Without any engine images are refused, whatever would be there.
        let is_used = choice != Containers::Process && world.engine().name() == driver.name();
        checks.push(images(name, driver.name(), (choice, own), is_used, finding));
    }
    checks.push(native_programs(containers::doctor::examine(&**world.process()).await));
    checks
}

/// Whether an engine runs images, and why.
fn images(
    name: &'static str,
    driver: &str,
    (choice, own): (Containers, Containers),
    is_used: bool,
    found: Finding,
) -> Check {
    let answers = match &found.version {
        Some(version) => format!("{driver} {version} answers at {}", found.place),
        None => format!("{driver} answers at {}", found.place),
    };
    let set = |value: &str| format!("`drivers.containers` is \"{value}\" in mcrun.toml");
    let reason = found.problems.join("; ");
    let check = |verdict, what, hint: Option<String>, features| Check { name, verdict, what, hint, features };
    let is_set = choice == own;
    match (is_used, found.available) {
        (true, true) if is_set => check(
            Verdict::Good,
            format!("runs images, because {}; {answers}", set(driver)),
            None,
            found.features,
        ),
        (true, true) => check(Verdict::Good, format!("runs images, because {answers}"), None, found.features),
        _ if choice == Containers::Process => check(
            Verdict::Missing,
            format!("not used, containers with an `image` are refused: {}", set("process")),
            Some("take the line out, or set \"auto\", to use an engine where there is one".to_owned()),
            Vec::new(),
        ),
        (_, false) if is_set => check(
            Verdict::Bad,
            format!("{}, but it does not answer: {reason}", set(driver)),
            Some(format!(
                "start it or correct `socket` under [drivers.{driver}]; \"auto\" goes on without it"
            )),
            Vec::new(),
        ),
        (_, false) => check(
            Verdict::Missing,
            format!("is not there: {reason}"),
            Some(format!(
                "install it, or name its socket under [drivers.{driver}]; native programs need no engine"
            )),
            Vec::new(),
        ),
        (false, true) => check(
            Verdict::Missing,
            format!("not used; {answers}"),
            Some(format!("set `containers = \"{driver}\"` under [drivers] to have it run images")),
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
