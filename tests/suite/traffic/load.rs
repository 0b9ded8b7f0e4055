//! Owns clients: single requests, streams of them that may not lose one, tunnels and uploads that go on and on.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backend::{head, header};
use crate::harness::until;

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that may take several requests.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    pub(crate) keeps: bool,
}

impl Connection {
    pub(crate) fn open(at: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), keeps: true })
    }

    pub(crate) fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    /// The status and the body of the answer to what was sent.
    pub(crate) fn answer(&mut self) -> io::Result<(u16, String)> {
        let (first, headers) = head(&mut self.stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        self.keeps = header(&headers, "connection").is_none_or(|value| value != "close");
        let length = header(&headers, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    pub(crate) fn get(&mut self, host: &str) -> io::Result<(u16, String)> {
        self.ask("GET /", host)
    }

    /// The status and the body of the answer to a request such as `GET /`.
    pub(crate) fn ask(&mut self, what: &str, host: &str) -> io::Result<(u16, String)> {
        self.send(&format!("{what} HTTP/1.1\r\nhost: {host}\r\n\r\n"))?;
        self.answer()
    }

    /// Has it upgraded: from then on what is said is said back.
    pub(crate) fn upgrade(&mut self, host: &str) -> io::Result<()> {
        self.send(&format!(
            "GET /live HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
        ))?;
        let (first, _) = head(&mut self.stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if first.contains(" 101 ") { Ok(()) } else { Err(io::Error::other(first)) }
    }

    /// What comes back.
    pub(crate) fn echo(&mut self, text: &str) -> io::Result<String> {
        self.send(text)?;
        let mut said = vec![0; text.len()];
        self.stream.read_exact(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// One request on a connection of its own.
pub(crate) fn get(at: SocketAddr, host: &str) -> Option<(u16, String)> {
    Connection::open(at).and_then(|mut connection| connection.get(host)).ok()
}

/// Waits until `host` is answered by the back end called `name`.
#[track_caller]
pub(crate) fn sees(at: SocketAddr, host: &str, name: &str) {
    until(&format!("`{host}` is answered by `{name}`"), || {
        get(at, host).filter(|(status, body)| *status == 200 && body.starts_with(name))
    });
}

/// Something that goes on until it is ended.
pub(crate) struct Stream {
    is_over: Arc<AtomicBool>,
    number: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

impl Stream {
    fn start(work: impl Fn(&AtomicBool, &AtomicU64) -> io::Result<()> + Send + 'static) -> Self {
        let (is_over, number, failures) =
            <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<Mutex<Vec<String>>>)>::default();
        let (over, count, failed) = (is_over.clone(), number.clone(), failures.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Err(error) = work(&over, &count) {
                    failed.lock().expect("nobody panics").push(error.to_string());
                    // A refused connection is refused at once: not all of the machine is for us.
                    std::thread::yield_now();
                }
            }
        });
        Self { is_over, number, failures, thread }
    }

    /// Requests one after the other: on kept connections, or on one for each.
    pub(crate) fn requests(at: SocketAddr, host: &'static str, keeps: bool) -> Self {
        Self::start(move |over, count| {
            let mut connection = Connection::open(at)?;
            while connection.keeps && !over.load(Ordering::Relaxed) {
                let (status, body) = connection.get(host)?;
                if status != 200 {
                    return Err(io::Error::other(format!("{status} {body}")));
                }
                count.fetch_add(1, Ordering::Relaxed);
                connection.keeps &= keeps;
            }
            Ok(())
        })
    }

    /// A connection that was upgraded and stays: what is said is said back.
    pub(crate) fn tunnel(at: SocketAddr, host: &'static str) -> Self {
        Self::start(move |over, count| {
            let mut connection = Connection::open(at)?;
            connection.upgrade(host)?;
            while !over.load(Ordering::Relaxed) {
                if connection.echo("ping")? != "ping" {
                    return Err(io::Error::other("something else came back"));
                }
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(())
        })
    }

    /// One upload, as long as everything else, piece by piece; answered when it ends.
    pub(crate) fn upload(at: SocketAddr, host: &'static str) -> Self {
        Self::start(move |over, count| {
            let mut connection = Connection::open(at)?;
            connection
                .send(&format!("POST / HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n"))?;
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                connection.send("400\r\n")?;
                connection.send(&"x".repeat(0x400))?;
                connection.send("\r\n")?;
                sent += 0x400;
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
            connection.send("0\r\n\r\n")?;
            let (status, body) = connection.answer()?;
            if status == 200 && body.ends_with(&format!(" {sent}")) {
                Ok(())
            } else {
                Err(io::Error::other(format!("{status} {body}, and {sent} were sent")))
            }
        })
    }

    /// All of them at once.
    pub(crate) fn all(at: SocketAddr, host: &'static str) -> Vec<Self> {
        vec![
            Self::requests(at, host, true),
            Self::requests(at, host, true),
            Self::requests(at, host, false),
            Self::requests(at, host, false),
            Self::tunnel(at, host),
            Self::upload(at, host),
        ]
    }

    /// Waits until so many more have been answered.
    #[track_caller]
    pub(crate) fn goes_on(&self, more: u64) {
        let goal = self.number.load(Ordering::Relaxed) + more;
        until("it goes on", || (self.number.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    /// Ends it; not one may have failed, and not none may have been answered.
    #[track_caller]
    pub(crate) fn ended(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("nobody panics");
        let failures = self.failures.lock().expect("nobody panics");
        let number = self.number.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {number} failed: {:?}", failures.len(), failures.first());
        assert!(number > 0);
    }
}
