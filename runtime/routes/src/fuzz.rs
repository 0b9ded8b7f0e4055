//! Owns what fuzzing calls: the parts that take in what others have written, without sockets. It lies in every build, so
//! that the targets and the tests that replay their seeds run the same code.

use std::net::SocketAddr;

use rustls::server::Acceptor;

use crate::proxy::header::{self, Parsed};
use crate::proxy::receive::Asked;
use crate::proxy::table::Table;
use crate::route::ProxyProtocol;

/// Reads the header of the PROXY protocol, and writes again what it says. How long it is, if it is one.
#[must_use]
pub fn proxy_header(octets: &[u8]) -> Option<usize> {
    let Parsed::Whole { length, addresses } = header::parse(octets) else { return None };
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let again = header::write(version, addresses);
        let expected = addresses.filter(|(from, to)| from.is_ipv4() == to.is_ipv4()).map(canonical);
        match header::parse(&again) {
            Parsed::Whole { length, addresses } => {
                assert!(length == again.len(), "all of what is written is the header");
                assert!(addresses.map(canonical) == expected || addresses.is_none(), "it says the same");
            }
            parsed => panic!("what is written must be read: {parsed:?}"),
        }
    }
    Some(length)
}

fn canonical((from, to): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    (plain(from), plain(to))
}

/// Reads a ClientHello that comes in parts of `part` octets. The name that it asks for, if it is whole.
#[must_use]
pub fn client_hello(mut octets: &[u8], part: usize) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    while !octets.is_empty() {
        let (mut some, rest) = octets.split_at(part.clamp(1, octets.len()));
        octets = rest;
        while !some.is_empty() {
            acceptor.read_tls(&mut some).ok()?;
        }
        if let Some(accepted) = acceptor.accept().ok()? {
            let asked = Asked::of(&accepted.client_hello());
            assert!(Table::default().find(443, asked.server_name.as_deref(), "/").is_none());
            return Some(asked.server_name.map(String::from));
        }
    }
    None
}
