//! Owns what mcrun.toml says of names: `[dns]`, and which driver performs the primitive.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use effect::{Code, Error, Result};
use serde::{Deserialize, Deserializer, de};

use crate::server::signed::KeySettings;
use crate::server::transfer::ZoneSettings;
use crate::{forward, rest, rfc2136};

/// RFC 1035, section 4.2.
const PORT: u16 = 53;
/// Addresses to listen on: each takes sockets in each thread.
const MOST_ADDRESSES: usize = 32;

/// Which driver performs the primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Zones in the state directory, answered by the edge.
    #[default]
    Embedded,
    /// A server that takes updates as RFC 2136 has them.
    Rfc2136,
    /// A server that speaks as mcns does.
    Rest,
}

/// The ways to other servers: `[drivers.rfc2136]` and `[drivers.rest]`.
#[derive(Debug, Clone, Default)]
pub struct External {
    /// A server that takes updates as RFC 2136 has them.
    pub rfc2136: Option<rfc2136::Settings>,
    /// A server that speaks as mcns does.
    pub rest: Option<rest::Settings>,
}

/// The address of a name server: `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:53`. Never a host name: what repairs names
/// must not need one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
        bare.or_else(|_| text.parse()).map(Self).map_err(|_| {
            let shown: String = text.chars().take(80).collect();
            format!("`{shown}` is not an address such as \"192.0.2.1\" or \"192.0.2.1:5353\"")
        })
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `[dns.rest]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestServer {
    /// Where `mcrun serve` listens for calls, by TLS.
    pub listen: SocketAddr,
    /// The host name that its certificate bears.
    pub host: String,
    /// Who may make calls: a token of each, by its holder's name.
    pub tokens: BTreeMap<String, rest::TokenSettings>,
}

/// `[dns]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the edge answers: nowhere unless given.
    pub listen: Vec<Address>,
    /// Where it shows its figures to Prometheus.
    pub metrics: Option<SocketAddr>,
    /// One question in so many is logged; 0 for none.
    pub log_one_in: u32,
    /// Keys by which others may change records or have zones whole (RFC 8945), by their names.
    pub keys: BTreeMap<String, KeySettings>,
    /// What is said of single zones.
    pub zones: BTreeMap<String, ZoneSettings>,
    /// The calls of mcns, for those who change zones without mcrun: nowhere unless given.
    pub rest: Option<RestServer>,
    /// Who is asked for names that are not ours.
    pub forward: forward::Settings,
}

impl Settings {
    /// Refuses what the syntax cannot tell.
    ///
    /// # Errors
    /// `MC-U002` with the key that makes no sense.
    pub fn check(&self) -> Result<()> {
        self.forward.check()?;
        for (zone, settings) in &self.zones {
            settings.check(zone)?;
            if let Some(key) = settings.key.as_ref().filter(|key| !self.keys.contains_key(*key)) {
                let message = format!(
                    "[dns.zones.\"{zone}\"] names the key `{key}`, and there is no [dns.keys.\"{key}\"]"
                );
                return Err(Error::new(Code::Config, message));
            }
        }
        if self.listen.len() > MOST_ADDRESSES {
            let message = format!("`dns.listen` has more than {MOST_ADDRESSES} addresses");
            return Err(Error::new(Code::Config, message));
        }
        for (index, listen) in self.listen.iter().enumerate() {
            if self.listen[..index].contains(listen) {
                return Err(Error::new(Code::Config, format!("`dns.listen` has `{}` twice", listen.0)));
            }
        }
        match self.asks_itself() {
            Some(address) => Err(Error::new(
                Code::Config,
                format!("`dns.forward` asks `{address}`, which is this very server"),
            )
            .hint("name resolvers that are elsewhere")),
            None => Ok(()),
        }
    }

    /// A resolver that is one of our own addresses.
    fn asks_itself(&self) -> Option<SocketAddr> {
        let forward = &self.forward;
        let zones = forward.zones.values().flatten();
        let asked =
            forward.resolvers.iter().chain(&forward.fallback).chain(zones).map(|upstream| upstream.address);
        asked.into_iter().find(|asked| {
            self.listen.iter().any(|Address(own)| {
                own == asked
                    || own.port() == asked.port() && own.ip().is_unspecified() && asked.ip().is_loopback()
            })
        })
    }

    /// Where questions about our zones are answered, for whoever asks from this machine.
    #[must_use]
    pub fn servers(&self) -> Vec<SocketAddr> {
        let own = |Address(address): &Address| match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new([127, 0, 0, 1].into(), address.port()),
            IpAddr::V6(ip) if ip.is_unspecified() => {
                SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), address.port())
            }
            _ => *address,
        };
        self.listen.iter().map(own).collect()
    }
}
