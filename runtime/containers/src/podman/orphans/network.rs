//! Owns taking back what was done for the network of a container: its published ports would go on to lead to the address that
//! it had, past the container that follows it. Engines have it done by programs; so is it undone here.

mod cni;
mod netavark;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

pub(super) use netavark::Backend;

use super::Store;
use crate::engine::client::Client;
use crate::orphans::Orphan;
use crate::spec::Port;

const NAMESPACES: [&str; 2] = ["/run/netns", "/var/run/netns"];
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// For one program.
const PATIENCE: Duration = Duration::from_secs(30);

type Outcome<T> = Result<T, String>;

/// Takes back what was done for an orphan, which published `ports`; nothing where nothing is left of it.
pub(super) async fn tear_down(
    client: &Client,
    store: &Store,
    orphan: &Orphan,
    ports: &[Port],
) -> Outcome<()> {
    // A machine may have gone from one to the other since.
    cni::tear_down(&orphan.id).await?;
    netavark::tear_down(client, store, orphan, ports).await
}

/// A path among the network namespaces that have a name.
fn named_namespace(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    NAMESPACES.iter().any(|folder| path.parent() == Some(Path::new(folder))).then_some(path)
}

/// The namespace is empty: it is a file on which nothing more is mounted.
fn remove_namespace(path: &Path) {
    // One that a reboot took away, or the engine, is what was wanted.
    let _ = unmount(path, UnmountFlags::DETACH);
    let _ = fs::remove_file(path);
}

/// A command of its own surroundings.
#[expect(
    clippy::disallowed_methods,
    reason = "networks are made by programs: this is the one place that calls them"
)]
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH);
    command
}

/// Runs a program that reads JSON.
async fn tell(mut command: Command, input: &Value) -> Outcome<Output> {
    let child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().ok_or("it has no input")?;
    let input = input.to_string();
    let talk = async {
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(PATIENCE, talk).await.map_err(|_| "it takes too long")?;
    output.map_err(|error| error.to_string())
}

/// What a program that failed says of it, in the member `name` of what it printed.
fn cause(output: &Output, name: &str) -> String {
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    said[name].as_str().map_or_else(|| output.status.to_string(), str::to_owned)
}
