//! Owns the question who listens on a port of the host, answered from `/proc`.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use effect::{Code, Error};

use crate::spec::{Port, Protocol};

/// The state of a listening TCP socket in `/proc/net/tcp`; UDP sockets that receive are in state 07.
const TCP_LISTENS: &str = "0A";
const UDP_RECEIVES: &str = "07";

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process, where the system lets us see it.
    pub pid: Option<u32>,
    /// The name of its program.
    pub program: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.program) {
            (Some(pid), Some(program)) => write!(formatter, "`{program}` (process {pid})"),
            (Some(pid), None) => write!(formatter, "process {pid}"),
            _ => formatter.write_str("a process that this user may not see"),
        }
    }
}

/// Who listens where `port` would; `None` when it is free.
#[must_use]
pub fn holder(port: &Port) -> Option<Holder> {
    let inode = sockets(port.protocol)
        .into_iter()
        .find(|socket| socket.port == port.host && overlaps(&socket.address, port.address.as_deref()))?
        .inode;
    let pid = owner(&inode);
    let program = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    Some(Holder { pid, program: program.map(|name| name.trim().to_owned()) })
}

/// The error for the first of `ports` that somebody else listens on.
#[must_use]
pub fn occupied(name: &str, ports: &[Port]) -> Option<Error> {
    ports.iter().find_map(|port| {
        let holder = holder(port)?;
        let place = port.address.as_ref().map_or_else(String::new, |address| format!("{address}:"));
        let message = format!(
            "`{name}` cannot have port {place}{}/{}: {holder} listens there",
            port.host,
            port.protocol.as_str()
        );
        Some(
            Error::new(Code::PortOccupied, message)
                .hint("stop the holder, choose another port, or let `ports.allocate` choose one"),
        )
    })
}

struct Socket {
    address: String,
    port: u16,
    inode: String,
}

fn sockets(protocol: Protocol) -> Vec<Socket> {
    let (files, wanted): (&[&str], &[&str]) = match protocol {
        Protocol::Tcp => (&["tcp", "tcp6"], &[TCP_LISTENS]),
        Protocol::Udp => (&["udp", "udp6"], &[UDP_RECEIVES]),
        Protocol::Both => (&["tcp", "tcp6", "udp", "udp6"], &[TCP_LISTENS, UDP_RECEIVES]),
    };
    files
        .iter()
        .filter_map(|file| fs::read_to_string(Path::new("/proc/net").join(file)).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| socket(line, wanted)).collect::<Vec<_>>())
        .collect()
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
fn socket(line: &str, wanted: &[&str]) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = words.get(1)?.split_once(':')?;
    if !wanted.contains(words.get(3)?) {
        return None;
    }
    Some(Socket {
        address: address.to_owned(),
        port: u16::from_str_radix(port, 16).ok()?,
        inode: (*words.get(9)?).to_owned(),
    })
}

/// Whether a socket bound to `bound` (hexadecimal, words in the machine's order) is in the way of `wanted`.
fn overlaps(bound: &str, wanted: Option<&str>) -> bool {
    if bound.bytes().all(|digit| digit == b'0') {
        return true;
    }
    match wanted {
        None => true,
        Some(wanted) => match (wanted.parse::<Ipv4Addr>(), wanted.parse::<Ipv6Addr>()) {
            (Ok(address), _) if address.is_unspecified() => true,
            (_, Ok(address)) if address.is_unspecified() => true,
            (Ok(address), _) => {
                let words = format!("{:08X}", u32::from_ne_bytes(address.octets()));
                bound == words || bound == format!("0000000000000000FFFF0000{words}")
            }
            (_, Ok(address)) => {
                let words = address.octets();
                let text: String = words
                    .chunks_exact(4)
                    .map(|word| format!("{:08X}", u32::from_ne_bytes([word[0], word[1], word[2], word[3]])))
                    .collect();
                bound == text
            }
            _ => true,
        },
    }
}

fn owner(inode: &str) -> Option<u32> {
    let target = format!("socket:[{inode}]");
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid: &u32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors
            .flatten()
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == target.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: u16, address: Option<&str>, protocol: Protocol) -> Port {
        Port { host, container: host, address: address.map(str::to_owned), protocol }
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let found = holder(&port(number, None, Protocol::Tcp)).unwrap();
        assert_eq!(found.pid, Some(std::process::id()));
        assert!(holder(&port(number, Some("127.0.0.1"), Protocol::Tcp)).is_some());
        assert!(holder(&port(number, Some("127.0.0.2"), Protocol::Tcp)).is_none());
        let error = occupied("web", &[port(number, None, Protocol::Tcp)]).unwrap();
        assert_eq!(error.code, Code::PortOccupied);
        assert!(error.message.contains(&std::process::id().to_string()), "{}", error.message);
    }

    #[test]
    fn a_port_nobody_listens_on_is_free() {
        let number = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        assert_eq!(holder(&port(number, None, Protocol::Tcp)), None);
    }

    #[test]
    fn udp_ports_have_holders_too() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = socket.local_addr().unwrap().port();
        assert!(holder(&port(number, None, Protocol::Udp)).is_some());
        assert!(holder(&port(number, None, Protocol::Tcp)).is_none());
    }
}
