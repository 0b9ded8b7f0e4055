//! Owns what `[certs.acme_server]` of mcrun.toml says: the address, who may register, how names are proven, the limits.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use effect::units::Span;
use effect::{Code, Error, Result};
use serde::Deserialize;
use url::Url;

use crate::names::Names;

/// What the operator decides about the server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The profile of the certificates that clients get.
    pub profile: String,
    /// The address that clients call, such as `https://ca.mcrun.test:8443/acme`; the directory lies beneath it. Every
    /// request is signed for its own address, so there is exactly one.
    pub url: String,
    /// Whether accounts need a key for the external account binding (RFC 8555, section 7.3.4).
    pub eab: bool,
    /// Name servers with their ports; those of the machine unless given.
    pub resolvers: Vec<SocketAddr>,
    /// The port that http-01 asks (RFC 8555, section 8.3: 80).
    pub http_port: u16,
    /// The port that tls-alpn-01 asks (RFC 8737, section 3: 443).
    pub tls_port: u16,
    /// Whether names may be proven at link-local addresses and at those of metadata services.
    pub link_local: bool,
    /// Where the terms of service are; who registers must agree to them.
    pub terms_of_service: Option<String>,
    /// Where people read about the authority.
    pub website: Option<String>,
    /// What names this authority in CAA records (RFC 8659).
    pub caa_identities: Vec<String>,
    /// How much of anything.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 8443).into(),
            profile: "server".into(),
            url: String::new(),
            eab: true,
            resolvers: Vec::new(),
            http_port: 80,
            tls_port: 443,
            link_local: false,
            terms_of_service: None,
            website: None,
            caa_identities: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// The host name or address that clients call, which the server's own certificate bears.
    ///
    /// # Errors
    /// `MC-U002` where the address is none that clients could call.
    pub fn host(&self) -> Result<Names> {
        Base::new(self)?;
        let url = Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        Names::parse(&[host.trim_matches(['[', ']'])])
    }
}

/// How much of anything, so that no client takes it from the others.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Accounts altogether.
    pub accounts: usize,
    /// Accounts that one address makes in an hour; an IPv6 network of 64 bits counts as one.
    pub accounts_per_address: u32,
    /// Orders of one account that have not expired.
    pub orders: usize,
    /// Names that one account fails to prove in an hour.
    pub failures: u32,
    /// Proofs under way at once.
    pub proofs: usize,
    /// For one look at a name, whatever is slow.
    pub patience: Span,
    /// How often a proof is tried before it has failed.
    pub attempts: u32,
    /// The pause before it is tried again, which doubles each time.
    pub pause: Span,
    /// How long an order may take, and how long its certificate can be fetched.
    pub order_lifetime: Span,
    /// Nonces that wait to be used; the oldest are forgotten first.
    pub nonces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accounts: 10_000,
            accounts_per_address: 50,
            orders: 1000,
            failures: 60,
            proofs: 64,
            patience: Span::seconds(20),
            attempts: 3,
            pause: Span::seconds(1),
            order_lifetime: Span(Duration::from_secs(86_400)),
            nonces: 65_536,
        }
    }
}

/// The address of the server, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// Without a slash at the end.
    text: String,
    /// The path of it, without a slash at the end.
    path: String,
}

impl Base {
    /// Checks the address.
    ///
    /// # Errors
    /// `MC-U002` where it is none that clients could call.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let wrong = |why: &str| {
            let message = format!("the address of the ACME server cannot be `{}`: {why}", settings.url);
            Error::new(Code::Config, message).hint("write `url = \"https://ca.mcrun.test:8443/acme\"`")
        };
        let url = Url::parse(&settings.url).map_err(|error| wrong(&error.to_string()))?;
        if url.scheme() != "https" {
            return Err(wrong("RFC 8555 (section 6.1) demands https"));
        }
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(wrong("it has more than host, port and path"));
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { text, path: url.path().trim_end_matches('/').to_owned() })
    }

    /// The address of something beneath.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }

    /// What `path` names beneath; none where it lies elsewhere.
    pub(super) fn beneath<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.path.as_str())?.strip_prefix('/')
    }

    /// What `url` names beneath; none where it lies elsewhere.
    pub(super) fn beneath_url<'a>(&self, url: &'a str) -> Option<&'a str> {
        url.strip_prefix(self.text.as_str())?.strip_prefix('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> Result<Base> {
        Base::new(&Settings { url: url.into(), ..Settings::default() })
    }

    #[test]
    fn only_an_address_that_clients_can_call_is_one() {
        for bad in [
            "",
            "ca.mcrun.test",
            "http://ca.mcrun.test/",
            "https://ca/?a=b",
            "https://me@ca/",
            "https://ca/#a",
        ] {
            assert_eq!(base(bad).unwrap_err().code, Code::Config, "{bad}");
        }
        let base = base("https://ca.mcrun.test:8443/acme/").unwrap();
        assert_eq!(base.at("directory"), "https://ca.mcrun.test:8443/acme/directory");
        assert_eq!(base.beneath("/acme/directory"), Some("directory"));
        assert_eq!(base.beneath("/acmes/directory"), None);
        assert_eq!(base.beneath_url("https://ca.mcrun.test:8443/acme/order/1"), Some("order/1"));
        assert_eq!(base.beneath_url("https://other.test/acme/order/1"), None);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let unknown = serde_json::from_str::<Settings>(r#"{ "url": "https://ca/", "ebb": true }"#);
        assert!(unknown.unwrap_err().to_string().contains("ebb"));
        let short =
            serde_json::from_str::<Settings>(r#"{ "limits": { "order_lifetime": "2h", "orders": 5 } }"#)
                .unwrap();
        assert_eq!(short.limits.order_lifetime.0, Duration::from_secs(7200));
        assert!(short.eab);
    }
}
