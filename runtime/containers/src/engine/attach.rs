//! Owns talking to a program inside a container: the engine hands over the connection of the call that starts it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use effect::{Code, Error, Result};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::client::{Call, Client};
use super::exec::{open, status};
use super::frames::take_frame;
use crate::attach::{Attach, Attached, WAITING, Window};
use crate::driver::{Exec, Stream};

const PIECE: usize = 16 << 10;
/// The engine notices the end of a program a little after its output is closed.
const END_PAUSE: Duration = Duration::from_millis(20);
const END_LOOKS: usize = 250;

pub(crate) async fn run(
    client: &Arc<Client>,
    name: &str,
    reference: &str,
    attach: &Attach,
) -> Result<Attached> {
    let has_terminal = attach.terminal.is_some();
    let exec = Exec {
        env: attach.env.clone(),
        workdir: attach.workdir.clone(),
        user: attach.user.clone(),
        ..Exec::new(attach.argv.clone())
    };
    let session = open(client, name, reference, &exec, Some(has_terminal)).await?;
    let mut body = json!({ "Detach": false, "Tty": has_terminal });
    if let Some(window) = attach.terminal {
        // podman gives the terminal its size at once, docker only by a call of its own.
        body["h"] = json!(window.rows);
        body["w"] = json!(window.columns);
    }
    let connection = client.upgrade(&Call::post(format!("/exec/{session}/start")).json(&body)).await?;
    let (reader, writer) = tokio::io::split(TokioIo::new(connection));
    let (output, outputs) = mpsc::channel(WAITING);
    tokio::spawn(copy(reader, has_terminal, output));
    let (resize, windows) = mpsc::channel(1);
    if let Some(window) = attach.terminal {
        // There is room for one.
        let _ = resize.try_send(window);
    }
    tokio::spawn(follow_window(Arc::clone(client), session.clone(), windows));
    let (client, name) = (Arc::clone(client), name.to_owned());
    let ending = Box::pin(async move { exit_code(&client, &name, &session).await });
    Ok(Attached { input: Box::new(writer), output: outputs, resize, ending })
}

/// With a terminal there is one stream of bytes, without one there are frames.
async fn copy(mut reader: impl AsyncRead + Unpin, has_terminal: bool, output: mpsc::Sender<(Stream, Bytes)>) {
    let mut buffer = BytesMut::with_capacity(PIECE);
    while let Ok(1..) = reader.read_buf(&mut buffer).await {
        if has_terminal {
            if output.send((Stream::Stdout, buffer.split().freeze())).await.is_err() {
                return;
            }
            continue;
        }
        loop {
            let Some(taken) = take_frame(&mut buffer) else { return };
            let Some(frame) = taken else { break };
            if output.send(frame).await.is_err() {
                return;
            }
        }
    }
}

async fn follow_window(client: Arc<Client>, session: String, mut windows: mpsc::Receiver<Window>) {
    while let Some(Window { columns, rows }) = windows.recv().await {
        let call = Call::post(format!("/exec/{session}/resize?h={rows}&w={columns}"));
        // A program that has just ended has no terminal any more.
        let _ = client.call(&call).await;
    }
}

async fn exit_code(client: &Client, name: &str, session: &str) -> Result<i32> {
    for _ in 0..END_LOOKS {
        let status = status(client, session).await?;
        if let Some(code) = status.exit_code.filter(|_| !status.running) {
            return Ok(code);
        }
        sleep(END_PAUSE).await;
    }
    let message = format!("a program in `{name}` closed its output and runs on");
    Err(Error::new(Code::TimedOut, message))
}
