//! Owns a helper program that lives on: it has read the definitions once and goes on from task to task.

use std::process::Stdio;

use effect::{Code, Error, Result};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::helper::{self, FILE, Finding, LONGEST_ANSWER};
use super::sources::Sources;

/// A helper that waits for its next task. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Checker {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Checker {
    /// Starts the helper; `definitions` are the types of the globals.
    ///
    /// # Errors
    /// `MC-K001` when it is not installed, `MC-K002` when it cannot be used.
    #[expect(
        clippy::disallowed_methods,
        reason = "the helper cannot be part of this binary: it holds another Luau"
    )]
    pub(crate) async fn start(definitions: &str) -> Result<Self> {
        let program = helper::find()?;
        let mut child = tokio::process::Command::new(&program)
            .arg("keep")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("it cannot be started: {error}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("it has no pipes".to_owned()));
        };
        let mut checker = Self { _child: child, input, output: BufReader::new(output) };
        let findings = checker.ask(&json!({ "definitions": definitions })).await?;
        helper::check_definitions(&findings)?;
        Ok(checker)
    }

    /// What it says of `sources`. After an error it is of no more use.
    ///
    /// # Errors
    /// `MC-K002` when it gives no answer.
    pub(crate) async fn check(&mut self, sources: &Sources) -> Result<Vec<Finding>> {
        let task = json!({
            "sources": sources.texts,
            "targets": sources.targets,
            "check": sources.checked,
            "seconds": FILE.as_secs_f64(),
        });
        let mut findings = self.ask(&task).await?;
        findings.iter_mut().for_each(Finding::speak_plainly);
        Ok(findings)
    }

    async fn ask(&mut self, task: &serde_json::Value) -> Result<Vec<Finding>> {
        let line = format!("{task}\n");
        let mut answer = Vec::new();
        let conversation = async {
            // A task is written while the answer to nothing is awaited: the helper reads all of it first.
            self.input.write_all(line.as_bytes()).await?;
            self.input.flush().await?;
            (&mut self.output).take(LONGEST_ANSWER).read_until(b'\n', &mut answer).await
        };
        // Some modules may each take as long as one may.
        let read = tokio::time::timeout(FILE * 4, conversation).await;
        match read {
            Err(_) => Err(failed(format!("it took longer than {} s", FILE.as_secs() * 4))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Ok(Ok(0)) => Err(failed("it has ended".to_owned())),
            Ok(Ok(_)) => serde_json::from_slice(&answer)
                .map_err(|error| failed(format!("its answer cannot be read: {error}"))),
        }
    }
}

fn failed(cause: String) -> Error {
    Error::new(Code::CheckerFailed, "the helper `mcrun-check` failed").because(cause)
}
