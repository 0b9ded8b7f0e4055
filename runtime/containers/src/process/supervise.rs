//! Owns the driver's side of the shim: starting one, asking it to stop, ending what a dead one left.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use effect::{Code, Error, Result};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

use super::record::{Folder, Greeting, Phase, Program};
use super::{broken, live};

const START_TIMEOUT: Duration = Duration::from_secs(20);
/// What a shim gets beyond the stop time-out for killing and writing down.
const STOP_GRACE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
const LARGEST_GREETING: u64 = 64 << 10;

/// Whether a shim has the program and will keep it; one that is stopping is waited for.
pub(super) async fn is_steady(folder: &Folder) -> bool {
    let deadline = Instant::now() + START_TIMEOUT;
    while folder.is_supervised() {
        match folder.status().ok().flatten().map(|status| status.phase) {
            Some(Phase::Running | Phase::Waiting) => return true,
            _ if Instant::now() > deadline => return true,
            // Starting, or on its way out.
            _ => sleep(POLL).await,
        }
    }
    false
}

/// Starts a shim and returns when its program runs.
#[expect(clippy::disallowed_methods, reason = "the one place that starts shims")]
pub(super) async fn start(shim: &Path, folder: &Folder, name: &str) -> Result<()> {
    let failed = |cause: &dyn std::fmt::Display| {
        Error::new(Code::EngineFailed, format!("the supervisor of `{name}` cannot be started")).because(cause)
    };
    // Nothing but the folder is on its command line and nothing in its environment: both can be read by others.
    let mut child = tokio::process::Command::new(shim)
        .arg("shim")
        .arg(folder.path())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|cause| failed(&cause))?;
    let mut text = Vec::new();
    let greeting = async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LARGEST_GREETING).read_to_end(&mut text).await?;
        }
        child.wait().await
    };
    timeout(START_TIMEOUT, greeting)
        .await
        .map_err(|_| failed(&"it did not answer"))?
        .map_err(|cause| failed(&cause))?;
    match serde_json::from_slice(&text) {
        Ok(Greeting::Started | Greeting::Taken) => Ok(()),
        Ok(Greeting::Failed(cause)) => {
            Err(Error::new(Code::ExecFailed, format!("`{name}` cannot be started")).because(cause))
        }
        Err(_) => Err(failed(&"it ended without a word")),
    }
}

/// Makes a living shim read its folder again and waits until it has.
pub(super) async fn reread(folder: &Folder, program: &Program) -> Result<()> {
    if !folder.is_supervised() {
        return Ok(());
    }
    signal(folder, Signal::HUP);
    let deadline = Instant::now() + START_TIMEOUT;
    while folder.is_supervised() {
        let running = folder.running().map_err(|cause| broken(&program.name, cause))?;
        if running.is_some_and(|running| has_settings_of(&running, program)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("the supervisor of `{}` does not take its new settings", program.name);
            return Err(Error::new(Code::EngineFailed, message).retryable());
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Whether the part that changes without a new start is the same.
fn has_settings_of(running: &Program, wanted: &Program) -> bool {
    running.restart == wanted.restart
        && running.stop_signal == wanted.stop_signal
        && running.stop_timeout == wanted.stop_timeout
        && running.labels == wanted.labels
        && running.service == wanted.service
        && running.health == wanted.health
        && running.memory == wanted.memory
        && running.cpus == wanted.cpus
}

/// Stops the program and its shim; by force when the shim itself does not react.
pub(super) async fn stop(folder: &Folder, program: &Program, limit: Option<Duration>) -> Result<()> {
    if folder.is_supervised() {
        folder.order_stop(limit).map_err(|cause| broken(&program.name, cause))?;
        signal(folder, Signal::HUP);
        let deadline = Instant::now() + limit.unwrap_or(program.stop_timeout.0) + STOP_GRACE;
        while folder.is_supervised() && Instant::now() < deadline {
            sleep(POLL).await;
        }
        if folder.is_supervised() {
            signal(folder, Signal::KILL);
        }
        let deadline = Instant::now() + STOP_GRACE;
        while folder.is_supervised() {
            if Instant::now() > deadline {
                let message = format!("the supervisor of `{}` cannot be stopped", program.name);
                return Err(Error::new(Code::EngineFailed, message).retryable());
            }
            sleep(POLL).await;
        }
    }
    sweep(folder, program).await
}

/// Ends what a shim that was killed left behind; nothing where a shim ended in order.
pub(super) async fn sweep(folder: &Folder, program: &Program) -> Result<()> {
    let status = folder.status().map_err(|cause| broken(&program.name, cause))?;
    let group = program.group.clone();
    tokio::task::spawn_blocking(move || live::sweep(status.as_ref(), group.as_deref()))
        .await
        .map_err(|cause| Error::ended("a clean-up ended badly", &cause))
}

fn signal(folder: &Folder, signal: Signal) {
    if let Ok(Some(status)) = folder.status()
        && status.boot == live::boot()
    {
        live::signal(status.shim, signal);
    }
}
