//! Owns `edge`, the hidden command that answers questions for names and serves routes. It takes nothing but its configuration and the state
//! directory, and goes on without either once it answers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use daemon::edge::coming::Coming;
use daemon::edge::{self, Parts, traffic};
use dns::embedded::{Embedded, Store};
use dns::forward::Forwarder;
use dns::server::notify::Notifier;
use dns::server::signed::Keys;
use dns::server::{Beyond, Service};
use effect::{Code, Error, Result, Sealer};
use journal::{Clock, Journal, SystemClock};
use system::SecretStore;
use system::secrets::sealed::Vault;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::state_folder;
use crate::arguments::Global;
use crate::config::Config;
use crate::exit::Exit;
use crate::render;

/// What tells one configuration from another.
pub(super) fn settings(config: &Config) -> String {
    let all = format!("{:?} {:?} {:?}", config.node_name(), config.dns, config.routes);
    blake3::hash(all.as_bytes()).to_hex()[..16].to_owned()
}

/// Whether there is anything for an edge to do.
pub(super) fn is_wanted(config: &Config) -> bool {
    !config.dns.listen.is_empty() || !config.routes.addresses.is_empty()
}

pub(super) async fn edge(global: &Global) -> Result<Exit> {
    let config = Config::load(global.config.as_deref())?;
    let state = state_folder(global)?;
    if !is_wanted(&config) {
        return Err(Error::new(Code::Config, "there is nowhere to answer").hint(
            "name addresses in mcrun.toml: `listen = [\"192.168.88.181\"]` under [dns], or `addresses` under [routes]",
        ));
    }
    // Before anything that takes time: the daemon may be starting too.
    let coming = Coming::announce(&state)
        .inspect_err(|error| tracing::warn!(%error, "nobody is told that an edge is coming up"))
        .ok();
    raise_descriptors();
    // Makes the tables where they are not there. An edge that cannot open them answers from what it kept.
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let journal = Journal::open(&state, clock.clone());
    if let Err(error) = &journal {
        tracing::error!(%error, "the database cannot be opened");
    }
    let vault = journal.as_ref().ok().zip(sealer(&state)).map(|(journal, sealer)| {
        Vault::new(journal.clone(), &config.node_name(), sealer, config.secrets_store.clone())
    });
    let store =
        journal.ok().map(|journal| Embedded::new(Store::new(journal, &config.node_name()), Vec::new()));
    // No script lies in this folder, so nothing is kept from secrets.
    let mut secrets = SecretStore::new(&config.secrets, Path::new("/dev/null"))?;
    if let Some(vault) = vault {
        secrets = secrets.with_sealed(Arc::new(vault), None, &effect::Principal::Daemon.to_string());
    }
    let keys = Arc::new(Keys::load(&config.dns.keys, &secrets).await?);
    let notifier = Arc::new(Notifier::new(&config.dns.zones, &keys, clock.clone())?);
    let forward = &config.dns.forward;
    let forwarder = if forward.enabled() { Some(Forwarder::new(forward)?) } else { None };
    let routes = (!config.routes.addresses.is_empty()).then(|| traffic::Parts {
        settings: config.routes.clone(),
        sealer: sealer(&state),
        clock: clock.clone(),
    });
    let beyond = Beyond::new(keys, &config.dns.zones, store, clock, forwarder.is_some())?;
    let parts = Parts {
        state,
        node: config.node_name(),
        listen: config.dns.listen.iter().map(|listen| listen.0).collect(),
        metrics: config.dns.metrics,
        service: Service::new(forwarder, Some(beyond), config.dns.log_one_in),
        notifier,
        routes,
        settings: settings(&config),
    };
    edge::run(parts, ended()?, |addresses| {
        drop(coming);
        render::note(format_args!("answers at {}", shown(addresses)));
    })
    .await?;
    Ok(Exit::Done)
}

/// What opens the keys of certificates. Without it routes with certificates wait, and everything else goes on.
fn sealer(state: &Path) -> Option<Arc<Sealer>> {
    Sealer::open(state)
        .inspect_err(|error| tracing::error!(%error, "no key of a certificate can be opened"))
        .ok()
        .map(Arc::new)
}

/// Each question under way to others holds sockets, and each connection: as many as the system lets this process have.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // With fewer, questions beyond are refused sooner.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn shown(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A signal that asks for the end. One that a terminal sends when it goes is not one of them.
fn ended() -> Result<impl Future<Output = ()>> {
    let open = |kind| {
        signal(kind)
            .map_err(|error| Error::new(Code::Internal, "signals cannot be waited for").because(error))
    };
    let mut signals = [open(SignalKind::interrupt())?, open(SignalKind::terminate())?];
    let _hang_up = open(SignalKind::hangup())?;
    Ok(async move {
        let [interrupted, terminated] = &mut signals;
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}
