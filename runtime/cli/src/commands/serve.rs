//! Owns `serve`: the process that stays. It looks after the edge, publishes what the embedded authority has, answers ACME clients, and renews
//! certificates when their time has come, each by a run of its own.

mod api;
pub(super) mod copies;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use certs::effects::Means;
use certs::{Certificate, acme};
use daemon::edge::supervise::Start;
use daemon::listen::{self, Handler};
use daemon::publish::Publisher;
use daemon::renewals::{self, Renewer};
use effect::policy::Grants;
use effect::{Code, Error, Result, Timestamp};
use journal::RunState;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::copies::Copies;
use super::evaluate;
use crate::app::App;
use crate::execute;
use crate::exit::Exit;
use crate::render::{self, Silent};
use crate::wiring;

pub(super) async fn serve(app: &App) -> Result<Exit> {
    let _lock = app.journal.lock_daemon()?;
    let (stop, shutdown) = watch::channel(false);
    let mut listeners = JoinSet::new();
    if let Some(address) = app.config.certs.listen {
        let publisher = Publisher::new(Arc::new(wiring::authority(app)));
        let bound =
            spawn(&mut listeners, (address, listen::Limits::default()), None, publisher, &shutdown).await?;
        render::note(format_args!("lists of revoked certificates and roots: http://{bound}/ca/roots.pem"));
    }
    if let Some(settings) = &app.config.certs.acme_server {
        serve_acme(app, settings, &mut listeners, &shutdown).await?;
    }
    let certificates = wiring::certificates(&app.config, Path::new("/"), &app.state)?;
    let renewer = Runs { app, certificates };
    if super::edge::is_wanted(&app.config) {
        serve_edge(app, &mut listeners, &shutdown).await?;
    }
    if let Some(settings) = &app.config.dns.rest {
        serve_calls(app, settings, &mut listeners, &shutdown).await?;
    }
    let wished = api::serve(app, &mut listeners, &shutdown).await?;
    let mut ends = Ends::open()?;
    render::note("ready; certificates are renewed when their time has come");
    let renewing = renewals::keep_renewing(&app.journal, &app.node, &renewer, shutdown);
    tokio::pin!(renewing);
    tokio::select! {
        () = &mut renewing => {}
        () = api::obtain(app, wished) => {}
        () = ends.one() => {}
    }
    render::note("stopping");
    stop.send_replace(true);
    renewing.await;
    while listeners.join_next().await.is_some() {}
    Ok(Exit::Done)
}

/// Has an edge answer, and looks after it. It goes on when this process ends.
async fn serve_edge(app: &App, listeners: &mut JoinSet<()>, shutdown: &watch::Receiver<bool>) -> Result<()> {
    let absolute =
        |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let mut arguments = vec!["edge".to_owned(), "-v".into(), "--state".into(), absolute(&app.state)];
    if let Some(file) = &app.config.file {
        arguments.extend(["--config".into(), absolute(file)]);
    }
    let start = Start {
        program: "/proc/self/exe".into(),
        arguments,
        state: app.state.clone(),
        settings: super::edge::settings(&app.config),
    };
    let there = start.ensure().await?;
    let note = |what: &str, places: Vec<String>| {
        let (places, process) = (places.join(", "), there.process);
        render::note(format_args!("{what}: {places} (process {process}, which goes on without this one)"));
    };
    if !app.config.dns.listen.is_empty() {
        note("names", there.listen.iter().map(ToString::to_string).collect());
    }
    if !app.config.routes.addresses.is_empty() {
        note("routes", app.config.routes.addresses.iter().map(ToString::to_string).collect());
    }
    let over = shutdown.clone();
    listeners.spawn(async move { start.supervise(over).await });
    Ok(())
}

/// Answers the calls of mcns over the driver of names.
async fn serve_calls(
    app: &App,
    settings: &dns::settings::RestServer,
    listeners: &mut JoinSet<()>,
    shutdown: &watch::Receiver<bool>,
) -> Result<()> {
    // No script lies in this folder, so nothing is kept from secrets.
    let secrets = dns::Secrets::new(wiring::secrets(app, Path::new("/dev/null"))?, "dns:tokens");
    let tokens = dns::rest::Tokens::read(&settings.tokens, &secrets).await?;
    let server = Arc::new(dns::rest::server::Server::new(super::names::driver(app)?, tokens));
    let names = certs::Names::parse(std::slice::from_ref(&settings.host))
        .map_err(|error| Error::new(Code::Config, format!("[dns.rest] host: {}", error.message)))?;
    let identity = Arc::new(daemon::identity::Identity::new(wiring::authority(app), names));
    identity.refresh().await?;
    let limits = listen::Limits { body_bytes: dns::rest::server::LARGEST_BODY, ..listen::Limits::default() };
    let tls = Some(Arc::new(identity.config()));
    let bound = spawn(listeners, (settings.listen, limits), tls, Calls(server), shutdown).await?;
    render::note(format_args!(
        "calls of mcns: https://{}:{}/v1/zones (on {bound})",
        settings.host,
        bound.port()
    ));
    listeners.spawn(keep_identity(identity, shutdown.clone()));
    Ok(())
}

/// Renews the certificate that a listener shows.
async fn keep_identity(identity: Arc<daemon::identity::Identity>, mut over: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(daemon::identity::BETWEEN_LOOKS) => {}
            _ = over.wait_for(|is_over| *is_over) => return,
        }
        if let Err(error) = identity.refresh().await {
            tracing::warn!(%error, "the certificate of a listener cannot be renewed");
        }
    }
}

/// The calls of mcns behind their socket.
#[derive(Clone)]
struct Calls(Arc<dns::rest::server::Server>);

impl Handler for Calls {
    async fn handle(
        &self,
        request: http::Request<bytes::Bytes>,
        peer: SocketAddr,
    ) -> http::Response<bytes::Bytes> {
        self.0.handle(request, peer).await
    }
}

async fn serve_acme(
    app: &App,
    settings: &acme::server::Settings,
    listeners: &mut JoinSet<()>,
    shutdown: &watch::Receiver<bool>,
) -> Result<()> {
    let server = wiring::acme_server(app, settings)?;
    let identity = Arc::new(daemon::identity::Identity::new(wiring::authority(app), settings.host()?));
    identity.refresh().await?;
    let config = Arc::new(identity.config());
    let place = (settings.listen, listen::Limits::default());
    let bound = spawn(listeners, place, Some(config), Acme(server.clone()), shutdown).await?;
    render::note(format_args!("ACME: {} (on {bound})", server.directory()));
    listeners.spawn(keep_identity(identity, shutdown.clone()));
    let mut over = shutdown.clone();
    listeners.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(daemon::identity::BETWEEN_LOOKS) => {}
                _ = over.wait_for(|is_over| *is_over) => return,
            }
            if let Err(error) = server.prune().await {
                tracing::warn!(%error, "old ACME orders cannot be taken out");
            }
        }
    });
    Ok(())
}

async fn spawn<H: Handler>(
    listeners: &mut JoinSet<()>,
    (address, limits): (SocketAddr, listen::Limits),
    tls: Option<Arc<ServerConfig>>,
    handler: H,
    shutdown: &watch::Receiver<bool>,
) -> Result<SocketAddr> {
    let failed = |error: std::io::Error| {
        let occupied = error.kind() == std::io::ErrorKind::AddrInUse;
        let code = if occupied { Code::PortOccupied } else { Code::Config };
        Error::new(code, format!("`{address}` cannot be listened on")).because(error)
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    listeners.spawn(listen::serve(listener, tls, handler, limits, shutdown.clone()));
    Ok(bound)
}

/// The ACME server behind its socket.
#[derive(Clone)]
struct Acme(acme::server::Server);

impl Handler for Acme {
    async fn handle(
        &self,
        request: http::Request<bytes::Bytes>,
        peer: SocketAddr,
    ) -> http::Response<bytes::Bytes> {
        self.0.handle(request, peer).await
    }
}

/// Renews by runs, so that each is journaled, shown and resumable like any other.
struct Runs<'a> {
    app: &'a App,
    certificates: Arc<certs::effects::World>,
}

#[async_trait(?Send)]
impl Renewer for Runs<'_> {
    async fn window(&self, certificate: &Certificate) -> Result<Option<(Timestamp, Timestamp)>> {
        let app = self.app;
        // No script lies in this folder, so nothing is kept from secrets.
        let secrets = wiring::secrets(app, Path::new("/dev/null"))?;
        let means = || Means {
            journal: app.journal.clone(),
            node: app.node.clone(),
            sealer: app.sealer.clone(),
            secrets,
            clock: app.clock.clone(),
        };
        self.certificates.renewal_window(means, certificate).await
    }

    async fn renew(&self, id: &str) -> Result<()> {
        let app = self.app;
        let copies = Copies::of(app, id).await;
        let name = format!("renew {id}");
        // The files that it is written to were granted to the run that placed it there.
        let grants = Grants { allow: vec!["certs".into()], deny: Vec::new() };
        let job =
            evaluate::shipped_job(app, &name, "certs.renew { id = args[1] }\n", vec![id.to_owned()], grants)?;
        let run = job.id;
        let lock = app.journal.lock_run(&run)?;
        let begun = execute::begin(app, execute::new_run(app, &job, Path::new(&name)));
        let watch = Arc::new(Silent { logs: false, sources: Mutex::default() });
        let finished = execute::run(app, job, watch, lock, begun).await?;
        render::note(format_args!("{name}: {}, run {run}", finished.state));
        match (finished.state, finished.trouble) {
            (RunState::Done, _) => {
                if let Some(copies) = copies {
                    copies.refresh().await;
                }
                Ok(())
            }
            (_, Some(trouble)) => Err(trouble.error),
            (state, None) => Err(Error::new(Code::Failed, format!("the run {run} is {state}"))),
        }
    }
}

/// What ends the process.
struct Ends {
    interrupted: tokio::signal::unix::Signal,
    terminated: tokio::signal::unix::Signal,
}

impl Ends {
    fn open() -> Result<Self> {
        let failed = |error| Error::new(Code::Internal, "signals cannot be waited for").because(error);
        Ok(Self {
            interrupted: signal(SignalKind::interrupt()).map_err(failed)?,
            terminated: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn one(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}
