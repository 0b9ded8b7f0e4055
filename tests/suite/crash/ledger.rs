//! Owns the ledger: a web server outside of everything that can be killed, which writes down every act that reaches it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// One act that took place.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) key: String,
    pub(super) label: String,
    /// What the script had been told of when it asked for this act.
    pub(super) seen: Vec<String>,
}

/// The lines of every page.
type Pages = BTreeMap<usize, Vec<Line>>;

pub(super) struct Ledger {
    port: u16,
    pages: Arc<Mutex<Pages>>,
    next: AtomicUsize,
}

/// What one run's acts are written on.
pub(super) struct Page<'a> {
    ledger: &'a Ledger,
    number: usize,
}

impl Ledger {
    /// Starts it; it ends with the test's process.
    ///
    /// A request is `{ label, seen, fail, delay }`: it is written down at once, answered after `delay` milliseconds, and
    /// with 503 when it is to `fail`.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let pages = Arc::new(Mutex::new(Pages::new()));
        let written = pages.clone();
        std::thread::spawn(move || {
            // One after the other: whoever has been answered knows that everything before has been written down.
            for connection in listener.incoming().flatten() {
                // A sender that was killed half-way has asked for nothing.
                let _ = serve(connection, &written);
            }
        });
        Self { port, pages, next: AtomicUsize::new(1) }
    }

    pub(super) fn page(&self) -> Page<'_> {
        Page { ledger: self, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Page<'_> {
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.ledger.port, self.number)
    }

    /// Everything that was sent before this call.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.ledger.port)).expect("the ledger listens");
        connection.write_all(b"POST / HTTP/1.1\r\n\r\n").expect("the ledger reads");
        connection.read_to_end(&mut Vec::new()).expect("the ledger answers");
        self.ledger.pages.lock().unwrap().get(&self.number).cloned().unwrap_or_default()
    }
}

fn serve(connection: TcpStream, pages: &Mutex<Pages>) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let page = first.split_whitespace().nth(1).and_then(|path| path.trim_start_matches('/').parse().ok());
    let headers = headers(&mut reader)?;
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let (Some(page), Some(label)) = (page, body["label"].as_str()) {
        let seen = body["seen"].as_array().into_iter().flatten();
        let seen = seen.filter_map(|label| label.as_str().map(str::to_owned)).collect();
        let key = headers.get("idempotency-key").cloned().unwrap_or_default();
        let line = Line { key, label: label.to_owned(), seen };
        pages.lock().unwrap().entry(page).or_default().push(line);
    }
    let status = if body["fail"] == true { "503 Service Unavailable" } else { "200 OK" };
    let answer = move |mut connection: TcpStream| {
        connection.write_all(
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    };
    match body["delay"].as_u64() {
        None | Some(0) => answer(connection),
        Some(delay) => {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                // The one who asked may be dead.
                let _ = answer(connection);
            });
            Ok(())
        }
    }
}

fn headers(reader: &mut impl std::io::BufRead) -> std::io::Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for line in reader.lines() {
        let line = line?;
        if line.is_empty() {
            return Ok(headers);
        }
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_owned());
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}
