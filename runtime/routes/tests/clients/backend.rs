//! Owns a back end that answers with what it was asked for: so many octets, in one piece or in many, or what came.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

const PIECE: usize = 1000;

/// A back end that answers until the test ends.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who goes in the middle is seen from the other side.
            std::thread::spawn(move || drop(serve(&stream)));
        }
    });
    address
}

struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    octets: usize,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(asked) = read(&mut reader)? {
        writer.write_all(&answer(&asked))?;
    }
    Ok(())
}

fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut asked = Asked { method, path, headers: Vec::new(), octets: 0 };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    if asked.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let octets = usize::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            io::copy(&mut reader.by_ref().take(octets as u64 + 2), &mut io::sink())?;
            if octets == 0 {
                return Ok(Some(asked));
            }
            asked.octets += octets;
        }
    }
    let octets = asked.header("content-length").and_then(|octets| octets.parse().ok()).unwrap_or(0);
    asked.octets = usize::try_from(io::copy(&mut reader.by_ref().take(octets), &mut io::sink())?).unwrap();
    Ok(Some(asked))
}

fn answer(asked: &Asked) -> Vec<u8> {
    let path = asked.path.split('?').next().unwrap_or_default();
    let number = || path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    if asked.path.starts_with("/pieces/") {
        let mut whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..number() {
            whole.extend(format!("{PIECE:x}\r\n{}\r\n", "x".repeat(PIECE)).bytes());
        }
        whole.extend(b"0\r\n\r\n");
        return whole;
    }
    let body = match asked.path.starts_with("/octets/") {
        true => "x".repeat(number()),
        false => {
            let client = asked.header("x-forwarded-for").unwrap_or_default();
            format!("{} {} {} {client}", asked.method, asked.path, asked.octets)
        }
    };
    let sent = if asked.method == "HEAD" { "" } else { &body };
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{sent}", body.len()).into_bytes()
}
