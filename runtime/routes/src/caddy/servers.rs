//! Owns the servers of Caddy's configuration: what ours say, and which others stand in the way of one.

use effect::{Code, Error, Result};
use serde_json::{Map, Value, json};

use super::config::servers;
use super::parts::Names;
use crate::Settings;
use crate::route::Route;

/// Longer than any head takes, and no place to sit in.
const HEAD_TIMEOUT: u64 = 15_000_000_000;
const LARGEST_HEAD: u64 = 64 << 10;

/// Where a server of ours listens.
fn listen(settings: &Settings, port: u16) -> Value {
    let addresses = settings.addresses.iter();
    addresses.map(|address| std::net::SocketAddr::new(*address, port).to_string()).collect()
}

/// Whether a server listens where routes at `port` are served.
pub(super) fn listens(server: &Value, settings: &Settings, port: u16) -> bool {
    server.get("listen") == Some(&listen(settings, port))
}

/// Writes what a server of ours says beside its routes. What somebody added stays.
pub(super) fn describe(server: &mut Map<String, Value>, settings: &Settings, port: u16) {
    server.insert("listen".into(), listen(settings, port));
    // Not HTTP/3: its socket would be one more that nobody asked for.
    server.insert("protocols".into(), json!(["h1", "h2", "h2c"]));
    server.insert("automatic_https".into(), json!({ "disable": true }));
    server.insert("read_header_timeout".into(), json!(HEAD_TIMEOUT));
    server.insert("max_header_bytes".into(), json!(LARGEST_HEAD));
    set(
        server,
        "trusted_proxies",
        !settings.trusted.is_empty(),
        || json!({ "source": "static", "ranges": settings.trusted }),
    );
    set(server, "listener_wrappers", !settings.proxy_from.is_empty(), || {
        let proxy = json!({ "wrapper": "proxy_protocol", "allow": settings.proxy_from });
        json!([proxy, { "wrapper": "tls" }])
    });
}

fn set(server: &mut Map<String, Value>, key: &str, is: bool, value: impl FnOnce() -> Value) {
    if is {
        server.insert(key.into(), value());
    } else {
        server.shift_remove(key);
    }
}

/// Refuses a route that `config` has no room for.
///
/// # Errors
/// `MC-G004` where a server that is not ours listens at its port, `MC-G010` where routes there are served the other way.
pub(super) fn check(config: &Value, names: &Names, settings: &Settings, route: &Route) -> Result<()> {
    let own = names.server(route.listen);
    for (name, server) in servers(config).into_iter().flatten() {
        if *name == own {
            continue;
        }
        let listen = server.get("listen").and_then(Value::as_array).into_iter().flatten();
        let taken = listen.filter_map(Value::as_str).find(|address| {
            settings.addresses.iter().any(|host| overlaps(address, &host.to_string(), route.listen))
        });
        if let Some(address) = taken {
            let message = format!("Caddy's server `{name}` listens at port {} already", route.listen);
            return Err(Error::new(Code::RoutePort, message)
                .because(format!("its addresses have `{address}`, and it is not one of mcrun's"))
                .hint("choose another port or address for routes, or take this one out of that server"));
        }
    }
    let key = route.key();
    let ours = servers(config).and_then(|servers| servers.get(&own));
    let others = super::config::held_in(ours, names).into_iter().filter(|held| held.id != names.route(&key));
    for held in others.filter_map(|held| held.noted()) {
        if held.route.cert.is_some() != route.cert.is_some() {
            let (with, without) = match route.cert {
                Some(_) => (key.clone(), held.route.key()),
                None => (held.route.key(), key.clone()),
            };
            let message = format!("Caddy serves port {} either by TLS or without it", route.listen);
            return Err(Error::new(Code::ProxyRefused, message)
                .because(format!("`{with}` has a certificate, `{without}` has none"))
                .hint("give both a certificate, or one of them another port"));
        }
    }
    Ok(())
}

/// Whether `address`, as Caddy writes those it listens at, takes `port` at `host`.
fn overlaps(address: &str, host: &str, port: u16) -> bool {
    let (network, rest) = address.split_once('/').unwrap_or(("tcp", address));
    if !network.starts_with("tcp") {
        return false;
    }
    let Some((named, ports)) = rest.rsplit_once(':') else {
        // Caddy takes the HTTPS port where none is given.
        return port == 443;
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
        return false;
    };
    let every = |host: &str| matches!(host, "" | "0.0.0.0" | "::" | "*");
    let named = named.trim_matches(['[', ']']);
    (first..=last).contains(&port) && (named == host || named == "localhost" || every(named) || every(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_stand_in_the_way_are_seen() {
        for address in [":443", "127.0.0.1:443", "0.0.0.0:443", "tcp/:443", ":440-450", "tcp4/127.0.0.1:443"]
        {
            assert!(overlaps(address, "127.0.0.1", 443), "{address}");
        }
        for address in [":444", "192.0.2.1:443", "unix//run/x", "udp/:443", ":1-442", "[::1]:443"] {
            assert!(!overlaps(address, "127.0.0.1", 443), "{address}");
        }
        assert!(overlaps("192.0.2.1:443", "0.0.0.0", 443) && overlaps("[::1]:443", "::1", 443));
    }
}
