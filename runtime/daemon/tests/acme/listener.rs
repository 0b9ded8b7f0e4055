//! The listener: what peers may take, and what it refuses before anybody sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::listen::{Handler, Limits, serve};
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Says what it got; what is asked for under `/slow` waits until it is let go.
#[derive(Clone, Default)]
struct Echo {
    begun: Arc<Notify>,
    go: Arc<Notify>,
}

impl Handler for Echo {
    async fn handle(&self, request: Request<Bytes>, _: SocketAddr) -> Response<Bytes> {
        if request.uri().path() == "/slow" {
            self.begun.notify_one();
            self.go.notified().await;
        }
        Response::new(format!("{} {} {}", request.method(), request.uri(), request.body().len()).into())
    }
}

struct Listening {
    address: SocketAddr,
    echo: Echo,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn listening(limits: Limits) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ending) = watch::channel(false);
    let echo = Echo::default();
    Listening {
        address,
        echo: echo.clone(),
        end,
        task: tokio::spawn(serve(listener, None, echo, limits, ending)),
    }
}

fn short() -> Limits {
    let short = Duration::from_millis(200);
    Limits { head: short, body: short, idle: short, ..Limits::default() }
}

/// What comes back until the connection ends.
async fn talk(address: SocketAddr, words: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end as well.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_request_is_answered_and_the_connection_kept() {
    let listening = listening(short()).await;
    let twice =
        "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = talk(listening.address, twice).await;
    assert!(answer.contains("POST /a 3") && answer.contains("GET /b 0"), "{answer}");
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let listening = listening(Limits::default()).await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let answer = talk(listening.address, request).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("POST /"), "{request}\n{answer}");
    }
}

#[tokio::test]
async fn nothing_follows_a_chunked_request() {
    let listening = listening(Limits::default()).await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    let first = "POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n";
    let answer = talk(listening.address, &format!("{first}0\r\n\r\n{hidden}")).await;
    assert!(answer.contains("POST /first 0") && !answer.contains("/hidden"), "{answer}");
}

#[tokio::test]
async fn large_bodies_and_heads_are_refused() {
    let listening = listening(Limits { body_bytes: 1000, ..Limits::default() }).await;
    let told = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\nabc";
    assert!(talk(listening.address, told).await.starts_with("HTTP/1.1 413 "));
    let chunk = "f0\r\n".to_owned() + &"a".repeat(0xf0) + "\r\n";
    let untold =
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(10));
    assert!(talk(listening.address, &untold).await.starts_with("HTTP/1.1 413 "));
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let answer = talk(listening.address, &head).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let headers = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
    assert!(talk(listening.address, &headers).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn whoever_is_slow_loses_the_connection() {
    let listening = listening(short()).await;
    assert_eq!(talk(listening.address, "").await, "");
    assert_eq!(talk(listening.address, "GET / HT").await, "");
    let answer = talk(listening.address, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn further_connections_wait_for_their_turn() {
    let limits = Limits { connections: 1, idle: Duration::from_millis(200), ..Limits::default() };
    let listening = listening(limits).await;
    let mut first = TcpStream::connect(listening.address).await.unwrap();
    first.write_all(b"GET /first HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let second = tokio::spawn(talk(listening.address, "GET /second HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert!(rest(&mut first).await.contains("GET /first"));
    assert!(second.await.unwrap().contains("GET /second"));
}

#[tokio::test]
async fn what_is_under_way_is_finished_at_the_end() {
    let listening = listening(Limits::default()).await;
    let mut idle = TcpStream::connect(listening.address).await.unwrap();
    let mut busy = TcpStream::connect(listening.address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\nGET /late HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    idle.write_all(b"GET /quick HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    listening.echo.begun.notified().await;
    listening.end.send(true).unwrap();
    rest(&mut idle).await;
    listening.echo.go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.contains("GET /slow"), "{answer}");
    listening.task.await.unwrap();
    assert!(TcpStream::connect(listening.address).await.is_err());
}

#[tokio::test]
async fn the_time_of_grace_is_the_longest_that_the_end_takes() {
    let limits = Limits { grace: Duration::from_millis(100), ..Limits::default() };
    let listening = listening(limits).await;
    let mut stuck = TcpStream::connect(listening.address).await.unwrap();
    stuck.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    listening.echo.begun.notified().await;
    drop(listening.end);
    listening.task.await.unwrap();
    assert_eq!(rest(&mut stuck).await, "");
}
