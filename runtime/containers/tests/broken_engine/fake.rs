//! A socket that speaks as much HTTP as an engine: soundly, or as a test has told it to.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::answers::sound;

/// What is said to the next requests.
#[derive(Clone)]
pub(crate) enum Say {
    /// What an engine would say.
    Sound,
    /// The same, but this document where the path ends so.
    Instead(&'static str, Vec<u8>),
    /// These bytes to everything; then the connection is closed.
    Bytes(Vec<u8>),
    /// Nothing.
    Nothing,
}

struct State {
    say: Mutex<(Say, bool)>,
    open: AtomicUsize,
}

pub(crate) struct Fake {
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) fn listen(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let state = Arc::new(State { say: Mutex::new((Say::Sound, false)), open: AtomicUsize::new(0) });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                state.open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    serve(stream, &state).await;
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { state, task }
    }

    pub(crate) fn say(&self, say: Say) {
        *self.state.say.lock().unwrap() = (say, false);
    }

    /// The same without ever closing a connection.
    pub(crate) fn say_and_hold(&self, say: Say) {
        *self.state.say.lock().unwrap() = (say, true);
    }

    /// Until no more connections are open than a driver keeps.
    pub(crate) async fn until_idle(&self) {
        for _ in 0..1000 {
            if self.state.open.load(Ordering::SeqCst) <= 1 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

async fn serve(mut stream: UnixStream, state: &State) {
    while let Some((path, method)) = request(&mut stream).await {
        let (say, holds) = state.say.lock().unwrap().clone();
        let (bytes, goes_on) = match say {
            Say::Sound => (sound(&method, &path, None), true),
            Say::Instead(end, body) => {
                let is_meant = path.split('?').next().is_some_and(|path| path.ends_with(end));
                (sound(&method, &path, is_meant.then_some(body)), true)
            }
            Say::Bytes(bytes) => (bytes, false),
            Say::Nothing => (Vec::new(), false),
        };
        // It may have hung up in the middle of a long answer.
        let written = stream.write_all(&bytes).await;
        if holds {
            return std::future::pending().await;
        }
        if !goes_on || written.is_err() {
            return;
        }
    }
}

/// The path and method of the next request; its body is read and forgotten.
async fn request(stream: &mut UnixStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    let mut words = head.split_whitespace();
    let method = words.next()?.to_owned();
    Some((words.next()?.to_owned(), method))
}
