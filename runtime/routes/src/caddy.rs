//! The driver that has Caddy serve routes, by its admin API.
//!
//! Owns the settings, and which call of the driver becomes which change of Caddy's configuration. There a route is one
//! object with an `@id` of ours in a server of ours, from which it is read back; everything else is left as it is. Caddy
//! loads its whole configuration anew for every change: what is open goes on, tunnels for `linger` under [routes], but
//! connections that come at this very moment may be reset, because its listeners are opened anew as well.

mod admin;
mod config;
mod decode;
mod encode;
mod parts;
mod servers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Code, Error, Result};
use peer::Secrets;
use serde::Deserialize;
use serde_json::Value;

use crate::driver::{Certificates, Drained, Driver, Feature, Figures, Standing, check_feature, needed};
use crate::route::{Backend, Key};
use admin::Admin;
use config::{Config, Held};

const FEATURES: [Feature; 13] = [
    Feature::Tls,
    Feature::Plain,
    Feature::Wildcards,
    Feature::Paths,
    Feature::Http2,
    Feature::BackendTls,
    Feature::SendProxy,
    Feature::Health,
    Feature::Bodies,
    Feature::Networks,
    Feature::Headers,
    Feature::Redirects,
    Feature::Maintenance,
];
/// How often a change is made anew because somebody else made one in between.
const ATTEMPTS: usize = 6;

/// `[drivers.caddy]` of mcrun.toml.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Its admin API: `"127.0.0.1:2019"`, `"unix//run/caddy/admin.sock"`, or `"https://caddy.example:2021"`.
    pub admin: String,
    /// What the names of its servers, and of what is in them, begin with where they are ours.
    pub server: String,
    /// A file of certificates in PEM that is trusted for an address with `https` instead of the system's authorities.
    pub ca: Option<PathBuf>,
    /// The secret of mcrun.toml that is shown to what guards the admin API, as the header `authorization: Bearer …`.
    pub token: Option<String>,
    /// For how long one answer is waited for. Caddy answers a change when it has loaded it.
    pub timeout: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            admin: "127.0.0.1:2019".into(),
            server: "mcrun".into(),
            ca: None,
            token: None,
            timeout: Span::seconds(20),
        }
    }
}

/// What the driver is put together from.
pub struct Parts {
    /// The secrets that it may have: those for `routes:caddy`.
    pub secrets: Secrets,
    /// Where certificates come from.
    pub certificates: Arc<dyn Certificates>,
    /// `[routes]`.
    pub routes: crate::Settings,
}

/// The way to one Caddy.
pub struct Client {
    admin: Admin,
    names: parts::Names,
    routes: crate::Settings,
    certificates: Arc<dyn Certificates>,
}

impl Client {
    /// Puts it together; nothing is asked yet.
    ///
    /// # Errors
    /// `MC-U002` where the settings make no sense.
    pub fn new(settings: Settings, parts: Parts) -> Result<Self> {
        let names = parts::Names::new(&settings.server)?;
        let admin = Admin::new(settings, parts.secrets)?;
        Ok(Self { admin, names, routes: parts.routes, certificates: parts.certificates })
    }

    /// Every route of ours as it stands in `config`, certificates as they are noted.
    fn read<'a>(&self, config: &'a Config) -> Vec<(Held<'a>, Standing)> {
        let mut found = Vec::new();
        for held in config.held(&self.names) {
            let standing = decode::standing(&held, self.routes.linger.0)
                .filter(|standing| servers::listens(held.server, &self.routes, standing.route.listen));
            match standing {
                Some(standing) => found.push((held, standing)),
                // It cannot be told what it says: to whoever describes it, it is not as it should be.
                None => {
                    let id = held.id;
                    tracing::warn!(target: "routes", id, "somebody changed a route in Caddy beyond recognition");
                }
            }
        }
        found
    }

    /// The certificate that is really shown for a route: none where another one is, or an older version of it.
    async fn shown(&self, config: &Config, held: &Held<'_>, cert: Option<String>) -> Option<String> {
        let cert = cert?;
        let loaded = config.certificate(&self.names, held, &cert)?;
        match self.certificates.material(&cert).await {
            Ok(material) => (parts::pem(&material.chain) == loaded).then_some(cert),
            // Nobody knows better than Caddy.
            Err(_) => Some(cert),
        }
    }

    /// Makes a change of what is there, until nobody else made one in between.
    async fn change(&self, edit: impl Fn(&mut Config) -> Result<()>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let (before, tag) = self.admin.read().await?;
            let mut config = Config::new(before.clone());
            edit(&mut config)?;
            let after = config.into_value();
            if after == before || self.admin.write(&after, &tag).await? {
                return Ok(());
            }
        }
        Err(Error::new(
            Code::ProxyRefused,
            format!("Caddy at {} does not take the change", self.admin.place()),
        )
        .because("its configuration is being changed by others all the time")
        .hint("see what else writes to its admin API")
        .retryable())
    }

    fn check(&self, standing: &Standing, before: &Value) -> Result<()> {
        let route = &standing.route;
        for feature in needed(route) {
            check_feature(self, feature)?;
        }
        if standing.paused {
            check_feature(self, Feature::Pause)?;
        }
        if route.health.as_ref().is_some_and(|health| health.http.is_none()) {
            return Err(Error::new(Code::Unsupported, "Caddy probes back ends by HTTP alone")
                .hint("give the path that is asked for: `health = { http = \"/healthz\" }`"));
        }
        if !self.routes.may_serve(route.listen) {
            let message = format!("`ports` under [routes] leaves out port {}", route.listen);
            return Err(Error::new(Code::RoutePort, message));
        }
        if self.routes.addresses.is_empty() {
            let message = "`addresses` under [routes] in mcrun.toml names none";
            return Err(
                Error::new(Code::RoutePort, message).hint("routes are served at the addresses that it lists")
            );
        }
        servers::check(before, &self.names, &self.routes, route)
    }
}

#[async_trait]
impl Driver for Client {
    fn name(&self) -> &'static str {
        "caddy"
    }

    fn features(&self) -> &[Feature] {
        &FEATURES
    }

    async fn list(&self) -> Result<Vec<Standing>> {
        let config = Config::new(self.admin.read().await?.0);
        let mut standings = Vec::new();
        for (held, mut standing) in self.read(&config) {
            standing.route.cert = self.shown(&config, &held, standing.route.cert).await;
            standings.push(standing);
        }
        standings.sort_by_key(|standing| standing.route.key());
        Ok(standings)
    }

    async fn get(&self, key: &Key) -> Result<Option<Standing>> {
        let config = Config::new(self.admin.read().await?.0);
        let found = self.read(&config).into_iter().find(|(_, standing)| standing.route.key() == *key);
        let Some((held, mut standing)) = found else { return Ok(None) };
        standing.route.cert = self.shown(&config, &held, standing.route.cert).await;
        Ok(Some(standing))
    }

    async fn admit(&self, standing: &Standing) -> Result<()> {
        let (value, _) = self.admin.read().await?;
        self.check(standing, &value)
    }

    async fn put(&self, standing: &Standing) -> Result<()> {
        let material = match &standing.route.cert {
            Some(id) => Some(self.certificates.material(id).await?),
            None => None,
        };
        self.change(|config| {
            self.check(standing, config.value())?;
            config.put(&self.names, &self.routes, standing, material.as_ref())
        })
        .await
        .map_err(|error| of_port(error, standing.route.listen))
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.change(|config| {
            config.remove(&self.names, key);
            Ok(())
        })
        .await
    }

    async fn drain(&self, _: &Key, _: Option<Backend>, _: Duration) -> Result<Drained> {
        check_feature(self, Feature::Drain)?;
        Ok(Drained::default())
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        check_feature(self, Feature::Figures)?;
        Ok(Vec::new())
    }
}

/// What Caddy says of a port that it cannot have.
fn of_port(error: Error, port: u16) -> Error {
    let words = error.cause.clone().unwrap_or_default();
    let is_port = ["address already in use", "permission denied", "cannot assign requested address"]
        .iter()
        .any(|told| words.contains(told) && words.contains(&format!(":{port}")));
    if error.code != Code::ProxyRefused || !is_port {
        return error;
    }
    Error::new(Code::RoutePort, format!("Caddy cannot listen at port {port}")).because(words)
}
