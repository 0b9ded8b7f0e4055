//! Owns the watcher: a process between host and program that ends the program's whole session when the host is gone.
//!
//! ```text
//! host ──fork──▶ watcher (leader of its own session, holds one end of a socket pair)
//!                   └──fork──▶ program (its own process group)
//! ```
//!
//! A byte from the host is a signal for the program's group; end of file means that the host is dead or has lost
//! interest, and kills the session. The program's wait status travels back. A parent-death signal alone would not do:
//! it follows the thread that forked, and reaches only the program, not its children.
//!
//! Everything here runs between fork and exec of a process that may have had threads: system calls on the stack only,
//! no allocation, no lock, no panic.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;

use libc::{c_char, c_void};

/// How often the session is searched again for processes that were forked meanwhile.
const ROUNDS: usize = 200;
const PAUSE_NANOS: libc::c_long = 1_000_000;

/// Splits the calling process, which was just forked, into watcher and program. Returns in the program only.
///
/// # Safety
/// To be called between fork and exec, where the caller's other threads do not exist.
pub(super) unsafe fn split(control: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls; fork in a single-threaded child leaves two single-threaded processes.
    unsafe {
        if libc::setsid() < 0 {
            return Err(io::Error::last_os_error());
        }
        let watcher = libc::getpid();
        // Whatever the program leaves behind becomes a child of the watcher. Without this the session is searched for it.
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                libc::setpgid(0, 0);
                // Here the signal is sound: the watcher has one thread. It covers a watcher that is killed itself.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid() != watcher {
                    libc::_exit(127);
                }
                Ok(())
            }
            program => watch(program, control),
        }
    }
}

/// Waits for the end of `program` or of the host, whichever is first.
///
/// # Safety
/// As for [`split`]; `program` is a child of the calling process.
unsafe fn watch(program: libc::pid_t, control: RawFd) -> ! {
    // SAFETY: system calls on values that live on this stack.
    unsafe {
        libc::setpgid(program, program);
        settle(control);
        let ended = pidfd_open(program);
        loop {
            let mut fds = [
                libc::pollfd { fd: control, events: libc::POLLIN, revents: 0 },
                libc::pollfd { fd: ended, events: libc::POLLIN, revents: 0 },
            ];
            // Without a pidfd (a negative descriptor is skipped) the program is looked at every 20 ms.
            let patience = if ended < 0 { 20 } else { -1 };
            libc::poll(fds.as_mut_ptr(), 2, patience);
            let mut status: c_int = 0;
            if libc::waitpid(program, &raw mut status, libc::WNOHANG) == program {
                if has_left_something() {
                    end_session(program);
                }
                libc::send(control, (&raw const status).cast(), size_of::<c_int>(), libc::MSG_NOSIGNAL);
                libc::_exit(0);
            }
            if fds[0].revents != 0 {
                let mut signal = 0_u8;
                match libc::read(control, (&raw mut signal).cast(), 1) {
                    1 => {
                        libc::kill(-program, c_int::from(signal));
                    }
                    -1 if *libc::__errno_location() == libc::EINTR => {}
                    _ => {
                        libc::kill(-program, libc::SIGKILL);
                        end_session(program);
                        libc::_exit(0);
                    }
                }
            }
        }
    }
}

/// Whether the program, which has ended, has left processes behind. Searching the session for them takes longer than most
/// programs do.
unsafe fn has_left_something() -> bool {
    loop {
        // SAFETY: a system call without pointers.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return true,
            // SAFETY: `errno` is this thread's own.
            -1 => return unsafe { *libc::__errno_location() } != libc::ECHILD,
            // A zombie that was left.
            _ => {}
        }
    }
}

/// Sheds what the watcher inherited: descriptors (locks and pipes hang on them) and the host's signal handlers.
unsafe fn settle(control: RawFd) {
    // SAFETY: system calls without pointers, except for the name, which is a literal.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP, libc::SIGPIPE]
        {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::prctl(libc::PR_SET_NAME, c"mcrun-watch".as_ptr());
        let control = control as libc::c_uint;
        if control > 0 {
            libc::syscall(libc::SYS_close_range, 0, control - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, control + 1, libc::c_uint::MAX, 0);
    }
}

unsafe fn pidfd_open(pid: libc::pid_t) -> RawFd {
    // SAFETY: a system call on plain numbers.
    unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) as RawFd }
}

/// Kills what is left in the watcher's own session.
unsafe fn end_session(program: libc::pid_t) {
    // SAFETY: system calls without pointers.
    unsafe {
        // Without /proc to search, the program's own group is what can be reached.
        if !kill_session(libc::getpid()) {
            libc::kill(-program, libc::SIGKILL);
        }
    }
}

/// Kills what is left of a session whose watcher was killed, for the host that has not yet reaped that watcher.
pub(super) fn end_orphaned(session: libc::pid_t) {
    // SAFETY: system calls only; the unreaped leader keeps the number from being given to another session.
    unsafe { kill_session(session) };
}

/// Kills what is left in a session, apart from its leader, until nothing is; says whether it could be searched.
unsafe fn kill_session(leader: libc::pid_t) -> bool {
    let pause = libc::timespec { tv_sec: 0, tv_nsec: PAUSE_NANOS };
    for _ in 0..ROUNDS {
        // SAFETY: system calls on values that live on this stack.
        match unsafe { kill_members(leader) } {
            Some(0) => return true,
            // SAFETY: as above.
            Some(_) => unsafe {
                libc::nanosleep(&raw const pause, std::ptr::null_mut());
            },
            None => return false,
        }
    }
    true
}

/// Sends SIGKILL to every living member of the session and says how many there were; `None` without /proc.
unsafe fn kill_members(leader: libc::pid_t) -> Option<usize> {
    #[repr(align(8))]
    struct Buffer([u8; 8192]);
    // SAFETY: getdents64 fills the buffer with as many whole records as it returns bytes; `reclen` is each one's
    // length, the name is terminated by NUL inside it.
    unsafe {
        let folder = libc::open(c"/proc".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC);
        if folder < 0 {
            return None;
        }
        let mut killed = 0;
        let mut buffer = Buffer([0; 8192]);
        loop {
            let filled = libc::syscall(libc::SYS_getdents64, folder, buffer.0.as_mut_ptr(), buffer.0.len());
            let Ok(filled) = usize::try_from(filled) else { break };
            if filled == 0 {
                break;
            }
            let mut at = 0;
            while at < filled {
                let entry: *const libc::dirent64 = buffer.0.as_ptr().add(at).cast();
                let reclen = (&raw const (*entry).d_reclen).read();
                let name: *const u8 = (&raw const (*entry).d_name).cast();
                if let Some(pid) = number(name)
                    && pid != leader
                    && is_living_member(folder, name.cast(), leader)
                {
                    libc::kill(pid, libc::SIGKILL);
                    killed += 1;
                }
                at += usize::from(reclen).max(1);
            }
        }
        libc::close(folder);
        Some(killed)
    }
}

/// The process id that a name in /proc stands for.
unsafe fn number(name: *const u8) -> Option<libc::pid_t> {
    let mut value: libc::pid_t = 0;
    for place in 0..10 {
        // SAFETY: the caller's name is terminated by NUL, and nothing behind that is read.
        match unsafe { *name.add(place) } {
            0 => return (place > 0).then_some(value),
            digit @ b'0'..=b'9' => {
                value = value.wrapping_mul(10).wrapping_add(libc::pid_t::from(digit - b'0'))
            }
            _ => return None,
        }
    }
    None
}

/// Whether the process in /proc/NAME belongs to the session of `leader` and is not a zombie.
unsafe fn is_living_member(proc: RawFd, name: *const c_char, leader: libc::pid_t) -> bool {
    let mut text = [0_u8; 512];
    // SAFETY: reads at most the buffer's length into it.
    let length = unsafe {
        let folder = libc::openat(proc, name, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC);
        if folder < 0 {
            return false;
        }
        let stat = libc::openat(folder, c"stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        libc::close(folder);
        if stat < 0 {
            return false;
        }
        let length = libc::read(stat, text.as_mut_ptr().cast::<c_void>(), text.len());
        libc::close(stat);
        length
    };
    let Some(stat) = usize::try_from(length).ok().and_then(|length| text.get(..length)) else { return false };
    state_and_session(stat)
        .is_some_and(|(state, session)| session == leader && state != b'Z' && state != b'X')
}

/// Reads `PID (NAME) STATE PPID PGRP SESSION …`; a name may itself contain spaces and parentheses.
fn state_and_session(stat: &[u8]) -> Option<(u8, libc::pid_t)> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(end + 2..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let session = fields.nth(2)?;
    let mut value: libc::pid_t = 0;
    for digit in session {
        value = value.wrapping_mul(10).wrapping_add(libc::pid_t::from(digit.wrapping_sub(b'0')));
    }
    Some((state, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_session() {
        assert_eq!(state_and_session(b"12 (a) Z 1 2 (x)) S 7 8 99 0 -1\n"), Some((b'S', 99)));
        assert_eq!(state_and_session(b"12 (a"), None);
    }
}
