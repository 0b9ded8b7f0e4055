//! Owns the calls by which others drive this machine's proxy: their sockets, and the certificates that are got for them,
//! each by a run of its own.

use std::sync::Arc;

use async_trait::async_trait;
use certs::Name;
use daemon::identity::{self, Identity};
use daemon::routes::{Door, Gate, Issuers, open_socket, serve_socket, serve_tls, tell_followers};
use effect::policy::Grants;
use effect::{Code, Error, Result};
use journal::{Clock, Journal};
use routes::remote::{Issuer, Rules, Server};
use routes::settings::Api;
use routes::{Choice, Hostname, Route};
use tokio::sync::{mpsc, oneshot, watch};

use super::listeners::{Listeners, is_over_after};
use super::own::Own;
use crate::app::App;
use crate::execute::desk::Desk;
use crate::{render, wiring};

/// Certificates that are waited for at once.
const MOST_WISHES: usize = 64;

/// A certificate that a route waits for.
pub(super) struct Wish {
    hostname: Hostname,
    service: Option<String>,
    is_public: bool,
    told: oneshot::Sender<Result<()>>,
}

/// Answers calls, where mcrun.toml has them answered. What they need certificates for comes out of the other end.
pub(super) async fn serve(app: &App, listeners: &mut Listeners) -> Result<mpsc::Receiver<Wish>> {
    let (wishes, wished) = mpsc::channel(MOST_WISHES);
    let settings = &app.config.routes.api;
    if !settings.is_on() {
        return Ok(wished);
    }
    let issuer = Arc::new(Wishing {
        journal: app.journal.clone(),
        node: app.node.clone(),
        clock: app.clock.clone(),
        wishes,
    });
    let driver = crate::commands::routes::driver(app)?;
    let server = Server::new(driver, Rules::new(settings), &app.node, Some(issuer));
    let gate = Gate::new(super::api::access(app), app.journal.clone());
    // Another proxy keeps its routes elsewhere, and is looked at now and then.
    if app.config.drivers.routes == Choice::Embedded {
        let (server, state, node, over) =
            (server.clone(), app.state.clone(), app.node.clone(), listeners.shutdown());
        listeners.tasks.spawn(async move {
            if let Err(error) = tell_followers(server, &state, &node, over).await {
                tracing::warn!(%error, "those who follow routes see changes by others a second late");
            }
        });
    }
    if let Some(path) = &settings.socket {
        let listener = match listeners.handed.unix("routes")? {
            Some(listener) => listener,
            None => open_socket(path, settings.group.as_deref()).await?,
        };
        let shutdown = listeners.shutdown();
        listeners.tasks.spawn(serve_socket(listener, (server.clone(), gate.clone()), shutdown));
        render::note(format_args!("calls on routes: {}", path.display()));
    }
    if let (Some(host), Some((listener, bound))) =
        (&settings.host, listeners.bind("routes-tls", settings.listen)?)
    {
        let door = Arc::new(open_door(app, settings, host).await?);
        let shutdown = listeners.shutdown();
        listeners.tasks.spawn(serve_tls(listener, door.clone(), (server, gate), shutdown.clone()));
        listeners.tasks.spawn(keep_door(door, shutdown));
        render::note(format_args!("calls on routes: {bound}, as {host}, by mutual TLS"));
    }
    Ok(wished)
}

async fn open_door(app: &App, settings: &Api, host: &str) -> Result<Door> {
    let names = certs::Names::parse(&[host.to_owned()])
        .map_err(|error| Error::new(Code::Config, format!("[routes.api] host: {}", error.message)))?;
    let issuers = match &settings.client_ca {
        Some(path) => Issuers::File(path.clone()),
        None => Issuers::Authority(wiring::authority(app)),
    };
    Door::open(Identity::new(wiring::authority(app), names), issuers).await
}

async fn keep_door(door: Arc<Door>, mut over: watch::Receiver<bool>) {
    while !is_over_after(identity::BETWEEN_LOOKS, &mut over).await {
        if let Err(error) = door.refresh().await {
            tracing::warn!(%error, "the certificates of calls on routes cannot be renewed");
        }
    }
}

/// Has certificates got where they are wished for; never ends.
pub(super) async fn obtain(app: &App, desk: &Desk, mut wished: mpsc::Receiver<Wish>) {
    while let Some(wish) = wished.recv().await {
        let got = run(app, desk, &wish).await;
        // Whoever has stopped waiting finds it the next time.
        let _ = wish.told.send(got);
    }
    std::future::pending().await
}

async fn run(app: &App, desk: &Desk, wish: &Wish) -> Result<()> {
    let hostname = &wish.hostname;
    let mut allow = vec!["certs".to_owned()];
    if hostname.wildcard_suffix().is_some() {
        allow.push("certs:wildcards".into());
    }
    let service = wish.service.clone().unwrap_or_default();
    // What is within and what is for everybody are issued under rules of their own.
    let profile = if wish.is_public { "public" } else { "server" };
    let own = Own {
        name: &format!("certificate {hostname}"),
        source: "local service = if args[3] ~= \"\" then args[3] else nil\n\
                 certs.ensure { hostnames = { args[1] }, name = args[2], service = service, profile = args[4] }\n",
        args: vec![hostname.to_string(), id(hostname), service, profile.into()],
        grants: Grants { allow, ..Grants::default() },
    };
    own.execute(app, desk).await
}

/// No other name comes to the same, as no host name begins with a `-` after its first label.
fn id(hostname: &Hostname) -> String {
    match hostname.wildcard_suffix() {
        Some(suffix) => format!("auto-any{suffix}"),
        None => format!("auto.{hostname}"),
    }
}

/// Has the process itself, which holds what runs need, get certificates.
struct Wishing {
    journal: Journal,
    node: String,
    clock: Arc<dyn Clock>,
    wishes: mpsc::Sender<Wish>,
}

#[async_trait]
impl Issuer for Wishing {
    fn id(&self, hostname: &Hostname) -> String {
        id(hostname)
    }

    async fn names(&self, id: &str) -> Result<Option<Vec<String>>> {
        let found = certs::store::certificate(&self.journal, &self.node, id).await?;
        // One that nobody accepts any more is as good as none.
        let found = found.filter(|found| !found.revoked && !found.left(self.clock.now()).is_zero());
        Ok(found.map(|found| found.hostnames.as_slice().iter().map(Name::to_string).collect()))
    }

    async fn obtain(&self, route: &Route) -> Result<()> {
        let (told, got) = oneshot::channel();
        let (hostname, service) = (route.hostname.clone(), route.service.clone());
        let wish = Wish { hostname, service, is_public: route.public, told };
        let busy = |why: &str| {
            let message = format!("no certificate can be got for `{}` now", route.hostname);
            Error::new(Code::ProxyUnavailable, message).because(why).retryable()
        };
        self.wishes.try_send(wish).map_err(|_| busy("too many are waited for"))?;
        got.await.map_err(|_| busy("mcrun is stopping"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_and_a_name_never_share_a_certificate() {
        let id = |host: &str| id(&host.parse().unwrap());
        assert_eq!(id("mcq.example.net"), "auto.mcq.example.net");
        assert_eq!(id("*.example.net"), "auto-any.example.net");
        assert_ne!(id("any.example.net"), id("*.example.net"));
    }
}
