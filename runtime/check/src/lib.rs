//! The helper of `mcrun check`: reads definitions, sources and the targets of their `require`s as JSON from standard
//! input, writes what Luau's analysis says of them as JSON to standard output.
//!
//! Owns the conversation; leaves reading files and finding modules to `mcrun`, and the analysis to Luau. It is a program of
//! its own because the analysis brings a Luau of another version than the VM, and one binary cannot hold both.

mod analysis;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// What is to be checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    /// The types of the globals.
    definitions: String,
    /// Every source by the name of its module.
    sources: BTreeMap<String, String>,
    /// By module and by path, the module that the path means there.
    targets: BTreeMap<String, BTreeMap<String, String>>,
    /// The modules to report about, in this order.
    check: Vec<String>,
    /// The longest that one module may take, in seconds.
    seconds: f64,
}

/// One thing that the analysis says.
#[derive(Debug, PartialEq, Serialize)]
struct Finding {
    module: String,
    line: u32,
    column: u32,
    warning: bool,
    message: String,
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        return fail(&format!("standard input cannot be read: {error}"));
    }
    let task: Task = match serde_json::from_str(&text) {
        Ok(task) => task,
        Err(error) => return fail(&format!("the task cannot be read: {error}")),
    };
    match analysis::check(&task) {
        Some(findings) => {
            write(&serde_json::to_string(&findings).expect("findings are plain data"));
            ExitCode::SUCCESS
        }
        None => fail("the analysis cannot be started"),
    }
}

#[expect(clippy::disallowed_macros, reason = "the answer of this program is its standard output")]
fn write(text: &str) {
    println!("{text}");
}

#[expect(clippy::disallowed_macros, reason = "nobody else writes for this program")]
fn fail(message: &str) -> ExitCode {
    eprintln!("mcrun-check: {message}");
    ExitCode::FAILURE
}
