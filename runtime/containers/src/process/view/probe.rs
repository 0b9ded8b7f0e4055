//! Owns the answer to whether programs can have namespaces here: it is tried once, in a process that is gone at once.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::namespaces::{self, Numbers};

/// By this the child says that everything went well, without becoming a program.
const WORKED: i32 = libc::ECANCELED;

/// Why no program can have namespaces of its own here; `None` where it can.
pub(crate) fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    OBSTACLE.get_or_init(|| attempt().err().map(|cause| cause.to_string())).as_deref()
}

#[expect(clippy::disallowed_methods, reason = "the one place that tries namespaces; no program is ever run")]
fn attempt() -> io::Result<()> {
    let numbers = Numbers::of_this_user();
    let mut command = Command::new("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: what runs in the child are system calls alone, on memory that was made before the fork.
    unsafe {
        command.pre_exec(move || {
            leave_memory_open()?;
            namespaces::try_all(numbers.as_ref())?;
            Err(io::Error::from_raw_os_error(WORKED))
        });
    }
    match command.spawn() {
        Err(cause) if cause.raw_os_error() == Some(WORKED) => Ok(()),
        Err(cause) => Err(cause),
        Ok(_) => Err(io::Error::other("a folder was run as a program")),
    }
}

/// Files of `/proc` by which a user namespace is set up are root's where memory is closed to others, as that of whoever
/// forked this process is. It still leaves no core.
fn leave_memory_open() -> io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)?;
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_memory_keeps_no_user_from_namespaces() {
        let tried = |memory: DumpableBehavior| {
            rustix::process::set_dumpable_behavior(memory).unwrap();
            attempt().map_err(|cause| cause.to_string())
        };
        let user = move || {
            // SAFETY: the bare call changes this thread alone, which ends with what is tried here.
            unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
            (tried(DumpableBehavior::Dumpable), tried(DumpableBehavior::NotDumpable))
        };
        let (open, closed) = std::thread::spawn(user).join().unwrap();
        assert_eq!(open, closed);
    }
}
