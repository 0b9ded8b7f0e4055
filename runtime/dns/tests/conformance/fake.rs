//! Owns name servers that are broken or lie: what they answer by UDP and by TCP on one port.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::program::port;

/// What is answered to a message; nothing is silence.
pub(crate) type Answers = dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync;

/// A server that is gone when it is dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Fake {
    /// Answers the same by UDP and by TCP.
    pub(crate) async fn start(answers: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let answers: Arc<Answers> = Arc::new(answers);
        let (socket, listener, address) = sockets().await;
        let tcp = answers.clone();
        let streams = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, tcp.clone()));
            }
        });
        Self { address, tasks: vec![tokio::spawn(datagrams(socket, answers)), streams] }
    }

    /// Answers by UDP, and leads what comes by TCP to `server`.
    pub(crate) async fn before(
        server: SocketAddr,
        answers: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let (socket, listener, address) = sockets().await;
        let streams = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut other = TcpStream::connect(server).await.unwrap();
                tokio::spawn(async move {
                    // Either side may close when it likes.
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
                });
            }
        });
        Self { address, tasks: vec![tokio::spawn(datagrams(socket, Arc::new(answers))), streams] }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn sockets() -> (UdpSocket, TcpListener, SocketAddr) {
    let address = port();
    (UdpSocket::bind(address).await.unwrap(), TcpListener::bind(address).await.unwrap(), address)
}

async fn datagrams(socket: UdpSocket, answers: Arc<Answers>) {
    let mut message = vec![0; 65_535];
    while let Ok((length, peer)) = socket.recv_from(&mut message).await {
        if let Some(answer) = answers(&message[..length]) {
            socket.send_to(&answer, peer).await.unwrap();
        }
    }
}

async fn talk(mut stream: TcpStream, answers: Arc<Answers>) {
    let Ok(length) = stream.read_u16().await else { return };
    let mut message = vec![0; usize::from(length)];
    if stream.read_exact(&mut message).await.is_err() {
        return;
    }
    match answers(&message) {
        Some(answer) => {
            let length = u16::try_from(answer.len()).unwrap();
            // The driver may have given up.
            let _ = stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await;
        }
        None => std::future::pending().await,
    }
}

/// The head of a message that answers `request` with `code`, and its question.
pub(crate) fn answer(request: &[u8], code: u8) -> Vec<u8> {
    let question = 12 + request[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let mut answer = request[..question].to_vec();
    answer[2] |= 0x84;
    answer[3] = code;
    answer[6..12].fill(0);
    answer
}
