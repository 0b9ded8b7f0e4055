//! Owns the way of a request to a route, hop by hop, for whoever looks where it breaks: from outside through the proxy, and
//! from inside to each back end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;

use crate::probe::{self, Ask};
use crate::route::{Mode, Protocol, Route};

/// For each hop.
const PATIENCE: Duration = Duration::from_secs(5);

/// One step on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// What is tried.
    pub what: String,
    /// Why it does not work; none where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Hop {
    /// A hop that came out like this.
    #[must_use]
    pub fn new(what: impl Into<String>, tried: Result<(), String>) -> Self {
        Self { what: what.into(), problem: tried.err() }
    }
}

/// The first hop that does not work.
#[must_use]
pub fn broken(hops: &[Hop]) -> Option<&Hop> {
    hops.iter().find(|hop| hop.problem.is_some())
}

/// A host name that requests of the route can be for.
#[must_use]
pub fn some_host(route: &Route) -> String {
    match route.hostname.wildcard_suffix() {
        Some(suffix) => format!("mcrun-probe{suffix}"),
        None if route.hostname.is_any() => "mcrun-probe.invalid".to_owned(),
        None => route.hostname.to_string(),
    }
}

async fn within<T>(trying: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let patience = PATIENCE.as_secs();
    tokio::time::timeout(PATIENCE, trying)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {patience} s")))
}

/// The way from outside: to the proxy at `address`, by TLS where the route has it, to an answer. It ends at the first hop
/// that does not work.
pub async fn from_outside(route: &Route, address: IpAddr, trusted: &Arc<ClientConfig>) -> Vec<Hop> {
    let place = SocketAddr::new(address, route.listen);
    let host = some_host(route);
    let mut hops = Vec::new();
    let stream = match within(probe::connect(place)).await {
        Ok(stream) => stream,
        Err(problem) => {
            hops.push(Hop::new(format!("the proxy at {place}"), Err(problem)));
            return hops;
        }
    };
    hops.push(Hop::new(format!("the proxy at {place}"), Ok(())));
    let name = ServerName::try_from(host.clone());
    let (is_secure, name) = match (route.mode, &route.cert, name) {
        (Mode::L7, None, _) => (false, None),
        (_, _, Ok(name)) => (true, Some(name)),
        (_, _, Err(_)) => return hops,
    };
    let question = Ask { host: &host, path: route.path.as_str(), protocol: Protocol::Http1 };
    let answered = if let (true, Some(name)) = (is_secure, name) {
        let handshake = within(probe::secure(stream, trusted.clone(), name)).await;
        let what = format!("TLS for {host}");
        match handshake {
            Ok(stream) => {
                hops.push(Hop::new(what, Ok(())));
                // What a back end of `l4` speaks beneath TLS is nobody's business.
                if route.mode == Mode::L4 {
                    return hops;
                }
                within(probe::ask(stream, &question)).await
            }
            Err(problem) => {
                hops.push(Hop::new(what, Err(problem)));
                return hops;
            }
        }
    } else {
        within(probe::ask(stream, &question)).await
    };
    let judged = answered.and_then(|status| match status.as_u16() {
        502..=504 => Err(format!("the proxy answers {}: no back end does", status.as_u16())),
        421 => Err("the proxy answers 421: the certificate is another route's".to_owned()),
        _ => Ok(()),
    });
    hops.push(Hop::new(format!("an answer for {host}{}", question.path), judged));
    hops
}

/// The way from inside: each back end.
pub async fn to_backends(route: &Route) -> Vec<Hop> {
    let mut hops = Vec::new();
    for backend in &route.backends {
        let tried = probe::backend(route, *backend, PATIENCE).await;
        hops.push(Hop::new(format!("the back end {backend}"), tried));
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn route(value: serde_json::Value) -> Route {
        serde_json::from_value(value).unwrap()
    }

    fn nothing_trusted() -> Arc<ClientConfig> {
        Arc::new(probe::trusting(rustls::RootCertStore::empty()).unwrap())
    }

    fn free() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn the_first_broken_hop_is_the_proxy_where_nothing_listens() {
        let route = route(json!({ "listen": free(), "hostname": "a.test", "backends": ["127.0.0.1:1"] }));
        let hops = from_outside(&route, [127, 0, 0, 1].into(), &nothing_trusted()).await;
        assert_eq!(broken(&hops).unwrap().problem.as_deref(), Some("nothing listens there"));
    }

    #[tokio::test]
    async fn a_back_end_that_speaks_no_http_is_told_from_one_that_is_not_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                use tokio::io::AsyncWriteExt as _;
                let _ = stream.write_all(b"SSH-2.0-nothing\r\n").await;
            }
        });
        let gone = format!("127.0.0.1:{}", free());
        let route = route(
            json!({ "listen": 1, "hostname": "a.test", "backends": [place, gone], "health": { "http": "/" } }),
        );
        let hops = to_backends(&route).await;
        assert!(hops[0].problem.as_ref().unwrap().contains("not HTTP"), "{hops:?}");
        assert_eq!(hops[1].problem.as_deref(), Some("nothing listens there"));
    }
}
