//! Owns connections: many questions on one, answered in the order in which the answers are there (RFC 7766), with a bound
//! on how many, how long and how slow.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::counts::{Counts, Protocol};
use super::service::{Finished, Later, Outcome, Service};

/// Connections at once; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;
/// Connections of one client.
const MOST_OF_ONE: usize = 64;
/// Questions of one connection whose answers are not taken yet; no further one is read before.
const MOST_OPEN: usize = 64;
/// Without a question (RFC 7766, section 6.2.3).
const IDLE: Duration = Duration::from_secs(20);
/// For the rest of a message, once its length is there, and for taking an answer.
const SLOWEST: Duration = Duration::from_secs(10);
/// For what is under way when the end has come.
const GRACE: Duration = Duration::from_secs(5);
/// For questions that are on their way when the end has come: whoever has just connected is about to ask.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// After a failure that is not of one connection, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on connections to `listener` until `over` becomes true; then what is under way is finished.
///
/// # Errors
/// Where the listener cannot be used at all.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    counts: Arc<Counts>,
    mut over: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let clients = Arc::new(Clients::default());
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            _ = over.wait_for(|over| *over) => break,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            _ = over.wait_for(|over| *over) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(client) = clients.enter(peer.ip()) else { continue };
                let (service, counts, over) = (service.clone(), counts.clone(), over.clone());
                connections.spawn(async move {
                    if let Err(error) = talk(stream, peer, service, counts, over).await {
                        tracing::debug!(%peer, %error, "a connection broke");
                    }
                    drop((place, client));
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no connection can be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, finished).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// How many connections each client has.
#[derive(Default)]
struct Clients(Mutex<HashMap<IpAddr, usize>>);

struct Client {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Clients {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Client> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(address).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Client { clients: self.clone(), address })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.address);
            }
        }
    }
}

async fn talk(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<Service>,
    counts: Arc<Counts>,
    mut over: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, writer) = stream.into_split();
    let (answers, ready) = mpsc::channel(MOST_OPEN);
    let writing = tokio::spawn(write(writer, ready));
    let open = Arc::new(Semaphore::new(MOST_OPEN));
    let mut message = Vec::new();
    loop {
        let is_there = tokio::select! {
            biased;
            is_there = comes(&mut reader, IDLE) => is_there,
            is_over = ended(&mut over) => is_over && comes(&mut reader, LAST_WORDS).await,
        };
        // Closed by the client, or idle for too long.
        if !is_there {
            break;
        }
        let Ok(Ok(length)) = timeout(SLOWEST, reader.read_u16()).await else { break };
        read(&mut reader, usize::from(length), &mut message).await?;
        let Ok(place) = open.clone().acquire_owned().await else { break };
        let mut out = Vec::new();
        let later = match service.hear(&message, peer, Protocol::Tcp, &counts, &mut out) {
            Outcome::Answered => None,
            // Whoever sends what is no question over a connection has nothing to say on it.
            Outcome::Silence => break,
            Outcome::Later(later) => Some(later),
        };
        let is_answered = later.as_ref().is_none_or(Later::is_answered);
        if is_answered && answers.send(Finished::One(out)).await.is_err() {
            break;
        }
        if let Some(later) = later {
            let (answers, service, counts) = (answers.clone(), service.clone(), counts.clone());
            tokio::spawn(async move {
                // The client may be gone.
                let _ = answers.send(service.finish(later, &counts).await).await;
                drop(place);
            });
        }
    }
    drop(answers);
    match writing.await {
        Ok(written) => written,
        Err(_) => Ok(()),
    }
}

/// Waits for the end; nothing of what is watched is kept, so that the task may go to another thread.
async fn ended(over: &mut watch::Receiver<bool>) -> bool {
    over.wait_for(|over| *over).await.is_ok()
}

/// Whether something comes within `patience`. Nothing is taken from the stream, so it may be given up.
async fn comes(reader: &mut OwnedReadHalf, patience: Duration) -> bool {
    matches!(timeout(patience, reader.peek(&mut [0])).await, Ok(Ok(1)))
}

async fn read(reader: &mut OwnedReadHalf, length: usize, message: &mut Vec<u8>) -> io::Result<()> {
    message.resize(length, 0);
    match timeout(SLOWEST, reader.read_exact(message)).await {
        Ok(read) => read.map(drop),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Writes answers, those that are there together as one.
async fn write(mut writer: OwnedWriteHalf, mut ready: mpsc::Receiver<Finished>) -> io::Result<()> {
    let mut out = Vec::new();
    while let Some(first) = ready.recv().await {
        let mut next = Some(first);
        while let Some(answer) = next {
            match answer {
                Finished::Nothing => {}
                Finished::One(answer) => frame(&answer, &mut out),
                // Each is made once the one before is on its way: a slow client holds no zone in memory.
                Finished::Many(answers) => {
                    for answer in answers {
                        frame(&answer, &mut out);
                        flush(&mut writer, &mut out).await?;
                    }
                }
            }
            next = if out.len() < 1 << 16 { ready.try_recv().ok() } else { None };
        }
        flush(&mut writer, &mut out).await?;
    }
    writer.shutdown().await
}

fn frame(answer: &[u8], out: &mut Vec<u8>) {
    // No answer is longer: the limit that it was made with bounds it.
    if let Ok(length) = u16::try_from(answer.len()) {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(answer);
    }
}

async fn flush(writer: &mut OwnedWriteHalf, out: &mut Vec<u8>) -> io::Result<()> {
    let written = timeout(SLOWEST, writer.write_all(out)).await;
    out.clear();
    written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
