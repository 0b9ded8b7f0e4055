//! Owns what every test needs: the proxies behind their drivers, standings, and waiting for what has to come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error};
use routes::{Driver, Standing};
use serde_json::{Value, json};

use crate::client::Way;
use crate::pki::Pki;

/// A proxy with the driver that leads to it.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    fn driver(&self) -> &dyn Driver;

    /// The certificates that the driver finds.
    fn pki(&self) -> &Arc<Pki>;

    /// Where routes without certificates are served.
    fn plain(&self) -> SocketAddr;

    /// Where routes with certificates are.
    fn secure(&self) -> SocketAddr;

    /// Something that is another after every change.
    async fn version(&self) -> String;

    /// Whether a change may break connections that were just opened, before anything is answered.
    fn breaks_connections(&self) -> bool {
        false
    }
}

/// The way to the routes without certificates.
pub(crate) fn plain(peer: &dyn Peer) -> Way {
    Way::plain(peer.plain())
}

/// The way to the routes with certificates.
pub(crate) fn secure(peer: &dyn Peer) -> Way {
    Way { to: peer.secure(), tls: Some(peer.pki().client(b"http/1.1")), sni: None, h2: false }
}

/// A route as a script writes it.
pub(crate) fn standing(route: Value) -> Standing {
    let standing: Standing = serde_json::from_value(route).unwrap();
    standing.route.check().unwrap();
    Standing { route: standing.route.in_order(), paused: standing.paused }
}

/// The route for `host` at `listen`, with what `more` says beside.
pub(crate) fn route(listen: SocketAddr, host: &str, backends: &[SocketAddr], more: Value) -> Standing {
    let backends: Vec<String> = backends.iter().map(ToString::to_string).collect();
    let mut route = json!({ "listen": listen.port(), "hostname": host, "backends": backends });
    for (key, value) in more.as_object().unwrap() {
        route[key] = value.clone();
    }
    standing(route)
}

/// Puts a route, and sees it as it was put.
pub(crate) async fn put(peer: &dyn Peer, standing: &Standing) {
    let key = standing.route.key();
    peer.driver().put(standing).await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
    let found = peer.driver().get(&key).await.unwrap();
    assert_eq!(found.as_ref(), Some(standing), "{key} is not as it was put");
}

pub(crate) async fn remove(peer: &dyn Peer, standing: &Standing) {
    let key = standing.route.key();
    peer.driver().remove(&key).await.unwrap();
    assert_eq!(peer.driver().get(&key).await.unwrap(), None, "{key} is still there");
}

/// Waits for what is true in a moment; a minute is far more than it takes.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..6000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came: {what}");
}

#[track_caller]
pub(crate) fn assert_failed<T: std::fmt::Debug>(done: Result<T, Error>, code: Code, words: &str) -> Error {
    let error = done.expect_err(words);
    let shown = format!("{error:?}");
    assert_eq!(error.code, code, "{shown}");
    assert!(shown.contains(words), "`{words}` is not in {shown}");
    error
}
