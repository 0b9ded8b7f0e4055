//! Owns connections to upstreams, TCP and DNS over TLS: one at a time, with many questions under way on it (RFC 7766),
//! opened when needed and closed when idle or stuck. Leaves what answers are worth to [`super::reply`].

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::trace::Failure;

/// Questions that one connection carries at once.
const MOST_UNDER_WAY: usize = 256;
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
const WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// A connection without a question is kept this long: a handshake costs more than a socket.
const IDLE: Duration = Duration::from_secs(30);
/// A connection on which questions wait and nothing is heard is dead: machines sleep, NAT forgets.
const STUCK: Duration = Duration::from_secs(2);
const READ_SIZE: usize = 4096;

/// What TLS needs to know.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// The way to one upstream.
pub(super) struct Stream {
    address: SocketAddr,
    tls: Option<Tls>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

/// A question, and where its answer goes.
struct Job {
    message: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<u8>, Failure>>,
}

impl Stream {
    pub(super) fn new(address: SocketAddr, tls: Option<Tls>) -> Self {
        Self { address, tls, jobs: Mutex::new(None) }
    }

    /// Asks, over the open connection where there is one; once more over a new one when that broke.
    pub(super) async fn ask(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let (jobs, was_open) = self.connection();
        match submit(&jobs, message).await {
            Err(Failure::Unreachable(_) | Failure::TimedOut) if was_open => {
                let (jobs, _) = self.replacement(&jobs);
                submit(&jobs, message).await
            }
            outcome => outcome,
        }
    }

    fn connection(&self) -> (mpsc::Sender<Job>, bool) {
        let mut held = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref().filter(|jobs| !jobs.is_closed()) {
            Some(jobs) => (jobs.clone(), true),
            None => (held.insert(self.open()).clone(), false),
        }
    }

    /// Another connection than the one that broke; somebody else may have opened it already.
    fn replacement(&self, broken: &mpsc::Sender<Job>) -> (mpsc::Sender<Job>, bool) {
        let mut held = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|jobs| jobs.same_channel(broken)) {
            *held = None;
        }
        drop(held);
        self.connection()
    }

    fn open(&self) -> mpsc::Sender<Job> {
        let (jobs, received) = mpsc::channel(MOST_UNDER_WAY);
        tokio::spawn(serve(self.address, self.tls.clone(), received));
        jobs
    }
}

async fn submit(jobs: &mpsc::Sender<Job>, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let gone = || Failure::Unreachable("the connection was closed".into());
    let (reply, answer) = oneshot::channel();
    jobs.try_send(Job { message: message.to_vec(), reply }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Failure::Busy,
        mpsc::error::TrySendError::Closed(_) => gone(),
    })?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}

/// A connection from its opening to its end. Whoever still waits is told why it ended.
async fn serve(address: SocketAddr, tls: Option<Tls>, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = HashMap::new();
    let failure = match connect(address, tls).await {
        Ok(connection) => carry(connection, &mut jobs, &mut waiting).await,
        Err(failure) => failure,
    };
    jobs.close();
    for (_, job) in waiting.drain() {
        let _ = job.reply.send(Err(failure.clone()));
    }
    while let Ok(job) = jobs.try_recv() {
        let _ = job.reply.send(Err(failure.clone()));
    }
}

/// A question that waits on the connection, and the id that it came with.
struct Waiting {
    id: [u8; 2],
    reply: oneshot::Sender<Result<Vec<u8>, Failure>>,
}

async fn carry(
    connection: Box<dyn Connection>,
    jobs: &mut mpsc::Receiver<Job>,
    waiting: &mut HashMap<u16, Waiting>,
) -> Failure {
    let (mut reader, mut writer) = tokio::io::split(connection);
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    let mut progress = Instant::now();
    loop {
        let end = progress + if waiting.is_empty() { IDLE } else { STUCK };
        tokio::select! {
            // What has come counts before the clock: this thread may have been late itself.
            biased;
            read = reader.read_buf(&mut buffer) => match read {
                Ok(0) => return Failure::Unreachable("the connection was closed".into()),
                Ok(_) => {
                    progress = Instant::now();
                    deliver(&mut buffer, waiting);
                }
                Err(error) => return unreachable(&error),
            },
            job = jobs.recv(), if waiting.len() < MOST_UNDER_WAY => {
                let Some(job) = job else { return Failure::Unreachable("nobody asks any more".into()) };
                if waiting.is_empty() {
                    progress = Instant::now();
                }
                let Some(message) = enter(job, waiting) else { continue };
                match timeout(WRITE_PATIENCE, writer.write_all(&message)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return unreachable(&error),
                    Err(_) => return Failure::TimedOut,
                }
                let _ = writer.flush().await;
            }
            () = tokio::time::sleep_until(end) => {
                waiting.retain(|_, job| !job.reply.is_closed());
                return Failure::TimedOut;
            }
        }
        if waiting.len() == MOST_UNDER_WAY {
            waiting.retain(|_, job| !job.reply.is_closed());
        }
    }
}

/// Notes who waits, and returns the frame. Two questions may have come with one id: then the second goes out with
/// another.
fn enter(job: Job, waiting: &mut HashMap<u16, Waiting>) -> Option<Vec<u8>> {
    let length = u16::try_from(job.message.len()).ok()?;
    let id = [*job.message.first()?, *job.message.get(1)?];
    let mut sent = u16::from_be_bytes(id);
    while waiting.contains_key(&sent) {
        sent = sent.wrapping_add(1);
    }
    let mut frame = Vec::with_capacity(2 + job.message.len());
    frame.extend(length.to_be_bytes());
    frame.extend(&job.message);
    frame[2..4].copy_from_slice(&sent.to_be_bytes());
    waiting.insert(sent, Waiting { id, reply: job.reply });
    Some(frame)
}

/// Hands over every whole message; at most 64 KiB wait for their rest.
fn deliver(buffer: &mut BytesMut, waiting: &mut HashMap<u16, Waiting>) {
    while let Some(length) = buffer.first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        if buffer.len() < 2 + length {
            buffer.reserve(2 + length - buffer.len());
            return;
        }
        buffer.advance(2);
        let mut message = buffer.split_to(length).to_vec();
        let id = message.first_chunk::<2>().map(|id| u16::from_be_bytes(*id));
        // Answers to questions that nobody waits for any more come late; that is no fault.
        if let Some(job) = id.and_then(|id| waiting.remove(&id)) {
            message[..2].copy_from_slice(&job.id);
            let _ = job.reply.send(Ok(message));
        }
    }
    buffer.reserve(READ_SIZE);
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

async fn connect(address: SocketAddr, tls: Option<Tls>) -> Result<Box<dyn Connection>, Failure> {
    timeout(CONNECT_PATIENCE, open(address, tls)).await.unwrap_or(Err(Failure::TimedOut))
}

async fn open(address: SocketAddr, tls: Option<Tls>) -> Result<Box<dyn Connection>, Failure> {
    let tcp = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
    // Losing this costs time, nothing else.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let connection =
        TlsConnector::from(tls.config).connect(tls.name, tcp).await.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => Failure::Untrusted(tls.to_string()),
                None => unreachable(&error),
            }
        })?;
    Ok(Box::new(connection))
}

pub(super) fn unreachable(error: &io::Error) -> Failure {
    Failure::Unreachable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_with_one_id_are_told_apart_and_each_gets_its_own_back() {
        let mut waiting = HashMap::new();
        let mut answers = Vec::new();
        let mut frames = Vec::new();
        for number in 0..3 {
            let (reply, answer) = oneshot::channel();
            let message = vec![0xff, 0xff, number];
            frames.push(enter(Job { message, reply }, &mut waiting).unwrap());
            answers.push(answer);
        }
        let mut buffer = BytesMut::new();
        frames.iter().rev().for_each(|frame| buffer.extend_from_slice(frame));
        // What nobody waits for, and half a message.
        buffer.extend_from_slice(&[0, 3, 0x12, 0x34, 0, 0, 9]);
        deliver(&mut buffer, &mut waiting);
        for (number, mut answer) in (0..).zip(answers) {
            assert_eq!(answer.try_recv().unwrap(), Ok(vec![0xff, 0xff, number]));
        }
        assert!(waiting.is_empty());
        assert_eq!(&buffer[..], [0, 9]);
    }
}
