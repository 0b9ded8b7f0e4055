//! Owns the sockets that questions come to: one for each address, kind and thread, bound so that the kernel spreads what
//! comes among the threads; taken over from a predecessor where it has them. And how any socket is made and bound.

pub(super) mod route;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use containers::ports::holder;
use containers::spec::{Port, Protocol};
use effect::{Code, Error, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use serde::{Deserialize, Serialize};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// What the kernel keeps of datagrams while a thread is busy, in octets.
const BUFFER: usize = 4 << 20;

/// What kind of socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
    /// Connections of routes. All threads share one socket.
    Route,
}

/// Which socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its kind.
    pub kind: Kind,
    /// The address it was asked for; the port may be 0.
    pub address: SocketAddr,
    /// The thread that it belongs to.
    pub thread: usize,
}

/// A socket for one thread.
#[derive(Debug)]
pub enum Slot {
    /// Datagrams.
    Udp(UdpSocket),
    /// Connections.
    Tcp(TcpListener),
}

/// Every socket.
#[derive(Debug, Default)]
pub struct Sockets {
    open: Vec<(Place, OwnedFd)>,
}

impl Sockets {
    /// The sockets that were given.
    #[must_use]
    pub(super) fn given(open: Vec<(Place, OwnedFd)>) -> Self {
        Self { open }
    }

    /// Sockets for `addresses` and so many threads; those that `given` has are used further.
    ///
    /// # Errors
    /// `MC-Q020` naming who holds an address.
    pub fn open(addresses: &[SocketAddr], threads: usize, given: Option<&Self>) -> Result<Self> {
        let mut open = Vec::new();
        for address in addresses {
            for kind in [Kind::Udp, Kind::Tcp] {
                let is_given = given
                    .is_some_and(|given| given.find(Place { kind, address: *address, thread: 0 }).is_some());
                let mut bound = *address;
                if !is_given {
                    probe(kind, *address)?;
                    if let Some((_, first)) = open.iter().find(|(place, _): &&(Place, OwnedFd)| {
                        place.address == *address && place.kind != kind
                    }) {
                        // With a port that the system chooses, both kinds have the same.
                        bound = local(first).map_err(|error| failed(kind, *address, &error))?;
                    }
                }
                for thread in 0..threads {
                    let place = Place { kind, address: *address, thread };
                    let kept = given.and_then(|given| given.find(place));
                    let socket = match kept {
                        Some(socket) => socket.try_clone(),
                        None => bind_one(kind, bound),
                    };
                    let socket = socket.map_err(|error| failed(kind, *address, &error))?;
                    bound = local(&socket).map_err(|error| failed(kind, *address, &error))?;
                    open.push((place, socket));
                }
            }
        }
        Ok(Self { open })
    }

    fn find(&self, wanted: Place) -> Option<&OwnedFd> {
        self.open.iter().find(|(place, _)| *place == wanted).map(|(_, socket)| socket)
    }

    /// Where they listen, each address once.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for (_, socket) in &self.open {
            addresses.extend(local(socket).ok().filter(|address| !addresses.contains(address)));
        }
        addresses
    }

    /// The sockets of a thread, on descriptors of their own.
    pub(super) fn of_thread(&self, thread: usize) -> io::Result<Vec<Slot>> {
        let own = self.open.iter().filter(|(place, _)| place.thread == thread);
        own.map(|(place, socket)| {
            let socket = socket.try_clone()?;
            Ok(match place.kind {
                Kind::Udp => Slot::Udp(socket.into()),
                Kind::Tcp | Kind::Route => Slot::Tcp(socket.into()),
            })
        })
        .collect()
    }

    /// Those of routes, which are opened and closed as routes come and go.
    pub(super) fn take_routes(&mut self) -> Vec<(SocketAddr, OwnedFd)> {
        let (routes, others) =
            std::mem::take(&mut self.open).into_iter().partition(|(place, _)| place.kind == Kind::Route);
        self.open = others;
        let routes: Vec<(Place, OwnedFd)> = routes;
        routes.into_iter().map(|(place, socket)| (place.address, socket)).collect()
    }

    /// All of them, on descriptors of their own.
    pub(super) fn cloned(&self) -> io::Result<Vec<(Place, OwnedFd)>> {
        self.open.iter().map(|(place, socket)| Ok((*place, socket.try_clone()?))).collect()
    }

    #[cfg(test)]
    fn all(&self) -> &[(Place, OwnedFd)] {
        &self.open
    }
}

fn local(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::ErrorKind::AddrNotAvailable.into())
}

/// Whether somebody else has the address: sockets that share one with others of the same user would not tell.
fn probe(kind: Kind, address: SocketAddr) -> Result<()> {
    let probed = made(kind, address).and_then(|socket| Ok(bind(&socket, &address)?));
    probed.map_err(|error| failed(kind, address, &error))
}

fn made(kind: Kind, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let stream = match kind {
        Kind::Udp => SocketType::DGRAM,
        Kind::Tcp | Kind::Route => SocketType::STREAM,
    };
    let socket = socket_with(family, stream, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // An interface that comes up later, such as that of an overlay, is answered on from then on.
    if address.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else {
        sockopt::set_ipv6_freebind(&socket, true)?;
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind != Kind::Udp {
        // Connections of a predecessor that are not quite over do not stand in the way.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    Ok(socket)
}

fn bind_one(kind: Kind, address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = made(kind, address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    if kind == Kind::Udp {
        // The system's own bound is below that on some machines, and then it counts.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
    }
    bind(&socket, &address)?;
    if kind == Kind::Tcp {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// Who holds an address, in words.
fn holder_of(kind: Kind, address: SocketAddr) -> String {
    let protocol = if kind == Kind::Udp { Protocol::Udp } else { Protocol::Tcp };
    let ip = (!address.ip().is_unspecified()).then(|| address.ip().to_string());
    let port = Port { host: address.port(), container: address.port(), address: ip, protocol };
    holder(&port).map_or_else(|| "another program".to_owned(), |holder| holder.to_string())
}

const PRIVILEGED: &str = "ports below 1024 take root, CAP_NET_BIND_SERVICE (AmbientCapabilities= in the unit), or net.ipv4.ip_unprivileged_port_start";

/// Why an address cannot be listened on, and how to go on.
fn failed(kind: Kind, address: SocketAddr, error: &io::Error) -> Error {
    let protocol = if kind == Kind::Udp { "udp" } else { "tcp" };
    let message = |why: String| format!("the name server cannot listen at `{address}` ({protocol}): {why}");
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = holder_of(kind, address);
            let error = Error::new(Code::DnsListen, message(format!("{who} listens there")));
            if address.ip().is_unspecified() && address.port() == 53 {
                return error.hint(
                    "the system's resolver often holds 127.0.0.53: name the addresses that others ask, such as listen = [\"192.168.88.181\"]",
                );
            }
            error.hint("stop it, or name other addresses under `listen` of [dns] in mcrun.toml")
        }
        io::ErrorKind::PermissionDenied => {
            Error::new(Code::DnsListen, message("this user may not".into())).hint(PRIVILEGED)
        }
        _ => Error::new(Code::DnsListen, message("the system refuses".into())).because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[test]
    fn each_thread_has_sockets_of_its_own_at_one_address() {
        let sockets = Sockets::open(&[any()], 2, None).unwrap();
        let addresses = sockets.addresses();
        assert_eq!((sockets.all().len(), addresses.len()), (4, 1));
        assert_ne!(addresses[0].port(), 0);
        assert_eq!(sockets.of_thread(1).unwrap().len(), 2);
    }

    #[test]
    fn sockets_of_a_predecessor_are_used_further() {
        let first = Sockets::open(&[any()], 2, None).unwrap();
        let second = Sockets::open(&[any()], 3, Some(&first)).unwrap();
        assert_eq!(first.addresses(), second.addresses());
        assert_eq!(second.all().len(), 6);
    }

    #[test]
    fn who_holds_an_address_is_named() {
        let other = UdpSocket::bind(any()).unwrap();
        let address = other.local_addr().unwrap();
        let error = Sockets::open(&[address], 1, None).unwrap_err();
        assert_eq!(error.code, Code::DnsListen);
        assert!(error.message.contains(&std::process::id().to_string()), "{}", error.message);
        assert!(error.hint.is_some());
    }

    #[test]
    fn an_address_that_no_interface_has_yet_can_be_listened_at() {
        let address: SocketAddr = "192.0.2.77:0".parse().unwrap();
        assert_eq!(Sockets::open(&[address], 1, None).unwrap().addresses().len(), 1);
    }
}
