//! Owns programs that scripts start: `exec.run`, which acts, and `exec.query`, which only looks and is confined to that.
//!
//! Both die with the host. Services that outlive it are the `containers` crate's.

mod confine;
mod handover;
mod memory;
mod process;
mod program;
mod query;
mod run;
mod watcher;

use std::sync::Arc;

use effect::{Code, Error, Registry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::World;

pub use confine::missing as confinement_missing;
pub(crate) use process::{Ending, Failure, Process};
pub(crate) use program::environment;
pub use program::resolve;
pub use query::Query;
pub use run::Run;
pub(crate) use run::folder;

/// How many of the last lines of output an error shows.
const LINES_IN_ERRORS: usize = 12;

/// Registers `exec.run` and `exec.query`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.act::<Run>(world);
    registry.read::<Query>(world);
}

/// What a program left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The exit code; 128 plus the signal when a signal ended it.
    pub code: i32,
    /// What it wrote to its standard output. Bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// Whether `output_limit` cut either.
    pub truncated: bool,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

/// One line of something that came from outside, short enough to be shown.
pub(crate) fn clip(line: &str) -> String {
    const LONGEST: usize = 400;
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The argument vector as one line for people.
pub(crate) fn words(argv: &[String]) -> String {
    clip(&argv.join(" ").replace('\n', " "))
}

/// Turns the end of a program into the effect's result.
fn conclude(argv: &[String], check: bool, ended: Result<Ending, Failure>) -> effect::Result<Output> {
    match ended {
        Ok(ending) => {
            let output = ending.output();
            if check && output.code != 0 { Err(bad_status(argv, &output, &ending)) } else { Ok(output) }
        }
        Err(Failure::Start(cause)) => {
            Err(Error::new(Code::ExecFailed, format!("`{}` cannot be started", words(argv))).because(cause))
        }
        Err(Failure::TimedOut { after, ending }) => {
            let message = format!("`{}` was stopped after {after}", words(argv));
            let mut error = Error::new(Code::TimedOut, message).retryable();
            error.details = ending.last_lines(LINES_IN_ERRORS);
            Err(error)
        }
        Err(Failure::Lost) => {
            let message = format!("`{}` was killed together with its watcher", words(argv));
            Err(Error::new(Code::ExecFailed, message))
        }
    }
}

fn bad_status(argv: &[String], output: &Output, ending: &Ending) -> Error {
    let how = match output.signal {
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended with exit code {}", output.code),
    };
    let mut error = Error::new(Code::ExitStatus, format!("`{}` {how}", words(argv)))
        .hint("`check = false` hands the exit code to the script instead");
    error.details = ending.last_lines(LINES_IN_ERRORS);
    error
}
