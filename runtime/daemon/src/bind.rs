//! Owns binding the sockets of the daemon and of figures to addresses of this machine, also to those that an interface has
//! only later: after a boot an overlay network comes up when it will, and nobody is to wait for it or fail without it.

use std::io;
use std::net::SocketAddr;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::net::TcpListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listener at `address`, whether or not an interface has it by now.
///
/// # Errors
/// As the system says.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else {
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    // Connections of a process before this one that are not quite over do not stand in the way.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_no_interface_has_yet_can_be_listened_at() {
        let later: SocketAddr = "192.0.2.77:0".parse().unwrap();
        assert_eq!(tcp(later).unwrap().local_addr().unwrap().ip(), later.ip());
    }

    #[tokio::test]
    async fn an_address_that_another_has_cannot() {
        let first = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = tcp(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
