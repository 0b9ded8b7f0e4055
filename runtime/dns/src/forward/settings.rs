//! Owns what mcrun.toml says of forwarding: `[dns.forward]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::base::Name;
use effect::units::{Size, Span};
use effect::{Code, Error, Result};
use ipnet::IpNet;
use serde::Deserialize;

use super::upstream::Upstream;

/// A cache below this holds no long answer.
const SMALLEST_CACHE: u64 = 256 * 1024;
/// More than anybody needs; it bounds what one question may set off.
const MOST_UPSTREAMS: usize = 16;
/// RFC 8767 section 5 advises one to three days, and no more than a week.
const LONGEST_STALE: Span = Span::seconds(7 * 86_400);

/// `[dns.forward]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who is asked for names that are not ours, in this order: `"192.168.88.1"`, `"tcp://1.1.1.1"`,
    /// `"tls://9.9.9.9#dns.quad9.net"`. Empty: names that are not ours are refused.
    pub resolvers: Vec<Upstream>,
    /// Who is asked when those fail. They must not depend on what this machine keeps running.
    pub fallback: Vec<Upstream>,
    /// Domains that others know best: `"corp.example" = ["10.0.0.1"]`. The longest one that fits counts, and its
    /// names are asked for nowhere else.
    pub zones: BTreeMap<String, Vec<Upstream>>,
    /// Networks whose clients may ask for names that are not ours.
    pub clients: Vec<IpNet>,
    /// How much memory answers take at most.
    pub cache: Size,
    /// How long after its end an answer is still given while nobody answers; `"0s"`: not at all.
    pub stale: Span,
    /// How many questions a client may ask a second, in the mean over five seconds; `0`: as many as it likes.
    pub queries_per_second: u32,
    /// A file in PEM of the authorities that certificates of DNS over TLS are checked against, instead of the
    /// system's.
    pub ca: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            fallback: Vec::new(),
            zones: BTreeMap::new(),
            clients: private_networks(),
            cache: Size(64 << 20),
            stale: Span::seconds(86_400),
            // A page with a hundred names asks three hundred questions at once; nothing honest keeps up 200.
            queries_per_second: 200,
            ca: None,
        }
    }
}

impl Settings {
    /// Whether anybody is asked at all.
    #[must_use]
    pub fn enabled(&self) -> bool {
        !self.resolvers.is_empty() || !self.fallback.is_empty() || !self.zones.is_empty()
    }

    /// Looks for what makes no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self) -> Result<()> {
        self.check_fallback()?;
        for (zone, upstreams) in &self.zones {
            zone_name(zone)?;
            if upstreams.is_empty() {
                return Err(wrong(format!("`dns.forward.zones.\"{zone}\"` names nobody to ask"))
                    .hint("name an address, or remove the zone"));
            }
        }
        let lists = [&self.resolvers, &self.fallback].into_iter().chain(self.zones.values());
        if lists.clone().any(|list| list.len() > MOST_UPSTREAMS) {
            return Err(wrong(format!("`dns.forward` has a list of more than {MOST_UPSTREAMS} resolvers")));
        }
        if self.cache.0 < SMALLEST_CACHE {
            return Err(wrong(format!("`dns.forward.cache` = \"{}\" is too small", self.cache))
                .hint("write \"256KiB\" or more"));
        }
        if self.stale > LONGEST_STALE {
            return Err(wrong(format!("`dns.forward.stale` = \"{}\" is longer than a week", self.stale)));
        }
        Ok(())
    }

    /// Resolvers may be services of this platform; when it is down nothing could be repaired without other ones.
    fn check_fallback(&self) -> Result<()> {
        if self.resolvers.is_empty() {
            return Ok(());
        }
        if self.fallback.is_empty() {
            return Err(wrong("`dns.forward` has resolvers but no fallback".into()).hint(
                "name resolvers that do not depend on this platform: fallback = [\"tls://9.9.9.9#dns.quad9.net\"]",
            ));
        }
        match self.fallback.iter().find(|fallback| self.resolvers.contains(fallback)) {
            Some(twice) => Err(wrong(format!("`{twice}` is resolver and fallback of `dns.forward`"))
                .hint("a fallback helps only when it is another one")),
            None => Ok(()),
        }
    }
}

fn wrong(message: String) -> Error {
    Error::new(Code::Config, message)
}

/// A zone as its lower-case wire form.
pub(super) fn zone_name(text: &str) -> Result<Box<[u8]>> {
    let mut name = Name::vec_from_str(text)
        .map_err(|error| wrong(format!("`{text}` in `dns.forward.zones` is no domain")).because(error))?;
    name.make_canonical();
    Ok(name.as_slice().into())
}

/// Loopback, RFC 1918, RFC 6598, link-local and RFC 4193: a resolver open to more than these is abused.
fn private_networks() -> Vec<IpNet> {
    const NETWORKS: [&str; 9] = [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "::1/128",
        "fe80::/10",
        "fc00::/7",
    ];
    NETWORKS.iter().filter_map(|network| network.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn defaults_forward_nothing_and_trust_private_networks_only() {
        let settings = read("");
        settings.check().unwrap();
        assert!(!settings.enabled());
        assert_eq!(settings.clients.len(), 9);
        assert!(settings.clients.iter().all(|network| network.prefix_len() > 0));
    }

    #[test]
    fn resolvers_need_a_fallback_that_is_another_one() {
        let error = read("resolvers = [\"192.168.88.1\"]").check().unwrap_err();
        assert!(error.hint.unwrap().contains("fallback ="));
        assert!(read("resolvers = [\"9.9.9.9\"]\nfallback = [\"9.9.9.9:53\"]").check().is_err());
        read("resolvers = [\"192.168.88.1\"]\nfallback = [\"9.9.9.9\"]").check().unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for bad in [
            "cache = \"1KiB\"",
            "stale = \"8d\"",
            "[zones]\n\"corp.example\" = []",
            "[zones]\n\"a..b\" = [\"10.0.0.1\"]",
        ] {
            assert!(read(bad).check().is_err(), "{bad}");
        }
        assert!(toml::from_str::<Settings>("resolver = []").is_err());
    }
}
