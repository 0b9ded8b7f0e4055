//! Owns what the system says about ports: whether anything could listen on one now, and which ones it hands out itself.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

/// The numbers that outgoing connections get, for IPv4 and IPv6 alike.
const OUTGOING: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// What Linux takes where nobody said otherwise.
const USUAL: RangeInclusive<u16> = 32_768..=60_999;

/// The numbers from which the system serves outgoing connections.
pub(super) fn outgoing() -> RangeInclusive<u16> {
    let said = std::fs::read_to_string(OUTGOING).ok();
    said.as_deref().and_then(range).unwrap_or(USUAL)
}

fn range(said: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = said.split_whitespace().map(|end| end.parse().ok());
    Some(ends.next()??..=ends.next()??)
}

/// Whether `port` is free for TCP and UDP, for IPv4 and IPv6. Asked by binding it for a moment.
pub(super) fn is_free(port: u16) -> bool {
    let everywhere: [SocketAddr; 2] =
        [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
    everywhere
        .iter()
        .all(|address| free(TcpListener::bind(address).map(drop)) && free(UdpSocket::bind(address).map(drop)))
}

/// A machine without IPv6 has nobody listening there.
fn free(bound: std::io::Result<()>) -> bool {
    match bound {
        Ok(()) => true,
        Err(error) => {
            let absent = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
            absent || error.kind() == ErrorKind::AddrNotAvailable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_outgoing_connections_is_what_the_system_says() {
        assert_eq!(range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(range("1024 4999"), Some(1024..=4999));
        assert_eq!(range("many"), None);
        assert!(!outgoing().is_empty());
    }

    #[test]
    fn a_port_that_somebody_holds_on_loopback_is_not_free() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(!is_free(port));
        drop(tcp);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(udp.local_addr().unwrap().port()));
    }
}
