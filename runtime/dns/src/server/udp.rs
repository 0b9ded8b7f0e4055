//! Owns datagrams: taken from the socket many at a time, answered one by one from the address that they came to.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::sync::Arc;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::sync::{Semaphore, watch};

use super::counts::{Counts, Protocol};
use super::service::{Finished, Outcome, Service};

/// Octets of what is taken at once for one sender: the kernel may put datagrams of one sender together.
const LARGEST: usize = 1 << 16;
/// Questions of one socket that wait for others; what comes beyond is dropped, and asked again by its client.
const MOST_WAITING: usize = 4096;

/// Answers what comes to `socket` until `over` becomes true; then what waits for others is finished.
///
/// # Errors
/// Where the socket cannot be used at all.
pub async fn serve(
    socket: UdpSocket,
    service: Arc<Service>,
    counts: Arc<Counts>,
    mut over: watch::Receiver<bool>,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let udp = Arc::new(Udp { socket: tokio::net::UdpSocket::from_std(socket)?, state });
    let waiting = Arc::new(Semaphore::new(MOST_WAITING));
    let mut buffers = vec![vec![0; LARGEST]; BATCH_SIZE];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let mut out = Vec::with_capacity(2048);
    loop {
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => break,
            ready = udp.socket.readable() => ready?,
        }
        let count = match udp.receive(&mut buffers, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            // What was sent before may be reported as unreachable here; the next one is another matter.
            Err(error) => {
                tracing::debug!(%error, "a datagram was not received");
                continue;
            }
        };
        for (meta, buffer) in metas[..count].iter().zip(&buffers) {
            for message in buffer[..meta.len].chunks(meta.stride.max(1)) {
                match service.hear(message, meta.addr, Protocol::Udp, &counts, &mut out) {
                    Outcome::Answered => udp.send(meta, &out),
                    Outcome::Silence => {}
                    Outcome::Later(later) => {
                        if later.is_answered() {
                            udp.send(meta, &out);
                        }
                        let Ok(place) = waiting.clone().try_acquire_owned() else {
                            counts.dropped();
                            continue;
                        };
                        let (udp, service, counts, meta) =
                            (udp.clone(), service.clone(), counts.clone(), *meta);
                        tokio::spawn(async move {
                            if let Finished::One(answer) = service.finish(later, &counts).await {
                                udp.send(&meta, &answer);
                            }
                            drop(place);
                        });
                    }
                }
            }
        }
        // Others on this thread come to their turn even where datagrams never end.
        tokio::task::yield_now().await;
    }
    // Answers that others are asked for are still sent, from the socket that they were asked at.
    let _ = waiting.acquire_many(u32::try_from(MOST_WAITING).unwrap_or(u32::MAX)).await;
    Ok(())
}

struct Udp {
    socket: tokio::net::UdpSocket,
    state: UdpSocketState,
}

impl Udp {
    fn receive(&self, buffers: &mut [Vec<u8>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let mut slices: Vec<IoSliceMut<'_>> =
            buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        self.socket.try_io(Interest::READABLE, || self.state.recv((&self.socket).into(), &mut slices, metas))
    }

    /// Sends an answer. One that cannot be sent now is lost, as any datagram may be: its client asks again.
    fn send(&self, to: &RecvMeta, answer: &[u8]) {
        let transmit = Transmit {
            destination: to.addr,
            ecn: None,
            contents: answer,
            segment_size: None,
            src_ip: to.dst_ip,
        };
        if let Err(error) = self.state.try_send((&self.socket).into(), &transmit) {
            tracing::debug!(%error, peer = %to.addr, "an answer was not sent");
        }
    }
}
