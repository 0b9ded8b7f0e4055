//! Owns one start of the program: its process, its output pipes, its descendants.

use std::io::{self, Read as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::log::Log;
use crate::cgroup;
use crate::driver::Stream;
use crate::process::live;
use crate::process::record::{Identity, Program};
use crate::process::users;
use crate::process::view::View;

/// What a program finds where the spec gives no PATH.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const END_TIMEOUT: Duration = Duration::from_secs(5);
const END_PAUSE: Duration = Duration::from_millis(1);
/// The most that a child may tell of why it could not become the program.
const LONGEST_REPORT: u64 = 8 << 10;
/// The most that is copied before signals are looked at again.
const COPY_AT_ONCE: usize = 256 << 10;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit(i32);

impl Exit {
    /// The exit code; 128 + n when signal n ended it.
    pub(super) fn code(self) -> i32 {
        self.0
    }

    pub(super) fn failed_start() -> Self {
        Self(127)
    }
}

pub(super) struct Child {
    identity: Identity,
    started: Instant,
    outputs: Vec<(Stream, OwnedFd)>,
}

impl Child {
    pub(super) fn start(program: &Program) -> io::Result<Self> {
        let mut child = spawn(program)?;
        let pid = child.id() as i32;
        // It cannot be gone: nobody but us waits for it.
        let identity = live::identify(pid).unwrap_or(Identity { pid, ticks: 0 });
        let stdout = child.stdout.take().map(|pipe| (Stream::Stdout, OwnedFd::from(pipe)));
        let stderr = child.stderr.take().map(|pipe| (Stream::Stderr, OwnedFd::from(pipe)));
        let outputs: Vec<_> = stdout.into_iter().chain(stderr).collect();
        for (_, pipe) in &outputs {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { identity, started: Instant::now(), outputs })
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.outputs.iter().map(|(_, pipe)| std::os::fd::AsFd::as_fd(pipe))
    }

    /// Sends a signal to the program itself, as engines do; its children are its own business until it is gone.
    pub(super) fn signal(&self, number: i32) {
        // SAFETY: plain system call; we have not waited for the process, so its number is still its own.
        unsafe {
            libc::kill(self.identity.pid, number);
        }
    }

    /// Copies what the program wrote; a pipe whose other end is closed is let go.
    pub(super) fn copy_output(&mut self, log: &mut Log) {
        let mut buffer = [0_u8; 16 << 10];
        self.outputs.retain(|(stream, pipe)| {
            let mut copied = 0;
            while copied < COPY_AT_ONCE {
                match rustix::io::read(pipe, &mut buffer) {
                    Ok(0) => return false,
                    Ok(length) => {
                        log.write(*stream, &buffer[..length]);
                        copied += length;
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => return true,
                    Err(_) => return false,
                }
            }
            true
        });
    }

    /// Waits, without blocking, for whatever ended; tells when it was the program itself.
    pub(super) fn reap(&self) -> Option<Exit> {
        let mut exit = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid.as_raw_nonzero().get() == self.identity.pid {
                let code =
                    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                exit = Some(Exit(code.unwrap_or(255)));
            }
        }
        exit
    }

    /// Waits for orphans that were handed to us while no program runs.
    pub(super) fn reap_strays() {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

/// Becomes the program, or tells why it cannot: of what fails in the child, std carries over a number alone.
fn spawn(program: &Program) -> io::Result<std::process::Child> {
    let (report, reporter) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let spawned = command(program, reporter)?.spawn();
    spawned.map_err(|cause| {
        let mut text = String::new();
        // The other end went with the child and the command; without a word of theirs the number has to do.
        let _ = std::fs::File::from(report).take(LONGEST_REPORT).read_to_string(&mut text);
        if text.is_empty() { cause } else { io::Error::new(cause.kind(), text) }
    })
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts native programs")]
fn command(program: &Program, reporter: OwnedFd) -> io::Result<Command> {
    let (path, arguments) =
        program.argv.split_first().ok_or_else(|| io::Error::other("there is no program"))?;
    let user = program.user.as_deref().map(users::resolve).transpose().map_err(io::Error::other)?;
    let group = program.group.clone();
    let view = View::of(program)?;
    let workdir = program.workdir.clone().unwrap_or_else(|| "/".to_owned());
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .envs(&program.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: the shim has a single thread, so after the fork memory and locks are in order and any call is allowed.
    unsafe {
        command.pre_exec(move || {
            let prepared = prepare(user, group.as_deref(), view.as_ref(), &workdir);
            if let Err(cause) = &prepared {
                // Without it the number is carried over all the same.
                let _ = rustix::io::write(&reporter, cause.to_string().as_bytes());
            }
            prepared
        });
    }
    Ok(command)
}

/// What the child does to itself before it becomes the program.
fn prepare(
    user: Option<users::User>,
    group: Option<&str>,
    view: Option<&View>,
    workdir: &str,
) -> io::Result<()> {
    rustix::process::setsid()?;
    if let Some(group) = group {
        cgroup::enter(group);
    }
    // SAFETY: plain system calls on values of our own; see the caller for why any call is allowed here.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    if let Some(view) = view {
        view.enter()?;
    }
    // After the view, in which it may be another one.
    rustix::process::chdir(workdir)
        .map_err(|cause| io::Error::new(cause.kind(), format!("the directory `{workdir}`: {cause}")))?;
    if let Some(user) = user {
        users::become_user(user)?;
    }
    // After the change of user, which clears it: without its shim nobody would supervise the program.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Kills every descendant once.
pub(super) fn kill_descendants(group: Option<&str>) {
    let in_group = group.map(cgroup::processes).unwrap_or_default().into_iter().map(|pid| pid as i32);
    for pid in live::children().into_iter().chain(in_group).filter_map(Pid::from_raw) {
        // It may have ended by itself meanwhile, which is just as well.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills and waits until no descendant is left: children of the killed ones are handed to us, the subreaper.
pub(super) fn end_descendants(group: Option<&str>) {
    let deadline = Instant::now() + END_TIMEOUT;
    while Instant::now() < deadline {
        kill_descendants(group);
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // No child is left at all.
                Err(_) => return,
            }
        }
        std::thread::sleep(END_PAUSE);
    }
}
