//! Owns the list of cases, and those on how requests find their way.

use std::collections::BTreeSet;

use effect::Code;
use http::HeaderMap;
use routes::driver::check_feature;
use routes::{Feature, Standing};
use serde_json::{Value, json};

use crate::backend::{Backend, Speaks};
use crate::bench::{Peer, assert_failed, plain, put, remove, route, secure, until};
use crate::client::{chunks, get, post};
use crate::{changes, terms};

/// Runs every case: those of features that the driver declares have to work, of every other it has to refuse.
pub(crate) async fn run(peer: &dyn Peer, minimum: &[Feature]) {
    let declared = peer.driver().features().to_vec();
    for feature in minimum.iter().chain(&Feature::REQUIRED) {
        assert!(declared.contains(feature), "it does not have {}", feature.describe());
    }
    changes::of_routes(peer).await;
    let mut seen = Vec::new();
    for feature in Feature::ALL {
        if declared.contains(&feature) {
            works(peer, feature).await;
        } else {
            is_refused(peer, feature).await;
        }
        seen.push(feature);
    }
    assert_eq!(seen, Feature::ALL, "a case that is skipped fails");
    let left = peer.driver().list().await.unwrap();
    assert!(left.is_empty(), "every case takes its routes away: {left:?}");
}

/// A route that takes `feature` alone; none for what is no field of a route.
pub(crate) fn taking(peer: &dyn Peer, feature: Feature) -> Option<Standing> {
    let backend = "127.0.0.1:9".parse().unwrap();
    let host = match feature {
        Feature::Wildcards => "*.taking.test",
        _ => "taking.test",
    };
    let more = match feature {
        Feature::Plain | Feature::Wildcards => json!({}),
        Feature::Tls => {
            peer.pki().issue("taking", &["taking.test"]);
            return Some(route(peer.secure(), host, &[backend], json!({ "cert": "taking" })));
        }
        Feature::Passthrough => return Some(route(peer.secure(), host, &[backend], json!({ "mode": "l4" }))),
        Feature::Paths => json!({ "path": "/api/v1" }),
        Feature::Http2 => json!({ "protocol": "http2" }),
        Feature::BackendTls => {
            json!({ "backend_tls": { "ca": peer.pki().ca_pem, "name": "inside.test" } })
        }
        Feature::SendProxy => json!({ "send_proxy": "v2" }),
        Feature::Health => json!({ "health": { "http": "/healthz", "every": "1s", "timeout": "500ms" } }),
        Feature::Rates => json!({ "limits": { "rate": 5, "burst": 9 } }),
        Feature::Connections => json!({ "limits": { "connections": 5 } }),
        Feature::Bodies => json!({ "limits": { "body": "1MiB" } }),
        Feature::Networks => {
            json!({ "access": { "allow": ["10.0.0.0/8", "::1/128"], "deny": ["10.1.0.0/16"] } })
        }
        Feature::Countries => json!({ "access": { "deny_countries": ["AQ"] } }),
        Feature::Headers => {
            json!({ "headers": { "security": true, "set": { "x-braces": "{http.x} \\{}" } } })
        }
        Feature::Redirects => json!({ "redirect": { "to": "https://{host}/new{path}", "status": 302 } }),
        Feature::Maintenance => json!({ "maintenance": { "text": "{gone}", "retry_after": "2m" } }),
        Feature::Timeouts => json!({ "timeouts": { "answer": "3s", "idle": "9s" } }),
        Feature::Pause => {
            let standing = route(peer.plain(), host, &[backend], json!({}));
            return Some(Standing { paused: true, ..standing });
        }
        Feature::Drain | Feature::Figures => return None,
    };
    Some(route(peer.plain(), host, &[backend], more))
}

async fn is_refused(peer: &dyn Peer, feature: Feature) {
    let driver = peer.driver();
    let error = assert_failed(check_feature(driver, feature), Code::Unsupported, feature.describe());
    assert!(error.message.contains(driver.name()), "{error}");
    let before = peer.version().await;
    match (feature, taking(peer, feature)) {
        (_, Some(standing)) => {
            for refused in [driver.admit(&standing).await, driver.put(&standing).await] {
                assert_failed(refused, Code::Unsupported, feature.describe());
            }
        }
        (Feature::Drain, None) => {
            let key = "gone.test:80".parse().unwrap();
            let drained = driver.drain(&key, None, std::time::Duration::ZERO).await;
            assert_failed(drained, Code::Unsupported, feature.describe());
        }
        (_, None) => drop(assert_failed(driver.figures().await, Code::Unsupported, feature.describe())),
    }
    assert_eq!(peer.version().await, before, "a refusal changes nothing");
}

async fn works(peer: &dyn Peer, feature: Feature) {
    if let Some(standing) = taking(peer, feature) {
        // A feature is not only done but told.
        if feature != Feature::Countries {
            put(peer, &standing).await;
            remove(peer, &standing).await;
        }
    }
    match feature {
        Feature::Passthrough => bytes_reach_who_has_the_certificate(peer).await,
        Feature::Tls => certificates_are_shown_by_name(peer).await,
        Feature::Plain => hosts_are_told_apart(peer).await,
        Feature::Wildcards => names_count_before_wildcards(peer).await,
        Feature::Paths => the_longest_path_counts(peer).await,
        Feature::Http2 => calls_with_trailers_pass(peer).await,
        Feature::BackendTls => back_ends_prove_who_they_are(peer).await,
        Feature::SendProxy => back_ends_are_told_the_client(peer).await,
        Feature::Health => what_fails_its_probe_gets_no_requests(peer).await,
        other => terms::work(peer, other).await,
    }
}

async fn bytes_reach_who_has_the_certificate(peer: &dyn Peer) {
    let shown = peer.pki().issue("inside", &["through.test"]);
    let backend = Backend::speaking("inside", Speaks::Tls(peer.pki().server("inside"))).await;
    let through = route(peer.secure(), "through.test", &[backend.address], json!({ "mode": "l4" }));
    put(peer, &through).await;
    let answer = get(&secure(peer), "through.test", "/").await.unwrap();
    assert_eq!((answer.by().as_str(), answer.certificate), ("inside", Some(shown)));
    remove(peer, &through).await;
}

async fn certificates_are_shown_by_name(peer: &dyn Peer) {
    let backend = Backend::start("one").await;
    let names = ["a.tls.test", "b.tls.test", "*.wild.test"];
    let mut standings = Vec::new();
    for name in names {
        let shown = peer.pki().issue(name, &[name]);
        let standing = route(peer.secure(), name, &[backend.address], json!({ "cert": name }));
        put(peer, &standing).await;
        let host = name.replace('*', "x");
        let answer = get(&secure(peer), &host, "/").await.unwrap();
        assert_eq!(answer.certificate, Some(shown), "{name}");
        assert_eq!((answer.said()["proto"].as_str(), answer.status), (Some("https"), 200));
        standings.push(standing);
    }
    let mut h2 = secure(peer);
    (h2.h2, h2.tls) = (true, Some(peer.pki().client(b"h2")));
    assert_eq!(get(&h2, "a.tls.test", "/").await.unwrap().by(), "one");
    // A new certificate in the place of the old one.
    let renewed = peer.pki().issue(names[0], &[names[0]]);
    peer.driver().put(&standings[0]).await.unwrap();
    let answer = get(&secure(peer), "a.tls.test", "/").await.unwrap();
    assert_eq!(answer.certificate, Some(renewed));
    let refused = get(&secure(peer), "unknown.test", "/").await.unwrap_err();
    assert!(refused.starts_with("TLS"), "{refused}");
    // What answers a name does not answer to another one behind it.
    let behind = crate::client::Way { sni: Some("a.tls.test".into()), ..secure(peer) };
    let answer = get(&behind, "unknown.test", "/").await.unwrap();
    assert!((400..500).contains(&answer.status), "{answer:?}");
    for standing in &standings {
        remove(peer, standing).await;
    }
    assert!(get(&secure(peer), "a.tls.test", "/").await.is_err());
}

async fn hosts_are_told_apart(peer: &dyn Peer) {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let way = plain(peer);
    let first = route(peer.plain(), "one.test", &[one.address], json!({}));
    let second = route(peer.plain(), "two.test", &[two.address], json!({}));
    put(peer, &first).await;
    put(peer, &second).await;
    for (host, by) in [("one.test", "one"), ("two.test", "two"), ("ONE.test", "one")] {
        let answer = get(&way, host, "/x/y?q=%20&r={a}").await.unwrap();
        let said = answer.said();
        assert_eq!((answer.status, answer.by().as_str()), (200, by), "{host}");
        assert_eq!(said["path"], "/x/y?q=%20&r={a}");
        assert_eq!((said["for"].as_str(), said["proto"].as_str()), (Some("127.0.0.1"), Some("http")));
        assert_eq!(answer.header("x-own"), "mine");
    }
    let unknown = get(&way, "three.test", "/").await.unwrap();
    assert!((400..500).contains(&unknown.status), "{unknown:?}");
    remove(peer, &first).await;
    let gone = get(&way, "one.test", "/").await.unwrap();
    assert!((400..500).contains(&gone.status), "{gone:?}");
    assert_eq!(get(&way, "two.test", "/").await.unwrap().by(), "two");
    remove(peer, &second).await;
}

async fn names_count_before_wildcards(peer: &dyn Peer) {
    let backends = [Backend::start("any").await, Backend::start("wild").await, Backend::start("name").await];
    let names = ["*", "*.wild.test", "name.wild.test"];
    let mut standings = Vec::new();
    for (name, backend) in names.iter().zip(&backends) {
        let more = if *name == "name.wild.test" { json!({ "path": "/api" }) } else { json!({}) };
        standings.push(route(peer.plain(), name, &[backend.address], more));
        put(peer, standings.last().unwrap()).await;
    }
    let by = async |host: &str, path: &str| get(&plain(peer), host, path).await.unwrap();
    assert_eq!(by("name.wild.test", "/api").await.by(), "name");
    // A name that has a route is no wildcard's, whatever the path.
    assert_eq!(by("name.wild.test", "/").await.status, 404);
    for (host, name) in
        [("x.wild.test", "wild"), ("a.b.wild.test", "any"), ("wild.test", "any"), ("o.test", "any")]
    {
        assert_eq!(by(host, "/").await.by(), name, "{host}");
    }
    for standing in &standings {
        remove(peer, standing).await;
    }
}

async fn the_longest_path_counts(peer: &dyn Peer) {
    let backends = [Backend::start("root").await, Backend::start("api").await, Backend::start("deep").await];
    let mut standings = Vec::new();
    for (path, backend) in ["/", "/api", "/api/v.1"].iter().zip(&backends) {
        standings.push(route(peer.plain(), "paths.test", &[backend.address], json!({ "path": path })));
        put(peer, standings.last().unwrap()).await;
    }
    for (path, name) in [
        ("/", "root"),
        ("/apix", "root"),
        ("/API", "root"),
        ("/api", "api"),
        ("/api?x", "api"),
        ("/api/x", "api"),
        ("/api/vx1", "api"),
        ("/api/v.1/x", "deep"),
    ] {
        assert_eq!(get(&plain(peer), "paths.test", path).await.unwrap().by(), name, "{path}");
    }
    for standing in &standings {
        remove(peer, standing).await;
    }
}

async fn calls_with_trailers_pass(peer: &dyn Peer) {
    let backend = Backend::speaking("grpc", Speaks::Http2).await;
    peer.pki().issue("grpc", &["grpc.test"]);
    let more = json!({ "cert": "grpc", "protocol": "http2" });
    let standing = route(peer.secure(), "grpc.test", &[backend.address], more);
    put(peer, &standing).await;
    let mut way = secure(peer);
    (way.h2, way.tls) = (true, Some(peer.pki().client(b"h2")));
    let body = chunks(vec!["hello".into(), "world".into()], HeaderMap::new());
    let answer = post(&way, "grpc.test", "/grpc", body).await.unwrap();
    assert_eq!(answer.trailers.get("grpc-status").unwrap(), "0");
    let said = answer.said();
    assert_eq!((said["version"].as_str(), said["length"].as_u64()), (Some("HTTP/2.0"), Some(10)));
    remove(peer, &standing).await;
}

async fn back_ends_prove_who_they_are(peer: &dyn Peer) {
    let pki = peer.pki();
    pki.issue("inside", &["inside.test", "tls.test"]);
    let backend = Backend::speaking("inside", Speaks::Tls(pki.server("inside"))).await;
    let stranger = crate::pki::Pki::new();
    let with = |protocol: &str, tls: Value| {
        let more = json!({ "protocol": protocol, "backend_tls": tls });
        route(peer.plain(), "tls.test", &[backend.address], more)
    };
    let ask = async || get(&plain(peer), "tls.test", "/").await.unwrap();
    for (protocol, version) in [("http1", "HTTP/1.1"), ("http2", "HTTP/2.0")] {
        put(peer, &with(protocol, json!({ "ca": pki.ca_pem }))).await;
        assert_eq!(ask().await.said()["version"], version);
    }
    put(peer, &with("http1", json!({ "ca": pki.ca_pem, "name": "inside.test" }))).await;
    assert_eq!(ask().await.by(), "inside");
    put(peer, &with("http1", json!({ "ca": pki.ca_pem, "name": "outside.test" }))).await;
    assert_eq!(ask().await.status, 502, "it is for another name");
    let distrusted = with("http1", json!({ "ca": stranger.ca_pem }));
    put(peer, &distrusted).await;
    assert_eq!(ask().await.status, 502, "another authority signed it");
    remove(peer, &distrusted).await;
}

async fn back_ends_are_told_the_client(peer: &dyn Peer) {
    let backend = Backend::speaking("proxied", Speaks::Proxied).await;
    for version in ["v1", "v2"] {
        let standing =
            route(peer.plain(), "proxied.test", &[backend.address], json!({ "send_proxy": version }));
        put(peer, &standing).await;
        let answer = get(&plain(peer), "proxied.test", "/").await.unwrap();
        assert_eq!(answer.said()["proxied"], format!("{version} 127.0.0.1"));
        remove(peer, &standing).await;
    }
}

async fn what_fails_its_probe_gets_no_requests(peer: &dyn Peer) {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let health = json!({ "health": { "http": "/healthz", "every": "100ms", "timeout": "2s" } });
    let standing = route(peer.plain(), "health.test", &[one.address, two.address], health);
    put(peer, &standing).await;
    let answered_by = async || {
        let mut names = BTreeSet::new();
        for _ in 0..20 {
            names.insert(get(&plain(peer), "health.test", "/").await.unwrap().by());
        }
        names.into_iter().collect::<Vec<_>>().join(" ")
    };
    until("both get requests", async || answered_by().await == "one two").await;
    two.is_well(false);
    until("the one that is not well gets none", async || answered_by().await == "one").await;
    two.is_well(true);
    until("both get requests again", async || answered_by().await == "one two").await;
    remove(peer, &standing).await;
}
