//! Owns how a route is read back from Caddy's words: what is noted in it, unless somebody changed what it does.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::units::{Size, Span};
use serde_json::Value;

use super::config::Held;
use super::encode;
use super::parts::{block, unpattern, unplain, untarget};
use crate::driver::Standing;
use crate::route::{
    Access, Backend, BackendTls, Hostname, Maintenance, Path, Protocol, ProxyProtocol, Redirect, Route,
};

/// What `held` does; none where no route of ours could say it.
pub(super) fn standing(held: &Held<'_>, linger: Duration) -> Option<Standing> {
    let noted = held.noted()?;
    if says(&noted, held, linger) {
        return Some(noted);
    }
    let route = seen(held.value, &noted.route)?;
    let changed = Standing { route, paused: noted.paused };
    says(&changed, held, linger).then_some(changed)
}

/// Whether `standing` is what Caddy has, whatever is noted there.
fn says(standing: &Standing, held: &Held<'_>, linger: Duration) -> bool {
    let bare = |value: &Value| {
        let mut value = value.clone();
        let handlers = value.get_mut("handle").and_then(Value::as_array_mut);
        handlers.into_iter().for_each(|handlers| handlers.retain(|handler| name(handler) != "vars"));
        value
    };
    encode::route(standing, held.id, linger).is_ok_and(|encoded| bare(&encoded) == bare(held.value))
}

fn name(handler: &Value) -> &str {
    handler.get("handler").and_then(Value::as_str).unwrap_or_default()
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    Some(value.pointer(pointer)?.as_str()?.to_owned())
}

fn span(value: &Value, pointer: &str) -> Option<Span> {
    Some(Span(Duration::from_nanos(value.pointer(pointer)?.as_u64()?)))
}

/// What the route says now, with what Caddy has no place for as it was noted.
fn seen(value: &Value, noted: &Route) -> Option<Route> {
    let mut route = noted.clone();
    route.hostname = match value.pointer("/match/0/host/0") {
        Some(host) => host.as_str()?.parse().ok()?,
        None => Hostname::any(),
    };
    route.path = match value.pointer("/match/0/path_regexp/pattern") {
        Some(pattern) => unpattern(pattern.as_str()?)?,
        None => Path::default(),
    };
    route.limits.body = None;
    route.access = Access { allow: Vec::new(), deny: Vec::new(), ..route.access };
    (route.headers.security, route.redirect, route.maintenance) = (false, None, None);
    route.headers.set.clear();
    for handler in value.get("handle")?.as_array()? {
        match name(handler) {
            "vars" => {}
            "request_body" => route.limits.body = handler.get("max_size")?.as_u64().map(Size),
            "subroute" => access(handler, &mut route.access)?,
            "headers" => headers(handler, &mut route)?,
            "static_response" => answer(handler, &mut route)?,
            "reverse_proxy" => proxied(handler, &mut route)?,
            _ => return None,
        }
    }
    Some(route)
}

fn access(handler: &Value, access: &mut Access) -> Option<()> {
    for route in handler.get("routes")?.as_array()? {
        if let Some(ranges) = route.pointer("/match/0/remote_ip/ranges") {
            access.deny = serde_json::from_value(ranges.clone()).ok()?;
        } else {
            let ranges = route.pointer("/match/0/not/0/remote_ip/ranges")?;
            access.allow = serde_json::from_value(ranges.clone()).ok()?;
        }
    }
    Some(())
}

fn headers(handler: &Value, route: &mut Route) -> Option<()> {
    if handler.pointer("/response/require").is_some() {
        route.headers.security = true;
        return Some(());
    }
    for (name, values) in handler.pointer("/response/set")?.as_object()? {
        route.headers.set.insert(name.clone(), unplain(values.get(0)?.as_str()?));
    }
    Some(())
}

fn answer(handler: &Value, route: &mut Route) -> Option<()> {
    let status = u16::try_from(handler.get("status_code")?.as_u64()?).ok()?;
    if let Some(to) = text(handler, "/headers/Location/0") {
        route.redirect = Some(Redirect { to: untarget(&to), status });
        return Some(());
    }
    let seconds = text(handler, "/headers/Retry-After/0").and_then(|text| text.parse().ok());
    route.maintenance = Some(Maintenance {
        text: unplain(&text(handler, "/body")?),
        media: unplain(&text(handler, "/headers/Content-Type/0")?),
        retry_after: seconds.map(Span::seconds),
    });
    Some(())
}

fn proxied(handler: &Value, route: &mut Route) -> Option<()> {
    let dial = |upstream: &Value| {
        let address: SocketAddr = upstream.get("dial")?.as_str()?.parse().ok()?;
        Some(Backend(address))
    };
    route.backends = handler.get("upstreams")?.as_array()?.iter().map(dial).collect::<Option<_>>()?;
    route.retries = u8::try_from(handler.pointer("/load_balancing/retries")?.as_u64()?).ok()?;
    route.protocol = match handler.pointer("/transport/versions/0")?.as_str()? {
        "1.1" => Protocol::Http1,
        _ => Protocol::Http2,
    };
    route.send_proxy = match text(handler, "/transport/proxy_protocol").as_deref() {
        Some("v1") => Some(ProxyProtocol::V1),
        Some("v2") => Some(ProxyProtocol::V2),
        Some(_) => return None,
        None => None,
    };
    route.timeouts.connect = span(handler, "/transport/dial_timeout")?;
    route.timeouts.answer = span(handler, "/transport/response_header_timeout")?;
    route.backend_tls = backend_tls(handler, route)?;
    route.health = match handler.pointer("/health_checks/active") {
        Some(active) => Some(crate::route::Health {
            http: Some(unplain(&text(active, "/uri")?)),
            every: span(active, "/interval")?,
            timeout: span(active, "/timeout")?,
        }),
        None => None,
    };
    Some(())
}

fn backend_tls(handler: &Value, route: &Route) -> Option<Option<BackendTls>> {
    let Some(tls) = handler.pointer("/transport/tls") else { return Some(None) };
    let mut ca = String::new();
    for authority in tls.pointer("/ca/trusted_ca_certs")?.as_array()? {
        ca.push_str(&block("CERTIFICATE", &STANDARD.decode(authority.as_str()?).ok()?));
    }
    let shown = unplain(&text(tls, "/server_name")?);
    let name = (shown != route.hostname.as_str()).then_some(shown);
    Some(Some(BackendTls { ca, name }))
}
