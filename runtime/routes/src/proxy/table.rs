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
            // What begins with a dot is how wildcards are kept, and no name.
            let at = host.find('.');
            let exact = (at != Some(0)).then(|| self.hosts.get(host)).flatten();
            exact.or_else(|| self.hosts.get(&host[at.filter(|at| *at > 0)?..]))
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

#[cfg(test)]
mod tests {
    use super::super::kept::Kept;
    use super::*;
    use crate::driver::Standing;

    fn served(key: &str, mode: &str) -> Arc<Served> {
        let key: Key = key.parse().unwrap();
        let route = serde_json::json!({
            "listen": key.listen, "hostname": key.hostname, "path": key.path.as_str(), "mode": mode,
            "backends": ["127.0.0.1:1"],
        });
        let standing: Standing = serde_json::from_value(route).unwrap();
        let kept = Arc::new(Kept::new(key, None));
        Arc::new(Served::new(standing, None, kept, None).unwrap())
    }

    fn table(keys: &[&str]) -> Table {
        keys.iter().fold(Table::default(), |table, key| table.with(served(key, "l7")))
    }

    fn found(table: &Table, port: u16, host: Option<&str>, path: &str) -> String {
        table.find(port, host, path).map_or_else(|| "none".into(), |served| served.key.to_string())
    }

    #[test]
    fn the_nearest_name_and_the_longest_path_count() {
        let keys = [
            "mcq.example.net:80",
            "mcq.example.net:80/api",
            "mcq.example.net:80/api/v1",
            "*.example.net:80",
            "*:80/static",
            "mcq.example.net:81",
        ];
        let table = table(&keys);
        for (port, host, path, key) in [
            (80, Some("mcq.example.net"), "/", keys[0]),
            (80, Some("MCQ.Example.net."), "/x", keys[0]),
            (80, Some("mcq.example.net"), "/api", keys[1]),
            (80, Some("mcq.example.net"), "/apix", keys[0]),
            (80, Some("mcq.example.net"), "/api/v1/x", keys[2]),
            (80, Some("other.example.net"), "/api", keys[3]),
            (80, Some("a.other.example.net"), "/", "none"),
            (80, Some("a.other.example.net"), "/static/x", keys[4]),
            (80, Some(".example.net"), "/static", keys[4]),
            (80, None, "/static", keys[4]),
            (80, None, "/", "none"),
            (81, Some("mcq.example.net"), "/api", keys[5]),
            (81, Some("other.example.net"), "/", "none"),
            (82, Some("mcq.example.net"), "/", "none"),
        ] {
            assert_eq!(found(&table, port, host, path), key, "{port} {host:?} {path}");
        }
    }

    #[test]
    fn what_is_taken_away_is_found_no_more_and_the_rest_is() {
        let before = table(&["a.example.net:80", "a.example.net:80/x", "b.example.net:80"]);
        let after = before.without(&"a.example.net:80/x".parse().unwrap());
        assert_eq!(found(&after, 80, Some("a.example.net"), "/x"), "a.example.net:80");
        let after = after.without(&"a.example.net:80".parse().unwrap());
        assert_eq!(found(&after, 80, Some("a.example.net"), "/x"), "none");
        assert!(after.host(80, Some("a.example.net")).is_none());
        assert!(after.host(80, Some("b.example.net")).is_some());
        let after = after.without(&"b.example.net:80".parse().unwrap());
        assert!(after.ports().is_empty());
        assert_eq!(found(&before, 80, Some("a.example.net"), "/x"), "a.example.net:80/x", "as it was");
    }

    #[test]
    fn a_host_name_has_one_mode_at_a_port() {
        let table = table(&["a.example.net:80/x"]);
        assert_eq!(table.admit(&served("a.example.net:80", "l4")).unwrap_err().code, Code::RouteTerms);
        assert!(table.admit(&served("b.example.net:80", "l4")).is_ok());
        assert!(table.admit(&served("a.example.net:81", "l4")).is_ok());
    }

    #[test]
    fn a_port_knows_how_it_may_be_spoken_to() {
        let table = table(&["a.example.net:80"]);
        assert!(table.has_plain(80) && !table.has_tls(80));
        let both = table.with(served("b.example.net:80", "l4"));
        assert!(both.has_plain(80) && both.has_tls(80));
        let neither = both.without(&"a.example.net:80".parse().unwrap());
        assert!(!neither.has_plain(80) && neither.has_tls(80));
        assert!(neither.whole_port(80).is_none(), "one name is not all");
        let all = Table::default().with(served("*:5432", "l4"));
        assert!(all.whole_port(5432).is_some() && all.whole_port(80).is_none());
    }

    #[test]
    fn a_change_among_thousands_leaves_the_others_where_they_are() {
        let keys: Vec<String> = (0..5000).map(|number| format!("h{number}.example.net:80")).collect();
        let before = table(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        let after = before.with(served("h7.example.net:80", "l7"));
        for number in [0, 1, 6, 8, 4999] {
            let host = format!("h{number}.example.net");
            let find = |table: &Table| table.find(80, Some(&host), "/").unwrap();
            assert!(Arc::ptr_eq(&find(&before), &find(&after)));
        }
    }
}
