//! Addresses that others hold, and those that come later.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ask;
use super::place::{Names, ZONE, address};
use crate::harness::{program, until};

const WWW: &str = "www.mcrun.test";
/// Datagrams to an address that is not there yet are lost, and asked again.
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn an_address_that_another_program_holds_is_named_with_its_holder() {
    let names = Names::new().with_zone();
    let held = UdpSocket::bind(names.at).unwrap();
    let said = names.ends(1, &["serve"]);
    said.says(&["MC-Q020", &names.at.to_string(), &std::process::id().to_string(), "listen"]);
    drop(held);
    let _held = std::net::TcpListener::bind(names.at).unwrap();
    names.ends(1, &["edge"]).says(&["MC-Q020", &names.at.to_string(), "tcp", "hint: "]);
    assert_eq!(names.process(), None);
}

/// A network of its own, in which this thread and what it starts are from then on.
struct Network(Child);

impl Network {
    fn enter() -> Self {
        let mut holder = program("unshare");
        holder.args(["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"]);
        let mut holder =
            holder.stdout(Stdio::piped()).spawn().expect("this test makes a network: run it as root");
        let mut told = [0; 3];
        let out = holder.stdout.as_mut().expect("it is a pipe");
        std::io::Read::read_exact(out, &mut told).expect("`unshare` and `ip` make a network");
        let file = std::fs::File::open(format!("/proc/{}/ns/net", holder.id())).expect("it lives");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("it may be entered");
        Self(holder)
    }

    fn ip(&self, words: &[&str]) {
        assert!(program("ip").args(words).status().expect("`ip` is there").success(), "ip {words:?}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_address_while_the_systems_resolver_holds_one_is_explained() {
    let _network = Network::enter();
    let names = Names::new();
    names.listen(&["0.0.0.0:53".parse().unwrap()], "");
    let _resolver = UdpSocket::bind("127.0.0.53:53").unwrap();
    let said = names.ends(1, &["serve"]);
    said.says(&["MC-Q020", "0.0.0.0:53", "127.0.0.53", "listen = ["]);
    // As it says how to go on.
    names.listen(&["127.0.0.1:53".parse().unwrap()], "");
    let names = names.with_zone();
    let _edge = names.edge();
    let answer = ask::udp("127.0.0.1:53".parse().unwrap(), WWW, ask::A).expect("it answers");
    assert_eq!(answer.addresses().len(), 1);
}

#[test]
fn an_interface_that_appears_later_is_answered_on() {
    let network = Network::enter();
    let names = Names::new().with_zone();
    let later: SocketAddr = "192.0.2.77:53".parse().unwrap();
    let later_six: SocketAddr = "[2001:db8::77]:53".parse().unwrap();
    names.listen(&[names.at, later, later_six], "");
    let _edge = names.edge();
    names.sees("www", 1);
    assert_eq!(ask::udp_within(later, WWW, ask::A, SHORT), None);
    network.ip(&["link", "add", "overlay0", "type", "bridge"]);
    network.ip(&["address", "add", "192.0.2.77/24", "dev", "overlay0"]);
    network.ip(&["address", "add", "2001:db8::77/64", "dev", "overlay0", "nodad"]);
    network.ip(&["link", "set", "overlay0", "up"]);
    for at in [later, later_six] {
        let answer = until("the new interface is answered on", || ask::udp_within(at, WWW, ask::A, SHORT));
        assert_eq!(answer.addresses().len(), 1);
        assert_eq!(ask::tcp(at, WWW, ask::A).map(|answer| answer.rcode), Some(0));
    }
    // It goes and comes again: the sockets stay.
    network.ip(&["link", "delete", "overlay0"]);
    network.ip(&["link", "add", "overlay0", "type", "bridge"]);
    network.ip(&["address", "add", "192.0.2.77/24", "dev", "overlay0"]);
    network.ip(&["link", "set", "overlay0", "up"]);
    until("it is answered on again", || ask::udp_within(later, WWW, ask::A, SHORT));
}

#[test]
fn a_daemon_starts_an_edge_that_ended_for_want_of_its_port() {
    let names = Names::new().with_zone();
    let other = address();
    let held = UdpSocket::bind(other).unwrap();
    let _daemon = names.serve();
    let edge = names.process().expect("an edge answers");
    // The edge goes while its address is taken by somebody else, and comes back once that is over.
    names.listen(&[names.at, other], "");
    crate::processes::signal(edge, rustix::process::Signal::KILL);
    until("it is told in the log", || {
        let log = std::fs::read_to_string(names.state().join("edge/edge.log")).ok()?;
        log.contains("MC-Q020").then_some(())
    });
    drop(held);
    until("another edge answers", || ask::udp_within(other, WWW, ask::A, SHORT));
    assert_eq!(ask::udp(names.at, ZONE, ask::SOA).map(|answer| answer.rcode), Some(0));
}
