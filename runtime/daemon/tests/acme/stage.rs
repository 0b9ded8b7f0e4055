//! Owns a server of a test with everything about it: journal, authority, name server, and a listener where it is wanted.

use std::net::{SocketAddr, TcpListener as Bound};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use certs::acme::server::prover::{Cause, Failure, Proof};
use certs::acme::server::{Network, Prover, Server, Settings, eab};
use daemon::listen::{Handler, Limits, serve};
use effect::Sealer;
use effect::units::Span;
use http::{Request, Response};
use journal::{Clock, Journal, SystemClock, Timestamp};
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::authority::Authority;
use crate::zone::Zone;

/// The address of a server that nobody listens for.
pub(crate) const URL: &str = "https://ca.mcrun.test/acme";

pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) authority: Arc<Authority>,
    pub(crate) journal: Journal,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) clock: Arc<Skewed>,
    pub(crate) server: Server,
    pub(crate) settings: Settings,
    pub(crate) zone: Zone,
    /// It ends with the stage.
    _shutdown: watch::Sender<bool>,
}

/// The clock of the machine, which a test sets forward.
#[derive(Default)]
pub(crate) struct Skewed(std::sync::atomic::AtomicI64);

impl Skewed {
    pub(crate) fn forward(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap();
        self.0.fetch_add(millis, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[derive(Clone)]
pub(crate) struct Served(pub(crate) Server);

impl Handler for Served {
    async fn handle(&self, request: Request<Bytes>, peer: SocketAddr) -> Response<Bytes> {
        self.0.handle(request, peer).await
    }
}

/// What lets names that begin with `liar-held` be looked at.
pub(crate) static HELD: Semaphore = Semaphore::const_new(0);

/// Believes everybody but names that begin with `liar`.
struct Believer;

#[async_trait]
impl Prover for Believer {
    async fn prove(&self, proof: &Proof) -> Result<(), Failure> {
        if proof.name.to_string().starts_with("liar-held") {
            HELD.acquire().await.unwrap().forget();
        }
        match proof.name.to_string().starts_with("liar") {
            true => Err(Failure::new(Cause::Wrong, format!("`{}` is not proven", proof.name))),
            false => Ok(()),
        }
    }
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    Bound::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn settings() -> Settings {
    let mut settings = Settings { url: URL.into(), eab: false, ..Settings::default() };
    settings.limits.pause = Span(Duration::from_millis(20));
    settings
}

impl Stage {
    /// A server that is called directly and believes what clients say.
    pub(crate) async fn quick() -> Self {
        Self::quick_with(|_| ()).await
    }

    pub(crate) async fn quick_with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        Self::build(settings, Some(Arc::new(Believer)), None).await
    }

    /// A server that listens, and looks at names over the network.
    pub(crate) async fn listening(change: impl FnOnce(&mut Settings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut settings = settings();
        settings.url = format!("https://localhost:{port}/acme");
        (settings.http_port, settings.tls_port) = (free_port(), free_port());
        change(&mut settings);
        Self::build(settings, None, Some(listener)).await
    }

    async fn build(
        mut settings: Settings,
        prover: Option<Arc<dyn Prover>>,
        listener: Option<TcpListener>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("zone");
        std::fs::create_dir(&records).unwrap();
        let zone = Zone::start(&records).await;
        settings.resolvers = vec![zone.address];
        let clock = Arc::new(Skewed::default());
        let journal = Journal::open(&folder.path().join("state"), clock.clone()).unwrap();
        let sealer = Arc::new(Sealer::ephemeral());
        let authority = Arc::new(Authority::new());
        let prover = prover.unwrap_or_else(|| Arc::new(Network::new(&settings)));
        let server =
            Server::new(settings.clone(), "here", journal.clone(), sealer.clone(), authority.clone(), prover)
                .unwrap();
        let (shutdown, ending) = watch::channel(false);
        std::fs::write(
            folder.path().join("root.pem"),
            certs::certificate::to_pem(std::slice::from_ref(&authority.root)),
        )
        .unwrap();
        if let Some(listener) = listener {
            let (chain, key) = authority.server("localhost");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder =
                ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let tls = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
            tokio::spawn(serve(listener, Some(tls), Served(server.clone()), Limits::default(), ending));
        }
        Self { folder, authority, journal, sealer, clock, server, settings, zone, _shutdown: shutdown }
    }

    /// The same server once more, as after a restart.
    pub(crate) fn restarted(&self) -> Server {
        let (journal, sealer) = (self.journal.clone(), self.sealer.clone());
        Server::new(
            self.settings.clone(),
            "here",
            journal,
            sealer,
            self.authority.clone(),
            Arc::new(Believer),
        )
        .unwrap()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A key for a service to register with: its id and what both share.
    pub(crate) async fn eab(&self, service: &str) -> (String, String) {
        let made = eab::add(&self.journal, &self.sealer, "here", service).await.unwrap();
        (made.id, made.key.to_string())
    }

    /// An executable script for clients that publish TXT records by one. `$NAME` and `$TEXT` are set by `lines`.
    pub(crate) fn hook(&self, lines: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join("hook.sh");
        let zone = self.zone.folder.display();
        std::fs::write(&path, format!("#!/bin/sh\nset -eu\n{lines}\necho \"$TEXT\" >> \"{zone}/$NAME\"\n"))
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// Runs a client to its end, beside the server; it must end well.
pub(crate) async fn run(command: Command) -> String {
    let output = try_to_run(command).await;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{text}", output.status);
    text
}

pub(crate) async fn try_to_run(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A program of the machine that a test cannot do without.
#[expect(clippy::disallowed_methods, reason = "the tests start the clients that they are about")]
pub(crate) fn program(name: &str) -> Command {
    Command::new(name)
}
