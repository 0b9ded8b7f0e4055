//! Owns the ports of routes: which are listened at, on sockets that all threads share, and how each thread learns of one.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use effect::{Code, Error, Result};
use tokio::sync::{mpsc, watch};

use super::super::sockets::{Kind, Place, route};

/// Sockets altogether; each is open in every thread.
const MOST: usize = 4096;

/// What a thread is told: to accept connections of a port until it is over.
pub(super) struct Serve {
    pub(super) listener: TcpListener,
    pub(super) port: u16,
    pub(super) over: watch::Receiver<bool>,
}

/// A port that is listened at.
struct Port {
    sockets: Vec<(SocketAddr, OwnedFd)>,
    over: watch::Sender<bool>,
    is_served: bool,
}

/// Every port.
pub(super) struct Ports {
    addresses: Vec<IpAddr>,
    open: BTreeMap<u16, Port>,
    /// Those of a predecessor, until they are wanted.
    given: Vec<(SocketAddr, OwnedFd)>,
    threads: Vec<mpsc::UnboundedSender<Serve>>,
    /// Whether a successor opens what is not open yet.
    leaves_open: bool,
    /// Whether a predecessor still listens.
    is_succeeding: bool,
    /// Whether others listen in the place of this edge.
    is_over: bool,
}

impl Ports {
    pub(super) fn new(
        addresses: &[IpAddr],
        given: Option<Vec<(SocketAddr, OwnedFd)>>,
        threads: Vec<mpsc::UnboundedSender<Serve>>,
    ) -> Self {
        let (addresses, open, is_succeeding) = (addresses.to_vec(), BTreeMap::new(), given.is_some());
        let given = given.unwrap_or_default();
        Self { addresses, open, given, threads, leaves_open: false, is_succeeding, is_over: false }
    }

    fn places(&self, port: u16) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().map(move |address| SocketAddr::new(*address, port))
    }

    /// Refuses a port that could not be listened at.
    pub(super) fn probe(&self, port: u16) -> Result<()> {
        if self.open.contains_key(&port) {
            return Ok(());
        }
        self.check_room()?;
        self.places(port).try_for_each(route::probe)
    }

    fn check_room(&self) -> Result<()> {
        if (self.open.len() + 1) * self.addresses.len() <= MOST {
            return Ok(());
        }
        let message = format!("routes are served at {} ports already", self.open.len());
        Err(Error::new(Code::RoutePort, message)
            .hint("let routes share ports: they are told apart by host name"))
    }

    /// Listens at a port, at all addresses or none. Connections wait until it is served.
    pub(super) fn open(&mut self, port: u16) -> Result<()> {
        if self.is_over || self.leaves_open || self.open.contains_key(&port) {
            return Ok(());
        }
        self.check_room()?;
        let mut sockets = Vec::new();
        for address in self.places(port).collect::<Vec<_>>() {
            let given = self.given.iter().position(|(place, _)| *place == address);
            let socket = match given {
                Some(given) => self.given.swap_remove(given).1,
                None if self.is_succeeding => route::open_soon(address)?,
                None => route::open(address)?,
            };
            sockets.push((address, socket));
        }
        self.open.insert(port, Port { sockets, over: watch::Sender::new(false), is_served: false });
        Ok(())
    }

    /// Has every thread accept connections of a port.
    pub(super) fn serve(&mut self, port: u16) -> Result<()> {
        let Some(open) = self.open.get_mut(&port).filter(|open| !open.is_served) else { return Ok(()) };
        let failed = |error: io::Error| {
            Error::new(Code::RoutePort, format!("routes cannot be served at port {port}")).because(error)
        };
        // All are made before the first is given away: a port is served by every thread or not at all.
        let mut made = Vec::new();
        for thread in &self.threads {
            for (_, socket) in &open.sockets {
                let listener = TcpListener::from(socket.try_clone().map_err(failed)?);
                made.push((thread, Serve { listener, port, over: open.over.subscribe() }));
            }
        }
        for (thread, serve) in made {
            // A thread that is gone has said why.
            let _ = thread.send(serve);
        }
        open.is_served = true;
        Ok(())
    }

    /// Closes a port. What was accepted goes on.
    pub(super) fn close(&mut self, port: u16) {
        if let Some(open) = self.open.remove(&port) {
            open.over.send_replace(true);
        }
    }

    /// Closes a port at which nothing is served.
    pub(super) fn close_unserved(&mut self, port: u16) {
        if self.open.get(&port).is_some_and(|open| !open.is_served) {
            self.open.remove(&port);
        }
    }

    /// Has what a predecessor opened later be used as well.
    pub(super) fn give(&mut self, opened: Vec<(SocketAddr, OwnedFd)>) {
        let open = &self.open;
        self.given = opened.into_iter().filter(|(place, _)| !open.contains_key(&place.port())).collect();
    }

    pub(super) fn is_open(&self, port: u16) -> bool {
        self.open.contains_key(&port)
    }

    pub(super) fn are_over(&self) -> bool {
        self.is_over
    }

    /// Leaves it to a successor to open what is not open yet, or no longer.
    pub(super) fn leave_open(&mut self, leaves: bool) {
        self.leaves_open = leaves;
    }

    /// The predecessor was told that it is no longer needed.
    pub(super) fn succeeded(&mut self) {
        self.is_succeeding = false;
    }

    /// Lets go of what a predecessor had and nobody wants any more.
    pub(super) fn forget_given(&mut self) {
        self.given.clear();
    }

    /// Closes every port, and tells the threads that there will be no other.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        for open in std::mem::take(&mut self.open).into_values() {
            open.over.send_replace(true);
        }
        self.threads.clear();
        self.given.clear();
    }

    /// Where is listened.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.values().flat_map(|open| open.sockets.iter().map(|(address, _)| *address)).collect()
    }

    /// Every socket, on descriptors of their own.
    pub(super) fn sockets(&self) -> io::Result<Vec<(Place, OwnedFd)>> {
        let every = self.open.values().flat_map(|open| &open.sockets);
        every
            .map(|(address, socket)| {
                let place = Place { kind: Kind::Route, address: *address, thread: 0 };
                Ok((place, socket.try_clone()?))
            })
            .collect()
    }
}
