//! What the effects refuse, by the plan already where it can be known.

use effect::Code;
use routes::Feature;
use serde_json::{Value, json};

use crate::bench::{Bench, HOST, key, route};

#[tokio::test]
async fn two_services_cannot_have_one_host_name() {
    let bench = Bench::new().await;
    let plan = bench.plan();
    plan.call("routes.ensure", route(json!({ "service": "one" }))).await.unwrap();
    // The plan knows already what its earlier effect will have claimed.
    let other = route(json!({ "service": "two", "path": "/api" }));
    let error = plan.refused("routes.ensure", other.clone(), Code::RouteClaimed).await;
    assert!(error.message.contains("service `one`"), "{error}");
    let run = bench.run();
    run.call("routes.ensure", route(json!({ "service": "one" }))).await.unwrap();
    run.refused("routes.ensure", other.clone(), Code::RouteClaimed).await;
    run.call("routes.remove", key()).await.unwrap();
    run.call("routes.ensure", other).await.unwrap();
    assert_eq!(bench.only().route.service.as_deref(), Some("two"));
}

#[tokio::test]
async fn what_the_proxy_lacks_is_refused_by_the_plan() {
    let bench = Bench::with(&Feature::REQUIRED).await;
    let plan = bench.plan();
    plan.call("routes.ensure", route(json!({}))).await.unwrap();
    let pem = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap().cert.pem();
    let lacking: &[(Feature, Value)] = &[
        (Feature::Passthrough, json!({ "mode": "l4" })),
        (Feature::Wildcards, json!({ "hostname": "*.example.net" })),
        (Feature::Paths, json!({ "path": "/api" })),
        (Feature::Http2, json!({ "protocol": "http2" })),
        (Feature::BackendTls, json!({ "backend_tls": { "ca": pem } })),
        (Feature::SendProxy, json!({ "send_proxy": "v2" })),
        (Feature::Health, json!({ "health": {} })),
        (Feature::Rates, json!({ "limits": { "rate": 1 } })),
        (Feature::Connections, json!({ "limits": { "connections": 1 } })),
        (Feature::Bodies, json!({ "limits": { "body": "1MiB" } })),
        (Feature::Networks, json!({ "access": { "deny": ["10.0.0.0/8"] } })),
        (Feature::Countries, json!({ "access": { "deny_countries": ["DE"] } })),
        (Feature::Headers, json!({ "headers": { "security": true } })),
        (Feature::Redirects, json!({ "redirect": { "to": "https://a.test" } })),
        (Feature::Maintenance, json!({ "maintenance": {} })),
        (Feature::Timeouts, json!({ "timeouts": { "idle": "1h" } })),
    ];
    for (feature, more) in lacking {
        let error = plan.refused("routes.ensure", route(more.clone()), Code::Unsupported).await;
        assert!(error.message.ends_with(feature.describe()), "{error}");
    }
    for (feature, name, arguments) in [
        (Feature::Pause, "routes.pause", key()),
        (Feature::Pause, "routes.resume", key()),
        (Feature::Drain, "routes.drain", key()),
        (Feature::Figures, "routes.metrics", json!({})),
    ] {
        let error = plan.refused(name, arguments, Code::Unsupported).await;
        assert!(error.message.ends_with(feature.describe()), "{error}");
    }
    assert!(bench.standing().is_empty());
}

#[tokio::test]
async fn a_back_end_beyond_this_machine_needs_its_own_grant() {
    let bench = Bench::new().await;
    let beyond =
        route(json!({ "backends": ["127.0.0.1:2", "10.0.0.7:8080", "[2001:db8::1]:8080", "[::1]:2"] }));
    let error = bench.run().refused("routes.ensure", beyond.clone(), Code::Denied).await;
    assert_eq!(error.missing, ["routes:backends:10.0.0.7:8080", "routes:backends:[[]2001:db8::1[]]:8080"]);
    let granted = bench.run_with(&["routes:write:mcq.*", "routes:backends:*"]);
    granted.call("routes.ensure", beyond).await.unwrap();
    let error = bench.run_with(&["routes:read"]).refused("routes.remove", key(), Code::Denied).await;
    assert_eq!(error.missing, [format!("routes:write:{HOST}")]);
}

#[tokio::test]
async fn one_back_end_has_to_answer() {
    let bench = Bench::new().await;
    let script = bench.run();
    let dead = json!({ "backends": ["127.0.0.1:1", "127.0.0.1:3"] });
    let error = script.refused("routes.ensure", route(dead), Code::BackendUnreachable).await;
    assert_eq!(error.details, ["127.0.0.1:1: connection refused", "127.0.0.1:3: connection refused"]);
    assert!(bench.standing().is_empty() && error.retryable);
    script
        .call("routes.ensure", route(json!({ "backends": ["127.0.0.1:1"], "probe": false })))
        .await
        .unwrap();
    script.call("routes.ensure", route(json!({ "backends": ["127.0.0.1:1", "127.0.0.1:2"] }))).await.unwrap();
    let page = json!({ "backends": ["127.0.0.1:1"], "maintenance": {} });
    script.call("routes.ensure", route(page)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_has_to_be_there() {
    let bench = Bench::new().await;
    let plan = bench.plan();
    plan.refused("routes.ensure", route(json!({ "cert": "gone" })), Code::CertificateUnknown).await;
    let overlay = &plan.session.shared().overlay;
    // What an earlier effect of the plan orders is there, what one takes away is not.
    overlay.set("certs:here/ordered", Some(&json!({ "id": "ordered" })));
    overlay.set("certs:here/there", None::<&Value>);
    plan.call("routes.ensure", route(json!({ "cert": "ordered" }))).await.unwrap();
    plan.refused("routes.ensure", route(json!({ "cert": "there" })), Code::CertificateUnknown).await;
    let asked = bench.memory.admitted.lock().unwrap().clone();
    assert!(asked.iter().all(|standing| standing.route.cert.is_none()), "{asked:?}");
}

#[tokio::test]
async fn the_proxy_is_asked_by_the_plan() {
    let bench = Bench::new().await;
    let error = bench.plan().refused("routes.ensure", route(json!({ "listen": 1 })), Code::RoutePort).await;
    assert!(error.message.contains("tcpmux"), "{error}");
}

#[tokio::test]
async fn mistakes_are_named_by_field() {
    let bench = Bench::new().await;
    let script = bench.run();
    for (more, code, said) in [
        (
            json!({ "backends": ["127.0.0.1:80", "db"] }),
            Code::Argument,
            "field `backends[1]`: `db` is not an address",
        ),
        (json!({ "hostname": "a..b" }), Code::Argument, "field `hostname`: `a..b` is no host name"),
        (json!({ "access": { "allow": ["10.0.0.0/99"] } }), Code::Argument, "field `access.allow[0]`"),
        (json!({ "listen": 0 }), Code::Argument, "field `listen`"),
        (json!({ "limits": { "head": "1GiB" } }), Code::RouteTerms, "`limits.head`"),
        (json!({ "probe": "maybe" }), Code::Argument, "field `probe`"),
        (json!({ "backend": [] }), Code::UnknownField, "field `backend`"),
        (json!({ "limits": { "rates": 1 } }), Code::UnknownField, "field `limits.rates`"),
        (json!({ "node": "elsewhere" }), Code::NodeUnknown, "elsewhere"),
    ] {
        let error = script.refused("routes.ensure", route(more), code).await;
        assert!(error.message.contains(said), "{error}");
    }
    for name in ["routes.pause", "routes.resume", "routes.drain"] {
        script.refused(name, key(), Code::RouteUnknown).await;
    }
    assert_eq!(script.call("routes.get", key()).await.unwrap(), Value::Null);
    assert_eq!(script.call("routes.remove", key()).await.unwrap(), json!({ "changed": false }));
}
