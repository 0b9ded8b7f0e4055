//! Owns where a health check finds the port that it probes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::parts::{Health, Port, Protocol};

impl Health {
    /// The address to probe: that of its port, or of the first published one. A port that is published at one address of
    /// the host alone answers nowhere else; this machine's own is taken wherever it is among them.
    #[must_use]
    pub fn address(&self, published: &[Port]) -> Option<SocketAddr> {
        let mut listening = published.iter().filter(|port| port.protocol != Protocol::Udp);
        let number = self.port.or_else(|| listening.clone().next().map(|port| port.host))?;
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let at = |port: &Port| port.address.as_deref().map_or(own, reached_at);
        let first = listening.clone().find(|port| port.host == number).map_or(own, at);
        let is_local = listening.any(|port| port.host == number && at(port) == own);
        Some(SocketAddr::new(if is_local { own } else { first }, number))
    }
}

/// Where this machine reaches what listens at `address`.
fn reached_at(address: &str) -> IpAddr {
    match address.parse() {
        Ok(IpAddr::V6(address)) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        Ok(address) if !address.is_unspecified() => address,
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(ports: &[(u16, &str, Protocol)]) -> Vec<Port> {
        let port = |&(host, address, protocol): &(u16, &str, Protocol)| {
            let address = Some(address.to_owned()).filter(|address| !address.is_empty());
            Port { host, container: 1, address, protocol }
        };
        ports.iter().map(port).collect()
    }

    #[track_caller]
    fn probes(port: Option<u16>, ports: &[(u16, &str, Protocol)], expected: Option<&str>) {
        let health = Health { port, ..Health::default() };
        let address = health.address(&published(ports)).map(|address| address.to_string());
        assert_eq!(address.as_deref(), expected);
    }

    #[test]
    fn a_port_is_probed_at_the_address_that_it_is_published_at() {
        let mcns = [
            (53, "192.168.88.181", Protocol::Udp),
            (53, "192.168.88.181", Protocol::Tcp),
            (38443, "127.0.0.1", Protocol::Tcp),
        ];
        probes(None, &mcns, Some("192.168.88.181:53"));
        probes(Some(38443), &mcns, Some("127.0.0.1:38443"));
        probes(Some(7), &[(7, "fd7a::1", Protocol::Both)], Some("[fd7a::1]:7"));
    }

    #[test]
    fn this_machines_own_address_is_taken_where_there_is_one() {
        for address in ["", "0.0.0.0", "127.0.0.1"] {
            let ports = [(48080, "100.95.252.120", Protocol::Tcp), (48080, address, Protocol::Tcp)];
            probes(Some(48080), &ports, Some("127.0.0.1:48080"));
        }
        probes(Some(7), &[(7, "::", Protocol::Tcp)], Some("[::1]:7"));
        probes(Some(7), &[], Some("127.0.0.1:7"));
        probes(None, &[(53, "", Protocol::Udp)], None);
    }
}
