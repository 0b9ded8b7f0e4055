//! Owns one run of a program from start to end: input, bounded output, time-out, and that it dies with the host.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use effect::units::Span;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::confine::Confinement;
use super::{Output, clip, watcher};

/// How long a program has between SIGTERM and SIGKILL.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long output is read after the program's end when something outside its session still holds the pipe.
const LEFT_OPEN: Duration = Duration::from_millis(500);
/// How long the watcher may take to disappear.
const REAPING: Duration = Duration::from_secs(5);
/// How much of cut output is kept from its end.
const TAIL: usize = 8 * 1024;

/// A program to be run once.
pub(crate) struct Process {
    pub(crate) path: PathBuf,
    pub(crate) argv: Vec<OsString>,
    pub(crate) folder: PathBuf,
    /// The whole environment.
    pub(crate) environment: BTreeMap<OsString, OsString>,
    pub(crate) stdin: Option<Zeroizing<Vec<u8>>>,
    pub(crate) timeout: Span,
    /// Bytes kept of each output.
    pub(crate) output_limit: usize,
    /// Descriptors that the program inherits under their numbers.
    pub(crate) inherited: Vec<OwnedFd>,
    pub(crate) confinement: Option<Confinement>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) status: ExitStatus,
    stdout: Captured,
    stderr: Captured,
}

/// Why a program has no ending of its own.
#[derive(Debug)]
pub(crate) enum Failure {
    Start(io::Error),
    TimedOut {
        after: Span,
        ending: Box<Ending>,
    },
    /// The watcher ended without a word: somebody killed it.
    Lost,
}

impl Ending {
    pub(crate) fn output(&self) -> Output {
        let signal = self.status.signal();
        Output {
            code: self.status.code().unwrap_or_else(|| 128 + signal.unwrap_or_default()),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            truncated: self.stdout.truncated() || self.stderr.truncated(),
            signal,
        }
    }

    /// What was kept of the standard output, as it came.
    pub(crate) fn into_stdout(self) -> Vec<u8> {
        self.stdout.head
    }

    /// The last lines, of the standard error when there are any.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let text = Some(self.stderr.end())
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| self.stdout.end());
        let mut lines: Vec<String> = text.lines().rev().take(count).map(clip).collect();
        lines.reverse();
        lines
    }

    /// Replaces literal copies of `secret` in what the program wrote.
    pub(crate) fn mask(&mut self, secret: &[u8], shown: &str) {
        for captured in [&mut self.stdout, &mut self.stderr] {
            captured.head = masked(&captured.head, secret, shown);
            captured.tail = masked(captured.tail.make_contiguous(), secret, shown).into();
        }
    }
}

fn masked(text: &[u8], secret: &[u8], shown: &str) -> Vec<u8> {
    let mut rest = text;
    let mut result = Vec::with_capacity(text.len());
    while let Some(first) = rest.first() {
        if rest.starts_with(secret) {
            result.extend_from_slice(shown.as_bytes());
            rest = &rest[secret.len()..];
        } else {
            result.push(*first);
            rest = &rest[1..];
        }
    }
    result
}

/// Output of which only the beginning is kept, and the very end for people.
#[derive(Debug, Default)]
struct Captured {
    limit: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
}

impl Captured {
    fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    fn push(&mut self, bytes: &[u8]) {
        let (kept, rest) = bytes.split_at(bytes.len().min(self.limit - self.head.len()));
        self.head.extend_from_slice(kept);
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    fn truncated(&self) -> bool {
        !self.tail.is_empty()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// What people see of cut output: its end.
    fn end(&self) -> String {
        if self.truncated() {
            let tail: Vec<u8> = self.tail.iter().copied().collect();
            return String::from_utf8_lossy(&tail).into_owned();
        }
        self.text()
    }
}

impl Process {
    /// Runs the program to its end.
    pub(crate) async fn run(mut self) -> Result<Ending, Failure> {
        let stdin = self.stdin.take();
        let timeout = self.timeout;
        let mut stdout = Captured::new(self.output_limit);
        let mut stderr = Captured::new(self.output_limit);
        let (mut child, control) = self.start().map_err(Failure::Start)?;
        let transfer = transfer(&mut child, stdin, &mut stdout, &mut stderr);
        let verdict = attend(control, timeout.0, transfer).await;
        if let (Verdict::Lost, Some(session)) =
            (&verdict, child.id().and_then(|id| libc::pid_t::try_from(id).ok()))
        {
            // A failed join would only mean that the runtime is going down, and the host with it.
            let _ = tokio::task::spawn_blocking(move || watcher::end_orphaned(session)).await;
        }
        // The watcher is our child and ends right after its last word, which nobody need wait for.
        tokio::spawn(async move {
            let reaped = tokio::time::timeout(REAPING, child.wait()).await;
            tracing::trace!(?reaped, "the watcher is gone");
        });
        match verdict {
            Verdict::Ended(status) => Ok(Ending { status, stdout, stderr }),
            Verdict::TimedOut(status) => {
                let status = status.unwrap_or_else(|| ExitStatus::from_raw(libc::SIGKILL));
                let ending = Box::new(Ending { status, stdout, stderr });
                Err(Failure::TimedOut { after: timeout, ending })
            }
            Verdict::Lost => Err(Failure::Lost),
        }
    }

    fn start(self) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        #[expect(clippy::disallowed_methods, reason = "this room starts programs")]
        let mut command = Command::new(&self.path);
        if let Some((name, rest)) = self.argv.split_first() {
            command.arg0(name).args(rest);
        }
        command
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let Self { inherited, confinement, .. } = self;
        let setup = move || prepare(theirs.as_raw_fd(), &inherited, confinement.as_ref());
        // SAFETY: `prepare` keeps to system calls on memory that exists before the fork.
        unsafe { command.pre_exec(setup) };
        let child = command.spawn()?;
        // Dropping the command closes the host's copy of the watcher's end.
        drop(command);
        Ok((child, UnixStream::from_std(ours)?))
    }
}

/// What happens in the new process before it becomes the program.
fn prepare(control: RawFd, inherited: &[OwnedFd], confinement: Option<&Confinement>) -> io::Result<()> {
    // SAFETY: called between fork and exec; only system calls follow.
    unsafe {
        watcher::split(control)?;
        // Whoever started mcrun may have left descriptors open that are no business of the program.
        if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        for fd in inherited {
            if libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    match confinement {
        Some(confinement) => confinement.enter(),
        None => Ok(()),
    }
}

enum Verdict {
    Ended(ExitStatus),
    TimedOut(Option<ExitStatus>),
    Lost,
}

#[derive(PartialEq)]
enum Stage {
    Running,
    Asked,
    Killed,
    Ended,
}

/// Watches over a running program. Dropping this future drops `control`, which ends the program's session.
async fn attend(control: UnixStream, timeout: Duration, transfer: impl Future<Output = ()>) -> Verdict {
    let (mut word, sender) = control.into_split();
    let mut sender = Some(sender);
    let mut status_bytes = [0; size_of::<i32>()];
    let mut last_word = std::pin::pin!(word.read_exact(&mut status_bytes));
    let mut transfer = std::pin::pin!(transfer);
    let mut deadline = Instant::now() + timeout;
    let mut stage = Stage::Running;
    let (mut transferred, mut timed_out, mut spoken) = (false, false, false);
    while !(transferred && stage == Stage::Ended) {
        tokio::select! {
            biased;
            said = &mut last_word, if stage != Stage::Ended => {
                spoken = said.is_ok();
                stage = Stage::Ended;
                deadline = Instant::now() + LEFT_OPEN;
            }
            () = &mut transfer, if !transferred => transferred = true,
            () = tokio::time::sleep_until(deadline) => match stage {
                Stage::Running => {
                    timed_out = true;
                    stage = Stage::Asked;
                    deadline = Instant::now() + LAST_WORDS;
                    if let Some(sender) = &mut sender {
                        // A watcher that is gone shows in its last word.
                        let _ = sender.write_all(&[libc::SIGTERM as u8]).await;
                    }
                }
                Stage::Asked => {
                    stage = Stage::Killed;
                    deadline = Instant::now() + REAPING;
                    sender = None;
                }
                Stage::Killed | Stage::Ended => break,
            },
        }
    }
    let status = spoken.then(|| ExitStatus::from_raw(i32::from_ne_bytes(status_bytes)));
    match (timed_out, status) {
        (true, status) => Verdict::TimedOut(status),
        (false, Some(status)) => Verdict::Ended(status),
        (false, None) => Verdict::Lost,
    }
}

/// Moves input and output until all three pipes are closed.
fn transfer<'a>(
    child: &mut Child,
    input: Option<Zeroizing<Vec<u8>>>,
    stdout: &'a mut Captured,
    stderr: &'a mut Captured,
) -> impl Future<Output = ()> + use<'a> {
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    async move {
        tokio::join!(feed(stdin, input), capture(out, stdout), capture(err, stderr));
    }
}

async fn feed(stdin: Option<ChildStdin>, input: Option<Zeroizing<Vec<u8>>>) {
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        // A program need not read its input.
        let _ = stdin.write_all(&input).await;
    }
}

async fn capture(pipe: Option<impl AsyncRead + Unpin>, captured: &mut Captured) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        captured.push(&buffer[..count]);
    }
}
