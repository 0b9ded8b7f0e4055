//! Owns `mcrun demo-visit`: visitors of a service over HTTPS, one after the other for as long as a program runs, who count
//! what they are not answered.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const VISITORS: usize = 4;
/// How many requests a visitor makes over one connection.
const REQUESTS: usize = 20;
/// Requests may wait while a service is replaced.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST_ANSWER: u64 = 1 << 20;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Where they go.
struct Goal {
    host: String,
    address: String,
    tls: Arc<ClientConfig>,
}

/// What they saw.
#[derive(Default)]
struct Seen {
    sent: u64,
    answers: BTreeMap<String, u64>,
    failures: Vec<String>,
}

/// `demo-visit HOST ADDRESS CA [COMMAND …]`: visits while the command runs and prints how many requests were sent, and how
/// many failed; without a command it visits once and prints the answer.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    match visit(words) {
        Ok(code) => code,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("demo-visit: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn say(out: &mut dyn std::io::Write, text: &str) {
    // There is nobody left to tell where that cannot be said.
    let _ = writeln!(out, "{text}");
}

fn visit(words: &[OsString]) -> Result<ExitCode, Failed> {
    let [host, address, ca, command @ ..] = words else {
        return Err("HOST, ADDRESS and a file of certificates are needed".into());
    };
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let goal = Goal { host: text(host), address: text(address), tls: trusting(ca)? };
    let Some((program, arguments)) = command.split_first() else {
        let answer = request(&mut connect(&goal)?, &goal, "GET", "")?;
        say(&mut std::io::stdout(), answer.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let (over, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    let ended = std::thread::scope(|scope| {
        for _ in 0..VISITORS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    stroll(&goal, &over, &seen)
                }
            });
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the command that is watched is the visitor's own child"
        )]
        let ended = std::process::Command::new(program).args(arguments).status();
        over.store(true, Ordering::Relaxed);
        ended
    });
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut out = std::io::stdout();
    say(&mut out, &format!("{} requests sent, {} failed", seen.sent, seen.failures.len()));
    for (answer, count) in &seen.answers {
        say(&mut out, &format!("  {count} × {answer}"));
    }
    for failure in seen.failures.iter().take(10) {
        say(&mut out, &format!("  failed: {failure}"));
    }
    let is_well = ended?.success() && seen.failures.is_empty() && seen.sent > 0;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn trusting(ca: &OsString) -> Result<Arc<ClientConfig>, Failed> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

type Connection = BufReader<StreamOwned<ClientConnection, TcpStream>>;

fn connect(goal: &Goal) -> Result<Connection, Failed> {
    let stream = TcpStream::connect(&goal.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(goal.host.clone())?;
    Ok(BufReader::new(StreamOwned::new(ClientConnection::new(goal.tls.clone(), name)?, stream)))
}

/// One connection with its requests, of which every other one sends something.
fn stroll(goal: &Goal, over: &AtomicBool, seen: &Mutex<Seen>) {
    let mut connection = None;
    for number in 0..REQUESTS {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        let body = if number % 2 == 0 { "" } else { "something" };
        let answered = match &mut connection {
            Some(open) => request(open, goal, method, body),
            None => connect(goal).and_then(|open| request(connection.insert(open), goal, method, body)),
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sent += 1;
        match answered {
            Ok(answer) if method == "GET" => {
                *seen.answers.entry(answer.trim_end().to_owned()).or_default() += 1
            }
            Ok(_) => {}
            Err(error) => {
                seen.failures.push(format!("{method}: {error}"));
                return;
            }
        }
        drop(seen);
        std::thread::sleep(PAUSE);
    }
}

/// The body of the answer to one request, whose status has to be 200.
fn request(connection: &mut Connection, goal: &Goal, method: &str, body: &str) -> Result<String, Failed> {
    let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    let asked = format!("{method} / HTTP/1.1\r\nHost: {}\r\n{length}\r\n{body}", goal.host);
    connection.get_mut().write_all(asked.as_bytes())?;
    let mut status = String::new();
    connection.by_ref().take(LONGEST_ANSWER).read_line(&mut status)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        connection.by_ref().take(LONGEST_ANSWER).read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            _ if line.trim_end().is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse()?
            }
            _ => {}
        }
    }
    let mut answer = String::new();
    connection.by_ref().take(LONGEST_ANSWER.min(length)).read_to_string(&mut answer)?;
    match status.trim_end() {
        well if well.starts_with("HTTP/1.1 200") => Ok(answer),
        "" => Err("the connection was closed".into()),
        other => Err(format!("{other}: {}", answer.trim_end()).into()),
    }
}
