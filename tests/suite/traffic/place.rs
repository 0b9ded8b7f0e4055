//! Owns a place with routes: an address of its own, an edge that is ended with it, and the driver that records them.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use daemon::edge::gateway::ToEdge;
use effect::{Error, Result};
use journal::{Journal, SystemClock};
use routes::{Driver as _, Embedded, Key, Settings, Standing};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Place, Started, until};
use crate::names::place::address;
use crate::processes;

pub(crate) const PORT: u16 = 8080;

/// A place whose edge serves routes at an address.
pub(crate) struct Routed {
    place: Place,
    pub(crate) at: SocketAddr,
}

impl Deref for Routed {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Routed {
    pub(crate) fn new() -> Self {
        Self::of(Place::new())
    }

    pub(crate) fn of(place: Place) -> Self {
        let routed = Self { place, at: SocketAddr::new(address().ip(), PORT) };
        routed.settle_for("");
        routed
    }

    /// Says where routes are served, and `more` of `[routes]`.
    pub(crate) fn settle_for(&self, more: &str) {
        self.configure(&format!("[routes]\naddresses = [\"{}\"]\n{more}\n", self.at.ip()));
    }

    /// The same address at another port.
    pub(crate) fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.at.ip(), port)
    }

    fn node(&self) -> String {
        self.path().file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned()
    }

    /// Does something with the driver of routes, as an effect would.
    pub(crate) fn drive<T>(&self, work: impl AsyncFnOnce(&Embedded) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let journal = Journal::open(&self.state(), Arc::new(SystemClock)).expect("a journal");
            let settings = Settings { addresses: vec![self.at.ip()], ..Settings::default() };
            let gateway = Arc::new(ToEdge::new(&self.state()));
            work(&Embedded::new(journal, &self.node(), settings, gateway)).await
        })
    }

    pub(crate) fn try_put(&self, route: Value) -> Result<()> {
        self.drive(async |driver| driver.put(&standing(route)).await)
    }

    /// Has `host` served from `backends`.
    #[track_caller]
    pub(crate) fn put(&self, host: &str, backends: &[SocketAddr]) {
        self.try_put(route(host, backends)).unwrap_or_else(|error| panic!("{error:?}"));
    }

    pub(crate) fn remove(&self, key: &str) -> Result<(), Error> {
        let key: Key = key.parse().expect("a key");
        self.drive(async |driver| driver.remove(&key).await)
    }

    /// `mcrun edge` without a daemon, once it answers.
    #[track_caller]
    pub(crate) fn edge(&self) -> Started {
        let started = self.start(&["edge", "-v"]);
        until("it answers", || {
            assert!(!started.stderr().contains("error["), "{}", started.stderr());
            started.stderr().contains("answers at").then_some(())
        });
        started
    }

    /// `mcrun serve`, once it is ready.
    #[track_caller]
    pub(crate) fn serve(&self) -> Started {
        let started = self.start(&["serve"]);
        until("it is ready", || {
            assert!(!started.stderr().contains("error["), "{}", started.stderr());
            started.stderr().contains("ready").then_some(())
        });
        started
    }

    /// The process of the edge that answers.
    pub(crate) fn process(&self) -> Option<u32> {
        daemon::edge::supervise::standing(&self.state()).map(|standing| standing.process)
    }
}

impl Drop for Routed {
    /// The edge is nobody's child: it is found by its arguments.
    fn drop(&mut self) {
        let mut edges = processes::with_word(self.state().to_str().expect("a plain name"));
        edges.extend(self.process());
        for edge in edges {
            processes::signal(edge, Signal::KILL);
        }
    }
}

/// A plain route for `host`.
pub(crate) fn route(host: &str, backends: &[SocketAddr]) -> Value {
    json!({ "listen": PORT, "hostname": host, "backends": backends })
}

pub(crate) fn standing(route: Value) -> Standing {
    serde_json::from_value(route).expect("a route")
}
