//! Owns `exec`: a program inside a container, with this command's input and output, and its exit code.

use std::io::{Read as _, Write as _};
use std::thread;

use containers::{Attach, Attached, Driver, Observed, State, Stream, Window};
use effect::{Code, Error, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::app::App;
use crate::exit::Exit;
use crate::terminal::{self, Raw};
use crate::wiring;

const PIECE: usize = 16 << 10;
/// How many pieces of input may wait to be sent.
const WAITING: usize = 16;

/// What was asked for.
pub(super) struct Wanted {
    pub(super) service: String,
    pub(super) user: Option<String>,
    pub(super) workdir: Option<String>,
    pub(super) env: Vec<String>,
    pub(super) has_terminal: bool,
    pub(super) argv: Vec<String>,
}

pub(super) async fn exec(app: &App, wanted: Wanted) -> Result<Exit> {
    let world = wiring::containers(app);
    let container = container_of(world.list().await?, &wanted.service)?;
    let gone =
        || Error::new(Code::ContainerUnknown, format!("there is no container `{}` any more", container.name));
    let (driver, _) = world.find(&container.name).await?.ok_or_else(gone)?;
    let terminal = (wanted.has_terminal && terminal::is_there()).then(terminal::window);
    let mut attach = Attach {
        argv: wanted.argv,
        workdir: wanted.workdir,
        user: wanted.user,
        terminal,
        ..Attach::default()
    };
    if terminal.is_some() {
        let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
        attach.env.insert("TERM".to_owned(), kind);
    }
    for variable in &wanted.env {
        let (name, value) = variable
            .split_once('=')
            .ok_or_else(|| Error::new(Code::Usage, format!("`--env {variable}` is not NAME=VALUE")))?;
        attach.env.insert(name.to_owned(), value.to_owned());
    }
    talk(driver.as_ref(), &container.name, &attach).await
}

/// The container of this name, else the first of the service that runs.
fn container_of(containers: Vec<Observed>, subject: &str) -> Result<Observed> {
    let is_meant = |container: &Observed| {
        container.name == subject || (container.managed && container.service.as_deref() == Some(subject))
    };
    let mut meant: Vec<Observed> = containers.into_iter().filter(is_meant).collect();
    if meant.is_empty() {
        return Err(Error::new(
            Code::ServiceUnknown,
            format!("there is no service or container `{subject}`"),
        )
        .hint("`mcrun status` lists the services, `mcrun ps` the containers"));
    }
    meant.sort_by_key(|container| (container.name != subject, container.state != State::Running));
    Ok(meant.swap_remove(0))
}

async fn talk(driver: &dyn Driver, name: &str, attach: &Attach) -> Result<Exit> {
    let failed = |cause: std::io::Error| {
        Error::new(Code::Internal, "the terminal cannot be handed over").because(cause)
    };
    let mut window = signal(SignalKind::window_change()).map_err(failed)?;
    let mut end = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let Attached { input, mut output, resize, ending } = driver.attach(name, attach).await?;
    let _raw = attach.terminal.map(|_| Raw::enter().map_err(failed)).transpose()?;
    tokio::spawn(send(input));
    loop {
        tokio::select! {
            piece = output.recv() => match piece {
                Some((stream, bytes)) if write(stream, &bytes).is_ok() => {}
                // The program has ended, or nobody reads what it writes.
                _ => break,
            },
            Some(()) = window.recv() => give(&resize, terminal::window()),
            _ = end.recv() => return Ok(Exit::Program(128 + 15)),
            _ = hangup.recv() => return Ok(Exit::Program(128 + 1)),
        }
    }
    let code = ending.await?;
    Ok(Exit::Program(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// A size that comes while another waits is sent with the next change.
fn give(resize: &mpsc::Sender<Window>, window: Window) {
    let _ = resize.try_send(window);
}

fn write(stream: Stream, bytes: &[u8]) -> std::io::Result<()> {
    match stream {
        Stream::Stdout => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        Stream::Stderr => std::io::stderr().lock().write_all(bytes),
    }
}

/// Sends what this command reads, to its end. A thread reads: it may wait for a key for ever, and must not hold the
/// command up when the program has ended.
async fn send(mut input: Box<dyn tokio::io::AsyncWrite + Send + Unpin>) {
    let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(WAITING);
    thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = std::io::stdin().lock().read(&mut piece) {
            if sender.blocking_send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    while let Some(piece) = pieces.recv().await {
        // A program that reads no more is no failure.
        if input.write_all(&piece).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}
