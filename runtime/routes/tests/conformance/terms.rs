//! Owns the cases on the terms of routes: who may come, how much, what is answered, and what runs at the time.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use routes::{Feature, Standing};
use serde_json::json;

use crate::backend::Backend;
use crate::bench::{Peer, plain, put, remove, route, secure, until};
use crate::client::{chunks, full, get, post};

pub(crate) async fn work(peer: &dyn Peer, feature: Feature) {
    let backend = Backend::start("one").await;
    match feature {
        Feature::Rates => rates(peer, &backend).await,
        Feature::Connections => requests_at_once(peer, &backend).await,
        Feature::Bodies => bodies(peer, &backend).await,
        Feature::Networks => networks(peer, &backend).await,
        Feature::Countries => countries(peer, &backend).await,
        Feature::Headers => headers(peer, &backend).await,
        Feature::Redirects => redirects(peer).await,
        Feature::Maintenance => maintenance(peer, &backend).await,
        Feature::Pause => pause(peer, &backend).await,
        Feature::Drain => drain(peer, &backend).await,
        Feature::Figures => figures(peer, &backend).await,
        Feature::Timeouts => timeouts(peer, &backend).await,
        other => panic!("{other:?} has no case"),
    }
}

async fn rates(peer: &dyn Peer, backend: &Backend) {
    let limits = json!({ "limits": { "rate": 1, "burst": 2 } });
    let standing = route(peer.plain(), "rates.test", &[backend.address], limits);
    put(peer, &standing).await;
    let ask = async || get(&plain(peer), "rates.test", "/").await.unwrap().status;
    assert_eq!(ask().await, 200);
    until("too many are refused", async || ask().await == 429).await;
    until("who waits is taken again", async || ask().await == 200).await;
    remove(peer, &standing).await;
}

async fn requests_at_once(peer: &dyn Peer, backend: &Backend) {
    let limits = json!({ "limits": { "connections": 1 } });
    let standing = route(peer.plain(), "busy.test", &[backend.address], limits);
    put(peer, &standing).await;
    let way = plain(peer);
    let first = tokio::spawn(async move { get(&way, "busy.test", "/held").await });
    backend.holds(1).await;
    assert_eq!(get(&plain(peer), "busy.test", "/").await.unwrap().status, 503);
    backend.release(1);
    assert_eq!(first.await.unwrap().unwrap().status, 200);
    until("the next one is taken", async || get(&plain(peer), "busy.test", "/").await.unwrap().status == 200)
        .await;
    remove(peer, &standing).await;
}

async fn bodies(peer: &dyn Peer, backend: &Backend) {
    let standing =
        route(peer.plain(), "bodies.test", &[backend.address], json!({ "limits": { "body": 1000 } }));
    put(peer, &standing).await;
    let send = async |length: usize, is_whole: bool| {
        let body = vec![b'x'; length];
        let body = match is_whole {
            true => full(body),
            false => chunks(body.chunks(100).map(Bytes::copy_from_slice).collect(), HeaderMap::new()),
        };
        post(&plain(peer), "bodies.test", "/", body).await.unwrap()
    };
    for is_whole in [true, false] {
        let fits = send(1000, is_whole).await;
        assert_eq!((fits.status, fits.said()["length"].as_u64()), (200, Some(1000)), "{is_whole}");
        assert_eq!(send(1001, is_whole).await.status, 413, "{is_whole}");
    }
    remove(peer, &standing).await;
}

async fn networks(peer: &dyn Peer, backend: &Backend) {
    for (access, status) in [
        (json!({ "deny": ["127.0.0.0/8"] }), 403),
        (json!({ "allow": ["192.0.2.0/24"] }), 403),
        (json!({ "allow": ["127.0.0.0/8"], "deny": ["127.0.0.1/32"] }), 403),
        (json!({ "allow": ["192.0.2.0/24", "127.0.0.0/8"], "deny": ["198.51.100.0/24"] }), 200),
    ] {
        let shown = access.to_string();
        let more = json!({ "access": access });
        let standing = route(peer.plain(), "networks.test", &[backend.address], more);
        put(peer, &standing).await;
        let answer = get(&plain(peer), "networks.test", "/").await.unwrap();
        assert_eq!(answer.status, status, "{shown}");
        remove(peer, &standing).await;
    }
}

/// The peer's file of countries knows 127.0.0.0/8 as those of Antarctica, and nothing else.
async fn countries(peer: &dyn Peer, backend: &Backend) {
    for (access, status) in [
        (json!({ "deny_countries": ["AQ"] }), 403),
        (json!({ "allow_countries": ["NZ"] }), 403),
        (json!({ "allow_countries": ["AQ"], "deny_countries": ["NZ"] }), 200),
    ] {
        let shown = access.to_string();
        let more = json!({ "access": access });
        let standing = route(peer.plain(), "countries.test", &[backend.address], more);
        put(peer, &standing).await;
        let answer = get(&plain(peer), "countries.test", "/").await.unwrap();
        assert_eq!(answer.status, status, "{shown}");
        remove(peer, &standing).await;
    }
}

async fn headers(peer: &dyn Peer, backend: &Backend) {
    peer.pki().issue("headers", &["headers.test"]);
    let headers = json!({
        "security": true,
        "set": { "x-own": "ours", "x-braces": "{http.request.host} \\{a\\}" },
    });
    let more = json!({ "cert": "headers", "headers": headers });
    let standing = route(peer.secure(), "headers.test", &[backend.address], more);
    put(peer, &standing).await;
    let answer = get(&secure(peer), "headers.test", "/").await.unwrap();
    for (name, value) in [
        ("x-own", "ours"),
        ("x-braces", "{http.request.host} \\{a\\}"),
        ("strict-transport-security", "max-age=31536000"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        // What the back end says itself.
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
        assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{name}");
    }
    remove(peer, &standing).await;
    let more = json!({ "headers": { "security": true } });
    let bare = route(peer.plain(), "headers.test", &[backend.address], more);
    put(peer, &bare).await;
    let answer = get(&plain(peer), "headers.test", "/").await.unwrap();
    assert_eq!((answer.header("strict-transport-security"), answer.header("x-own")), ("", "mine"));
    remove(peer, &bare).await;
}

async fn redirects(peer: &dyn Peer) {
    for (to, status, place) in [
        ("https://{host}{path}", 308, "https://old.test/a/b?c=d"),
        ("https://docs.test/other", 302, "https://docs.test/other"),
    ] {
        let more = json!({ "redirect": { "to": to, "status": status } });
        let standing = route(peer.plain(), "old.test", &[], more);
        put(peer, &standing).await;
        let answer = get(&plain(peer), "old.test", "/a/b?c=d").await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (status, place));
        remove(peer, &standing).await;
    }
}

async fn maintenance(peer: &dyn Peer, backend: &Backend) {
    let page = json!({ "text": "<h1>{soon}</h1>", "media": "text/html", "retry_after": "2m" });
    let more = json!({ "maintenance": page });
    let standing = route(peer.plain(), "closed.test", &[backend.address], more);
    put(peer, &standing).await;
    let answer = get(&plain(peer), "closed.test", "/any").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "<h1>{soon}</h1>"));
    assert_eq!((answer.header("content-type"), answer.header("retry-after")), ("text/html", "120"));
    assert_eq!(backend.asked(), 0);
    put(peer, &route(peer.plain(), "closed.test", &[backend.address], json!({}))).await;
    assert_eq!(get(&plain(peer), "closed.test", "/any").await.unwrap().by(), "one");
    remove(peer, &standing).await;
}

async fn pause(peer: &dyn Peer, backend: &Backend) {
    let standing = route(peer.plain(), "paused.test", &[backend.address], json!({}));
    let paused = Standing { paused: true, ..standing.clone() };
    put(peer, &paused).await;
    let way = plain(peer);
    let waiting = tokio::spawn(async move { get(&way, "paused.test", "/").await });
    if peer.driver().features().contains(&Feature::Figures) {
        until("the request waits", async || {
            let figures = peer.driver().figures().await.unwrap();
            figures.iter().any(|one| one.paused && one.waiting == 1)
        })
        .await;
    }
    assert_eq!(backend.asked(), 0);
    put(peer, &standing).await;
    assert_eq!(waiting.await.unwrap().unwrap().by(), "one");
    remove(peer, &standing).await;
}

async fn drain(peer: &dyn Peer, backend: &Backend) {
    let standing = route(peer.plain(), "drained.test", &[backend.address], json!({ "drain": "50ms" }));
    let key = standing.route.key();
    put(peer, &standing).await;
    let hold = |path: &'static str| {
        let way = plain(peer);
        tokio::spawn(async move { get(&way, "drained.test", path).await })
    };
    let long = Duration::from_secs(60);
    assert_eq!(peer.driver().drain(&key, None, long).await.unwrap(), routes::Drained::default());
    let ending = hold("/held");
    backend.holds(1).await;
    let (drained, ()) = tokio::join!(peer.driver().drain(&key, None, long), async { backend.release(1) });
    let drained = drained.unwrap();
    assert!(drained.cut == 0 && drained.ended <= 1, "{drained:?}");
    assert_eq!(ending.await.unwrap().unwrap().status, 200);
    let cut = hold("/held");
    backend.holds(2).await;
    let short = Duration::from_millis(10);
    let drained = peer.driver().drain(&key, Some(routes::route::Backend(backend.address)), short).await;
    assert_eq!(drained.unwrap().cut, 1);
    assert!(cut.await.unwrap().is_err());
    // What is taken away is cut after its `drain`.
    let removed = hold("/held");
    backend.holds(3).await;
    remove(peer, &standing).await;
    assert!(removed.await.unwrap().is_err());
}

async fn figures(peer: &dyn Peer, backend: &Backend) {
    let standing = route(peer.plain(), "figures.test", &[backend.address], json!({}));
    put(peer, &standing).await;
    for _ in 0..3 {
        assert_eq!(get(&plain(peer), "figures.test", "/").await.unwrap().status, 200);
    }
    until("what was answered is counted", async || {
        let figures = peer.driver().figures().await.unwrap();
        let name = standing.route.key().to_string();
        let own = figures.into_iter().find(|figures| figures.route == name).unwrap();
        own.requests == 3
            && own.statuses.get(&2) == Some(&3)
            && own.active == 0
            && own.sent > 0
            && own.p99_us >= own.p50_us
            && own.backends.iter().any(|one| one.address.0 == backend.address && one.requests == 3)
    })
    .await;
    remove(peer, &standing).await;
}

async fn timeouts(peer: &dyn Peer, backend: &Backend) {
    let more = json!({ "timeouts": { "answer": "100ms" } });
    let standing = route(peer.plain(), "slow.test", &[backend.address], more);
    put(peer, &standing).await;
    assert_eq!(get(&plain(peer), "slow.test", "/held").await.unwrap().status, 504);
    assert_eq!(get(&plain(peer), "slow.test", "/").await.unwrap().status, 200);
    remove(peer, &standing).await;
}
