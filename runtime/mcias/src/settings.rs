//! Owns what mcrun.toml says of identity: `[mcias]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use effect::units::Span;
use effect::{Code, Error, Result};
use serde::Deserialize;

use crate::account::Kind;
use crate::external::Provider;
use crate::name::Name;
use crate::remote;
use crate::web::Proxies;

/// No token lives longer, whatever the settings say: a key is kept for as long as one of its tokens.
pub const LONGEST_LIFE: Duration = Duration::from_secs(400 * DAY);
const DAY: u64 = 86_400;
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// What NIST SP 800-63B asks for at the very least.
const SHORTEST_PASSWORD: usize = 8;
const MOST_EXTERNAL: usize = 16;
const MOST_SERVICES: usize = 1000;
const MOST_HOSTS: usize = 100;

/// Which driver performs the primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The service in the state directory.
    #[default]
    Embedded,
    /// An mcias that others run.
    Issuer,
    /// Any provider of OpenID, whose tokens are validated.
    OpenId,
}

/// The ways to other issuers: `[drivers.issuer]` and `[drivers.openid]`.
#[derive(Debug, Clone, Default)]
pub struct External {
    /// An mcias that others run.
    pub issuer: Option<remote::Issuer>,
    /// A provider of OpenID.
    pub openid: Option<remote::Provider>,
}

/// The driver with its settings.
#[derive(Debug, Clone)]
pub enum Chosen {
    /// The service in the state directory.
    Embedded,
    /// An mcias that others run.
    Issuer(remote::Issuer),
    /// Any provider of OpenID.
    OpenId(remote::Provider),
}

impl External {
    /// The driver that is chosen.
    ///
    /// # Errors
    /// `MC-U002` where its settings are not there, or make no sense.
    pub fn chosen(&self, choice: Choice) -> Result<Chosen> {
        let missing = |name: &str| {
            let message =
                format!("mcrun.toml chooses the mcias driver `{name}`, and has no [drivers.{name}]");
            Error::new(Code::Config, message)
        };
        match choice {
            Choice::Embedded => Ok(Chosen::Embedded),
            Choice::Issuer => {
                let settings = self.issuer.clone().ok_or_else(|| missing("issuer"))?;
                settings.check()?;
                Ok(Chosen::Issuer(settings))
            }
            Choice::OpenId => {
                let settings = self.openid.clone().ok_or_else(|| missing("openid"))?;
                settings.check()?;
                Ok(Chosen::OpenId(settings))
            }
        }
    }
}

/// `[mcias]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where people, services and browsers are answered; nowhere unless given.
    pub listen: Option<SocketAddr>,
    /// The address under which they reach it: `https://mcias.example`.
    pub url: Option<String>,
    /// Further hosts by which it may be asked, with their ports where those are not 443.
    pub hosts: Vec<String>,
    /// Addresses and networks of proxies before it, whose `X-Forwarded-For` says where a request comes from.
    pub proxies: Vec<String>,
    /// The certificate to show, where it is not one of mcrun's own authority.
    pub tls: Option<Tls>,
    /// Connections at once.
    pub connections: usize,
    /// What tokens say that made them, and services check: an address or another name. `url` unless given.
    pub issuer: Option<String>,
    /// How long tokens of people are valid.
    pub token_lifetime: Span,
    /// How long tokens of system accounts are valid.
    pub system_token_lifetime: Span,
    /// How much the clocks of services may differ.
    pub leeway: Span,
    /// How long a key signs before another one takes its place.
    pub key_lifetime: Span,
    /// How many characters a password has at least.
    pub password_length: usize,
    /// Where tokens that scripts make may go, beyond the containers of their own account: as `to` of a secret.
    pub tokens_to: Vec<String>,
    /// System accounts that may what admins may, as other programs of mcrun do that keep accounts here.
    pub managers: BTreeSet<Name>,
    /// Other issuers by whose word people sign in.
    pub external: BTreeMap<Name, Provider>,
    /// What is to be known of services.
    pub services: BTreeMap<Name, Service>,
}

/// `[mcias] tls`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A file with the certificate and those that lead to its authority, in PEM.
    pub cert: PathBuf,
    /// A file with its key, in PEM.
    pub key: PathBuf,
}

/// `[mcias.services.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// What rules of the login policy find it by.
    pub tags: BTreeSet<Name>,
}

impl Default for Settings {
    fn default() -> Self {
        let days = |days: u64| Span(Duration::from_secs(days * DAY));
        Self {
            listen: None,
            url: None,
            hosts: Vec::new(),
            proxies: Vec::new(),
            tls: None,
            connections: 512,
            issuer: None,
            token_lifetime: Span(Duration::from_secs(15 * 60)),
            system_token_lifetime: days(365),
            leeway: Span(Duration::from_secs(10)),
            key_lifetime: days(90),
            password_length: 12,
            tokens_to: Vec::new(),
            managers: BTreeSet::new(),
            external: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// What tokens say that made them.
    #[must_use]
    pub fn issuer(&self) -> &str {
        let url = self.url.as_deref().map(|url| url.trim_end_matches('/'));
        self.issuer.as_deref().or(url).unwrap_or("mcrun")
    }

    /// The issuer as apps for one-time codes show it: an address would have a colon, which parts it from the name there.
    #[must_use]
    pub fn label(&self) -> &str {
        let issuer = self.issuer().trim_start_matches("https://");
        issuer.split([':', '/']).next().filter(|label| !label.is_empty()).unwrap_or("mcrun")
    }

    /// How long a token for such an account lives.
    #[must_use]
    pub fn lifetime(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Human => self.token_lifetime.0,
            Kind::System => self.system_token_lifetime.0,
        }
    }

    /// What a service is tagged with.
    #[must_use]
    pub fn tags(&self, service: &Name) -> BTreeSet<Name> {
        self.services.get(service).map(|service| service.tags.clone()).unwrap_or_default()
    }

    /// Refuses what the syntax cannot tell.
    ///
    /// # Errors
    /// `MC-U002` with the key that makes no sense.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(Code::Config, format!("mcias.{message}")));
        let is_plain =
            |text: &str| !text.is_empty() && text.len() <= 200 && text.chars().all(|c| c.is_ascii_graphic());
        if let Some(url) = &self.url {
            crate::web::address(url)?;
        }
        if self.listen.is_some() && self.url.is_none() {
            return wrong("url: `listen` takes it: the address under which others reach the service");
        }
        let is_host = |host: &String| is_plain(host) && !host.contains(['/', '@', '*']);
        if self.hosts.len() > MOST_HOSTS || !self.hosts.iter().all(is_host) {
            return wrong("hosts: at most 100, such as `mcias.example` or `192.0.2.1:8443`");
        }
        Proxies::of(&self.proxies)?;
        if self.tls.as_ref().is_some_and(|tls| !tls.cert.is_absolute() || !tls.key.is_absolute()) {
            return wrong("tls: `cert` and `key` are absolute paths");
        }
        if !(1..=10_000).contains(&self.connections) {
            return wrong("connections: from 1 to 10000");
        }
        if !is_plain(self.issuer()) {
            return wrong("issuer: from 1 to 200 characters of ASCII without blanks");
        }
        for (key, life) in [
            ("token_lifetime", self.token_lifetime),
            ("system_token_lifetime", self.system_token_lifetime),
            ("key_lifetime", self.key_lifetime),
        ] {
            if life.0 < SHORTEST_LIFE || life.0 > LONGEST_LIFE {
                return wrong(&format!("{key}: from 1m to 400d"));
            }
        }
        if self.leeway.0 > Duration::from_secs(300) {
            return wrong("leeway: at most 5m");
        }
        if !(SHORTEST_PASSWORD..=crate::password::LONGEST / 4).contains(&self.password_length) {
            return wrong("password_length: from 8 to 256");
        }
        if !self.tokens_to.iter().all(|pattern| is_plain(pattern)) {
            return wrong("tokens_to: destinations such as `containers:mcq*`");
        }
        if self.external.len() > MOST_EXTERNAL {
            return wrong("external: at most 16");
        }
        if let Some((name, why)) =
            self.external.iter().find_map(|(name, provider)| Some((name, provider.wrong()?)))
        {
            return wrong(&format!("external.{name}: {why}"));
        }
        if self.services.len() > MOST_SERVICES {
            return wrong("services: at most 1000");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_are_documented() {
        let settings = Settings::default();
        settings.check().unwrap();
        assert_eq!(settings.lifetime(Kind::Human), Duration::from_secs(900));
        assert_eq!(settings.lifetime(Kind::System), Duration::from_secs(365 * DAY));
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let long = Span(Duration::from_secs(500 * DAY));
        for (settings, key) in [
            (Settings { issuer: Some("a b".into()), ..Settings::default() }, "issuer"),
            (Settings { url: Some("http://mcias.example".into()), ..Settings::default() }, "url"),
            (Settings { listen: Some(([127, 0, 0, 1], 8443).into()), ..Settings::default() }, "url"),
            (Settings { hosts: vec!["a b".into()], ..Settings::default() }, "hosts"),
            (Settings { proxies: vec!["0.0.0.0/0".into()], ..Settings::default() }, "proxies"),
            (Settings { connections: 0, ..Settings::default() }, "connections"),
            (
                Settings { tls: Some(Tls { cert: "c".into(), key: "/k".into() }), ..Settings::default() },
                "tls",
            ),
            (Settings { token_lifetime: Span(Duration::ZERO), ..Settings::default() }, "token_lifetime"),
            (Settings { system_token_lifetime: long, ..Settings::default() }, "system_token_lifetime"),
            (Settings { leeway: long, ..Settings::default() }, "leeway"),
            (Settings { password_length: 4, ..Settings::default() }, "password_length"),
            (Settings { tokens_to: vec![String::new()], ..Settings::default() }, "tokens_to"),
        ] {
            let error = settings.check().unwrap_err();
            assert_eq!(error.code, Code::Config);
            assert!(error.message.contains(key), "{}", error.message);
        }
    }
}
