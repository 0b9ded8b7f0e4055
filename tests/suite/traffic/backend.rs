//! Owns back ends: each says its own name, takes uploads, and echoes what comes over an upgraded connection.

use std::io::{self, BufReader, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

/// A back end that answers until the test ends.
pub(crate) fn start(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever goes in the middle is seen from the other side.
            std::thread::spawn(move || drop(serve(&stream, name)));
        }
    });
    address
}

/// The head of a message: its first line, and its headers in lower case.
pub(crate) fn head(reader: &mut impl io::BufRead) -> io::Result<Option<(String, Vec<String>)>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => return Ok(Some((first.trim_end().to_owned(), headers))),
            header => headers.push(header.to_ascii_lowercase()),
        }
    }
}

pub(crate) fn header<'a>(headers: &'a [String], name: &str) -> Option<&'a str> {
    headers.iter().find_map(|header| header.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn serve(stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some((_, headers)) = head(&mut reader)? {
        if header(&headers, "upgrade").is_some() {
            writer.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
            )?;
            io::copy(&mut reader, &mut writer)?;
            return stream.shutdown(Shutdown::Write);
        }
        let length = body(&mut reader, &headers)?;
        let text = format!("{name} {length}");
        writer.write_all(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).as_bytes(),
        )?;
    }
    Ok(())
}

/// How many octets the body of a request has.
fn body(reader: &mut impl io::BufRead, headers: &[String]) -> io::Result<u64> {
    if header(headers, "transfer-encoding").is_none() {
        let length = header(headers, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        return io::copy(&mut Read::take(reader, length), &mut io::sink());
    }
    let mut whole = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        io::copy(&mut Read::take(&mut *reader, length), &mut io::sink())?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(whole);
        }
        whole += length;
    }
}
