//! Owns the beginning of a connection: whose it is, whether it is by TLS, and which route or whose requests it is for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Acceptor, ClientHello};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::arrival::Arrival;
use super::header::{self, Parsed};
use super::places::{OfClient, Place};
use super::rewind::Rewind;
use super::served::Served;
use super::shown::{ACME, HTTP_2};
use super::{Proxy, http, through};

/// For everything that comes before the first request: headers of other proxies, the ClientHello, the handshake.
const BEGINNING: Duration = Duration::from_secs(10);
/// How long what a client still sends is read after it was refused, so that it sees why.
const LINGER: Duration = Duration::from_secs(1);
const HANDSHAKE: u8 = 0x16;
/// A fatal alert: unrecognized_name (RFC 6066, section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];
const TAKES_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 20\r\n\
    connection: close\r\n\r\nThis port takes TLS\n";

/// Whose connection it is.
#[derive(Debug, Clone, Copy)]
struct Origin {
    client: SocketAddr,
    local: SocketAddr,
    trusted: bool,
}

/// What a client asks for in its ClientHello.
pub(crate) struct Asked {
    pub(crate) server_name: Option<Box<str>>,
    /// Whether it is a certificate authority that wants a proof.
    pub(crate) for_proof: bool,
}

impl Asked {
    pub(crate) fn of(hello: &ClientHello<'_>) -> Self {
        let for_proof = hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME));
        Self { server_name: hello.server_name().map(|name| name.to_ascii_lowercase().into()), for_proof }
    }
}

/// What a connection turns out to be.
enum Begun {
    Bytes {
        served: Arc<Served>,
        stream: Rewind,
        server_name: Option<Box<str>>,
    },
    Tls {
        stream: Box<TlsStream<Rewind>>,
        server_name: Option<Box<str>>,
    },
    Plain {
        stream: Rewind,
        h2: bool,
    },
    /// It was answered, or is none of ours.
    Nothing,
}

impl Proxy {
    /// Serves one connection, to its end.
    pub(super) async fn receive(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        port: u16,
        place: Place,
    ) {
        let Some(unfinished) = self.places.unfinished() else { return };
        let Ok(local) = stream.local_addr() else { return };
        // What is written is written whole: waiting for more would only make it late.
        let _ = stream.set_nodelay(true);
        let deadline = Instant::now() + BEGINNING;
        let beginning = async {
            let mut stream = Rewind::new(stream);
            let (origin, of_client) = self.origin(&mut stream, peer, local).await?;
            let begun = self.begin(stream, port).await?;
            io::Result::Ok((origin, of_client, begun))
        };
        let Ok(Ok((origin, _of_client, begun))) = timeout_at(deadline, beginning).await else { return };
        drop(unfinished);
        let (server_name, secure) = match &begun {
            Begun::Tls { server_name, .. } => (server_name.clone(), true),
            _ => (None, false),
        };
        let arrival = || Arrival {
            proxy: Arc::clone(&self),
            client: origin.client,
            local: origin.local,
            port,
            server_name,
            secure,
            trusted: origin.trusted,
            over: self.over.subscribe(),
            _place: place,
        };
        match begun {
            Begun::Nothing => {}
            Begun::Bytes { served, stream, server_name } => {
                let _arrival = arrival();
                through::serve(&served, stream, origin.client, origin.local, server_name.as_deref()).await;
            }
            Begun::Tls { stream, .. } => {
                let h2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
                http::serve(*stream, h2, arrival()).await;
            }
            Begun::Plain { stream, h2 } => http::serve(stream, h2, arrival()).await,
        }
    }

    /// Whose it is: the peer's, or by what it says where it is a proxy that is trusted, which must say it.
    async fn origin(
        &self,
        stream: &mut Rewind,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> io::Result<(Origin, Option<OfClient>)> {
        let own = Origin { client: peer, local, trusted: Self::is_from(&self.settings.trusted, peer) };
        if Self::is_from(&self.settings.proxy_from, peer) {
            let (client, local) = read_header(stream).await?.unwrap_or((peer, local));
            let trusted = Self::is_from(&self.settings.trusted, client);
            return Ok((Origin { client, local, trusted }, None));
        }
        if own.trusted {
            return Ok((own, None));
        }
        let of_client = self.places.of(peer.ip()).ok_or(io::ErrorKind::QuotaExceeded)?;
        Ok((own, Some(of_client)))
    }

    async fn begin(&self, mut stream: Rewind, port: u16) -> io::Result<Begun> {
        if let Some(served) = self.table().whole_port(port).cloned() {
            // Nothing is waited for: with some protocols the server speaks first.
            return Ok(Begun::Bytes { served, stream, server_name: None });
        }
        if stream.seen().is_empty() && !stream.look().await? {
            return Ok(Begun::Nothing);
        }
        if stream.seen()[0] == HANDSHAKE && self.table().has_tls(port) {
            return self.begin_tls(stream, port).await;
        }
        if self.table().has_plain(port) || self.settings.http == Some(port) {
            let h2 = speaks_h2(&mut stream).await?;
            return Ok(Begun::Plain { stream: stream.replayed(), h2 });
        }
        let any = self.table().host(port, None).and_then(|host| host.through().cloned());
        if let Some(served) = any {
            return Ok(Begun::Bytes { served, stream, server_name: None });
        }
        if stream.seen()[0].is_ascii_alphabetic() {
            refuse(stream, TAKES_TLS).await;
        }
        Ok(Begun::Nothing)
    }

    async fn begin_tls(&self, stream: Rewind, port: u16) -> io::Result<Begun> {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream.again()).await?;
        let Asked { server_name, for_proof } = Asked::of(&start.client_hello());
        if for_proof && let Some(config) = self.proves(server_name.as_deref()) {
            start.io.forget();
            // That the handshake was finished is all that was asked for.
            start.into_stream(config).await?.shutdown().await?;
            return Ok(Begun::Nothing);
        }
        let (through, shown) = match self.table().host(port, server_name.as_deref()) {
            Some(host) => (host.through().cloned(), host.shown().cloned()),
            None => (None, None),
        };
        if let Some(served) = through {
            return Ok(Begun::Bytes { served, stream: start.io, server_name });
        }
        let Some(shown) = shown else {
            refuse(start.io, &UNRECOGNIZED_NAME).await;
            return Ok(Begun::Nothing);
        };
        start.io.forget();
        let stream = start.into_stream(Arc::clone(&shown.config)).await?;
        Ok(Begun::Tls { stream: Box::new(stream), server_name })
    }
}

async fn read_header(stream: &mut Rewind) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    loop {
        if !stream.look().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match header::parse(stream.seen()) {
            Parsed::Partial => {}
            Parsed::Wrong => return Err(io::ErrorKind::InvalidData.into()),
            Parsed::Whole { length, addresses } => {
                stream.skip(length);
                return Ok(addresses);
            }
        }
    }
}

/// Whether it begins as HTTP/2 with prior knowledge does (RFC 9113, section 3.4): no method of HTTP/1 is `PRI`.
async fn speaks_h2(stream: &mut Rewind) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
    loop {
        let seen = stream.seen();
        let known = seen.len().min(PREFACE.len());
        if seen[..known] != PREFACE[..known] {
            return Ok(false);
        }
        if known == PREFACE.len() {
            return Ok(true);
        }
        if !stream.look().await? {
            return Ok(false);
        }
    }
}

/// Writes why and closes.
async fn refuse(mut stream: Rewind, why: &[u8]) {
    stream.forget();
    if stream.write_all(why).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    // Closing with something unread resets the connection, and with it what was just written.
    let drained = async {
        let (mut octets, mut left) = ([0; 4096], 64 << 10);
        while let Ok(count @ 1..) = stream.read(&mut octets).await {
            left -= count.min(left);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drained).await;
}
