//! Back ends that keep what they get, and do what the test says.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    requests: RefCell<Vec<String>>,
    connections: Cell<usize>,
}

/// A connection at a back end.
pub(crate) struct Inside {
    pub(crate) stream: TcpStream,
    pub(crate) read: Vec<u8>,
    shared: Rc<Shared>,
}

impl Backend {
    /// One that does `what` with each connection.
    pub(crate) async fn new<F: Future<Output = ()> + 'static>(what: impl Fn(Inside) -> F + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Rc::new(Shared::default());
        let address = listener.local_addr().unwrap();
        let own = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                own.connections.set(own.connections.get() + 1);
                let inside = Inside { stream, read: Vec::new(), shared: Rc::clone(&own) };
                tokio::task::spawn_local(what(inside));
            }
        });
        Self { address, shared }
    }

    /// One that answers each request with `answer`.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |mut inside| {
            let answer = answer.clone();
            async move {
                while inside.request().await.is_some() {
                    inside.stream.write_all(&answer).await.unwrap();
                }
            }
        })
        .await
    }

    /// One that answers `ok`.
    pub(crate) async fn fine() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await
    }

    /// An address at which nothing is.
    pub(crate) async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// What came so far, request by request; ids are `ID`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.borrow().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.get()
    }
}

impl Inside {
    /// The next request to its end, kept; none at the end of the connection.
    pub(crate) async fn request(&mut self) -> Option<String> {
        loop {
            if let Some(length) = whole(&self.read) {
                let rest = self.read.split_off(length);
                let request = String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
                let request = without_id(&request);
                self.shared.requests.borrow_mut().push(request.clone());
                return Some(request);
            }
            if self.more().await == 0 {
                assert!(self.read.is_empty(), "a request was cut: {:?}", String::from_utf8_lossy(&self.read));
                return None;
            }
        }
    }

    /// Reads what there is.
    pub(crate) async fn more(&mut self) -> usize {
        self.stream.read_buf(&mut self.read).await.unwrap_or(0)
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

/// The length of the request at the beginning of `bytes`, once it is whole. It reads as a careless server does.
fn whole(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let head = text.find("\r\n\r\n")? + 4;
    let lower = text[..head].to_ascii_lowercase();
    if lower.contains("transfer-encoding:") {
        let body = &text[head..];
        let last = if body.starts_with("0\r\n") { 0 } else { body.find("\r\n0\r\n")? + 2 };
        return Some(head + last + body[last..].find("\r\n\r\n")? + 4);
    }
    let length = lower.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let whole = head + length.unwrap_or(0);
    (bytes.len() >= whole).then_some(whole)
}

fn without_id(request: &str) -> String {
    let Some(at) = request.find("x-request-id: ") else { return request.to_owned() };
    let (before, rest) = request.split_at(at + "x-request-id: ".len());
    let end = rest.find("\r\n").unwrap();
    format!("{before}ID{}", &rest[end..])
}
