//! The helper of `mcrun check`: reads definitions, sources and the targets of their `require`s as JSON from standard
//! input, writes what Luau's analysis says of them as JSON to standard output. With the word `keep` it goes on from task to
//! task, a line each: the definitions first, then modules.
//!
//! Owns the conversation; leaves reading files and finding modules to `mcrun`, and the analysis to Luau. It is a program of
//! its own because the analysis brings a Luau of another version than the VM, and one binary cannot hold both.

mod analysis;

use std::collections::BTreeMap;
use std::io::{BufRead as _, Read as _};
use std::process::ExitCode;

use analysis::Analysis;
use serde::{Deserialize, Serialize};

/// What is to be checked.
#[derive(Debug, Deserialize)]
struct Task {
    /// The types of the globals.
    definitions: String,
    #[serde(flatten)]
    modules: Modules,
}

/// The types of the globals, for all that follows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    definitions: String,
}

/// Modules that are to be checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Modules {
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
    match std::env::args_os().nth(1) {
        Some(word) if word == "keep" => keep(),
        Some(_) => fail("the only word that it takes is `keep`"),
        None => once(),
    }
}

/// One task, up to the end of the input.
fn once() -> ExitCode {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        return fail(&format!("standard input cannot be read: {error}"));
    }
    let task: Task = match serde_json::from_str(&text) {
        Ok(task) => task,
        Err(error) => return fail(&format!("the task cannot be read: {error}")),
    };
    let Some((mut analysis, mut findings)) = Analysis::new(&task.definitions) else {
        return fail("the analysis cannot be started");
    };
    findings.extend(analysis.check(&task.modules));
    answer(&findings);
    ExitCode::SUCCESS
}

/// A task a line, until the input ends.
fn keep() -> ExitCode {
    let mut analysis = None;
    for line in std::io::stdin().lock().lines() {
        let line = match line {
            Ok(line) => line,
            Err(error) => return fail(&format!("standard input cannot be read: {error}")),
        };
        let findings = match &mut analysis {
            None => serde_json::from_str(&line).map(|opening: Opening| {
                let opened = Analysis::new(&opening.definitions);
                opened.map(|(opened, findings)| {
                    analysis = Some(opened);
                    findings
                })
            }),
            Some(analysis) => serde_json::from_str(&line).map(|modules| Some(analysis.check(&modules))),
        };
        match findings {
            Ok(Some(findings)) => answer(&findings),
            Ok(None) => return fail("the analysis cannot be started"),
            Err(error) => return fail(&format!("the task cannot be read: {error}")),
        }
    }
    ExitCode::SUCCESS
}

fn answer(findings: &[Finding]) {
    write(&serde_json::to_string(findings).expect("findings are plain data"));
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
