//! Owns who may do what from afar: one decision on the final route, the same for every call.

use std::collections::BTreeSet;

use effect::{Code, Error, Result};
use ipnet::IpNet;

use super::Caller;
use super::doorkeeper::{Passed, not_asked};
use crate::route::{Backend, Hostname, Key, Route};
use crate::settings::{Api, Client};

/// What `[routes.api]` says.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    api: Api,
}

/// What one caller may.
#[derive(Debug)]
pub(super) struct Grant<'a> {
    api: &'a Api,
    /// By which name it is known, and what that may; none for those on this machine.
    client: Option<(&'a str, &'a Client)>,
    /// What the policy of access let the call through with.
    passed: Passed,
}

impl Rules {
    /// As mcrun.toml has them.
    #[must_use]
    pub fn new(api: &Api) -> Self {
        Self { api: api.clone() }
    }

    /// # Errors
    /// `MC-G010` where the caller is nobody, or nobody was asked about the call.
    pub(super) fn grant(&self, caller: Option<&Caller>, passed: Option<&Passed>) -> Result<Grant<'_>> {
        let client = self.client(caller)?;
        let passed = passed.cloned().ok_or_else(not_asked)?;
        Ok(Grant { api: &self.api, client, passed })
    }

    /// By which name a caller is known, and what that may; none for those on this machine.
    ///
    /// # Errors
    /// `MC-G010` where the caller is nobody.
    pub(super) fn client(&self, caller: Option<&Caller>) -> Result<Option<(&str, &Client)>> {
        let names = match caller {
            Some(Caller::Local) => return Ok(None),
            Some(Caller::Holder(names)) => names.as_slice(),
            None => &[],
        };
        let known = names.iter().find_map(|name| self.api.clients.get_key_value(name));
        match known {
            Some((name, client)) => Ok(Some((name, client))),
            None => {
                let shown = names.iter().take(4).map(|name| format!("`{name}`")).collect::<Vec<_>>();
                let shown = if shown.is_empty() { "no name".into() } else { shown.join(", ") };
                let message = format!("the certificate bears {shown}, which may not make calls here");
                Err(Error::new(Code::ProxyRefused, message).hint(
                    "list a name of it under [routes.api.clients] in the mcrun.toml of the proxy's side",
                ))
            }
        }
    }
}

/// Whether every name that `hostname` stands for lies within `domain`.
fn is_within(hostname: &Hostname, domain: &Hostname) -> bool {
    let name = hostname.as_str().strip_prefix("*.").unwrap_or(hostname.as_str());
    match name.strip_suffix(domain.as_str()) {
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
        None => false,
    }
}

/// Whether a name that `hostname` stands for lies within `domain`, or could.
fn touches(hostname: &Hostname, domain: &Hostname) -> bool {
    let over = hostname.wildcard_suffix().map(|suffix| domain.as_str().strip_suffix(suffix));
    hostname.is_any()
        || is_within(hostname, domain)
        || over.flatten().is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

impl Grant<'_> {
    fn refused(&self, message: String, hint: &str) -> Error {
        let who = self.client.map_or("callers on this machine".to_owned(), |(name, _)| format!("`{name}`"));
        Error::new(Code::ProxyRefused, message).because(format!("it was asked for by {who}")).hint(hint)
    }

    /// Whether the policy of access lets the caller look at this route.
    pub(super) fn may_see(&self, key: &Key) -> bool {
        self.passed.0.may_see(key)
    }

    /// Whether the caller may see and take away routes with this host name.
    pub(super) fn sees(&self, hostname: &Hostname) -> bool {
        self.client.is_none_or(|(_, client)| client.domains.iter().any(|domain| is_within(hostname, domain)))
    }

    /// # Errors
    /// `MC-G010` where [`Grant::sees`] says no.
    pub(super) fn may_touch_any(&self, hostname: &Hostname) -> Result<()> {
        if self.sees(hostname) {
            return Ok(());
        }
        Err(self.refused(
            format!("`{hostname}` is outside the domains that the caller may have routes in"),
            "list its domain under `domains` of the client in [routes.api.clients] of the proxy's side",
        ))
    }

    /// # Errors
    /// `MC-G010` where [`Grant::sees`] says no, or the route of that name is of a service that is not the caller's.
    pub(super) fn may_touch(&self, hostname: &Hostname, service: Option<&str>) -> Result<()> {
        self.may_touch_any(hostname)?;
        match self.services() {
            Some(services) if !service.is_some_and(|service| services.contains(service)) => {
                let whose = service.map_or("no service".into(), |service| format!("the service `{service}`"));
                Err(self.refused(
                    format!("`{hostname}` is a route of {whose}, for which the caller may not speak"),
                    "list it under `services` of the client in [routes.api.clients] of the proxy's side",
                ))
            }
            _ => Ok(()),
        }
    }

    fn services(&self) -> Option<&BTreeSet<String>> {
        self.client.and_then(|(_, client)| client.services.as_ref())
    }

    /// Refuses a route that the caller may not have.
    ///
    /// # Errors
    /// `MC-G010` naming what is outside.
    pub(super) fn check(&self, route: &Route) -> Result<()> {
        let hostname = &route.hostname;
        self.may_touch(hostname, route.service.as_deref())?;
        let is_bound = route.public || self.client.is_some();
        if let Some(domain) = self.api.internal.iter().find(|domain| is_bound && touches(hostname, domain)) {
            return Err(self.refused(
                format!("`{hostname}` is an internal name (`{domain}`), which no public edge serves"),
                "give the public route a name of its own",
            ));
        }
        let outside = !self.api.domains.iter().any(|domain| is_within(hostname, domain));
        if route.public && !self.api.domains.is_empty() && outside {
            return Err(self.refused(
                format!("`{hostname}` is outside the domains of public routes"),
                "`domains` under [routes.api] of the proxy's side lists them",
            ));
        }
        match route.backends.iter().find(|backend| !self.may_reach(backend)) {
            Some(backend) => Err(self.refused(
                format!("`{backend}` is not where back ends of the caller may be"),
                "list its network under `backends` of the client in [routes.api.clients] of the proxy's side",
            )),
            None => Ok(()),
        }
    }

    /// What listens on this machine only was never meant for others.
    fn may_reach(&self, Backend(address): &Backend) -> bool {
        let Some((_, client)) = self.client else { return true };
        let ip = address.ip().to_canonical();
        match &client.backends {
            Some(networks) => networks.iter().any(|network: &IpNet| network.contains(&ip)),
            None => !ip.is_loopback() && !is_link_local(ip),
        }
    }

    /// Refuses a certificate whose names do not belong on this route: those within and those for everybody stay apart.
    ///
    /// # Errors
    /// `MC-G010` naming the name.
    pub(super) fn check_names(&self, route: &Route, id: &str, names: &[String]) -> Result<()> {
        let names: Vec<Hostname> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let is_bound = route.public || self.client.is_some();
        let internal = names
            .iter()
            .find(|name| is_bound && self.api.internal.iter().any(|domain| touches(name, domain)));
        if let Some(name) = internal {
            return Err(self.refused(
                format!(
                    "the certificate `{id}` bears `{name}`, an internal name, which no public edge shows"
                ),
                "name another one, or `auto`",
            ));
        }
        let unseen = names.iter().find(|name| !self.sees(name));
        if let Some(name) = unseen {
            return Err(self.refused(
                format!("the certificate `{id}` bears `{name}`, which is outside the domains of the caller"),
                "name another one, or `auto`",
            ));
        }
        Ok(())
    }
}

fn is_link_local(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
