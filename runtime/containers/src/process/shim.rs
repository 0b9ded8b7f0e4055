//! Owns `mcrun shim`, the hidden command that supervises one native program: a single thread around `poll`, without a
//! runtime. It outlives mcrun, and nothing but the program's own folder tells it what to do.
//!
//! SIGHUP: read the folder again (new settings, an order to stop). SIGTERM: stop the program and end.

mod child;
mod log;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

pub(crate) use self::child::DEFAULT_PATH;
use self::child::{Child, Exit};
use self::log::Log;
use super::live;
use super::record::{Folder, Greeting, Identity, Phase, Program, Status};
use crate::cgroup;
use crate::spec::RestartPolicy;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A program that ran this long starts over with the shortest pause.
const STEADY: Duration = Duration::from_secs(10);

/// Runs the shim: `args` is the folder of the program. Forks, so it has to be called before any thread is started.
#[must_use]
pub fn shim_main(args: &[OsString]) -> ExitCode {
    let [folder] = args else { return ExitCode::from(2) };
    // SAFETY: no other thread exists (documented above), so the child may go on as usual.
    match unsafe { libc::fork() } {
        -1 => ExitCode::FAILURE,
        0 => {
            let folder = Folder::new(PathBuf::from(folder));
            match run(&folder) {
                Ok(()) => ExitCode::SUCCESS,
                Err(cause) => {
                    greet(&Greeting::Failed(cause.to_string()));
                    ExitCode::FAILURE
                }
            }
        }
        // The caller waits for this process; the one that matters belongs to nobody now.
        _ => ExitCode::SUCCESS,
    }
}

fn run(folder: &Folder) -> std::io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let Some(_lock) = folder.lock()? else {
        greet(&Greeting::Taken);
        return Ok(());
    };
    let program = folder.wanted()?.ok_or_else(|| std::io::Error::other("the program was removed"))?;
    if let Some(group) = &program.shims_group {
        cgroup::enter(group);
    }
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    let signals = signal_descriptor()?;
    let own = std::process::id() as i32;
    let shim = live::identify(own).ok_or_else(|| std::io::Error::other("/proc is not there"))?;
    let _ = folder.take_stop();
    let log = Log::open(folder, program.log_bytes);
    let mut supervisor = Supervisor {
        folder: folder.clone(),
        program,
        shim,
        log,
        signals,
        child: None,
        restarts: 0,
        attempts: 0,
        pause: FIRST_PAUSE,
        next_start: None,
        stop: None,
        exit_code: None,
        started_at: None,
    };
    supervisor.supervise()
}

/// Tells the caller how the first start went, and lets go of it.
fn greet(greeting: &Greeting) {
    let mut out = std::io::stdout();
    // The caller may be gone: the program runs on without it.
    let _ = serde_json::to_writer(&mut out, greeting);
    let _ = out.write_all(b"\n");
    let _ = out.flush();
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // SAFETY: both descriptors are open; standard output becomes the null device.
        unsafe {
            libc::dup2(null.as_raw_fd(), libc::STDOUT_FILENO);
        }
    }
}

/// A descriptor that becomes readable when one of our signals is there.
fn signal_descriptor() -> std::io::Result<OwnedFd> {
    // SAFETY: sigset_t is plain data; the calls only write into `set`, which outlives them.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGCHLD, libc::SIGHUP, libc::SIGTERM, libc::SIGINT] {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let descriptor = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// An order to stop that is being carried out.
struct Stop {
    kill_at: Instant,
}

struct Supervisor {
    folder: Folder,
    program: Program,
    shim: Identity,
    log: Log,
    signals: OwnedFd,
    child: Option<Child>,
    restarts: u32,
    /// Starts in a row that did not last.
    attempts: u32,
    pause: Duration,
    next_start: Option<Instant>,
    stop: Option<Stop>,
    exit_code: Option<i32>,
    started_at: Option<String>,
}

impl Supervisor {
    fn supervise(&mut self) -> std::io::Result<()> {
        self.apply_limits()?;
        self.folder.set_running(&self.program)?;
        self.start()?;
        greet(&Greeting::Started);
        while !self.is_over() {
            self.wait();
            self.take_signals();
            self.copy_output();
            self.reap();
            self.keep_time();
        }
        if let Some(group) = &self.program.group {
            cgroup::remove(group);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.child.is_none() && self.next_start.is_none()
    }

    fn apply_limits(&self) -> std::io::Result<()> {
        let Some(group) = &self.program.group else { return Ok(()) };
        let limits = cgroup::Limits { memory: self.program.memory, cpus: self.program.cpus };
        match cgroup::limit(group, limits) {
            // A program without limits runs where no group can be made just as well.
            Err(_) if limits == cgroup::Limits::default() => Ok(()),
            done => done,
        }
    }

    fn start(&mut self) -> std::io::Result<()> {
        self.next_start = None;
        let child = Child::start(&self.program)?;
        self.started_at = Some(log::now());
        self.child = Some(child);
        self.record(Phase::Running);
        Ok(())
    }

    fn record(&self, phase: Phase) {
        let status = Status {
            phase,
            boot: live::boot(),
            shim: self.shim,
            program: self.child.as_ref().map(Child::identity),
            exit_code: self.exit_code,
            restarts: self.restarts,
            started_at: self.started_at.clone(),
        };
        // A full disk must not end the service that it supervises.
        let _ = self.folder.set_status(&status);
    }

    fn wait(&self) {
        let kill_at = self.stop.as_ref().map(|stop| stop.kill_at).filter(|_| self.child.is_some());
        let deadline = kill_at.into_iter().chain(self.next_start).min();
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left
            .map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        let mut descriptors = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let outputs = self.child.iter().flat_map(Child::outputs);
        descriptors.extend(outputs.map(|output| PollFd::from_borrowed_fd(output, PollFlags::IN)));
        // An interrupted wait is a short one: everything is looked at again anyhow.
        let _ = poll(&mut descriptors, left.as_ref());
    }

    fn take_signals(&mut self) {
        let size = size_of::<libc::signalfd_siginfo>();
        loop {
            // SAFETY: signalfd_siginfo is plain data for which all zeroes is a valid value.
            let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
            // SAFETY: the buffer is `size` bytes long and belongs to us.
            let read = unsafe { libc::read(self.signals.as_raw_fd(), (&raw mut info).cast(), size) };
            if read != size as isize {
                return;
            }
            match info.ssi_signo as i32 {
                libc::SIGHUP => self.reread(),
                libc::SIGTERM | libc::SIGINT => self.begin_stop(None),
                _ => {}
            }
        }
    }

    /// Takes over what can change without a new start, and an order to stop.
    fn reread(&mut self) {
        if let Ok(Some(wanted)) = self.folder.wanted() {
            self.program.restart = wanted.restart;
            self.program.stop_signal = wanted.stop_signal;
            self.program.stop_timeout = wanted.stop_timeout;
            self.program.labels = wanted.labels;
            self.program.service = wanted.service;
            self.program.health = wanted.health;
            self.program.memory = wanted.memory;
            self.program.cpus = wanted.cpus;
            let _ = self.apply_limits();
            let _ = self.folder.set_running(&self.program);
        }
        if let Some(timeout) = self.folder.take_stop() {
            self.begin_stop(timeout.map(|span| span.0));
        }
    }

    fn begin_stop(&mut self, timeout: Option<Duration>) {
        self.next_start = None;
        let kill_at = Instant::now() + timeout.unwrap_or(self.program.stop_timeout.0);
        let Some(child) = &self.child else {
            self.stop = Some(Stop { kill_at });
            self.record(Phase::Ended);
            return;
        };
        match &mut self.stop {
            // Asked again while it stops: an earlier end counts.
            Some(stop) => stop.kill_at = stop.kill_at.min(kill_at),
            None => {
                child.signal(self.program.stop_signal);
                self.stop = Some(Stop { kill_at });
                self.record(Phase::Stopping);
            }
        }
    }

    fn copy_output(&mut self) {
        if let Some(child) = &mut self.child {
            child.copy_output(&mut self.log);
        }
    }

    fn reap(&mut self) {
        let Some(child) = &mut self.child else {
            Child::reap_strays();
            return;
        };
        let Some(exit) = child.reap() else { return };
        // Whatever it started ends with it: a new start must not meet the old one's children.
        child::end_descendants(self.program.group.as_deref());
        child.copy_output(&mut self.log);
        self.log.finish();
        let lasted = child.age();
        self.child = None;
        self.exit_code = Some(exit.code());
        self.plan_next(exit, lasted);
    }

    fn plan_next(&mut self, exit: Exit, lasted: Duration) {
        if lasted >= STEADY {
            self.pause = FIRST_PAUSE;
            self.attempts = 0;
        }
        let restart = self.program.restart;
        let is_wanted = match restart.policy {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure => exit.code() != 0 && restart.max.is_none_or(|max| self.attempts < max),
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        };
        if self.stop.is_some() || !is_wanted {
            self.record(Phase::Ended);
            return;
        }
        self.next_start = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.record(Phase::Waiting);
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        if self.stop.as_ref().is_some_and(|stop| now >= stop.kill_at)
            && let Some(child) = &self.child
        {
            child.signal(Signal::KILL.as_raw());
            child::kill_descendants(self.program.group.as_deref());
        }
        if self.next_start.is_some_and(|at| now >= at) {
            self.restarts += 1;
            self.attempts += 1;
            if let Err(cause) = self.start() {
                self.log.note(&format!("cannot be started: {cause}"));
                self.exit_code = Some(127);
                self.plan_next(Exit::failed_start(), Duration::ZERO);
            }
        }
    }
}
