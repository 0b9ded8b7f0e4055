//! Owns what the system says about a port: whether anything could listen on it now.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

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
    fn a_port_that_somebody_holds_on_loopback_is_not_free() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(!is_free(port));
        drop(tcp);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(udp.local_addr().unwrap().port()));
    }
}
