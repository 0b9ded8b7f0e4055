//! Owns the helper program: where it is found, and the conversation with it. Any program that speaks the same JSON may
//! take its place.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use effect::{Code, Error, Result};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::sources::Sources;

const NAME: &str = "mcrun-check";
/// The longest that one file, and all of them together, may take.
pub(super) const FILE: Duration = Duration::from_secs(20);
const ALL: Duration = Duration::from_secs(300);
/// The most that it may answer.
pub(super) const LONGEST_ANSWER: u64 = 64 << 20;

/// One thing that the analysis says.
#[derive(Debug, Deserialize)]
pub(crate) struct Finding {
    pub(crate) module: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) warning: bool,
    pub(crate) message: String,
}

impl Finding {
    /// Tables that refuse unknown fields do so with a type that nothing fits; people want to be told of the field.
    pub(super) fn speak_plainly(&mut self) {
        const UNREACHABLE: [&str; 2] =
            ["Expected this to be unreachable, but got", "Expected this to be 'never', but got"];
        if UNREACHABLE.iter().any(|text| self.message.starts_with(text)) {
            self.message =
                "this field is unknown here; the reference lists the fields that there are".to_owned();
        }
    }
}

/// The helper: named by `MCRUN_CHECKER`, beside this program, or in the path.
pub(crate) fn find() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("MCRUN_CHECKER") {
        return Ok(named.into());
    }
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(NAME)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path =
        std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(NAME));
    beside.into_iter().chain(in_path).find(|program| program.is_file()).ok_or_else(|| {
        Error::new(Code::CheckerMissing, format!("the helper program `{NAME}` is not installed"))
            .hint("`make install` puts it beside `mcrun`; MCRUN_CHECKER names it elsewhere")
    })
}

/// What the helper says about `sources`.
pub(super) async fn check(program: &Path, definitions: &str, sources: &Sources) -> Result<Vec<Finding>> {
    let task = json!({
        "definitions": definitions,
        "sources": sources.texts,
        "targets": sources.targets,
        "check": sources.checked,
        "seconds": FILE.as_secs_f64(),
    });
    let failed = |cause: String| {
        Error::new(Code::CheckerFailed, format!("the helper `{}` failed", program.display())).because(cause)
    };
    let answer = tokio::time::timeout(ALL, converse(program, task.to_string()))
        .await
        .map_err(|_| failed(format!("it took longer than {} s", ALL.as_secs())))?
        .map_err(failed)?;
    let findings: Vec<Finding> = serde_json::from_slice(&answer)
        .map_err(|error| failed(format!("its answer cannot be read: {error}")))?;
    check_definitions(&findings)?;
    Ok(findings)
}

pub(super) fn check_definitions(findings: &[Finding]) -> Result<()> {
    match findings.iter().find(|finding| finding.module == "definitions") {
        Some(finding) => Err(Error::new(Code::Internal, "the type definitions are wrong")
            .because(format!("{}:{}: {}", finding.line, finding.column, finding.message))),
        None => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the helper cannot be part of this binary: it holds another Luau"
)]
async fn converse(program: &Path, task: String) -> std::result::Result<Vec<u8>, String> {
    let mut child = tokio::process::Command::new(program)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let (Some(mut input), Some(output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("it has no pipes".to_owned());
    };
    let (mut answer, mut said) = (Vec::new(), Vec::new());
    let (mut output, mut errors) = (output.take(LONGEST_ANSWER), errors.take(4096));
    let write = async move {
        // One that ends early says why; that it did not read on is no further news.
        let _ = input.write_all(task.as_bytes()).await;
    };
    let ((), read, _) = tokio::join!(write, output.read_to_end(&mut answer), errors.read_to_end(&mut said));
    read.map_err(|error| format!("its answer cannot be read: {error}"))?;
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(answer);
    }
    Err(format!("{status}: {}", String::from_utf8_lossy(&said).trim()))
}
