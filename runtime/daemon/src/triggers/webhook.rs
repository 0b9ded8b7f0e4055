//! Owns webhooks: calls over HTTP that start playbooks. A call counts when it is signed with the secret that its trigger
//! names, for the first time; it is answered once it is recorded. Sockets, time limits and sizes are left to `listen`.

pub(super) mod deliveries;
mod format;
mod reply;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use effect::{Code, Error, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response};
use journal::Clock;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{oneshot, watch};
use zeroize::Zeroizing;

use self::format::{Proven, Refusal};
use self::reply::{Reply, refused};
use super::engine::{Call, Inbox, Told, Verdict};
use super::identity;
use crate::listen::{Handler, Limits};
use crate::playbooks::{OnWebhook, Table, Trigger};

/// Bytes of a body.
pub const LARGEST_BODY: usize = 1 << 20;
/// Headers that a playbook is told, and bytes of one.
const MOST_HEADERS: usize = 32;
const LONGEST_HEADER: usize = 512;

/// `webhooks`: where calls are answered; nowhere without it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address: `0.0.0.0:8444`.
    pub listen: SocketAddr,
    /// The name for which the embedded authority signs its certificate; without it, calls are plain HTTP, which is for
    /// addresses of this machine and for those behind a proxy.
    #[serde(default)]
    pub host: Option<String>,
    /// How callers reach it, where that is not told by `host` and `listen`: `https://hooks.example.net`.
    #[serde(default)]
    pub url: Option<String>,
    /// Connections at once.
    #[serde(default = "connections")]
    pub connections: usize,
}

fn connections() -> usize {
    128
}

impl Settings {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(Code::Config, format!("[webhooks]: {why}")));
        if let Some(host) = &self.host
            && certs::Names::parse(std::slice::from_ref(host)).is_err()
        {
            return wrong("`host` is no host name");
        }
        let is_address = |url: &String| {
            url.parse::<http::Uri>().is_ok_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
            })
        };
        if !self.url.as_ref().is_none_or(is_address) {
            return wrong("`url` begins with `https://` or `http://` and a host");
        }
        if !(1..=10_000).contains(&self.connections) {
            return wrong("`connections` is 1 to 10000");
        }
        Ok(())
    }

    /// What a peer may take.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { connections: self.connections, body_bytes: LARGEST_BODY, ..Limits::default() }
    }

    /// The address of a webhook as callers know it.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        let base = match (&self.url, &self.host) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(host)) => format!("https://{host}:{}", self.listen.port()),
            (None, None) => format!("http://{}", self.listen),
        };
        format!("{base}/hooks/{path}")
    }
}

/// What knows the secrets that callers sign with.
#[async_trait]
pub trait Keys: Send + Sync + fmt::Debug {
    /// The value of a secret for the webhook at `path`.
    ///
    /// # Errors
    /// `MC-L013` where there is none, or where it may not go there.
    async fn key(&self, secret: &str, path: &str) -> Result<Zeroizing<Vec<u8>>>;
}

/// What answers calls.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    table: watch::Receiver<Arc<Table>>,
    inbox: Inbox,
    keys: Arc<dyn Keys>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Webhooks")
    }
}

/// Two triggers at one address: the second one hears of nothing. Whoever loads playbooks warns of them.
///
/// # Errors
/// `MC-L014`, each with the path and both playbooks.
#[must_use]
pub fn doubled(table: &Table) -> Vec<Error> {
    let mut first: std::collections::BTreeMap<&str, &str> = std::collections::BTreeMap::new();
    let mut doubled = Vec::new();
    for (name, on) in triggers(table) {
        match first.get(on.path.as_str()) {
            None => drop(first.insert(&on.path, name)),
            Some(other) => doubled.push(Error::new(
                Code::WebhookTwice,
                format!("`{other}` and `{name}` both answer `/hooks/{}`; calls start `{other}`", on.path),
            )),
        }
    }
    doubled
}

fn triggers(table: &Table) -> impl Iterator<Item = (&str, &OnWebhook)> {
    table.playbooks.values().flat_map(|playbook| {
        playbook.definition.on.iter().filter_map(|trigger| match trigger {
            Trigger::Webhook(on) => Some((playbook.definition.name.as_str(), on)),
            _ => None,
        })
    })
}

impl Webhooks {
    /// Answers calls for what is loaded.
    #[must_use]
    pub fn new(
        table: watch::Receiver<Arc<Table>>,
        inbox: Inbox,
        keys: Arc<dyn Keys>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner { table, inbox, keys, clock }))
    }

    async fn answer(&self, request: Request<Bytes>) -> Reply {
        let unknown = || refused(404, "there is no webhook at this address");
        let Some(path) = request.uri().path().strip_prefix("/hooks/") else { return Err(unknown()) };
        let found = {
            let table = self.0.table.borrow();
            let mut all = triggers(&table);
            all.find(|(_, on)| on.path == path).map(|(playbook, on)| (playbook.to_owned(), on.clone()))
        };
        let Some((playbook, on)) = found else { return Err(unknown()) };
        if request.method() != Method::POST {
            return Err(refused(405, "a webhook is called by POST").with("allow", "POST"));
        }
        let key = self.0.keys.key(&on.secret, path).await.map_err(|error| {
            tracing::warn!(playbook, path, %error, "a webhook cannot check who calls");
            refused(503, "the webhook cannot check who calls; the daemon's log tells why")
                .of(Code::WebhookSecret)
        })?;
        let now = self.0.clock.now();
        let proven = format::check(&on, &key, request.headers(), request.body(), now).map_err(|refusal| {
            tracing::info!(playbook, path, ?refusal, "a call of a webhook was refused");
            match refusal {
                Refusal::Unproven => refused(401, "the call is not signed with the webhook's secret"),
                Refusal::Stale => {
                    refused(401, "the signature is not of now; compare the clocks of both sides")
                }
                Refusal::Incomplete(what) => refused(400, what),
            }
        })?;
        let body = body_of(&on, request.headers(), request.body())?;
        let is_wanted = |event: &String| on.events.is_empty() || on.events.contains(event);
        if !proven.event.as_ref().is_none_or(is_wanted) {
            return self.ignore(&playbook, on, proven).await;
        }
        self.tell(&playbook, on, proven, request.headers(), body).await
    }

    /// Has it recorded that a call was made which starts nothing. What it tells of is not signed: it could come again as
    /// something else.
    async fn ignore(&self, playbook: &str, on: OnWebhook, proven: Proven) -> Reply {
        let Proven { event: told, mut marks, .. } = proven;
        marks.retain(|mark| mark.is_signed);
        // Where nothing is signed, whoever has seen the call can make any other one.
        let verdict = match marks.first().map(|mark| mark.hash.clone()) {
            None => Verdict::Ignored,
            Some(moment) => {
                let trigger = identity::name(playbook, &Trigger::Webhook(on));
                let (at, event, beside) = (self.0.clock.now(), Value::Null, Vec::new());
                let told = Told { trigger, moment, at, event, beside, marks, is_ignored: true };
                self.ask(playbook, told).await?
            }
        };
        reply::of(verdict, told.as_deref())
    }

    /// Has it start its playbook.
    async fn tell(
        &self,
        playbook: &str,
        on: OnWebhook,
        proven: Proven,
        headers: &HeaderMap,
        body: Value,
    ) -> Reply {
        let at = self.0.clock.now();
        let event = json!({
            "kind": "webhook",
            "path": on.path,
            "format": identity::forge(on.format),
            "event": proven.event,
            "delivery": proven.delivery,
            "at": at.to_string(),
            "headers": told_headers(headers),
            "body": body,
        });
        let trigger = identity::name(playbook, &Trigger::Webhook(on));
        let marks = proven.marks;
        let moment = marks.first().map(|mark| mark.hash.clone()).unwrap_or_default();
        let told = Told { trigger, moment, at, event, beside: Vec::new(), marks, is_ignored: false };
        reply::of(self.ask(playbook, told).await?, proven.event.as_deref())
    }

    /// What becomes of a call.
    async fn ask(&self, playbook: &str, told: Told) -> Result<Verdict, reply::Refused> {
        let (answer, answered) = oneshot::channel();
        let busy = || refused(503, "too much happens at once").with("retry-after", "1");
        if !self.0.inbox.try_tell(Call { told, answer }) {
            return Err(busy());
        }
        match answered.await {
            Ok(Ok(verdict)) => Ok(verdict),
            Ok(Err(error)) => {
                tracing::warn!(playbook, %error, "a call of a webhook could not be recorded");
                Err(refused(503, "the call could not be recorded; the daemon's log tells why")
                    .with("retry-after", "10"))
            }
            // The daemon ends: whether it is recorded is known when it comes again.
            Err(_) => Err(busy()),
        }
    }
}

impl Handler for Webhooks {
    async fn handle(&self, request: Request<Bytes>, _: SocketAddr) -> Response<Bytes> {
        match self.answer(request).await {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        }
    }
}

/// What a body says: JSON as such, ours as text also.
fn body_of(on: &OnWebhook, headers: &HeaderMap, body: &Bytes) -> Result<Value, reply::Refused> {
    let declared = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let declared =
        declared.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let is_json = |kind: &str| kind == "application/json" || kind.ends_with("+json");
    let is_ours = on.format == crate::playbooks::Forge::Generic;
    match declared.as_deref() {
        Some(kind) if is_json(kind) => {
            serde_json::from_slice(body).map_err(|_| refused(400, "the body is not JSON"))
        }
        None | Some("text/plain" | "application/x-www-form-urlencoded") if is_ours => {
            let text = std::str::from_utf8(body).map_err(|_| refused(400, "the body is not UTF-8"))?;
            Ok(text.into())
        }
        _ => Err(refused(415, "the body must be `application/json`")),
    }
}

/// What a playbook may want to know beyond the body. Nothing that proves anything.
fn told_headers(headers: &HeaderMap) -> Value {
    let is_told = |name: &str| {
        let is_of_forge = ["x-github-", "x-gitea-", "x-forgejo-", "x-gitlab-"]
            .iter()
            .any(|beginning| name.starts_with(beginning));
        let proves = name.contains("token") || name.contains("signature");
        (is_of_forge && !proves) || matches!(name, "content-type" | "user-agent")
    };
    let mut told = Map::new();
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        if is_told(name.as_str()) && value.len() <= LONGEST_HEADER && told.len() < MOST_HEADERS {
            told.insert(name.as_str().to_owned(), value.into());
        }
    }
    told.into()
}
