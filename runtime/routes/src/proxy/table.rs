//! Owns which route a request is for: by port, host name and path. Finding takes no lock, and a change copies only the way
//! to what it changes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use effect::{Code, Error, Result};
use foldhash::fast::RandomState;
use rpds::HashTrieMapSync;

use super::served::Served;
use super::shown::Shown;
use crate::route::{Hostname, Key, Mode};

type Map<K, V> = HashTrieMapSync<K, V, RandomState>;

/// Every route that is served. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    ports: Map<u16, Port>,
}

impl Default for Table {
    fn default() -> Self {
        Self { ports: empty() }
    }
}

fn empty<K: Eq + std::hash::Hash, V>() -> Map<K, V> {
    Map::new_with_hasher_and_ptr_kind(RandomState::default())
}

/// The routes of a port.
#[derive(Debug, Clone)]
struct Port {
    /// By the name; by what follows the `*` for wildcards, `.example.net`, and `*` itself.
    hosts: Map<Box<str>, Arc<Host>>,
    /// How many have TLS.
    tls: usize,
}

/// The routes of a host name at a port.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// Longest path first.
    paths: Vec<Arc<Served>>,
}

impl Host {
    /// The route whose back ends have the TLS.
    pub(crate) fn through(&self) -> Option<&Arc<Served>> {
        self.paths.first().filter(|served| served.standing.route.mode == Mode::L4)
    }

    /// The certificate that is shown: of the shortest path that has one.
    pub(crate) fn shown(&self) -> Option<&Arc<Shown>> {
        self.paths.iter().rev().find_map(|served| served.shown.as_ref())
    }

    fn find(&self, path: &str) -> Option<&Arc<Served>> {
        self.paths.iter().find(|served| served.key.path.takes(path))
    }

    fn has_tls(&self) -> bool {
        self.through().is_some() || self.shown().is_some()
    }

    fn with(&self, served: Arc<Served>) -> Self {
        let mut paths = self.without(&served.key).paths;
        let length = |served: &Served| std::cmp::Reverse(served.key.path.as_str().len());
        let place = paths.partition_point(|other| length(other) < length(&served));
        paths.insert(place, served);
        Self { paths }
    }

    fn without(&self, key: &Key) -> Self {
        Self { paths: self.paths.iter().filter(|served| served.key != *key).cloned().collect() }
    }
}

fn place(hostname: &Hostname) -> &str {
    hostname.wildcard_suffix().unwrap_or(hostname.as_str())
}

fn lowered(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(host.to_ascii_lowercase());
    }
    Cow::Borrowed(host)
}

impl Port {
    /// The name itself, else the wildcard one level above it, else `*`.
    fn host(&self, host: Option<&str>) -> Option<&Arc<Host>> {
        let host = host.map(lowered);
        let named = host.as_deref().and_then(|host| {
            // What begins with a dot is how wildcards are kept.
            let exact = (!host.starts_with('.')).then(|| self.hosts.get(host)).flatten();
            exact.or_else(|| self.hosts.get(&host[host.find('.')?..]))
        });
        named.or_else(|| self.hosts.get("*"))
    }

    fn changed(&self, name: &str, host: Host) -> Self {
        let had = self.hosts.get(name).is_some_and(|host| host.has_tls());
        let tls = self.tls + usize::from(host.has_tls()) - usize::from(had);
        let hosts = match host.paths.is_empty() {
            true => self.hosts.remove(name),
            false => self.hosts.insert(name.into(), Arc::new(host)),
        };
        Self { hosts, tls }
    }
}

impl Table {
    /// The route for requests at `port` for `host` (without a port) and `path` (without its query).
    pub(crate) fn find(&self, port: u16, host: Option<&str>, path: &str) -> Option<Arc<Served>> {
        self.host(port, host)?.find(path).cloned()
    }

    /// Whether a route takes requests at `port` for `host`, whatever their path.
    pub(crate) fn has_host(&self, port: u16, host: &str) -> bool {
        self.host(port, Some(host)).is_some()
    }

    /// The routes of `host` at `port`.
    pub(crate) fn host(&self, port: u16, host: Option<&str>) -> Option<&Arc<Host>> {
        self.ports.get(&port)?.host(host)
    }

    /// Where everything at `port` goes, without a look at it.
    pub(crate) fn whole_port(&self, port: u16) -> Option<&Arc<Served>> {
        let hosts = &self.ports.get(&port)?.hosts;
        (hosts.size() == 1).then(|| hosts.get("*")?.through()).flatten()
    }

    /// Whether clients may speak TLS at `port`.
    pub(crate) fn has_tls(&self, port: u16) -> bool {
        self.ports.get(&port).is_some_and(|port| port.tls > 0)
    }

    /// Whether clients may speak without TLS at `port`.
    pub(crate) fn has_plain(&self, port: u16) -> bool {
        self.ports.get(&port).is_some_and(|port| port.tls < port.hosts.size())
    }

    /// A port at which `host` has a certificate, 443 rather than others.
    pub(crate) fn secure_port(&self, host: &str) -> Option<u16> {
        let is_secure = |port: u16| self.host(port, Some(host)).is_some_and(|host| host.shown().is_some());
        if is_secure(443) {
            return Some(443);
        }
        self.ports.keys().copied().filter(|port| is_secure(*port)).min()
    }

    /// Refuses a route that does not go with others of its host name.
    pub(crate) fn admit(&self, served: &Served) -> Result<()> {
        let hosts = self.ports.get(&served.key.listen).map(|port| &port.hosts);
        let host = hosts.and_then(|hosts| hosts.get(place(&served.key.hostname)));
        let mode = served.standing.route.mode;
        let others = host.into_iter().flat_map(|host| &host.paths).filter(|other| other.key != served.key);
        match others.into_iter().find(|other| other.standing.route.mode != mode) {
            None => Ok(()),
            Some(other) => {
                let message = format!("route `{}` goes by bytes and `{}` by requests", served.key, other.key);
                let hint = "a host name has one mode at a port: remove the other route first";
                Err(Error::new(Code::RouteTerms, message).hint(hint))
            }
        }
    }

    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.ports.keys().copied().collect()
    }

    pub(crate) fn with(&self, served: Arc<Served>) -> Self {
        let name = place(&served.key.hostname).to_owned();
        self.changed(served.key.listen, &name, |host| host.with(served))
    }

    pub(crate) fn without(&self, key: &Key) -> Self {
        self.changed(key.listen, place(&key.hostname), |host| host.without(key))
    }

    fn changed(&self, number: u16, name: &str, change: impl FnOnce(&Host) -> Host) -> Self {
        let port = self.ports.get(&number).cloned().unwrap_or_else(|| Port { hosts: empty(), tls: 0 });
        let host = change(port.hosts.get(name).map_or(&Host::default(), |host| host));
        let port = port.changed(name, host);
        let ports = match port.hosts.is_empty() {
            true => self.ports.remove(&number),
            false => self.ports.insert(number, port),
        };
        Self { ports }
    }
}
