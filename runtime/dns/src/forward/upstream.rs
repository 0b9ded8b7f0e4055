//! Owns how a resolver is written: its address, how it is spoken to, and the name that its certificate bears.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use rustls::pki_types::ServerName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Port of DNS, RFC 1035 section 4.2.
const PLAIN_PORT: u16 = 53;
/// Port of DNS over TLS, RFC 7858 section 3.1.
const TLS_PORT: u16 = 853;

/// How a resolver is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP, and TCP for what UDP cannot carry.
    Udp,
    /// TCP only, RFC 7766.
    Tcp,
    /// DNS over TLS, RFC 7858, with the strict profile of RFC 8310.
    Tls,
}

impl Transport {
    /// The word for it, as in `tls://`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// A resolver that questions are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub transport: Transport,
    /// The name that its certificate must bear; there for TLS, and only for TLS.
    pub name: Option<ServerName<'static>>,
}

/// A text does not name a resolver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no resolver: {why}")]
pub struct BadUpstream {
    text: String,
    why: String,
}

impl Upstream {
    /// Whether it is part of a private network, and may know the names of it.
    #[must_use]
    pub fn is_private(&self) -> bool {
        match self.address.ip().to_canonical() {
            IpAddr::V4(address) => {
                address.is_private() || address.is_loopback() || address.is_link_local() || is_shared(address)
            }
            IpAddr::V6(address) => {
                address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
            }
        }
    }
}

/// RFC 6598: between a provider and its customers, and what mesh networks give their nodes.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0xc0 == 64
}

impl FromStr for Upstream {
    type Err = BadUpstream;

    fn from_str(text: &str) -> Result<Self, BadUpstream> {
        let bad = |why: String| BadUpstream { text: text.chars().take(128).collect(), why };
        let (transport, rest) = match text.split_once("://") {
            None | Some(("udp", _)) => (Transport::Udp, text.strip_prefix("udp://").unwrap_or(text)),
            Some(("tcp", rest)) => (Transport::Tcp, rest),
            Some(("tls", rest)) => (Transport::Tls, rest),
            Some((other, _)) => return Err(bad(format!("`{other}` is none of udp, tcp, tls"))),
        };
        let (address, name) = match rest.split_once('#') {
            Some((address, name)) => (address, Some(name)),
            None => (rest, None),
        };
        let address = read_address(address, transport).map_err(bad)?;
        let name = match (transport, name) {
            (Transport::Tls, Some(name)) => Some(read_name(name).map_err(bad)?),
            (Transport::Tls, None) => {
                let why = "the name that its certificate bears is missing: `tls://9.9.9.9#dns.quad9.net`";
                return Err(bad(why.into()));
            }
            (_, Some(_)) => return Err(bad("a name after # is for `tls://` only".into())),
            (_, None) => None,
        };
        Ok(Self { address, transport, name })
    }
}

fn read_address(text: &str, transport: Transport) -> Result<SocketAddr, String> {
    let port = if transport == Transport::Tls { TLS_PORT } else { PLAIN_PORT };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port),
        Err(_) => text.parse().map_err(|_| {
            "an IP address is needed, with a port as in `192.168.88.1:5353` or `[2001:db8::1]:53`; a host name \
             would have to be resolved first"
                .to_owned()
        })?,
    };
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err("nobody answers at this address".into());
    }
    Ok(address)
}

fn read_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|_| format!("`{text}` cannot stand in a certificate"))
}

impl fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Udp => write!(formatter, "{}", self.address),
            Transport::Tcp => write!(formatter, "tcp://{}", self.address),
            Transport::Tls => {
                let name = self.name.as_ref().map(ServerName::to_str).unwrap_or_default();
                write!(formatter, "tls://{}#{name}", self.address)
            }
        }
    }
}

impl Serialize for Upstream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Upstream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_resolver_read_as_they_are_meant() {
        for (text, shown) in [
            ("192.168.88.1", "192.168.88.1:53"),
            ("udp://192.168.88.1", "192.168.88.1:53"),
            ("192.168.88.1:5353", "192.168.88.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
            ("tcp://1.1.1.1", "tcp://1.1.1.1:53"),
            ("tls://9.9.9.9#dns.quad9.net", "tls://9.9.9.9:853#dns.quad9.net"),
            ("tls://[2620:fe::fe]:8853#dns.quad9.net", "tls://[2620:fe::fe]:8853#dns.quad9.net"),
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(upstream.to_string().parse::<Upstream>().unwrap(), upstream);
        }
    }

    #[test]
    fn what_is_wrong_with_a_resolver_is_said() {
        for (text, why) in [
            ("dns.google", "IP address is needed"),
            ("tls://9.9.9.9", "certificate bears is missing"),
            ("tls://9.9.9.9#", "cannot stand in a certificate"),
            ("1.1.1.1#one.one.one.one", "for `tls://` only"),
            ("https://1.1.1.1/dns-query", "none of udp, tcp, tls"),
            ("0.0.0.0", "nobody answers"),
            ("1.1.1.1:0", "nobody answers"),
            ("224.0.0.1", "nobody answers"),
            ("", "IP address is needed"),
        ] {
            let error = text.parse::<Upstream>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn private_resolvers_are_told_from_public_ones() {
        for private in ["192.168.1.1", "10.0.0.1", "127.0.0.1", "100.100.100.100", "[fd00::1]:53", "fe80::1"]
        {
            assert!(private.parse::<Upstream>().unwrap().is_private(), "{private}");
        }
        for public in ["9.9.9.9", "100.128.0.1", "2620:fe::fe"] {
            assert!(!public.parse::<Upstream>().unwrap().is_private(), "{public}");
        }
    }
}
