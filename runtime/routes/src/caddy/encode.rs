//! Owns how a route is written in Caddy's words.

use std::time::Duration;

use effect::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use super::parts::{pattern, plain, target};
use crate::driver::Standing;
use crate::route::{
    Access, BackendTls, Headers, Health, Hostname, Maintenance, Protocol, ProxyProtocol, Redirect, Route,
};

/// What the headers that keep browsers from mistakes say.
const SECURITY: [(&str, &str); 4] = [
    ("Strict-Transport-Security", "max-age=31536000"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
];
/// How long a back end that failed is left alone where there are others.
const EJECTED: Duration = Duration::from_secs(10);

/// The route with the `@id`; tunnels over it go on for `linger` after Caddy's configuration was changed.
///
/// # Errors
/// `MC-G002` where the certificates of `backend_tls` are none.
pub(super) fn route(standing: &Standing, id: &str, linger: Duration) -> Result<Value> {
    let said = &standing.route;
    let noted = serde_json::to_value(standing)
        .map_err(|error| Error::new(Code::Internal, "a route cannot be encoded").because(error))?;
    // What Caddy has no place for is kept where Caddy keeps what handlers tell each other.
    let mut handle = vec![json!({ "handler": "vars", "mcrun": noted })];
    handle.extend(headers(&said.headers, said.cert.is_some()));
    handle.extend(access(&said.access));
    if let Some(body) = said.limits.body {
        handle.push(json!({ "handler": "request_body", "max_size": body.0 }));
    }
    handle.push(match (&said.redirect, &said.maintenance) {
        (Some(redirect), _) => redirected(redirect),
        (None, Some(maintenance)) => page(maintenance),
        (None, None) => proxied(said, linger)?,
    });
    let mut route = json!({ "@id": id, "handle": handle, "terminal": true });
    let matched = matcher(said);
    if !matched.is_empty() {
        route["match"] = json!([matched]);
    }
    Ok(route)
}

fn matcher(route: &Route) -> Map<String, Value> {
    let mut matched = Map::new();
    if !route.hostname.is_any() {
        matched.insert("host".into(), json!([route.hostname]));
    }
    if route.path.as_str() != "/" {
        matched.insert("path_regexp".into(), json!({ "pattern": pattern(&route.path) }));
    }
    matched
}

/// What answers for every path of `host` that has no route.
pub(super) fn nothing(id: &str, host: Option<&Hostname>) -> Value {
    let answer = json!({ "handler": "static_response", "status_code": 404 });
    let mut route = json!({ "@id": id, "handle": [answer], "terminal": true });
    if let Some(host) = host {
        route["match"] = json!([{ "host": [host] }]);
    }
    route
}

fn headers(headers: &Headers, is_tls: bool) -> Vec<Value> {
    let mut handlers = Vec::new();
    if headers.security {
        let named = SECURITY.iter().filter(|(name, _)| is_tls || *name != SECURITY[0].0);
        handlers.extend(named.map(|(name, value)| {
            json!({ "handler": "headers", "response": {
                "require": { "headers": { *name: null } }, "set": { *name: [value] }, "deferred": true,
            } })
        }));
    }
    if !headers.set.is_empty() {
        let set: Map<String, Value> =
            headers.set.iter().map(|(name, value)| (name.clone(), json!([plain(value)]))).collect();
        handlers.push(json!({ "handler": "headers", "response": { "set": set, "deferred": true } }));
    }
    handlers
}

fn access(access: &Access) -> Option<Value> {
    let forbidden = |matched: Value| {
        json!({
            "match": [matched],
            "handle": [{ "handler": "static_response", "status_code": 403 }],
            "terminal": true,
        })
    };
    let mut routes = Vec::new();
    if !access.deny.is_empty() {
        routes.push(forbidden(json!({ "remote_ip": { "ranges": access.deny } })));
    }
    if !access.allow.is_empty() {
        routes.push(forbidden(json!({ "not": [{ "remote_ip": { "ranges": access.allow } }] })));
    }
    (!routes.is_empty()).then(|| json!({ "handler": "subroute", "routes": routes }))
}

fn redirected(redirect: &Redirect) -> Value {
    json!({
        "handler": "static_response",
        "status_code": redirect.status,
        "headers": { "Location": [target(&redirect.to)] },
    })
}

fn page(maintenance: &Maintenance) -> Value {
    let mut headers = json!({ "Content-Type": [plain(&maintenance.media)] });
    if let Some(after) = maintenance.retry_after {
        headers["Retry-After"] = json!([after.0.as_secs().to_string()]);
    }
    json!({
        "handler": "static_response",
        "status_code": 503,
        "headers": headers,
        "body": plain(&maintenance.text),
    })
}

fn proxied(route: &Route, linger: Duration) -> Result<Value> {
    let upstreams: Vec<Value> =
        route.backends.iter().map(|backend| json!({ "dial": backend.to_string() })).collect();
    let mut checks = Map::new();
    if let Some(health) = &route.health {
        checks.insert("active".into(), probe(health));
    }
    // A back end that is alone is better tried than left alone.
    if route.backends.len() > 1 {
        checks.insert("passive".into(), json!({ "fail_duration": nanoseconds(EJECTED), "max_fails": 3 }));
    }
    let mut proxy = json!({
        "handler": "reverse_proxy",
        "upstreams": upstreams,
        "load_balancing": { "selection_policy": { "policy": "least_conn" }, "retries": route.retries },
        "transport": transport(route)?,
        "flush_interval": -1,
        "stream_close_delay": nanoseconds(linger),
    });
    if !checks.is_empty() {
        proxy["health_checks"] = checks.into();
    }
    Ok(proxy)
}

fn probe(health: &Health) -> Value {
    json!({
        "uri": health.http.as_deref().map(plain).unwrap_or_default(),
        "interval": nanoseconds(health.every.0),
        "timeout": nanoseconds(health.timeout.0),
    })
}

fn transport(route: &Route) -> Result<Value> {
    let is_tls = route.backend_tls.is_some();
    let version = match route.protocol {
        Protocol::Http1 => "1.1",
        Protocol::Http2 if is_tls => "2",
        Protocol::Http2 => "h2c",
    };
    let mut transport = json!({
        "protocol": "http",
        "versions": [version],
        "compression": false,
        "dial_timeout": nanoseconds(route.timeouts.connect.0),
        "response_header_timeout": nanoseconds(route.timeouts.answer.0),
    });
    if let Some(version) = route.send_proxy {
        transport["proxy_protocol"] = json!(match version {
            ProxyProtocol::V1 => "v1",
            ProxyProtocol::V2 => "v2",
        });
    }
    if let Some(tls) = &route.backend_tls {
        let name = tls.name.clone().unwrap_or_else(|| route.hostname.to_string());
        transport["tls"] = json!({
            "ca": { "provider": "inline", "trusted_ca_certs": authorities(tls)? },
            "server_name": plain(&name),
        });
    }
    Ok(transport)
}

fn authorities(tls: &BackendTls) -> Result<Vec<String>> {
    use base64::Engine as _;
    let wrong = || Error::new(Code::RouteTerms, "`backend_tls.ca` has no certificates in PEM");
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(tls.ca.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| wrong().because(error))?;
    if found.is_empty() {
        return Err(wrong());
    }
    let encoder = base64::engine::general_purpose::STANDARD;
    Ok(found.iter().map(|certificate| encoder.encode(certificate)).collect())
}

/// Durations as Caddy writes them.
fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
