//! Owns which addresses are never contacted: link-local and metadata services, and what is no host at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use effect::{Code, Error, Result};

const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Resolves a host and refuses it when any of its addresses is one that is never contacted.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let failed = |cause: String| {
        Error::new(Code::HttpFailed, format!("the host `{host}` cannot be resolved"))
            .because(cause)
            .retryable()
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((bare, port)).await.map_err(|error| failed(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(failed("it has no address".into()));
    }
    match addresses.iter().find_map(|address| Some((address, refusal(address.ip())?))) {
        None => Ok(addresses),
        Some((address, why)) => Err(Error::new(
            Code::HttpRefused,
            format!("`{host}` is at {}, {why}: that is never contacted", address.ip()),
        )),
    }
}

/// Why an address is never contacted.
fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => refusal_v4(inner),
            None => refusal_v6(address),
        },
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_link_local() || address == METADATA_V4 {
        Some("a link-local or metadata address")
    } else if address.octets()[0] == 0 {
        Some("an address of no host")
    } else if address.is_multicast() || address.is_broadcast() {
        Some("a multicast address")
    } else {
        None
    }
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unicast_link_local() || address == METADATA_V6 {
        Some("a link-local or metadata address")
    } else if address.is_unspecified() {
        Some("an address of no host")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else {
        None
    }
}

/// The IPv4 address behind an IPv6 one: mapped, compatible, translated (NAT64) or tunnelled (6to4).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let high = |segments: [u16; 2]| Ipv4Addr::from((u32::from(segments[0]) << 16) | u32::from(segments[1]));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
            Some(high([a, b]))
        }
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 => Some(high([a, b])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_addresses_are_refused_in_every_disguise() {
        for text in [
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(refusal(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["127.0.0.1", "::1", "10.0.0.1", "100.95.252.120", "192.0.2.1", "fd00::1", "2001:db8::1"]
        {
            assert!(refusal(text.parse().unwrap()).is_none(), "{text}");
        }
    }

    #[tokio::test]
    async fn other_spellings_of_an_address_do_not_get_past() {
        for host in ["2852039166", "0xa9fea9fe", "169.254.43518"] {
            let url = crate::http::parse(&format!("http://{host}/")).unwrap();
            let error = resolve(url.host_str().unwrap(), 80).await.unwrap_err();
            assert_eq!(error.code, Code::HttpRefused, "{host}");
        }
    }
}
