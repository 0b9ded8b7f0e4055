//! Owns talking to a program beside a native one: over a terminal of its own, or over pipes.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::thread;

use bytes::Bytes;
use effect::{Code, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::exec::command;
use super::record::{Identity, Program};
use crate::attach::{Attach, Attached, WAITING, Window};
use crate::driver::{Exec, Stream};

const PIECE: usize = 16 << 10;

type Output = mpsc::Sender<(Stream, Bytes)>;

pub(super) fn run(program: &Program, leader: Identity, attach: &Attach) -> Result<Attached> {
    let argv0 = attach.argv.first().map_or("", String::as_str);
    let started = || {
        let exec = Exec {
            env: attach.env.clone(),
            workdir: attach.workdir.clone(),
            user: attach.user.clone(),
            ..Exec::new(attach.argv.clone())
        };
        let mut command = command(program, leader, &exec)?;
        command.kill_on_drop(true);
        match attach.terminal {
            Some(window) => with_terminal(command, window),
            None => with_pipes(command),
        }
    };
    started().map_err(|cause| {
        Error::new(Code::ProgramMissing, format!("`{argv0}` cannot be run beside `{}`", program.name))
            .because(cause)
    })
}

fn with_pipes(mut command: Command) -> std::io::Result<Attached> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let closed = || std::io::Error::other("a pipe of the program is missing");
    let mut stdin = child.stdin.take().ok_or_else(closed)?;
    let (input, mut given) = tokio::io::duplex(PIECE);
    tokio::spawn(async move {
        // A program that reads no more is no failure; its input ends when the pipe is dropped here.
        let _ = tokio::io::copy(&mut given, &mut stdin).await;
    });
    let (output, outputs) = mpsc::channel(WAITING);
    for (stream, pipe) in [
        (Stream::Stdout, child.stdout.take().ok_or_else(closed)?.into_owned_fd()?),
        (Stream::Stderr, child.stderr.take().ok_or_else(closed)?.into_owned_fd()?),
    ] {
        rustix::io::ioctl_fionbio(&pipe, false)?;
        copy(pipe, stream, output.clone());
    }
    // Nobody listens: there is no terminal.
    let (resize, _) = mpsc::channel(1);
    Ok(Attached { input: Box::new(input), output: outputs, resize, ending: ending(child, None) })
}

fn with_terminal(mut command: Command, window: Window) -> std::io::Result<Attached> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    tcsetwinsize(&ours, size(window))?;
    command
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs.try_clone()?))
        .stderr(Stdio::from(theirs));
    // SAFETY: both are plain system calls on the child's own descriptors and touch no memory of ours.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            // The terminal becomes the new session's, so that Ctrl-C and job control work inside.
            if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    // It holds the terminal's other end; the output must end with the program.
    drop(command);
    let (output, outputs) = mpsc::channel(WAITING);
    let (gone, is_gone) = watch::channel(false);
    copy(ours.try_clone()?, Stream::Stdout, output);
    let (resize, mut windows) = mpsc::channel(1);
    let terminal = ours.try_clone()?;
    let mut ended = is_gone.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                window = windows.recv() => match window {
                    // A terminal whose program has ended needs no size.
                    Some(window) => drop(tcsetwinsize(terminal.as_fd(), size(window))),
                    None => return,
                },
                _ = ended.wait_for(|gone| *gone) => return,
            }
        }
    });
    let input = tokio::fs::File::from_std(File::from(ours));
    Ok(Attached { input: Box::new(input), output: outputs, resize, ending: ending(child, Some(gone)) })
}

fn size(window: Window) -> Winsize {
    Winsize { ws_col: window.columns, ws_row: window.rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A thread of its own: reading from a terminal cannot be given up half-way, and the program that hosts us may end first.
fn copy(from: OwnedFd, stream: Stream, output: Output) {
    thread::spawn(move || {
        let mut from = File::from(from);
        let mut piece = vec![0; PIECE];
        // A terminal whose last program is gone answers with an error.
        while let Ok(length @ 1..) = from.read(&mut piece) {
            if output.blocking_send((stream, Bytes::copy_from_slice(&piece[..length]))).is_err() {
                return;
            }
        }
    });
}

fn ending(mut child: Child, gone: Option<watch::Sender<bool>>) -> crate::attach::Ending {
    Box::pin(async move {
        let status = child.wait().await;
        if let Some(gone) = gone {
            gone.send_replace(true);
        }
        status.map(code).map_err(|cause| {
            Error::new(Code::EngineFailed, "a program beside a native one cannot be waited for")
                .because(cause)
        })
    })
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}
