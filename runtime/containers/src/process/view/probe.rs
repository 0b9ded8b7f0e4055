//! Owns the answer to whether programs can have namespaces here: it is tried once, in a process that is gone at once.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

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
