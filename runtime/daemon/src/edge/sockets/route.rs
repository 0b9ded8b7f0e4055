//! Owns binding the sockets that requests come to: one for each address and port, which all threads share. A connection
//! that waits to be accepted is then lost with no thread, and none of them can be left out by the kernel.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use effect::{Code, Error, Result};
use rustix::net::{bind, listen};

use super::{Kind, PRIVILEGED, holder_of, made};

/// Connections that wait to be accepted; the system's own bound is mostly the smaller one.
const BACKLOG: i32 = 4096;

/// A socket at which connections of routes are accepted.
///
/// # Errors
/// `MC-G004` naming who holds the address.
pub(in super::super) fn open(address: SocketAddr) -> Result<OwnedFd> {
    let opened = bound(address).and_then(|socket| {
        listen(&socket, BACKLOG)?;
        Ok(socket)
    });
    opened.map_err(|error| failed(address, &error))
}

/// The same beside a predecessor, which mostly is who holds an address and is about to hand it over: to find out who it is
/// takes longer than that.
///
/// # Errors
/// `MC-G004`.
pub(in super::super) fn open_soon(address: SocketAddr) -> Result<OwnedFd> {
    let opened = bound(address).and_then(|socket| {
        listen(&socket, BACKLOG)?;
        Ok(socket)
    });
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            refused(address, "the edge before this one, or another program, listens there")
        }
        _ => failed(address, &error),
    })
}

/// Refuses an address that cannot be had, without listening there.
///
/// # Errors
/// As [`open`].
pub(in super::super) fn probe(address: SocketAddr) -> Result<()> {
    bound(address).map(drop).map_err(|error| failed(address, &error))
}

fn bound(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = made(Kind::Route, address)?;
    bind(&socket, &address)?;
    Ok(socket)
}

fn refused(address: SocketAddr, why: &str) -> Error {
    Error::new(Code::RoutePort, format!("routes cannot be served at `{address}`: {why}"))
}

fn failed(address: SocketAddr, error: &io::Error) -> Error {
    let refused = |why: &str| refused(address, why);
    match error.kind() {
        io::ErrorKind::AddrInUse => refused(&format!("{} listens there", holder_of(Kind::Route, address)))
            .hint("stop it, choose another port, or name other `addresses` under [routes] in mcrun.toml"),
        io::ErrorKind::PermissionDenied => refused("this user may not").hint(PRIVILEGED),
        _ => refused("the system refuses").because(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_holds_a_port_is_named() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        for error in [open(address).unwrap_err(), probe(address).unwrap_err()] {
            assert_eq!(error.code, Code::RoutePort);
            assert!(error.message.contains(&std::process::id().to_string()), "{}", error.message);
        }
        drop(other);
        probe(address).unwrap();
        let first = open(address).unwrap();
        assert_eq!(open(address).unwrap_err().code, Code::RoutePort);
        drop(first);
        open(address).unwrap();
    }
}
