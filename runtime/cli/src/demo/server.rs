//! Owns `mcrun demo-server`: the small HTTP service that the demo deploys.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// No visitor sends longer heads.
const LONGEST_HEAD: u64 = 64 << 10;

/// Answers every request on `$PORT` with the given message, and `/v1/health` with `ok`; sends back what comes over an
/// upgraded connection.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    let message = words.first().map_or_else(|| "hello".into(), |word| word.to_string_lossy().into_owned());
    let port = std::env::var("PORT").ok().and_then(|port| port.parse::<u16>().ok());
    let Some(listener) = port.and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok()) else {
        return ExitCode::FAILURE;
    };
    for connection in listener.incoming().flatten() {
        let message = message.clone();
        // A visitor who goes away early is nobody's problem.
        std::thread::spawn(move || answer(connection, &message));
    }
    ExitCode::SUCCESS
}

/// What is read of a request.
#[derive(Default)]
struct Head {
    line: String,
    length: u64,
    upgrades: bool,
}

fn head(reader: &mut impl std::io::BufRead) -> std::io::Result<Head> {
    let mut head = Head::default();
    for line in reader.take(LONGEST_HEAD).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        match line.split_once(':') {
            _ if head.line.is_empty() => head.line = line,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                head.length = value.trim().parse().unwrap_or(0);
            }
            Some((name, _)) if name.eq_ignore_ascii_case("upgrade") => head.upgrades = true,
            _ => {}
        }
    }
    Ok(head)
}

fn answer(mut connection: TcpStream, message: &str) -> std::io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let head = head(&mut reader)?;
    if head.upgrades {
        let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        connection.write_all(switching.as_bytes())?;
        return std::io::copy(&mut reader, &mut connection).map(drop);
    }
    // What is left unread when a connection is closed makes the visitor lose the answer.
    let received = std::io::copy(&mut reader.take(head.length), &mut std::io::sink())?;
    let body = match head.line.as_str() {
        line if line.starts_with("GET /v1/health") => "ok\n".to_owned(),
        line if line.starts_with("POST") => format!("{message} {received}\n"),
        _ => format!("{message}\n"),
    };
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
