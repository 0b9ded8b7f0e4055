use serde_json::{Value, json};

use super::*;

fn route(more: Value) -> Route {
    let mut fields = json!({ "listen": 443, "hostname": "mcq.example.net", "backends": ["127.0.0.1:8080"] });
    let all = fields.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    serde_json::from_value(fields).unwrap()
}

#[test]
fn routes_that_go_together_pass() {
    for fine in [
        json!({}),
        json!({ "cert": "mcq", "path": "/api", "protocol": "http2", "send_proxy": "v2" }),
        json!({ "mode": "l4", "send_proxy": "v1", "limits": { "rate": 10, "burst": 20 } }),
        json!({ "mode": "l4", "hostname": "*" }),
        json!({ "backends": [], "redirect": { "to": "https://{host}{path}" } }),
        json!({ "backends": [], "redirect": { "to": "http://docs.example.net:8080/{path}", "status": 301 } }),
        json!({ "backends": [], "maintenance": {} }),
        json!({ "maintenance": { "text": "<p>soon</p>", "media": "text/html", "retry_after": "1h" } }),
        json!({ "headers": { "security": true, "set": { "X-Served-By": "mcrun" } } }),
        json!({ "access": { "allow": ["10.0.0.0/8"], "deny_countries": ["de", "FR"] } }),
        json!({ "health": { "http": "/healthz?deep=1", "every": "1s" } }),
        json!({ "drain": 0 }),
    ] {
        route(fine.clone()).check().unwrap_or_else(|error| panic!("{fine}: {error}"));
    }
}

#[test]
fn what_does_not_go_together_is_refused_by_field() {
    let many: Vec<String> = (1..=65).map(|port| format!("127.0.0.1:{port}")).collect();
    let headers: serde_json::Map<String, Value> =
        (0..65).map(|index| (format!("x-{index}"), json!("y"))).collect();
    for (field, given) in [
        ("cert", json!({ "mode": "l4", "cert": "mcq" })),
        ("path", json!({ "mode": "l4", "path": "/api" })),
        ("protocol", json!({ "mode": "l4", "protocol": "http2" })),
        ("backend_tls", json!({ "mode": "l4", "backend_tls": { "ca": "x" } })),
        ("health.http", json!({ "mode": "l4", "health": { "http": "/" } })),
        ("limits.body", json!({ "mode": "l4", "limits": { "body": 1 } })),
        ("headers", json!({ "mode": "l4", "headers": { "security": true } })),
        ("redirect", json!({ "mode": "l4", "redirect": { "to": "https://a" } })),
        ("maintenance", json!({ "mode": "l4", "maintenance": {} })),
        ("hostname", json!({ "mode": "l4", "hostname": "192.0.2.1" })),
        ("backends", json!({ "mode": "l4", "backends": [] })),
        ("backends", json!({ "backends": [] })),
        ("backends", json!({ "backends": ["127.0.0.1:1", "127.0.0.1:1"] })),
        ("backends", json!({ "backends": many })),
        ("maintenance", json!({ "maintenance": {}, "redirect": { "to": "https://a" } })),
        ("retries", json!({ "retries": 6 })),
        ("service", json!({ "service": "" })),
        ("cert", json!({ "cert": "a\nb" })),
        ("backend_tls.ca", json!({ "backend_tls": { "ca": "" } })),
        ("backend_tls.ca", json!({ "backend_tls": { "ca": "-----BEGIN CERTIFICATE-----\nAAAA\n" } })),
        (
            "backend_tls.ca",
            json!({ "backend_tls": { "ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" } }),
        ),
        ("health.http", json!({ "health": { "http": "healthz" } })),
        ("health.http", json!({ "health": { "http": "/a b" } })),
        ("health.every", json!({ "health": { "every": "0s" } })),
        ("health.timeout", json!({ "health": { "timeout": "2m" } })),
        ("access.allow_countries", json!({ "access": { "allow_countries": ["DEU"] } })),
        ("access.deny_countries", json!({ "access": { "deny_countries": ["é"] } })),
        ("limits.rate", json!({ "limits": { "rate": 0 } })),
        ("limits.burst", json!({ "limits": { "burst": 5 } })),
        ("limits.connections", json!({ "limits": { "connections": 0 } })),
        ("limits.head", json!({ "limits": { "head": "1B" } })),
        ("limits.head", json!({ "limits": { "head": "65KiB" } })),
        ("limits.waiting", json!({ "limits": { "waiting": 65537 } })),
        ("timeouts.connect", json!({ "timeouts": { "connect": 0 } })),
        ("timeouts.idle", json!({ "timeouts": { "idle": "1ms" } })),
        ("timeouts.pause", json!({ "timeouts": { "pause": "2h" } })),
        ("timeouts.minimum_rate", json!({ "timeouts": { "minimum_rate": 2_000_000 } })),
        ("headers.set", json!({ "headers": { "set": { "a b": "c" } } })),
        ("headers.set", json!({ "headers": { "set": { "Content-Length": "1" } } })),
        ("headers.set", json!({ "headers": { "set": { "transfer-encoding": "chunked" } } })),
        ("headers.set", json!({ "headers": { "set": headers } })),
        ("headers.set.x-a", json!({ "headers": { "set": { "X-A": "b\r\nset-cookie: c" } } })),
        ("redirect.status", json!({ "redirect": { "to": "https://a", "status": 200 } })),
        ("redirect.to", json!({ "redirect": { "to": "docs" } })),
        ("redirect.to", json!({ "redirect": { "to": "https:///docs" } })),
        ("redirect.to", json!({ "redirect": { "to": "https://a/{query}" } })),
        ("redirect.to", json!({ "redirect": { "to": "https://a\r\nx: y" } })),
        ("redirect.to", json!({ "redirect": { "to": "javascript:alert(1)" } })),
        ("maintenance.text", json!({ "maintenance": { "text": "x".repeat(65_537) } })),
        ("maintenance.media", json!({ "maintenance": { "media": "html" } })),
        ("maintenance.media", json!({ "maintenance": { "media": "a/b\r\nc" } })),
        ("maintenance.retry_after", json!({ "maintenance": { "retry_after": 0 } })),
        ("drain", json!({ "drain": "61m" })),
    ] {
        let error = route(given.clone()).check().expect_err(&given.to_string());
        assert_eq!(error.code, Code::RouteTerms, "{given}");
        assert!(error.message.starts_with(&format!("`{field}`: ")), "{given}: {error}");
    }
}

#[test]
fn order_says_nothing() {
    let one = route(
        json!({ "backends": ["127.0.0.1:2", "127.0.0.1:1"], "access": { "deny_countries": ["fr", "DE"] } }),
    );
    let other = route(
        json!({ "backends": ["127.0.0.1:1", "127.0.0.1:2"], "access": { "deny_countries": ["de", "FR"] } }),
    );
    assert_eq!(one.in_order(), other.in_order());
}
