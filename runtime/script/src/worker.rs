//! Owns the worker: the child process that holds one run's compiler and VM and nothing else. It reads what it is to run
//! from its one descriptor, locks itself in, and only then looks at the script.

mod confine;
pub(crate) mod data;
mod deadline;
mod decode;
mod encode;
mod inbox;
mod natives;
mod pipe;
mod random;
mod stack;
mod text;
mod vm;

use std::process::ExitCode;

use crate::protocol::{Start, ToHost, ToWorker};

/// The hidden `mcrun worker`: runs the one script that the host sends over standard input, a socket. Every way out
/// passes through [`pipe::finish`], which does not return.
pub fn worker_main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        pipe::finish(&ToHost::Panicked { message: panic.to_string() });
    }));
    if confine::shed_inheritance().is_err() {
        return ExitCode::FAILURE;
    }
    let blank = vm::Blank::new();
    match pipe::receive() {
        ToWorker::Start(start) => run(blank, *start),
        _ => ExitCode::FAILURE,
    }
}

fn run(blank: mlua::Result<vm::Blank>, start: Start) -> ExitCode {
    let prepared = match blank.and_then(|blank| vm::prepare(blank, &start)) {
        Ok(prepared) => prepared,
        Err(error) => {
            pipe::finish(&ToHost::Panicked { message: format!("the VM cannot be prepared: {error}") })
        }
    };
    match confine::lock_in(&start.limits) {
        Ok(landlock) => pipe::greet(&ToHost::Ready { landlock }),
        Err(reason) => pipe::finish(&ToHost::Unconfined { reason }),
    }
    let message = match prepared.run(&start.script) {
        Ok(()) => "the script's end was not reported".to_owned(),
        Err(error) => vm::memory_or(&error, &prepared),
    };
    pipe::finish(&ToHost::Panicked { message })
}
