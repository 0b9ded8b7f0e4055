//! The `mcrun` command: arguments, configuration, wiring of drivers and effects, rendering, exit codes.
//!
//! Owns what a person sees and types. Leaves what a run does to `script` (worker) and `effect` (corridor).

mod app;
mod approve;
mod arguments;
mod audit;
mod bridge;
mod certificates;
mod claims;
mod commands;
mod config;
mod demo;
mod execute;
mod exit;
mod handover;
mod health;
mod init;
mod kit;
mod logs;
mod panics;
mod passphrase;
mod playbooks;
mod private;
mod proofs;
mod proxies;
mod reference;
mod render;
mod runbook;
mod shown;
mod stdlib;
mod terminal;
mod wiring;
mod witness;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::exit::Exit;

/// For what is under way on other threads when a command has come to its end.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Runs the program with the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    // A worker sets another one later: it knows no secret, and its host tells of it.
    panics::tell_without_values();
    let words: Vec<OsString> = std::env::args_os().collect();
    if init::is_first() {
        return init::main(&words);
    }
    // A native program's shim sets up namespaces, which takes files of /proc that would be root's.
    if words.get(1).is_none_or(|word| word != "shim") {
        keep_memory_here();
    }
    // Children of the same binary start before anything else is set up: they must stay small and quick.
    match words.get(1).and_then(|word| word.to_str()) {
        Some("worker") => return script::worker_main(),
        Some("shim") => return containers::process::shim_main(&words[2..]),
        Some("demo-server") => return demo::serve(&words[2..]),
        Some("demo-visit") => return demo::visit(&words[2..]),
        _ => {}
    }
    ExitCode::from(run(words).code())
}

/// Secrets are in the memory of this process: it leaves no core behind, and no other of the same user looks into it.
/// What it starts is not bound by it.
fn keep_memory_here() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    // It fails on values that the kernel does not know, and on nothing else.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn run(words: Vec<OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments::with_run(words)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let failed = error.use_stderr();
            // Nothing is left to be said when the terminal is gone.
            let _ = error.print();
            return if failed { Exit::Usage } else { Exit::Done };
        }
    };
    match &arguments.command {
        arguments::Command::Serve(arguments::machine::Serve { log }) => {
            commands::take_environment();
            logs::init(arguments.global.verbose, *log);
        }
        _ => render::init_tracing(arguments.global.verbose),
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error =
                effect::Error::new(effect::Code::Internal, "the runtime cannot be started").because(error);
            return render::failure(&error);
        }
    };
    let exit = match runtime.block_on(commands::dispatch(arguments)) {
        Ok(exit) => exit,
        Err(error) => render::failure(&error),
    };
    // A thread that waits for a file system that does not answer is left behind.
    runtime.shutdown_timeout(LAST_WORK);
    exit
}
