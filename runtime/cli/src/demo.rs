//! Owns `mcrun demo-server`: the small HTTP service that the demo deploys, so that the demo needs nothing else.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// Answers every request on `$PORT` with the given message, and `/v1/health` with `ok`.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    let message = words.first().map_or_else(|| "hello".into(), |word| word.to_string_lossy().into_owned());
    let port = std::env::var("PORT").ok().and_then(|port| port.parse::<u16>().ok());
    let Some(listener) = port.and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok()) else {
        return ExitCode::FAILURE;
    };
    for connection in listener.incoming().flatten() {
        // A visitor who goes away early is nobody's problem.
        let _ = answer(connection, &message);
    }
    ExitCode::SUCCESS
}

fn answer(mut connection: TcpStream, message: &str) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let body = if request.starts_with("GET /v1/health") { "ok\n".to_owned() } else { format!("{message}\n") };
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
