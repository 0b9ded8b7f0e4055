//! Owns which addresses are contacted for a proof: clients choose the names, so they could choose what the machine
//! alone can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds beyond the link-local ones.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether proofs are looked for at an address. What is no host never is.
pub(super) fn is_contacted(address: IpAddr, link_local: bool) -> bool {
    let address = match address {
        IpAddr::V6(address) => embedded(address).map_or(IpAddr::V6(address), IpAddr::V4),
        v4 => v4,
    };
    let (is_host, is_local) = match address {
        IpAddr::V4(address) => (
            address.octets()[0] != 0 && !address.is_multicast() && !address.is_broadcast(),
            address.is_link_local() || address == METADATA_V4,
        ),
        IpAddr::V6(address) => (
            !address.is_unspecified() && !address.is_multicast(),
            address.is_unicast_link_local() || address == METADATA_V6,
        ),
    };
    is_host && (link_local || !is_local)
}

/// The IPv4 address behind an IPv6 one: mapped, compatible, translated (NAT64) or tunnelled (6to4).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
            Some(joined(a, b))
        }
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 => Some(joined(a, b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_not_contacted_in_any_disguise() {
        for text in [
            "169.254.169.254",
            "100.100.100.200",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
        ] {
            assert!(!is_contacted(text.parse().unwrap(), false), "{text}");
            assert!(is_contacted(text.parse().unwrap(), true), "{text}");
        }
        for text in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
            assert!(!is_contacted(text.parse().unwrap(), true), "{text}");
        }
        for text in ["127.0.0.1", "::1", "10.0.0.1", "100.95.252.120", "192.0.2.1", "2001:db8::1"] {
            assert!(is_contacted(text.parse().unwrap(), false), "{text}");
        }
    }
}
