//! Owns finding out who answers a request: a route's back ends, its page, or the proxy itself.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Answer, Body};
use super::exchange::Client;
use super::forward::forward;
use super::request::{Length, Refused, Request};
use super::target::path_of;
use super::tunnel::Tunnel;
use super::watch::Timer;
use crate::proxy::arrival::Arrival;
use crate::proxy::log::Line;
use crate::proxy::served::{Refusal, Served};
use crate::proxy::turn::Turn;
use crate::route::{Limits, Maintenance, Mode, Redirect};

const TEXT: &str = "text/plain; charset=utf-8";
/// So long may a client take for a short answer.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Where proofs for certificate authorities are looked for (RFC 8555, section 8.3).
const PROOFS: &str = "/.well-known/acme-challenge/";

/// A connection, as all its requests see it.
pub(super) struct Visit {
    pub(super) arrival: Arrival,
    /// The client's address as back ends are told it.
    pub(super) client: String,
}

impl Visit {
    pub(super) fn new(arrival: Arrival) -> Self {
        let client = arrival.client.ip().to_canonical().to_string();
        Self { arrival, client }
    }
}

/// How a request ends for the connection.
pub(super) enum Ended {
    /// Another may follow.
    Keep,
    /// None may follow.
    Close,
    /// What the client has is not whole: nothing more can be said to it.
    Abort,
    /// The client is gone.
    Gone,
    /// The connection is no longer one of requests.
    Tunnel(Box<Tunnel>),
}

/// An answer of the proxy's own.
pub(super) struct Own<'a> {
    pub(super) status: u16,
    pub(super) media: &'a str,
    pub(super) text: &'a [u8],
    pub(super) fields: &'a [(&'a str, &'a str)],
}

impl<'a> Own<'a> {
    /// A line of text.
    pub(super) fn line(status: u16, text: &'a str) -> Self {
        Self { status, media: TEXT, text: text.as_bytes(), fields: &[] }
    }
}

/// Has a request answered, to its end. Its head took `octets`.
pub(super) async fn answer<C: Client>(
    client: &mut C,
    request: &mut Request,
    reply: &mut Answer,
    octets: usize,
    visit: &Visit,
    timer: &mut Timer,
) -> Ended {
    let arrival = &visit.arrival;
    let served = match find(request, arrival) {
        Found::Route(served) => served,
        Found::Proof(proof) => {
            let own =
                Own { status: 200, media: "application/octet-stream", text: proof.as_bytes(), fields: &[] };
            return give(client, request, reply, &own, timer).await;
        }
        Found::Elsewhere(to) => {
            let fields = [("location", to.as_str())];
            let own = Own { fields: &fields, ..Own::line(308, "") };
            return give(client, request, reply, &own, timer).await;
        }
        Found::Misdirected => {
            let own = Own::line(421, "this connection is for another host\n");
            return give(client, request, reply, &own, timer).await;
        }
        Found::Nothing => {
            return give(client, request, reply, &Own::line(404, "nothing is served here\n"), timer).await;
        }
    };
    let since = Instant::now();
    let came_from = arrival.client.ip();
    if let Some(own) = too_large(request, octets, &served.standing.route.limits) {
        request.keeps = false;
        let why = str::from_utf8(own.text).map(str::trim_ascii_end).ok();
        served.log_refused(came_from, Some(own.status), since, line::<C>(request, why));
        return give(client, request, reply, &own, timer).await;
    }
    let turn = match served.admit(came_from, || client.has_left()).await {
        Ok(turn) => turn,
        Err(refusal) => {
            let line = line::<C>(request, Some(refusal.why()));
            served.log_refused(came_from, refusal.status(), since, line);
            let Some(status) = refusal.status() else { return Ended::Gone };
            return give(client, request, reply, &own_for(refusal, status), timer).await;
        }
    };
    let route = &turn.served().standing.route;
    let ended = if let Some(page) = &route.maintenance {
        maintenance(client, request, reply, page, &turn, timer).await
    } else if let Some(redirect) = &route.redirect {
        send_elsewhere(client, request, reply, redirect, &turn, timer).await
    } else {
        return forward(client, request, reply, turn, visit, timer).await;
    };
    log::<C>(&turn, request, None);
    ended
}

enum Found {
    Route(std::sync::Arc<Served>),
    Proof(String),
    Elsewhere(String),
    Misdirected,
    Nothing,
}

fn find(request: &Request, arrival: &Arrival) -> Found {
    let proxy = &arrival.proxy;
    let path = path_of(&request.target);
    let is_http_port = proxy.settings().http == Some(arrival.port);
    if is_http_port
        && let Some(token) = path.strip_prefix(PROOFS)
        && let Some(proof) = proxy.proof(token)
    {
        return Found::Proof(proof);
    }
    let table = proxy.table();
    let host = table.host(arrival.port, Some(&request.name));
    let shown = host.and_then(|host| host.shown());
    if let (true, Some(host)) = (arrival.secure, host) {
        let asked = arrival.server_name.as_deref();
        // The client checked another certificate than this route shows (RFC 9110, section 15.5.20).
        let is_other = asked.is_some_and(|name| {
            let other = table.host(arrival.port, Some(name)).and_then(|host| host.shown());
            !name.eq_ignore_ascii_case(&request.name)
                && !matches!((other, shown), (Some(one), Some(two)) if std::sync::Arc::ptr_eq(one, two))
        });
        if is_other || host.shown().is_none() {
            return Found::Misdirected;
        }
    }
    let elsewhere = |port: u16| {
        let bracket = request.name.contains(':');
        let (open, close) = if bracket { ("[", "]") } else { ("", "") };
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        Found::Elsewhere(format!("https://{open}{}{close}{port}{}", request.name, request.target))
    };
    let is_sent = request.target != "*" && !arrival.secure;
    if is_sent && shown.is_some() {
        return elsewhere(arrival.port);
    }
    match table.find(arrival.port, Some(&request.name), &path) {
        Some(served) if served.standing.route.mode == Mode::L7 => Found::Route(served),
        _ if is_sent && is_http_port => table.secure_port(&request.name).map_or(Found::Nothing, elsewhere),
        _ => Found::Nothing,
    }
}

fn too_large(request: &Request, octets: usize, limits: &Limits) -> Option<Own<'static>> {
    if octets as u64 > limits.head.0 {
        return Some(Own::line(431, "the head is too large\n"));
    }
    match (request.length, limits.body) {
        (Length::Exact(octets), Some(most)) if octets > most.0 => {
            Some(Own::line(413, "the body is too large\n"))
        }
        _ => None,
    }
}

fn own_for(refusal: Refusal, status: u16) -> Own<'static> {
    let fields: &[_] = if refusal == Refusal::TooMany { &[("retry-after", "1")] } else { &[] };
    Own { fields, ..Own::line(status, refusal.why()) }
}

async fn maintenance<C: Client>(
    client: &mut C,
    request: &Request,
    reply: &mut Answer,
    page: &Maintenance,
    turn: &Turn,
    timer: &mut Timer,
) -> Ended {
    let again = page.retry_after.map(|span| span.0.as_secs().to_string());
    let fields = again.as_deref().map(|seconds| [("retry-after", seconds)]);
    let fields = fields.as_ref().map_or(&[][..], |fields| &fields[..]);
    let own = Own { status: 503, media: &page.media, text: page.text.as_bytes(), fields };
    turn.answered(503);
    give(client, request, reply, &own, timer).await
}

async fn send_elsewhere<C: Client>(
    client: &mut C,
    request: &Request,
    reply: &mut Answer,
    redirect: &Redirect,
    turn: &Turn,
    timer: &mut Timer,
) -> Ended {
    // One pass, so that a path with `{host}` in it stays what it is.
    let mut to = String::with_capacity(redirect.to.len() + request.target.len());
    let mut rest = redirect.to.as_str();
    while let Some(at) = rest.find('{') {
        to.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("{host}") {
            to.push_str(&request.name);
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("{path}") {
            to.push_str(&request.target);
            rest = behind;
        } else {
            to.push('{');
            rest = &rest[1..];
        }
    }
    to.push_str(rest);
    let fields = [("location", to.as_str())];
    let own = Own { fields: &fields, ..Own::line(redirect.status, "") };
    turn.answered(redirect.status);
    give(client, request, reply, &own, timer).await
}

/// Writes the line of a request into the log of requests.
pub(super) fn log<C: Client>(turn: &Turn, request: &Request, problem: Option<&str>) {
    turn.log(line::<C>(request, problem));
}

/// What the log of requests says of a request.
fn line<'a, C: Client>(request: &'a Request, problem: Option<&'a str>) -> Line<'a> {
    Line {
        method: Some(request.method.as_str()),
        host: Some(&request.name),
        path: Some(request.target.split_once('?').map_or(&*request.target, |(path, _)| path)),
        protocol: C::PROTOCOL,
        agent: request.fields.get("user-agent").and_then(|agent| str::from_utf8(agent).ok()),
        problem,
    }
}

/// Answers without a back end. What of the request has not come is not waited for.
pub(super) async fn give<C: Client>(
    client: &mut C,
    request: &Request,
    reply: &mut Answer,
    own: &Own<'_>,
    timer: &mut Timer,
) -> Ended {
    let has_body = !matches!(request.length, Length::None | Length::Exact(0));
    let keeps = request.keeps && !has_body;
    let is_to_head = request.method == http::Method::HEAD;
    write(client, reply, own, is_to_head, keeps, timer).await
}

/// Answers something that is not taken for a request.
pub(super) async fn refuse<C: Client>(
    client: &mut C,
    refused: Refused,
    reply: &mut Answer,
    timer: &mut Timer,
) -> Ended {
    let text = format!("{}\n", refused.why);
    write(client, reply, &Own::line(refused.status, &text), false, false, timer).await
}

async fn write<C: Client>(
    client: &mut C,
    reply: &mut Answer,
    own: &Own<'_>,
    is_to_head: bool,
    keeps: bool,
    timer: &mut Timer,
) -> Ended {
    reply.own(own.status, own.media, own.text, is_to_head);
    for (name, value) in own.fields {
        reply.fields.push(name.as_bytes(), value.as_bytes());
    }
    let has_body = reply.body != Body::Empty;
    let mut written = client.begin(reply, keeps);
    if has_body {
        written = written.and_then(|()| client.push(own.text));
    }
    let written = written.and_then(|()| client.end(None));
    let flushed =
        timer.by(Instant::now() + TAKEN_WITHIN, poll_fn(|context| client.poll_flush(context))).await;
    match (written, flushed) {
        (Ok(()), Some(Ok(()))) if keeps => Ended::Keep,
        (Ok(()), Some(Ok(()))) => Ended::Close,
        _ => Ended::Abort,
    }
}
