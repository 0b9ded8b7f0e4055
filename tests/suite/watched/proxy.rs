//! Owns what stands between mcrun and a real engine: it hands every request on, and the engine's answer back, until a test tells
//! it to misbehave.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What comes of a request.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// What the engine says.
    Sound,
    /// The same, after this time.
    Late(Duration),
    /// These bytes instead; then the connection ends.
    Instead(Vec<u8>),
    /// So many bytes of a list that never ends.
    Endless(usize),
    /// The first half of what the engine says, and the connection ends.
    Half,
    /// The first half of what the engine says, and then nothing for ever.
    Hanging,
}

struct Shared {
    engine: PathBuf,
    answer: Mutex<Answer>,
    /// The paths that were asked for.
    asked: Mutex<Vec<String>>,
}

/// The proxy. Its threads end with the process of the test.
pub(super) struct Proxy(Arc<Shared>);

impl Proxy {
    /// Listens at `socket` for the engine at `engine`.
    pub(super) fn listen(socket: &Path, engine: &str) -> Self {
        let listener = UnixListener::bind(socket).expect("the place is writable");
        let shared = Arc::new(Shared {
            engine: engine.into(),
            answer: Mutex::new(Answer::Sound),
            asked: Mutex::default(),
        });
        let proxy = Self(shared.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                // Who hung up need not be told anything.
                std::thread::spawn(move || shared.serve(stream).ok());
            }
        });
        proxy
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// What was asked for since this was asked last.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// One request and its answer.
    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        let head = loop {
            let mut chunk = [0; 4096];
            let length = stream.read(&mut chunk)?;
            if length == 0 {
                return Ok(());
            }
            request.extend_from_slice(&chunk[..length]);
            if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&request[..head]).into_owned();
        let path = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match answer {
            Answer::Sound => {}
            Answer::Late(time) => std::thread::sleep(time),
            Answer::Instead(bytes) => return stream.write_all(&bytes),
            Answer::Endless(bytes) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")?;
                let chunk = [b'['; 1 << 16];
                return (0..bytes / chunk.len()).try_for_each(|_| stream.write_all(&chunk));
            }
            Answer::Half | Answer::Hanging => {
                let whole = self.forwarded(&request, head, &text)?;
                stream.write_all(&whole[..whole.len() / 2])?;
                if matches!(answer, Answer::Hanging) {
                    // Until the other side has had enough.
                    stream.read_exact(&mut [0])?;
                }
                return Ok(());
            }
        }
        let mut engine = self.send(&request, head, &text)?;
        // Whatever more either side has to say, in both directions: a program's streams among it.
        let (mut from, mut to) = (stream.try_clone()?, engine.try_clone()?);
        std::thread::spawn(move || {
            // Either end may be gone.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        std::io::copy(&mut engine, &mut stream)?;
        stream.shutdown(Shutdown::Both)
    }

    /// Sends the request on, over a connection that the engine ends after its answer.
    fn send(&self, request: &[u8], head: usize, text: &str) -> std::io::Result<UnixStream> {
        let mut engine = UnixStream::connect(&self.engine)?;
        let is_upgrade = text.to_ascii_lowercase().contains("\r\nconnection: upgrade");
        let closing = if is_upgrade { "\r\n" } else { "Connection: close\r\n\r\n" };
        engine.write_all(&request[..head - 2])?;
        engine.write_all(closing.as_bytes())?;
        engine.write_all(&request[head..])?;
        Ok(engine)
    }

    fn forwarded(&self, request: &[u8], head: usize, text: &str) -> std::io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        self.send(request, head, text)?.read_to_end(&mut whole)?;
        Ok(whole)
    }
}
