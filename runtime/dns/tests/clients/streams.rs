//! Connections and datagrams as programs use them that no client program is: many questions at once, answers out of order,
//! messages of every length.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dns::RecordType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::bench::{Server, question};

/// Connections of one client that are served at once.
const MOST_OF_ONE: usize = 64;
const MCQ: &str = "mcq.svc.mcp.metacircular.net";
const LARGE: &str = "large.svc.mcp.metacircular.net";
const OUTSIDE: &str = "www.wntrmute.dev";
const FORMERR: u8 = 1;

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

pub(crate) async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut answer = vec![0; usize::from(stream.read_u16().await.ok()?)];
    stream.read_exact(&mut answer).await.ok()?;
    Some(answer)
}

pub(crate) fn id(answer: &[u8]) -> u16 {
    u16::from_be_bytes([answer[0], answer[1]])
}

fn answers(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[6], message[7]])
}

/// Somebody who is asked for names that are not ours, and answers when a test wants it.
struct Upstream {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Upstream {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    /// The next question, with who asked it.
    async fn heard(&self) -> (Vec<u8>, SocketAddr) {
        let mut message = vec![0; 4096];
        let (length, from) = self.socket.recv_from(&mut message).await.unwrap();
        message.truncate(length);
        (message, from)
    }

    /// Answers with one address.
    async fn answer(&self, (mut message, to): (Vec<u8>, SocketAddr)) {
        let end = 12 + message[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
        message.truncate(end);
        message[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        message.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
        self.socket.send_to(&message, to).await.unwrap();
    }
}

#[tokio::test]
async fn answers_that_are_there_do_not_wait_for_one_that_is_not() {
    let upstream = Upstream::start().await;
    let server = Server::forwarding(Some(upstream.address)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut sent = framed(&question(1, OUTSIDE, RecordType::A, None));
    (2..10).for_each(|id| sent.extend(framed(&question(id, MCQ, RecordType::A, None))));
    stream.write_all(&sent).await.unwrap();
    let held = upstream.heard().await;
    for wanted in 2..10 {
        let answer = read(&mut stream).await.unwrap();
        assert_eq!((id(&answer), answers(&answer)), (wanted, 1));
    }
    upstream.answer(held).await;
    let answer = read(&mut stream).await.unwrap();
    assert_eq!((id(&answer), answers(&answer)), (1, 1));
    assert!(answer.ends_with(&[192, 0, 2, 80]));
}

#[tokio::test]
async fn a_client_that_is_done_asking_gets_every_answer() {
    let upstream = Upstream::start().await;
    let server = Server::forwarding(Some(upstream.address)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for (number, name) in [(1, OUTSIDE), (2, MCQ)] {
        stream.write_all(&framed(&question(number, name, RecordType::A, None))).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let held = upstream.heard().await;
    assert_eq!(id(&read(&mut stream).await.unwrap()), 2);
    upstream.answer(held).await;
    assert_eq!(id(&read(&mut stream).await.unwrap()), 1);
    assert_eq!(read(&mut stream).await, None);
}

#[tokio::test]
async fn what_is_under_way_is_finished_at_the_end() {
    let upstream = Upstream::start().await;
    let server = Server::forwarding(Some(upstream.address)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    datagrams.connect(server.address).await.unwrap();
    stream.write_all(&framed(&question(1, OUTSIDE, RecordType::A, None))).await.unwrap();
    let first = upstream.heard().await;
    datagrams.send(&question(2, "git.wntrmute.dev", RecordType::A, None)).await.unwrap();
    let second = upstream.heard().await;
    let ending = tokio::spawn(server.end());
    upstream.answer(first).await;
    upstream.answer(second).await;
    assert_eq!(id(&read(&mut stream).await.unwrap()), 1);
    let mut answer = [0; 512];
    let length = datagrams.recv(&mut answer).await.unwrap();
    assert_eq!((id(&answer), answers(&answer[..length])), (2, 1));
    ending.await.unwrap();
}

#[tokio::test]
async fn a_thousand_questions_on_one_connection_are_all_answered() {
    let server = Server::start().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let asking = tokio::spawn(async move {
        for id in 0..1000 {
            let name = if id % 10 == 0 { LARGE } else { MCQ };
            let rtype = if id % 10 == 0 { RecordType::TXT } else { RecordType::A };
            writer.write_all(&framed(&question(id, name, rtype, None))).await.unwrap();
        }
        writer
    });
    let mut seen = BTreeSet::new();
    while seen.len() < 1000 {
        let mut answer = vec![0; usize::from(reader.read_u16().await.unwrap())];
        reader.read_exact(&mut answer).await.unwrap();
        assert_eq!(answers(&answer), if id(&answer).is_multiple_of(10) { 40 } else { 1 });
        assert!(seen.insert(id(&answer)));
    }
    drop(asking.await.unwrap());
}

#[tokio::test]
async fn a_question_in_pieces_is_a_question() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let both = [question(7, MCQ, RecordType::A, None), question(8, MCQ, RecordType::A, Some(1232))];
    for octet in both.iter().flat_map(|message| framed(message)) {
        stream.write_all(&[octet]).await.unwrap();
    }
    assert_eq!(id(&read(&mut stream).await.unwrap()), 7);
    assert_eq!(id(&read(&mut stream).await.unwrap()), 8);
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_no_more() {
    let server = Server::start().await;
    let asked = framed(&question(1, MCQ, RecordType::A, None));
    let mut open = Vec::new();
    for _ in 0..MOST_OF_ONE {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&asked).await.unwrap();
        assert!(read(&mut stream).await.is_some());
        open.push(stream);
    }
    let try_once = || async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // It may be closed before all is written.
        let _ = stream.write_all(&asked).await;
        read(&mut stream).await
    };
    assert_eq!(try_once().await, None);
    // Those that are there are none the worse for it, and others use datagrams.
    open[0].write_all(&asked).await.unwrap();
    assert!(read(&mut open[0]).await.is_some());
    let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    datagrams.send_to(&asked[2..], server.address).await.unwrap();
    assert!(datagrams.recv(&mut [0; 512]).await.is_ok());
    // Another address is another client.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(server.address).await.unwrap();
    other.write_all(&asked).await.unwrap();
    assert!(read(&mut other).await.is_some());
    // The place of one that ends is free again, as soon as the server has learnt of it.
    open.pop();
    while try_once().await.is_none() {}
}

#[tokio::test]
async fn messages_of_every_length_are_answered_or_end_the_connection() {
    let server = Server::start().await;
    let whole = question(3, MCQ, RecordType::A, None);
    // A question with more behind it than its counts say, up to the longest message that there is.
    for length in [whole.len() + 1, 512, 4096, 65_535] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let mut message = whole.clone();
        message.resize(length, 0);
        stream.write_all(&framed(&message)).await.unwrap();
        let answer = read(&mut stream).await.unwrap();
        assert_eq!((id(&answer), answer[3] & 0x0F), (3, FORMERR), "{length}");
        // The next question is one as ever.
        stream.write_all(&framed(&whole)).await.unwrap();
        assert_eq!(answers(&read(&mut stream).await.unwrap()), 1);
    }
    // Less than a header cannot even be refused, an answer is never answered.
    let mut reflected = whole.clone();
    reflected[2] |= 0x80;
    for message in [&whole[..0], &whole[..11], &reflected] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&framed(message)).await.unwrap();
        assert_eq!(read(&mut stream).await, None);
    }
    let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    datagrams.connect(server.address).await.unwrap();
    let mut oversized = whole.clone();
    oversized.resize(65_507, 0);
    for message in [&whole[..0], &whole[..11], &reflected, &oversized, &whole] {
        datagrams.send(message).await.unwrap();
    }
    let mut answer = [0; 1500];
    datagrams.recv(&mut answer).await.unwrap();
    assert_eq!(answer[3] & 0x0F, FORMERR);
    let length = datagrams.recv(&mut answer).await.unwrap();
    assert_eq!(answers(&answer[..length]), 1);
}

#[tokio::test]
async fn no_datagram_is_longer_than_the_client_takes_or_networks_carry() {
    let server = Server::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address).await.unwrap();
    for (size, most) in
        [(None, 512), (Some(0), 512), (Some(512), 512), (Some(1000), 1000), (Some(65_535), 1232)]
    {
        socket.send(&question(9, LARGE, RecordType::TXT, size)).await.unwrap();
        let mut answer = vec![0; 65_535];
        let length = socket.recv(&mut answer).await.unwrap();
        assert!(length <= most, "{size:?}: {length}");
        assert_eq!(answer[2] & 0x02, 0x02, "{size:?}");
    }
}
