//! Clients that are slow on purpose. Time stands still unless nothing else can happen: the server's patience costs none.

use std::net::SocketAddr;
use std::sync::Arc;

use dns::server::counts::Counts;
use dns::server::{Service, Snapshot, Zone, tcp};
use dns::{Name, RecordType, file};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::bench::{SERVICES, question, zone_file};
use crate::streams::{framed, read};

const MCQ: &str = "mcq.svc.mcp.metacircular.net";
const LARGE: &str = "large.svc.mcp.metacircular.net";
/// Far more than what lies in the buffers of the kernel between client and server.
const MOST_ASKED: usize = 1_000_000;

/// Connections alone: whatever else waits for something would have time go on.
fn start() -> (SocketAddr, watch::Sender<bool>) {
    let name = Name::absolute(SERVICES).unwrap();
    let contents = file::read(zone_file().as_bytes(), &name, "services").unwrap();
    let mut zone = Zone::new(contents.soa.unwrap());
    contents.sets.iter().for_each(|set| zone.put(set));
    let mut snapshot = Snapshot::default();
    snapshot.put(zone);
    let service = Service::new(None, None, 0);
    service.put(snapshot);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (over, ending) = watch::channel(false);
    tokio::spawn(tcp::serve(listener, service, Arc::new(Counts::default()), ending));
    (address, over)
}

#[tokio::test(start_paused = true)]
async fn half_a_message_is_waited_for_only_so_long() {
    let (address, _over) = start();
    let message = framed(&question(1, MCQ, RecordType::A, None));
    for half in [&message[..1], &message[..2], &message[..message.len() - 1]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(half).await.unwrap();
        assert_eq!(read(&mut stream).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_questions_is_closed() {
    let (address, _over) = start();
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(read(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_answers_is_let_go_and_holds_up_nobody() {
    let (address, _over) = start();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(address).await.unwrap();
    let asked = framed(&question(1, LARGE, RecordType::TXT, None));
    let mut count = 0;
    while slow.write_all(&asked).await.is_ok() {
        count += 1;
        assert!(count < MOST_ASKED, "questions are taken without end");
    }
    let mut other = TcpStream::connect(address).await.unwrap();
    other.write_all(&framed(&question(2, MCQ, RecordType::A, None))).await.unwrap();
    assert!(read(&mut other).await.is_some());
}
