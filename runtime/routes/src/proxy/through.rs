//! Owns connections whose bytes go through: to a back end and back, as they are.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::header;
use super::log::Line;
use super::pace::Pace;
use super::pool::Chosen;
use super::rewind::{Peered as _, Rewind};
use super::served::Served;
use super::turn::Turn;

const BUFFER: usize = 64 << 10;
/// Buffers that a thread keeps: connections have one only while something goes by.
const KEPT: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that goes back when it is dropped.
struct Buffer(Box<[u8]>);

impl Buffer {
    fn take() -> Self {
        let kept = BUFFERS.with_borrow_mut(Vec::pop);
        Self(kept.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let octets = std::mem::take(&mut self.0);
        BUFFERS.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(octets);
            }
        });
    }
}

/// Serves a connection of a route with mode `l4`, to its end.
pub(crate) async fn serve(
    served: &Arc<Served>,
    stream: Rewind,
    client: SocketAddr,
    local: SocketAddr,
    server_name: Option<&str>,
) {
    let since = Instant::now();
    // Who asked for a name waits for an answer that takes two; of what goes by in other protocols nothing is known, and
    // who has said everything may still want to hear.
    let has_left = || if server_name.is_some() { stream.has_ended() } else { stream.is_broken() };
    let turn = match served.admit(client.ip(), has_left).await {
        Ok(turn) => turn,
        Err(refusal) => {
            let line =
                Line { host: server_name, protocol: "l4", problem: Some(refusal.why()), ..Line::default() };
            return served.log_refused(client.ip(), None, since, line);
        }
    };
    let (mut stream, seen) = stream.into_parts();
    let ended = tokio::select! {
        () = turn.cut() => Err("its time after a change of the route was over".to_owned()),
        ended = connect_and_copy(&turn, &mut stream, &seen, (client, local)) => ended,
    };
    if ended.is_err() {
        turn.failed();
    }
    let problem = ended.as_ref().err().map(String::as_str);
    turn.log(Line { host: server_name, protocol: "l4", problem, ..Line::default() });
}

async fn connect_and_copy(
    turn: &Turn,
    client: &mut TcpStream,
    seen: &[u8],
    addresses: (SocketAddr, SocketAddr),
) -> Result<(), String> {
    let (chosen, mut backend) = connect(turn, addresses).await?;
    backend.write_all(seen).await.map_err(|error| {
        chosen.failed(&error);
        format!("the back end: {error}")
    })?;
    turn.received(seen.len() as u64);
    chosen.succeeded();
    let _tunnel = turn.tunnel();
    let timeouts = &turn.served().standing.route.timeouts;
    let pace = Pace::new(timeouts.idle.0);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_backend, mut to_backend) = backend.split();
    let both = async {
        let up = copy(&mut from_client, &mut to_backend, &pace, |octets| turn.received(octets));
        let down = copy(&mut from_backend, &mut to_client, &pace, |octets| turn.sent(octets));
        tokio::try_join!(up, down).map(|_| ())
    };
    tokio::select! {
        // A reset is how some clients and servers end.
        _ = both => Ok(()),
        () = pace.given_up() => Err("nothing went by for too long".to_owned()),
    }
}

/// Connects to a back end, or to another where it does not answer.
async fn connect(turn: &Turn, addresses: (SocketAddr, SocketAddr)) -> Result<(Chosen, TcpStream), String> {
    let route = &turn.served().standing.route;
    let mut tried = Vec::new();
    let mut last = "no back end".to_owned();
    while tried.len() <= usize::from(route.retries)
        && let Some(chosen) = turn.choose(&tried)
    {
        match reach(chosen.address(), route.timeouts.connect.0, route.send_proxy, addresses).await {
            Ok(stream) => return Ok((chosen, stream)),
            Err(error) => {
                chosen.failed(&error);
                last = format!("{}: {error}", chosen.address());
                tried.push(chosen.address());
            }
        }
    }
    Err(last)
}

async fn reach(
    address: SocketAddr,
    within: Duration,
    send_proxy: Option<crate::route::ProxyProtocol>,
    addresses: (SocketAddr, SocketAddr),
) -> io::Result<TcpStream> {
    let connected = tokio::time::timeout(within, TcpStream::connect(address)).await;
    let mut stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let _ = stream.set_nodelay(true);
    if let Some(version) = send_proxy {
        stream.write_all(&header::write(version, Some(addresses))).await?;
    }
    Ok(stream)
}

/// Copies until the end of what is read, and says so to the other side.
async fn copy(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    pace: &Pace,
    count: impl Fn(u64),
) -> io::Result<()> {
    loop {
        from.ready(Interest::READABLE).await?;
        let mut buffer = Buffer::take();
        let octets = match from.try_read(&mut buffer.0) {
            Ok(0) => return to.shutdown().await,
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let mut written = 0;
        while written < octets {
            let more = tokio::io::AsyncWriteExt::write(to, &buffer.0[written..octets]).await?;
            if more == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            written += more;
            pace.moved(more);
            count(more as u64);
        }
    }
}
