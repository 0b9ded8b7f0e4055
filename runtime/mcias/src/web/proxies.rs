//! Owns from where a request comes: the connection's other end, or, where that is a proxy that the settings trust, the address
//! that it says in `X-Forwarded-For`. Rates, lock-outs, the login policy and the audit all go by it.

use std::net::{IpAddr, SocketAddr};

use effect::{Code, Error, Result};
use http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Networks that are trusted.
const MOST: usize = 100;
/// Proxies behind one another that are looked at.
const MOST_HOPS: usize = 16;

/// The proxies that are trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Those of `[mcias] proxies`.
    ///
    /// # Errors
    /// `MC-U002` for what is no address and no network, and for the network of everybody.
    pub(crate) fn of(listed: &[String]) -> Result<Self> {
        let wrong = |message: String| Error::new(Code::Config, format!("mcias.proxies: {message}"));
        if listed.len() > MOST {
            return Err(wrong(format!("at most {MOST} addresses and networks")));
        }
        let network = |text: &String| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let network = network.map_err(|_| wrong(format!("`{text}` is no address and no network")))?;
            match network.prefix_len() {
                // Whoever comes could say that he is anybody.
                0 => Err(wrong(format!("`{text}` is everybody"))),
                _ => Ok(network),
            }
        };
        Ok(Self(listed.iter().map(network).collect::<Result<_>>()?))
    }

    /// Whose request it is that came over a connection of `peer`: going from the last proxy to the first, the first address
    /// that is not a trusted proxy's. What the others before it say is not looked at: anybody could have written it. What is no
    /// address ends the way; then the proxy that passed it on counts.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut told = lines.flat_map(|line| line.as_bytes().rsplit(|octet| *octet == b','));
        for _ in 0..MOST_HOPS {
            if !self.0.iter().any(|network| network.contains(&client)) {
                break;
            }
            let Some(before) = told.next().and_then(address) else { break };
            client = before;
        }
        client
    }
}

/// An address as proxies write it: with or without the brackets of IPv6, and some with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies(listed: &[&str]) -> Result<Proxies> {
        Proxies::of(&listed.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn client(listed: &[&str], peer: &str, lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        }
        proxies(listed).unwrap().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_whose_a_request_is() {
        assert_eq!(client(&[], "127.0.0.1", &[b"192.0.2.7"]), "127.0.0.1");
        let listed = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/48"];
        assert_eq!(client(&listed, "198.51.100.1", &[b"192.0.2.7"]), "198.51.100.1", "it is forged");
        assert_eq!(client(&listed, "127.0.0.1", &[]), "127.0.0.1");
        for line in
            ["192.0.2.7", " 192.0.2.7 ", "192.0.2.7:40000", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:1"]
        {
            assert_eq!(client(&listed, "127.0.0.1", &[line.as_bytes()]), "192.0.2.7", "{line}");
            assert_eq!(client(&listed, "::ffff:127.0.0.1", &[line.as_bytes()]), "192.0.2.7", "{line}");
        }
        for line in ["2001:db8:1::7", "[2001:db8:1::7]", "[2001:db8:1::7]:443"] {
            assert_eq!(client(&listed, "2001:db8::1", &[line.as_bytes()]), "2001:db8:1::7", "{line}");
        }
    }

    #[test]
    fn what_stands_before_the_first_stranger_is_not_believed() {
        let listed = ["127.0.0.1", "10.0.0.0/8"];
        let of = |lines: &[&[u8]]| client(&listed, "127.0.0.1", lines);
        assert_eq!(of(&[b"203.0.113.9, 192.0.2.7"]), "192.0.2.7", "whoever came wrote the first");
        assert_eq!(of(&[b"203.0.113.9, 192.0.2.7, 10.1.2.3"]), "192.0.2.7");
        assert_eq!(
            of(&[b"203.0.113.9", b"192.0.2.7,10.1.2.3", b"10.9.9.9"]),
            "192.0.2.7",
            "lines are one list"
        );
        assert_eq!(of(&[b"10.1.2.3, 10.4.5.6"]), "10.1.2.3", "all of them are proxies");
    }

    #[test]
    fn what_is_no_address_ends_the_way() {
        let listed = ["127.0.0.1", "10.0.0.0/8"];
        let of = |line: &[u8]| client(&listed, "127.0.0.1", &[line]);
        for line in
            ["", ",", "unknown", "192.0.2.7,", "192.0.2.300", "a b", "192.0.2.7;", "_hidden", "[192.0.2.7"]
        {
            assert_eq!(of(line.as_bytes()), "127.0.0.1", "{line}");
        }
        assert_eq!(of(b"192.0.2.7, \xff"), "127.0.0.1");
        assert_eq!(of(b"unknown, 10.1.2.3"), "10.1.2.3", "the proxy that passed it on counts");
        let long = format!("192.0.2.7{}", ", 10.0.0.1".repeat(10_000));
        assert_eq!(of(long.as_bytes()), "10.0.0.1", "so many proxies are none");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "proxy.example", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.1:80"] {
            let error = proxies(&[text]).unwrap_err();
            assert!(error.code == Code::Config && error.message.contains("mcias.proxies"), "{text}");
        }
        assert!(proxies(&["10.0.0.1"; MOST + 1]).is_err());
    }
}
