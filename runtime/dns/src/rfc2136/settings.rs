//! Owns `[drivers.rfc2136]` of mcrun.toml.

use std::time::Duration;

use effect::units::Span;
use serde::Deserialize;

use super::sign::Algorithm;
use crate::settings::Address;

/// `[drivers.rfc2136]` of mcrun.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where changes are sent, and what is read: the primary server of the zones. Port 53 unless given.
    pub server: Address,
    /// Every server that answers questions about the zones, for `dns.wait_for`; the one that takes changes unless given.
    #[serde(default)]
    pub servers: Vec<Address>,
    /// The name of the key, the same on both sides.
    pub key: String,
    /// How messages are hashed: `hmac-sha256`, `hmac-sha384`, `hmac-sha512`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The secret of mcrun.toml that holds the key in base64, as `tsig-keygen` prints it.
    pub secret: String,
    /// The zones that may be asked for; every one that the server has unless given.
    #[serde(default)]
    pub zones: Vec<String>,
    /// Whether the server takes records of types that it does not know (RFC 3597), as BIND and Knot do. PowerDNS does not:
    /// with `false` they are refused in the plan already.
    #[serde(default = "yes")]
    pub every_type: bool,
    /// For how long one answer is waited for.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

fn yes() -> bool {
    true
}

fn timeout() -> Span {
    Span(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "key = \"mcrun\"\nsecret = \"dns/key\"\n";

    fn read(text: &str) -> Result<Settings, toml::de::Error> {
        toml::from_str(&format!("{REST}{text}"))
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let settings = read("server = \"192.0.2.1\"").unwrap();
        assert_eq!(settings.server.0.to_string(), "192.0.2.1:53");
        assert_eq!(settings.algorithm.as_str(), "hmac-sha256");
        assert_eq!(settings.timeout.to_string(), "5s");
        let settings = read("server = \"[2001:db8::1]:5353\"\nalgorithm = \"hmac-sha512\"").unwrap();
        assert_eq!(settings.server.0.to_string(), "[2001:db8::1]:5353");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("server = \"ns1.example.org\"", "`ns1.example.org` is not an address"),
            ("server = \"192.0.2.1:x\"", "is not an address"),
            ("server = \"192.0.2.1\"\nalgorithm = \"hmac-md5\"", "hmac-md5"),
            ("server = \"192.0.2.1\"\nsevrers = []", "sevrers"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
