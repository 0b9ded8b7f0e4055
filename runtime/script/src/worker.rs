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
mod template;
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
        ToWorker::Fork => match template::fork_for_each_pipe() {
            ToWorker::Start(start) => run(blank, *start),
            _ => ExitCode::FAILURE,
        },
        _ => ExitCode::FAILURE,
    }
}

/// Gives back what compiling the prelude needed: as long as it waits, a worker is to hold no more than its script does.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it releases pages of the allocator that hold nothing.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn run(blank: mlua::Result<vm::Blank>, start: Start) -> ExitCode {
    let prepared = match blank.and_then(|blank| vm::prepare(blank, &start)) {
        Ok(prepared) => prepared,
        Err(error) => {
            pipe::finish(&ToHost::Panicked { message: format!("the VM cannot be prepared: {error}") })
        }
    };
    give_back();
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
