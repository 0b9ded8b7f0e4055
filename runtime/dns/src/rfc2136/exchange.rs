//! Owns messages on their way: one signed request and its signed answer by UDP or TCP, within a time. Leaves what the
//! answers mean to the driver.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use domain::base::iana::Rcode;
use effect::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::Place;
use super::message::{LARGEST_MESSAGE, Reply, Request, head};
use super::sign::{Chain, Doubt, Key};

/// How often a datagram is sent before TCP is tried: one that is lost is no reason to give up.
const DATAGRAMS: u32 = 2;

/// A way to one server with one key.
pub(super) struct Exchange {
    pub(super) place: Place,
    pub(super) key: Key,
    /// In seconds since 1970.
    pub(super) now: u64,
    /// For one answer.
    pub(super) patience: Duration,
    /// Whether datagrams get lost on this way: then they are not tried again.
    pub(super) loses_datagrams: AtomicBool,
}

impl Exchange {
    /// Asks by UDP, and by TCP where the answer does not fit, does not come, or cannot be believed: anybody can send a
    /// datagram, and what a forged one achieves is a second question.
    pub(super) async fn ask(&self, request: &Request, what: &str) -> Result<Reply> {
        let deadline = Instant::now() + self.patience;
        let each = self.patience / (DATAGRAMS + 1);
        let tries = if self.loses_datagrams.load(Relaxed) { 0 } else { DATAGRAMS };
        for number in 1..=tries {
            match timeout(each, self.datagram(request)).await {
                Ok(Some(reply)) if !reply.is_truncated => return Ok(reply),
                Ok(_) => break,
                Err(_) if number == tries => self.loses_datagrams.store(true, Relaxed),
                Err(_) => {}
            }
        }
        self.stream(request, what, deadline).await
    }

    /// Asks by TCP: for changes, of which a second datagram would be a second change, and which are seldom small.
    pub(super) async fn ask_by_stream(&self, request: &Request, what: &str) -> Result<Reply> {
        self.stream(request, what, Instant::now() + self.patience).await
    }

    async fn datagram(&self, request: &Request) -> Option<Reply> {
        let (bytes, mut chain) = self.signed(request).ok()?;
        let here = match self.place.server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(here).await.ok()?;
        socket.connect(self.place.server).await.ok()?;
        socket.send(&bytes).await.ok()?;
        let mut answer = vec![0; LARGEST_MESSAGE];
        let length = socket.recv(&mut answer).await.ok()?;
        chain.verify(&answer[..length]).ok()?;
        Reply::read(&answer[..length], request.expected).ok()
    }

    async fn stream(&self, request: &Request, what: &str, deadline: Instant) -> Result<Reply> {
        let exchange = async {
            let (mut stream, mut chain) = self.open(request).await?;
            let message = self.next(&mut stream).await?;
            self.believe(&message, request, &mut chain, what)?;
            Reply::read(&message, request.expected).map_err(|why| self.place.garbage(why))
        };
        timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    pub(super) fn too_late(&self) -> effect::Error {
        self.place.unavailable(format!("no answer within {:?}", self.patience))
    }

    /// Sends a request by TCP; the answers are then read one by one.
    pub(super) async fn open(&self, request: &Request) -> Result<(TcpStream, Chain)> {
        let (bytes, chain) = self.signed(request)?;
        let broken = |error: io::Error| self.place.unavailable(format!("no connection: {error}"));
        let mut stream = TcpStream::connect(self.place.server).await.map_err(broken)?;
        let mut framed = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        stream.write_all(&framed).await.map_err(broken)?;
        Ok((stream, chain))
    }

    /// The next message of a stream.
    pub(super) async fn next(&self, stream: &mut TcpStream) -> Result<Vec<u8>> {
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.place.unavailable("it closed the connection instead of answering")
            }
            _ => self.place.unavailable(format!("the connection broke: {error}")),
        };
        let length = stream.read_u16().await.map_err(broken)?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await.map_err(broken)?;
        Ok(message)
    }

    /// Refuses a message that is not the server's own. Says whether it is signed itself.
    pub(super) fn believe(
        &self,
        message: &[u8],
        request: &Request,
        chain: &mut Chain,
        what: &str,
    ) -> Result<bool> {
        let head = head(message, request.expected).map_err(|why| self.place.garbage(why))?;
        match chain.verify(message) {
            Ok(is_signed) => Ok(is_signed),
            // Some servers do not sign that they do not have a zone. Whoever forges a failure brings about a failure.
            Err(Doubt::Unsigned) if is_failure(head.rcode()) => Ok(true),
            Err(doubt) => Err(self.place.doubt(what, &doubt)),
        }
    }

    fn signed(&self, request: &Request) -> Result<(Vec<u8>, Chain)> {
        let mut bytes = request.bytes.clone();
        let chain = self.key.sign(&mut bytes, self.now)?;
        Ok((bytes, chain))
    }
}

/// Codes that nothing follows from but an error: not `NXDOMAIN`, which says something of records.
fn is_failure(rcode: Rcode) -> bool {
    matches!(
        rcode,
        Rcode::FORMERR | Rcode::SERVFAIL | Rcode::NOTIMP | Rcode::REFUSED | Rcode::NOTAUTH | Rcode::NOTZONE
    )
}
