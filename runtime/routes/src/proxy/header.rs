//! Owns the header of the PROXY protocol (versions 1 and 2): reading it from proxies that are trusted, writing it to back
//! ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::route::ProxyProtocol;

const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, its end included.
const LONGEST_V1: usize = 107;
/// Addresses take at most 216 octets; the rest is what other proxies add, which is skipped.
const LONGEST_V2: usize = 4096;

/// What the beginning of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A header of so many octets. The client and where it came to, unless the proxy speaks for itself.
    Whole { length: usize, addresses: Option<(SocketAddr, SocketAddr)> },
    /// There must be more of it.
    Partial,
    /// Something else.
    Wrong,
}

pub(crate) fn parse(octets: &[u8]) -> Parsed {
    let begins = |with: &[u8]| octets.iter().zip(with).all(|(one, other)| one == other);
    if begins(V2) {
        return parse_v2(octets);
    }
    if begins(b"PROXY ") {
        return parse_v1(octets);
    }
    Parsed::Wrong
}

fn parse_v1(octets: &[u8]) -> Parsed {
    let head = &octets[..octets.len().min(LONGEST_V1)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return if head.len() == LONGEST_V1 { Parsed::Wrong } else { Parsed::Partial };
    };
    let length = end + 2;
    let Ok(line) = std::str::from_utf8(&head[..end]) else { return Parsed::Wrong };
    if line == "PROXY UNKNOWN" || line.starts_with("PROXY UNKNOWN ") {
        return Parsed::Whole { length, addresses: None };
    }
    match addresses_v1(line) {
        Some(addresses) => Parsed::Whole { length, addresses: Some(addresses) },
        None => Parsed::Wrong,
    }
}

fn addresses_v1(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.split(' ');
    let (_, family) = (words.next()?, words.next()?);
    let (source, destination) = (words.next()?, words.next()?);
    let (from, to) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = |text: &str| -> Option<u16> {
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        is_plain.then(|| text.parse().ok()).flatten()
    };
    let source = SocketAddr::new(address(source)?, port(from)?);
    Some((source, SocketAddr::new(address(destination)?, port(to)?)))
}

fn parse_v2(octets: &[u8]) -> Parsed {
    let Some(fixed) = octets.first_chunk::<16>() else { return Parsed::Partial };
    let length = 16 + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > LONGEST_V2 {
        return Parsed::Wrong;
    }
    let speaks_for_itself = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Parsed::Wrong,
    };
    let (family, needed) = match fixed[13] {
        0x11 => (Some(4), 12),
        0x21 => (Some(6), 36),
        // Unknown families, datagrams and sockets of one machine say nothing of use.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => (None, 0),
        _ => return Parsed::Wrong,
    };
    if length < 16 + needed && !speaks_for_itself {
        return Parsed::Wrong;
    }
    let Some(rest) = octets.get(16..length) else { return Parsed::Partial };
    let addresses =
        if speaks_for_itself { None } else { family.and_then(|family| addresses_v2(rest, family)) };
    Parsed::Whole { length, addresses }
}

fn addresses_v2(rest: &[u8], family: u8) -> Option<(SocketAddr, SocketAddr)> {
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    let (source, destination, ports): (IpAddr, IpAddr, usize) = if family == 4 {
        let address = |at: usize| rest.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
        (address(0)?.into(), address(4)?.into(), 8)
    } else {
        let address = |at: usize| rest.get(at..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
        (address(0)?.into(), address(16)?.into(), 32)
    };
    Some((SocketAddr::new(source, port(ports)?), SocketAddr::new(destination, port(ports + 2)?)))
}

/// The header that says that a connection is `client`'s, which came to `local`; with none, that it is the proxy's own.
pub(crate) fn write(version: ProxyProtocol, addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let addresses = addresses.map(|(client, local)| (canonical(client), canonical(local)));
    match version {
        ProxyProtocol::V1 => write_v1(addresses),
        ProxyProtocol::V2 => write_v2(addresses),
    }
}

fn write_v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let line = match addresses {
        Some((SocketAddr::V4(from), SocketAddr::V4(to))) => {
            format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
        Some((SocketAddr::V6(from), SocketAddr::V6(to))) => {
            format!("PROXY TCP6 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
        }
        _ => "PROXY UNKNOWN\r\n".into(),
    };
    line.into_bytes()
}

fn write_v2(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = V2.to_vec();
    match addresses {
        Some((SocketAddr::V4(from), SocketAddr::V4(to))) => {
            header.extend([0x21, 0x11, 0, 12]);
            header.extend(from.ip().octets());
            header.extend(to.ip().octets());
            header.extend(from.port().to_be_bytes());
            header.extend(to.port().to_be_bytes());
        }
        Some((SocketAddr::V6(from), SocketAddr::V6(to))) => {
            header.extend([0x21, 0x21, 0, 36]);
            header.extend(from.ip().octets());
            header.extend(to.ip().octets());
            header.extend(from.port().to_be_bytes());
            header.extend(to.port().to_be_bytes());
        }
        _ => header.extend([0x20, 0, 0, 0]),
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(from: &str, to: &str) -> (SocketAddr, SocketAddr) {
        (from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn what_is_written_is_read_and_never_before_it_is_whole() {
        let v4 = pair("192.0.2.1:56324", "198.51.100.7:443");
        let v6 = pair("[2001:db8::1]:56324", "[2001:db8::2]:443");
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            for addresses in [Some(v4), Some(v6), None] {
                let mut octets = write(version, addresses);
                let length = octets.len();
                for cut in 0..length {
                    assert_eq!(parse(&octets[..cut]), Parsed::Partial, "{version:?} {cut}");
                }
                octets.extend(b"GET /");
                assert_eq!(parse(&octets), Parsed::Whole { length, addresses });
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for wrong in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\x02\x00",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 1\r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.7 56324 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 65536\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 +5 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.7 05 443\r\n",
            b"PROXY TCP4 ::1 ::2 5 443\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.7 5 443\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.7 5 443\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x44\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ] {
            assert_eq!(parse(wrong), Parsed::Wrong, "{:?}", wrong.escape_ascii().to_string());
        }
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(parse(&long), Parsed::Wrong);
    }

    #[test]
    fn what_other_proxies_add_is_skipped() {
        let mut octets = V2.to_vec();
        octets.extend([
            0x21, 0x11, 0, 19, 192, 0, 2, 1, 198, 51, 100, 7, 0, 80, 1, 187, 0x04, 0, 4, 1, 2, 3, 4,
        ]);
        let addresses = Some(pair("192.0.2.1:80", "198.51.100.7:443"));
        assert_eq!(parse(&octets), Parsed::Whole { length: 35, addresses });
    }
}
