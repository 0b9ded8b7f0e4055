//! Owns what mcrun does as the first process of a container: nothing but look after its own self. The program proper runs as
//! a child; this one reaps whatever is left behind, as native services and programs of scripts leave things, hands signals
//! on, and ends as the child does. The kernel ends everything else in the container with it.

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use effect::{Code, Error};

use crate::render;

/// This very program, whatever has become of its file.
const PROGRAM: &str = "/proc/self/exe";
/// What tells a process of the sockets and the watchdog that are meant for it names it by its number.
const NUMBERED: [&str; 2] = ["LISTEN_PID", "WATCHDOG_PID"];
/// The first descriptor that may have been handed over.
const HANDED: RawFd = 3;
/// Sockets that are handed over, at most.
const MOST_HANDED: RawFd = 64;

/// Whether this process is the first one of its container, or of the machine.
pub(crate) fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs the program with `words` in a child, and returns what it ends with.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    // Before the child starts, so that no signal is missed. There is one thread.
    let signals = block_all();
    match start(words, &signals.before) {
        Ok(child) => ExitCode::from(look_after(child, &signals.all)),
        Err(error) => {
            let error = Error::new(Code::InitChild, "as the first process, mcrun cannot start its own self")
                .because(error);
            ExitCode::from(render::failure(&error).code())
        }
    }
}

struct Masks {
    all: libc::sigset_t,
    before: libc::sigset_t,
}

/// Holds every signal back until it is asked for.
fn block_all() -> Masks {
    // SAFETY: both sets are plain data that the calls fill; no other thread is there yet.
    unsafe {
        let mut masks = Masks { all: std::mem::zeroed(), before: std::mem::zeroed() };
        libc::sigfillset(&raw mut masks.all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const masks.all, &raw mut masks.before);
        masks
    }
}

/// Starts the program proper, with the signals, the descriptors and the environment that this process was given.
#[expect(clippy::disallowed_methods, reason = "the child is this very program")]
fn start(words: &[OsString], mask: &libc::sigset_t) -> io::Result<libc::pid_t> {
    // SAFETY: there is one thread, so the child may do whatever a process may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let own = std::process::id().to_string();
            let mut command = Command::new(PROGRAM);
            if let Some((name, rest)) = words.split_first() {
                command.arg0(name).args(rest);
            }
            for variable in NUMBERED {
                if std::env::var(variable).is_ok_and(|number| number == "1") {
                    command.env(variable, &own);
                }
            }
            // SAFETY: the set was filled by the kernel.
            unsafe { libc::sigprocmask(libc::SIG_SETMASK, std::ptr::from_ref(mask), std::ptr::null_mut()) };
            let error = Error::new(Code::InitChild, "as the first process, mcrun cannot start its own self")
                .because(command.exec());
            std::process::exit(render::failure(&error).code().into());
        }
        child => {
            // Sockets that were handed over are the child's alone, so that they are gone when it closes them.
            for descriptor in HANDED..HANDED + MOST_HANDED {
                // SAFETY: nothing here has opened a descriptor.
                unsafe { libc::close(descriptor) };
            }
            Ok(child)
        }
    }
}

/// Hands signals on and reaps, until `child` has ended.
fn look_after(child: libc::pid_t, signals: &libc::sigset_t) -> u8 {
    loop {
        // SAFETY: the call fills what is plain data.
        let (signal, told) = unsafe {
            let mut told: libc::siginfo_t = std::mem::zeroed();
            (libc::sigwaitinfo(signals, &raw mut told), told)
        };
        match signal {
            -1 => {}
            libc::SIGCHLD => {
                if let Some(code) = reap(child) {
                    return code;
                }
            }
            // Those that the kernel itself sends, as a terminal does at Ctrl-C, go to the whole group: the child has its own.
            _ if told.si_code > 0 => {}
            // SAFETY: a number of a child that has not been waited for is nobody else's.
            _ => drop(unsafe { libc::kill(child, signal) }),
        }
    }
}

/// Waits for everything that has ended; the exit code of `child` where it is among them.
fn reap(child: libc::pid_t) -> Option<u8> {
    let mut code = None;
    loop {
        let mut status = 0;
        // SAFETY: the call writes one number.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match ended {
            0 | -1 => return code,
            ended if ended == child => code = Some(exit_code(status)),
            _ => {}
        }
    }
}

/// As a shell tells it: 128 and the signal for one that a signal ended.
fn exit_code(status: libc::c_int) -> u8 {
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_as_its_child_does() {
        // As wait(2) encodes them: the exit code above the signal.
        assert_eq!(exit_code(6 << 8), 6);
        assert_eq!(exit_code(libc::SIGKILL), 137);
        assert_eq!(exit_code(0), 0);
    }
}
