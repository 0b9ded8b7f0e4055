//! Owns which drivers and effects are put together, and what fills the traits by which rooms need one another.

use std::path::Path;
use std::sync::Arc;

use containers::effects::{Choice, Engines, World};
use containers::{docker, podman, process};
use effect::{Registry, Result, Secrets};
use journal::RunId;
use mcias::settings::Chosen;
use system::SecretStore;

use certs::acme;
use certs::settings::External;

use crate::app::{App, state_folder};
use crate::arguments::Global;
use crate::certificates::Written;
use crate::claims::Recorded;
use crate::config::{Config, Containers};
use crate::health::{Probes, Services};
use crate::proofs::Proofs;
use crate::proxies::Proxies;

/// The drivers of containers, as configured.
pub(crate) fn containers(app: &App) -> Arc<World> {
    let world = container_world(&app.config, &app.state);
    Arc::new(world.claiming(Arc::new(Recorded::new(app.journal.clone(), &app.node))))
}

fn container_world(config: &Config, state: &Path) -> World {
    let choice = match config.drivers.containers {
        Containers::Auto => Choice::Auto,
        Containers::Podman => Choice::Podman,
        Containers::Docker => Choice::Docker,
        Containers::Process => Choice::Process,
    };
    let engines = engines(config, state);
    let process = process::Options::new(state.to_owned(), "/proc/self/exe".into());
    World::new(choice, &engines, process, Arc::new(Probes))
}

/// How the engines are reached, whichever is chosen.
pub(crate) fn engines(config: &Config, state: &Path) -> Engines {
    Engines {
        podman: podman::Options { socket: config.drivers.podman.socket.clone(), state_dir: state.to_owned() },
        docker: docker::Options { socket: config.drivers.docker.socket.clone() },
    }
}

/// Every effect, ready to act.
pub(crate) fn registry(app: &App, root: &Path) -> Result<Registry> {
    match &app.kit {
        Some(kit) => {
            let certificates = certificates(&app.config, root, &app.state)?;
            kit.registry(
                root,
                certificates,
                names(&app.config),
                &accounts(&app.config, app.identity.clone(), witness(app))?,
            )
        }
        None => {
            let certificates = certificates(&app.config, root, &app.state)?;
            let (names, proxies) = (names(&app.config), proxies(&app.config, &app.state));
            let accounts = accounts(&app.config, app.identity.clone(), witness(app))?;
            // Who may do what counts as it is now, also in a daemon that was started before.
            let config = Config { compiled: app.live().access(), ..app.config.clone() };
            Ok(assemble(&config, containers(app), certificates, &names, &proxies, &accounts, root))
        }
    }
}

/// The embedded authority of certificates.
pub(crate) fn authority(app: &App) -> certs::embedded::Authority {
    let (journal, sealer) = (app.journal.clone(), app.sealer.clone());
    certs::embedded::Authority::new(journal, sealer, &app.node, &app.state, app.config.certs.embedded())
}

/// The ACME server on the embedded authority.
pub(crate) fn acme_server(app: &App, settings: &acme::server::Settings) -> Result<acme::server::Server> {
    let profile = app.config.certs.profiles()?.get(&settings.profile)?.clone();
    let signer = certs::embedded::ForAcme::new(Arc::new(authority(app)), app.config.certs.policy()?, profile);
    let prover = Arc::new(acme::server::Network::new(settings));
    let (journal, sealer) = (app.journal.clone(), app.sealer.clone());
    acme::server::Server::new(settings.clone(), &app.node, journal, sealer, Arc::new(signer), prover)
}

/// What the effects on certificates need.
pub(crate) fn certificates(config: &Config, root: &Path, state: &Path) -> Result<Arc<certs::effects::World>> {
    let world = certs::effects::World::new(certs::effects::Parts {
        settings: config.certs.clone(),
        choice: config.drivers.certs,
        external: External { acme: config.drivers.acme.clone(), vault: config.drivers.vault.clone() },
        files: Arc::new(Written::new(root)),
        state,
        jitter: Arc::new(chance),
        proofs: Arc::new(Proofs::new(names(config), Proxies::new(config, state))),
    })?;
    Ok(Arc::new(world))
}

/// What the effects on names need.
pub(crate) fn names(config: &Config) -> Arc<dns::effects::World> {
    let (rfc2136, rest) = (config.drivers.rfc2136.clone(), config.drivers.rest.clone());
    Arc::new(dns::effects::World::new(dns::effects::Parts {
        choice: config.drivers.dns,
        servers: config.dns.servers(),
        external: dns::settings::External { rfc2136, rest },
    }))
}

/// What the effects on routes need.
pub(crate) fn proxies(config: &Config, state: &Path) -> Arc<routes::effects::World> {
    Arc::new(routes::effects::World::new(Box::new(Proxies::new(config, state))))
}

/// What the effects on identity need.
pub(crate) fn accounts(
    config: &Config,
    live: Arc<mcias::Live>,
    witness: Arc<dyn mcias::Witness>,
) -> Result<Arc<mcias::effects::World>> {
    Ok(Arc::new(mcias::effects::World::new(mcias::effects::Parts {
        settings: config.mcias.clone(),
        chosen: config.drivers.identity()?,
        witness,
        live,
    })))
}

/// The driver of identity, for what mcrun does itself; `others` are the secrets of the operator.
pub(crate) fn issuer(app: &App, others: &Arc<dyn Secrets>) -> Result<Arc<dyn mcias::Driver>> {
    let (secrets, clock) = (others.clone(), app.clock.clone());
    Ok(match app.config.drivers.identity()? {
        Chosen::Embedded => Arc::new(identity(app)),
        Chosen::Issuer(settings) => Arc::new(mcias::remote::Client::new(settings, secrets, clock)),
        Chosen::OpenId(settings) => Arc::new(mcias::remote::OpenId::new(settings, clock)),
    })
}

/// What has happened to identity, told to the audit.
fn witness(app: &App) -> Arc<dyn mcias::Witness> {
    // What a daemon does by itself is done by nobody at a terminal.
    let is_daemon = app.journal.holder_of_daemon().is_some_and(|daemon| daemon.pid == std::process::id());
    let own = if is_daemon { effect::Principal::Daemon } else { crate::audit::user() };
    let (journal, clock) = (app.journal.clone(), app.clock.clone());
    Arc::new(crate::witness::Audited::new(journal, clock, own, app.refusals.clone()))
}

/// The embedded service of identity.
pub(crate) fn identity(app: &App) -> mcias::Embedded {
    mcias::Embedded::new(mcias::embedded::Parts {
        journal: app.journal.clone(),
        node: app.node.clone(),
        sealer: app.sealer.clone(),
        settings: app.config.mcias.clone(),
        clock: app.clock.clone(),
        witness: witness(app),
        live: app.identity.clone(),
    })
}

/// Every effect, only to be looked at: nothing is opened.
pub(crate) fn declarations(global: &Global) -> Result<Registry> {
    // No state directory is needed to look at declarations; any path does.
    let state = state_folder(global).unwrap_or_else(|_| "/".into());
    let (config, root) = (Config::default(), Path::new("/"));
    let certificates = certificates(&config, root, &state)?;
    let (names, proxies) = (names(&config), proxies(&config, &state));
    let containers = Arc::new(container_world(&config, &state));
    let accounts = accounts(&config, Arc::default(), Arc::new(mcias::witness::Unheard))?;
    let mut registry = assemble(&config, containers, certificates, &names, &proxies, &accounts, root);
    crate::kit::declare(&mut registry, global)?;
    Ok(registry)
}

fn assemble(
    config: &Config,
    containers: Arc<World>,
    certificates: Arc<certs::effects::World>,
    names: &Arc<dns::effects::World>,
    proxies: &Arc<routes::effects::World>,
    accounts: &Arc<mcias::effects::World>,
    root: &Path,
) -> Registry {
    let mut registry = Registry::default();
    let services = Arc::new(Services(containers.clone()));
    let system = system::World::at(root, services, config.node.address, config.access());
    system::register(&mut registry, &system);
    containers::effects::register(&mut registry, &containers);
    let images = containers::images::effects::World::new(containers, root, Arc::new(chance));
    containers::images::effects::register(&mut registry, &Arc::new(images));
    certs::effects::register(&mut registry, &certificates);
    certs::effects::ssh::register_ssh(&mut registry, certificates.ssh());
    dns::effects::register(&mut registry, names);
    routes::effects::register(&mut registry, proxies);
    mcias::effects::register(&mut registry, accounts);
    registry.undo();
    registry
}

/// A number from 0 to 1, by which attempts of several machines do not stay in step.
pub(crate) fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness they would only be less evenly spread.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// Where secrets come from, for what mcrun itself does or plans.
pub(crate) fn secrets(app: &App, root: &Path) -> Result<Arc<dyn Secrets>> {
    secrets_of(app, root, None)
}

/// Where the secrets of a run come from.
pub(crate) fn secrets_of(app: &App, root: &Path, run: Option<RunId>) -> Result<Arc<dyn Secrets>> {
    let others: Arc<dyn Secrets> = match &app.kit {
        Some(_) => Arc::new(crate::kit::AnySecret),
        None => Arc::new(SecretStore::new(&app.live().secrets, root)?.with_sealed(
            app.vault.clone(),
            run,
            &crate::audit::user().to_string(),
        )),
    };
    let tokens = &app.live().mcias.tokens_to;
    let issuer = issuer(app, &others)?;
    Ok(Arc::new(mcias::secrets::WithTokens::new(others, issuer, tokens)))
}
