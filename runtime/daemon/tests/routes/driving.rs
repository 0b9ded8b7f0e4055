//! What a driver from afar does is done, and what it may not do is refused before anything changes.

use std::time::Duration;

use effect::Code;
use routes::Driver as _;
use serde_json::json;

use crate::stage::{Side, route};

#[tokio::test]
async fn a_route_that_was_put_from_afar_stands_there_whole_until_it_is_removed() {
    let side = Side::new();
    let remote = side.afar("rift.mcrun.test").await;
    let mut standing = route(
        "mcq.metacircular.net",
        json!({
            "path": "/api", "backends": ["192.0.2.1:80", "192.0.2.2:80"], "protocol": "http2",
            "limits": { "rate": 5, "body": "4MiB", "head": "8KiB", "waiting": 9 },
            "headers": { "security": true, "set": { "x-a": "b" } },
            "timeouts": { "connect": "1s", "answer": "2s", "idle": "30s", "minimum_rate": 1, "pause": "5s" },
            "health": { "http": "/up", "every": "7s", "timeout": "1s" },
            "access": { "allow": ["192.168.0.0/16"] },
        }),
    );
    remote.admit(&standing).await.unwrap();
    assert_eq!(side.driver.list().await.unwrap(), [], "admitting changes nothing");
    remote.put(&standing).await.unwrap();
    assert_eq!(side.driver.list().await.unwrap(), [standing.clone()]);
    assert_eq!(remote.list().await.unwrap(), [standing.clone()]);
    standing.paused = true;
    remote.put(&standing).await.unwrap();
    let key = standing.route.key();
    assert_eq!(remote.get(&key).await.unwrap(), Some(standing));
    remote.remove(&key).await.unwrap();
    remote.remove(&key).await.unwrap();
    assert_eq!(side.driver.list().await.unwrap(), []);
    assert_eq!(remote.get(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_thousand_routes_and_more_are_listed_page_by_page() {
    let side = Side::new();
    let remote = side.here().await;
    for port in 1000..2100 {
        use routes::Driver as _;
        side.driver.put(&route("mcq.metacircular.net", json!({ "listen": port }))).await.unwrap();
    }
    let (there, here) = (remote.list().await.unwrap(), side.driver.list().await.unwrap());
    assert_eq!((there.len(), there == here), (1100, true));
}

#[tokio::test]
async fn draining_and_figures_come_from_the_other_side() {
    let side = Side::new();
    let remote = side.afar("rift.mcrun.test").await;
    let standing = route("mcq.metacircular.net", json!({}));
    remote.put(&standing).await.unwrap();
    let key = standing.route.key();
    let drained =
        remote.drain(&key, Some("192.0.2.1:8080".parse().unwrap()), Duration::from_secs(3)).await.unwrap();
    assert_eq!((drained.ended, drained.cut), (3, 1));
    let figures = remote.figures().await.unwrap();
    let named: Vec<&str> = figures.iter().map(|figures| &*figures.route).collect();
    assert_eq!(named, ["mcq.metacircular.net:443"], "figures of other domains are not told");
    assert_eq!(figures[0].statuses, [(2, 5), (5, 2)].into());
    assert_eq!(figures[0].backends[0].problem.as_deref(), Some("refused"));
    let missing = "mcr.metacircular.net:443".parse().unwrap();
    let error = remote.drain(&missing, None, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.code, Code::RouteUnknown);
}

#[tokio::test]
async fn what_the_proxy_refuses_comes_back_under_its_own_code() {
    let side = Side::new();
    let remote = side.afar("rift.mcrun.test").await;
    let error = remote.admit(&route("mcq.metacircular.net", json!({ "listen": 22 }))).await.unwrap_err();
    assert_eq!((error.code, error.hint.as_deref()), (Code::RoutePort, Some("choose another")));
    assert!(error.details[0].starts_with("so says the mcrun at 127.0.0.1:"), "{error:?}");
    let bad =
        route("mcq.metacircular.net", json!({ "redirect": { "to": "https://a.example", "status": 200 } }));
    assert_eq!(remote.put(&bad).await.unwrap_err().code, Code::RouteTerms);
    assert_eq!(side.driver.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_name_outside_its_domains_is_refused_to_a_client() {
    let side = Side::new();
    let remote = side.afar("rift.mcrun.test").await;
    side.driver.put(&route("a.lab.example", json!({}))).await.unwrap();
    for (host, public) in [("evil.example", true), ("evil.example", false), ("a.lab.example", false)] {
        let standing = route(host, json!({ "public": public }));
        for error in [remote.admit(&standing).await, remote.put(&standing).await] {
            let error = error.unwrap_err();
            assert_eq!(error.code, Code::ProxyRefused);
            assert!(error.message.contains(host) && error.cause.unwrap().contains("`rift.mcrun.test`"));
        }
        assert_eq!(remote.remove(&standing.route.key()).await.unwrap_err().code, Code::ProxyRefused);
    }
    let internal = route("mcq.svc.mcp.metacircular.net", json!({ "public": false }));
    assert!(remote.put(&internal).await.unwrap_err().message.contains("internal name"));
    let inside = route("mcq.metacircular.net", json!({ "backends": ["127.0.0.1:22"] }));
    assert!(remote.put(&inside).await.unwrap_err().message.contains("127.0.0.1:22"));
    assert_eq!(remote.list().await.unwrap(), [], "routes of others are not told");
    assert_eq!(side.driver.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn two_services_never_share_a_host_name() {
    let side = Side::new();
    let remote = side.afar("rift.mcrun.test").await;
    remote.put(&route("mcq.metacircular.net", json!({}))).await.unwrap();
    let other = route("mcq.metacircular.net", json!({ "service": "mcr", "path": "/x" }));
    let error = remote.admit(&other).await.unwrap_err();
    assert_eq!(error.code, Code::RouteClaimed);
    assert!(error.message.contains("`mcq`"), "{error}");
    side.driver.put(&route("secret.metacircular.net", json!({ "service": "bank" }))).await.unwrap();
    let key = "secret.metacircular.net:443".parse().unwrap();
    assert_eq!(remote.remove(&key).await.unwrap_err().code, Code::ProxyRefused);
}
