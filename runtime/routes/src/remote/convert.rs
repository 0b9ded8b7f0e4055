//! Owns how routes stand in messages: nothing is lost either way, and what is not understood is said, never guessed.

use std::time::Duration;

use api::v1;
use effect::units::{Size, Span};

use crate::driver::{BackendFigures, Feature, Figures, Standing};
use crate::route::{
    Access, Backend, BackendTls, Headers, Health, Key, Limits, Maintenance, Mode, Protocol, ProxyProtocol,
    Redirect, Route, Timeouts,
};

/// Longer spans are mistakes: 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Why a message is no route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// A value that this version does not know: the other side is newer.
    Unknown {
        /// The field.
        field: &'static str,
        /// What it says.
        value: i32,
    },
    /// Something that no version says.
    Wrong(String),
}

type Fit<T> = Result<T, Misfit>;

fn wrong(field: &str, why: impl std::fmt::Display) -> Misfit {
    Misfit::Wrong(format!("`{field}`: {why}"))
}

pub(crate) fn standing_to(standing: &Standing) -> v1::Standing {
    let Standing { route, paused } = standing;
    v1::Standing { route: Some(route_to(route)), paused: *paused }
}

pub(crate) fn standing_from(message: v1::Standing) -> Fit<Standing> {
    let route = message.route.ok_or_else(|| wrong("route", "it is missing"))?;
    Ok(Standing { route: route_from(route)?, paused: message.paused })
}

pub(crate) fn key_to(key: &Key) -> v1::Key {
    let Key { listen, hostname, path } = key;
    v1::Key { listen: (*listen).into(), hostname: hostname.to_string(), path: path.to_string() }
}

pub(crate) fn key_from(message: v1::Key) -> Fit<Key> {
    let listen = u16::try_from(message.listen).ok().filter(|port| *port > 0);
    let path = if message.path.is_empty() { "/".to_owned() } else { message.path };
    Ok(Key {
        listen: listen.ok_or_else(|| wrong("listen", "a port is a number from 1 to 65535"))?,
        hostname: message
            .hostname
            .parse()
            .map_err(|error: effect::Error| wrong("hostname", error.message))?,
        path: path.try_into().map_err(|why: String| wrong("path", why))?,
    })
}

fn route_to(route: &Route) -> v1::Route {
    // Taken apart, so that a new field is not forgotten here.
    let Route {
        listen,
        hostname,
        path,
        service,
        mode,
        backends,
        cert,
        protocol,
        backend_tls,
        send_proxy,
        health,
        retries,
        access,
        limits,
        timeouts,
        headers,
        redirect,
        maintenance,
        public,
        drain,
    } = route;
    let key = Key { listen: *listen, hostname: hostname.clone(), path: path.clone() };
    v1::Route {
        key: Some(key_to(&key)),
        service: service.clone(),
        mode: match mode {
            Mode::L4 => v1::Mode::L4,
            Mode::L7 => v1::Mode::L7,
        }
        .into(),
        backends: backends.iter().map(ToString::to_string).collect(),
        certificate: cert.clone(),
        protocol: match protocol {
            Protocol::Http1 => v1::Protocol::Http1,
            Protocol::Http2 => v1::Protocol::Http2,
        }
        .into(),
        backend_tls: backend_tls
            .as_ref()
            .map(|BackendTls { ca, name }| v1::BackendTls { ca: ca.clone(), name: name.clone() }),
        send_proxy: match send_proxy {
            None => v1::ProxyProtocol::Unspecified,
            Some(ProxyProtocol::V1) => v1::ProxyProtocol::V1,
            Some(ProxyProtocol::V2) => v1::ProxyProtocol::V2,
        }
        .into(),
        health: health.as_ref().map(|Health { http, every, timeout }| v1::Health {
            http: http.clone(),
            every: span_to(*every),
            timeout: span_to(*timeout),
        }),
        retries: Some((*retries).into()),
        access: Some(access_to(access)),
        limits: Some(limits_to(limits)),
        timeouts: Some(timeouts_to(timeouts)),
        headers: Some(headers_to(headers)),
        redirect: redirect
            .as_ref()
            .map(|Redirect { to, status }| v1::Redirect { to: to.clone(), status: Some((*status).into()) }),
        maintenance: maintenance.as_ref().map(|Maintenance { text, media, retry_after }| v1::Maintenance {
            text: Some(text.clone()),
            media: Some(media.clone()),
            retry_after: retry_after.and_then(span_to),
        }),
        public: *public,
        drain: span_to(*drain),
    }
}

fn route_from(message: v1::Route) -> Fit<Route> {
    let key = key_from(message.key.ok_or_else(|| wrong("key", "it is missing"))?)?;
    let mut backends = Vec::with_capacity(message.backends.len().min(256));
    for text in &message.backends {
        backends.push(backend_from(text)?);
    }
    let Key { listen, hostname, path } = key;
    Ok(Route {
        listen,
        hostname,
        path,
        service: message.service,
        mode: match known("mode", message.mode)? {
            v1::Mode::L4 => Mode::L4,
            v1::Mode::L7 | v1::Mode::Unspecified => Mode::L7,
        },
        backends,
        cert: message.certificate,
        protocol: match known("protocol", message.protocol)? {
            v1::Protocol::Http1 | v1::Protocol::Unspecified => Protocol::Http1,
            v1::Protocol::Http2 => Protocol::Http2,
        },
        backend_tls: message.backend_tls.map(|v1::BackendTls { ca, name }| BackendTls { ca, name }),
        send_proxy: match known("send_proxy", message.send_proxy)? {
            v1::ProxyProtocol::Unspecified => None,
            v1::ProxyProtocol::V1 => Some(ProxyProtocol::V1),
            v1::ProxyProtocol::V2 => Some(ProxyProtocol::V2),
        },
        health: message.health.map(health_from).transpose()?,
        retries: number("retries", message.retries, 2)?,
        access: access_from(message.access.unwrap_or_default())?,
        limits: limits_from(message.limits.unwrap_or_default()),
        timeouts: timeouts_from(message.timeouts.unwrap_or_default())?,
        headers: headers_from(message.headers.unwrap_or_default()),
        redirect: message.redirect.map(redirect_from).transpose()?,
        maintenance: message.maintenance.map(maintenance_from).transpose()?,
        public: message.public,
        drain: span_from("drain", message.drain)?.unwrap_or(Span::seconds(30)),
    })
}

pub(crate) fn backend_from(text: &str) -> Fit<Backend> {
    text.parse().map_err(|why: String| wrong("backends", why))
}

/// A value of an enumeration.
fn known<T: TryFrom<i32>>(field: &'static str, value: i32) -> Fit<T> {
    T::try_from(value).map_err(|_| Misfit::Unknown { field, value })
}

/// A number that fits, or what it is where it is absent.
fn number<T: TryFrom<u32>>(field: &str, value: Option<u32>, absent: T) -> Fit<T> {
    match value {
        None => Ok(absent),
        Some(value) => T::try_from(value).map_err(|_| wrong(field, format!("{value} is too much"))),
    }
}

pub(crate) fn span_to(span: Span) -> Option<prost_types::Duration> {
    // Every span is shorter than what a message holds.
    prost_types::Duration::try_from(span.0).ok()
}

pub(crate) fn span_from(field: &str, message: Option<prost_types::Duration>) -> Fit<Option<Span>> {
    let Some(message) = message else { return Ok(None) };
    match Duration::try_from(message) {
        Ok(span) if span <= LONGEST => Ok(Some(Span(span))),
        _ => Err(wrong(field, "it is a duration between 0 and 100 years")),
    }
}

fn health_from(message: v1::Health) -> Fit<Health> {
    Ok(Health {
        http: message.http,
        every: span_from("health.every", message.every)?.unwrap_or(Span::seconds(5)),
        timeout: span_from("health.timeout", message.timeout)?.unwrap_or(Span::seconds(2)),
    })
}

fn access_to(access: &Access) -> v1::Access {
    let Access { allow, deny, allow_countries, deny_countries } = access;
    v1::Access {
        allow: allow.iter().map(ToString::to_string).collect(),
        deny: deny.iter().map(ToString::to_string).collect(),
        allow_countries: allow_countries.clone(),
        deny_countries: deny_countries.clone(),
    }
}

fn access_from(message: v1::Access) -> Fit<Access> {
    let networks = |field: &str, texts: Vec<String>| {
        let parse =
            |text: String| text.parse().map_err(|_| wrong(field, format!("`{text:.60}` is no network")));
        texts.into_iter().map(parse).collect::<Fit<Vec<_>>>()
    };
    Ok(Access {
        allow: networks("access.allow", message.allow)?,
        deny: networks("access.deny", message.deny)?,
        allow_countries: message.allow_countries,
        deny_countries: message.deny_countries,
    })
}

fn limits_to(limits: &Limits) -> v1::Limits {
    let Limits { rate, burst, connections, body, head, waiting } = limits;
    v1::Limits {
        rate: *rate,
        burst: *burst,
        connections: *connections,
        body: body.map(|Size(octets)| octets),
        head: Some(head.0),
        waiting: Some(*waiting),
    }
}

fn limits_from(message: v1::Limits) -> Limits {
    let usual = Limits::default();
    Limits {
        rate: message.rate,
        burst: message.burst,
        connections: message.connections,
        body: message.body.map(Size),
        head: message.head.map_or(usual.head, Size),
        waiting: message.waiting.unwrap_or(usual.waiting),
    }
}

fn timeouts_to(timeouts: &Timeouts) -> v1::Timeouts {
    let Timeouts { connect, answer, idle, minimum_rate, pause } = timeouts;
    v1::Timeouts {
        connect: span_to(*connect),
        answer: span_to(*answer),
        idle: span_to(*idle),
        minimum_rate: Some(*minimum_rate),
        pause: span_to(*pause),
    }
}

fn timeouts_from(message: v1::Timeouts) -> Fit<Timeouts> {
    let usual = Timeouts::default();
    Ok(Timeouts {
        connect: span_from("timeouts.connect", message.connect)?.unwrap_or(usual.connect),
        answer: span_from("timeouts.answer", message.answer)?.unwrap_or(usual.answer),
        idle: span_from("timeouts.idle", message.idle)?.unwrap_or(usual.idle),
        minimum_rate: message.minimum_rate.unwrap_or(usual.minimum_rate),
        pause: span_from("timeouts.pause", message.pause)?.unwrap_or(usual.pause),
    })
}

fn headers_to(headers: &Headers) -> v1::Headers {
    let Headers { security, set } = headers;
    v1::Headers { security: *security, set: set.clone().into_iter().collect() }
}

fn headers_from(message: v1::Headers) -> Headers {
    Headers { security: message.security, set: message.set.into_iter().collect() }
}

fn redirect_from(message: v1::Redirect) -> Fit<Redirect> {
    Ok(Redirect { to: message.to, status: number("redirect.status", message.status, 308)? })
}

fn maintenance_from(message: v1::Maintenance) -> Fit<Maintenance> {
    let usual = Maintenance::default();
    Ok(Maintenance {
        text: message.text.unwrap_or(usual.text),
        media: message.media.unwrap_or(usual.media),
        retry_after: span_from("maintenance.retry_after", message.retry_after)?,
    })
}

/// Each feature and its number.
const FEATURES: [(Feature, v1::Feature); 21] = [
    (Feature::Passthrough, v1::Feature::Passthrough),
    (Feature::Tls, v1::Feature::Tls),
    (Feature::Plain, v1::Feature::Plain),
    (Feature::Wildcards, v1::Feature::Wildcards),
    (Feature::Paths, v1::Feature::Paths),
    (Feature::Http2, v1::Feature::Http2),
    (Feature::BackendTls, v1::Feature::BackendTls),
    (Feature::SendProxy, v1::Feature::SendProxy),
    (Feature::Health, v1::Feature::Health),
    (Feature::Rates, v1::Feature::Rates),
    (Feature::Connections, v1::Feature::Connections),
    (Feature::Bodies, v1::Feature::Bodies),
    (Feature::Networks, v1::Feature::Networks),
    (Feature::Countries, v1::Feature::Countries),
    (Feature::Headers, v1::Feature::Headers),
    (Feature::Redirects, v1::Feature::Redirects),
    (Feature::Maintenance, v1::Feature::Maintenance),
    (Feature::Pause, v1::Feature::Pause),
    (Feature::Drain, v1::Feature::Drain),
    (Feature::Figures, v1::Feature::Figures),
    (Feature::Timeouts, v1::Feature::Timeouts),
];

pub(crate) fn features_to(features: &[Feature]) -> Vec<i32> {
    let known = FEATURES.iter().filter(|(feature, _)| features.contains(feature));
    known.map(|(_, message)| (*message).into()).collect()
}

/// Those that this version knows: nobody here could ask for others.
pub(crate) fn features_from(messages: &[i32]) -> Vec<Feature> {
    let named = FEATURES.iter().filter(|(_, message)| messages.contains(&i32::from(*message)));
    named.map(|(feature, _)| *feature).collect()
}

pub(crate) fn figures_to(figures: &Figures) -> v1::Figures {
    let statuses = figures.statuses.iter().map(|(digit, count)| (u32::from(*digit), *count));
    let backends = figures.backends.iter().map(|backend| v1::BackendFigures {
        address: backend.address.to_string(),
        healthy: backend.healthy,
        active: backend.active,
        requests: backend.requests,
        failed: backend.failed,
        problem: backend.problem.clone(),
    });
    v1::Figures {
        route: figures.route.clone(),
        paused: figures.paused,
        requests: figures.requests,
        statuses: statuses.collect(),
        failed: figures.failed,
        active: figures.active,
        tunnels: figures.tunnels,
        waiting: figures.waiting,
        received: figures.received,
        sent: figures.sent,
        p50_us: figures.p50_us,
        p99_us: figures.p99_us,
        backends: backends.collect(),
    }
}

pub(crate) fn figures_from(message: v1::Figures) -> Fit<Figures> {
    let mut backends = Vec::with_capacity(message.backends.len().min(256));
    for backend in message.backends {
        backends.push(BackendFigures {
            address: backend_from(&backend.address)?,
            healthy: backend.healthy,
            active: backend.active,
            requests: backend.requests,
            failed: backend.failed,
            problem: backend.problem,
        });
    }
    let digit = |(digit, count)| Ok((number("statuses", Some(digit), 0)?, count));
    Ok(Figures {
        route: message.route,
        paused: message.paused,
        requests: message.requests,
        statuses: message.statuses.into_iter().map(digit).collect::<Fit<_>>()?,
        failed: message.failed,
        active: message.active,
        tunnels: message.tunnels,
        waiting: message.waiting,
        received: message.received,
        sent: message.sent,
        p50_us: message.p50_us,
        p99_us: message.p99_us,
        backends,
    })
}

#[cfg(test)]
mod tests;
