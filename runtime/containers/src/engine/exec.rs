//! Owns running a program inside a container.

use effect::{Code, Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::client::{Call, Client};
use super::frames::Frames;
use super::read::identifier;
use super::unknown;
use crate::driver::{Exec, ExecOutput};
use crate::output::Collected;

#[derive(Deserialize)]
struct Session {
    #[serde(rename = "Id", deserialize_with = "identifier")]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Status {
    #[serde(default)]
    pub(super) exit_code: Option<i32>,
    #[serde(default)]
    pid: i32,
    pub(super) running: bool,
}

pub(crate) async fn run(client: &Client, name: &str, reference: &str, exec: &Exec) -> Result<ExecOutput> {
    let session = open(client, name, reference, exec, None).await?;
    let mut output = Collected::new(exec.output_limit);
    let collect = async {
        let start =
            Call::post(format!("/exec/{session}/start")).json(&json!({ "Detach": false, "Tty": false }));
        let response = client.stream(&start.within(exec.timeout)).await?;
        if !response.status().is_success() {
            return Err(refused(client, name, format!("status {}", response.status())));
        }
        let mut frames = Frames::new(response.into_body());
        while let Some((stream, data)) = frames.next().await {
            output.push(stream, &data);
        }
        Ok(())
    };
    match timeout(exec.timeout, collect).await {
        Ok(collected) => collected?,
        Err(_) => {
            end(client, &session).await;
            return Err(too_slow(name, exec));
        }
    }
    let status = status(client, &session).await?;
    if status.running {
        // The program closed its output and runs on.
        end(client, &session).await;
        return Err(too_slow(name, exec));
    }
    let output = output.finish(status.exit_code.unwrap_or_default());
    // podman says so on standard error, docker in place of the program's output.
    let refused = output.stderr.contains("OCI runtime attempted to invoke a command")
        || output.stdout.starts_with("OCI runtime exec failed: ");
    if matches!(output.code, 126 | 127) && refused {
        let program = exec.argv.first().map_or("", String::as_str);
        return Err(Error::new(Code::ProgramMissing, format!("`{name}` has no program `{program}`")));
    }
    Ok(output)
}

/// Prepares a program; one with an input says whether it has a terminal.
pub(super) async fn open(
    client: &Client,
    name: &str,
    reference: &str,
    exec: &Exec,
    input: Option<bool>,
) -> Result<String> {
    let variables: Vec<String> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let body = json!({
        "Cmd": exec.argv,
        "Env": variables,
        "WorkingDir": exec.workdir.as_deref().unwrap_or_default(),
        "User": exec.user.as_deref().unwrap_or_default(),
        "AttachStdin": input.is_some(),
        "Tty": input.unwrap_or_default(),
        "AttachStdout": true,
        "AttachStderr": true,
    });
    let answer = client.call(&Call::post(format!("/containers/{reference}/exec")).json(&body)).await?;
    match answer.status.as_u16() {
        404 => Err(unknown(client, name)),
        409 => {
            Err(refused(client, name, answer.reason()).hint(format!("`{name}` has to run; start it first")))
        }
        _ => Ok(answer.accept(&format!("run a program in `{name}`"), &[])?.parse::<Session>()?.id),
    }
}

pub(super) async fn status(client: &Client, session: &str) -> Result<Status> {
    let answer = client.call(&Call::get(format!("/exec/{session}/json"))).await?;
    answer.accept("show a program's exit code", &[])?.parse()
}

/// Ends a program whose time is over. The engine has no call for that: it tells the process on this host.
async fn end(client: &Client, session: &str) {
    let Ok(status) = status(client, session).await else { return };
    if let Some(pid) = Pid::from_raw(status.pid).filter(|_| status.running && status.pid > 1) {
        // Ends with it already when the error says so; nothing is left to do then.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn refused(client: &Client, name: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::EngineFailed, format!("{} refused to run a program in `{name}`", client.engine()))
        .because(cause)
}

fn too_slow(name: &str, exec: &Exec) -> Error {
    let program = exec.argv.first().map_or("", String::as_str);
    let seconds = exec.timeout.as_secs_f64();
    Error::new(Code::TimedOut, format!("`{program}` in `{name}` took longer than {seconds} s and was ended"))
}
