//! Owns a place with names: an address of its own, an edge that is ended with it, and what is recorded there.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::ask;
use crate::harness::{Place, Started, until};
use crate::processes;

pub(crate) const ZONE: &str = "mcrun.test";

/// An address of loopback that nobody else uses: all of 127.0.0.0/8 is this machine's.
pub(crate) fn address() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed) % 250 + 2;
        let process = std::process::id();
        let octets = [127, 64 + (process >> 8) % 128, process % 256, given];
        let address = SocketAddr::from((octets.map(|octet| u8::try_from(octet).expect("an octet")), 5353));
        let is_free =
            std::net::TcpListener::bind(address).is_ok() && std::net::UdpSocket::bind(address).is_ok();
        if is_free {
            return address;
        }
    }
}

/// A place whose edge answers at `at`.
pub(crate) struct Names {
    place: Place,
    pub(crate) at: SocketAddr,
}

impl Deref for Names {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Names {
    pub(crate) fn new() -> Self {
        Self::of(Place::new())
    }

    pub(crate) fn of(place: Place) -> Self {
        let names = Self { place, at: address() };
        names.listen(&[names.at], "");
        names
    }

    /// Says where the edge answers, and `more` of `[dns]`.
    pub(crate) fn listen(&self, addresses: &[SocketAddr], more: &str) {
        let listen: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        self.configure(&format!("[dns]\nlisten = [{}]\n{more}\n", listen.join(", ")));
    }

    /// A zone with `www`, whose address the streams ask for.
    pub(crate) fn with_zone(self) -> Self {
        self.make_zone();
        self
    }

    pub(crate) fn make_zone(&self) {
        self.ends(0, &["zones", "set", ZONE]);
        self.set("www", 1);
    }

    /// Gives `name` the address 192.0.2.LAST.
    #[track_caller]
    pub(crate) fn set(&self, name: &str, last: u8) {
        self.ends(0, &["records", "set", ZONE, name, "A", &format!("192.0.2.{last}")]);
    }

    /// Waits until `name` is answered with 192.0.2.LAST.
    #[track_caller]
    pub(crate) fn sees(&self, name: &str, last: u8) {
        let name = format!("{name}.{ZONE}");
        until(&format!("{name} has .{last}"), || {
            let answer = ask::udp(self.at, &name, ask::A)?;
            (answer.addresses() == [std::net::Ipv4Addr::new(192, 0, 2, last)]).then_some(())
        });
    }

    /// `mcrun serve`, once it is ready.
    #[track_caller]
    pub(crate) fn serve(&self) -> Started {
        self.serve_with(&[])
    }

    #[track_caller]
    pub(crate) fn serve_with(&self, variables: &[(&str, &str)]) -> Started {
        let started = self.start_with(&["serve"], variables);
        until("it is ready", || {
            assert!(!started.stderr().contains("error["), "{}", started.stderr());
            started.stderr().contains("ready").then_some(())
        });
        started
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

    /// The process of the edge that answers.
    pub(crate) fn process(&self) -> Option<u32> {
        let standing = self.json(&["dns", "status", "--json"]);
        standing["process"].as_u64().and_then(|process| u32::try_from(process).ok())
    }

    /// The serial that is recorded of the zone.
    #[track_caller]
    pub(crate) fn serial(&self) -> u64 {
        serial(self, ZONE)
    }

    /// The serial that is answered.
    pub(crate) fn answered_serial(&self) -> Option<u32> {
        ask::udp(self.at, ZONE, ask::SOA)?.serial()
    }
}

impl Drop for Names {
    /// The edge is nobody's child: it is found by its arguments.
    fn drop(&mut self) {
        let state = self.state();
        let mut edges = processes::with_word(state.to_str().expect("a plain name"));
        // A failed test must not fail again here.
        let standing = self.run(&["dns", "status", "--json"]).stdout;
        let standing = serde_json::from_str::<Value>(&standing).unwrap_or_default();
        edges.extend(standing["process"].as_u64().and_then(|process| u32::try_from(process).ok()));
        for edge in edges {
            processes::signal(edge, Signal::KILL);
        }
    }
}

/// The serial that is recorded of `zone`.
#[track_caller]
pub(crate) fn serial(place: &Place, zone: &str) -> u64 {
    let shown = place.json(&["zones", "show", zone, "--json"]);
    shown["serial"].as_u64().unwrap_or_else(|| panic!("{shown}"))
}

/// Every zone with all its records, without serials.
pub(crate) fn everything(place: &Place) -> Value {
    let zones = place.json(&["zones", "list", "--json"]);
    let whole = zones.as_array().expect("a list").iter().map(|zone| {
        let mut soa = zone.clone();
        soa.as_object_mut().expect("a zone has fields").remove("serial");
        let name = zone["zone"].as_str().expect("a zone has a name");
        json!({ "soa": soa, "records": place.json(&["records", "list", name, "--json"]) })
    });
    Value::Array(whole.collect())
}

/// Every zone with its serial.
pub(crate) fn serials(place: &Place) -> Vec<(String, u64)> {
    let zones = place.json(&["zones", "list", "--json"]);
    let of = |zone: &Value| {
        (zone["zone"].as_str().expect("a name").to_owned(), zone["serial"].as_u64().expect("a number"))
    };
    zones.as_array().expect("a list").iter().map(of).collect()
}
