//! Owns running a program beside a native one: in its environment, directory and user.

use std::ffi::CString;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use effect::{Code, Error, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::record::{Identity, Program};
use super::users;
use super::view::View;
use crate::driver::{Exec, ExecOutput, Stream};
use crate::output::Collected;

const PIECE: usize = 16 << 10;

/// Ends the whole group of a program, also when the call is given up half-way.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Nothing is left to kill in the usual case.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

pub(super) async fn run(program: &Program, leader: Identity, exec: &Exec) -> Result<ExecOutput> {
    let argv0 = exec.argv.first().map_or("", String::as_str);
    let mut child = spawn(program, leader, exec).map_err(|cause| {
        Error::new(Code::ProgramMissing, format!("`{argv0}` cannot be run beside `{}`", program.name))
            .because(cause)
    })?;
    let _group = Group(child.id().and_then(|pid| Pid::from_raw(pid as i32)));
    match timeout(exec.timeout, collect(&mut child, exec.output_limit)).await {
        Ok(output) => output.map_err(|cause| {
            Error::new(Code::EngineFailed, format!("the output of `{argv0}` cannot be read")).because(cause)
        }),
        Err(_) => {
            let seconds = exec.timeout.as_secs_f64();
            let message =
                format!("`{argv0}` in `{}` took longer than {seconds} s and was ended", program.name);
            Err(Error::new(Code::TimedOut, message))
        }
    }
}

fn spawn(program: &Program, leader: Identity, exec: &Exec) -> std::io::Result<Child> {
    let mut command = command(program, leader, exec)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command.spawn()
}

/// The command in the program's environment, directory, user and namespaces, without its input and output.
#[expect(clippy::disallowed_methods, reason = "the one place that runs programs beside native ones")]
pub(super) fn command(program: &Program, leader: Identity, exec: &Exec) -> std::io::Result<Command> {
    let (path, arguments) =
        exec.argv.split_first().ok_or_else(|| std::io::Error::other("there is no program"))?;
    let user = exec.user.as_deref().or(program.user.as_deref());
    let workdir = exec.workdir.as_deref().or(program.workdir.as_deref()).unwrap_or("/");
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", super::shim::DEFAULT_PATH)
        .envs(&program.env)
        .envs(&exec.env);
    let user = user.map(users::resolve).transpose().map_err(std::io::Error::other)?;
    match View::of(program)? {
        Some(view) => enter(&mut command, view, leader, workdir, user)?,
        None => {
            command.current_dir(workdir);
            if let Some(user) = user {
                command.uid(user.user).gid(user.group);
            }
        }
    }
    Ok(command)
}

/// Directory and user count where the program lives, and to get there takes the rights that the user may lack.
fn enter(
    command: &mut Command,
    view: View,
    leader: Identity,
    workdir: &str,
    user: Option<users::User>,
) -> std::io::Result<()> {
    let door = view.door(leader)?;
    let workdir = CString::new(workdir)?;
    // SAFETY: what runs between fork and exec are system calls alone, on memory that was made before.
    unsafe {
        command.pre_exec(move || {
            view.join(&door)?;
            rustix::process::chdir(workdir.as_c_str())?;
            user.map_or(Ok(()), users::become_user)
        });
    }
    Ok(())
}

async fn collect(child: &mut Child, limit: usize) -> std::io::Result<ExecOutput> {
    let mut output = Collected::new(limit);
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut from_stdout, mut from_stderr) = (vec![0; PIECE], vec![0; PIECE]);
    while stdout.is_some() || stderr.is_some() {
        let (stream, length) = tokio::select! {
            length = read(stdout.as_mut(), &mut from_stdout), if stdout.is_some() => (Stream::Stdout, length?),
            length = read(stderr.as_mut(), &mut from_stderr), if stderr.is_some() => (Stream::Stderr, length?),
        };
        match stream {
            Stream::Stdout if length == 0 => stdout = None,
            Stream::Stderr if length == 0 => stderr = None,
            Stream::Stdout => output.push(stream, &from_stdout[..length]),
            Stream::Stderr => output.push(stream, &from_stderr[..length]),
        }
    }
    let status = child.wait().await?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    Ok(output.finish(code))
}

async fn read(
    pipe: Option<&mut (impl tokio::io::AsyncRead + Unpin)>,
    buffer: &mut [u8],
) -> std::io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(buffer).await,
        None => Ok(0),
    }
}
