//! Owns what every command needs: configuration, state directory, journal, keys.

mod owner;

use std::cell::{Cell, OnceCell};
use std::path::PathBuf;
use std::sync::Arc;

use effect::{Code, Error, Result, Sealer};
use journal::{Clock, Journal, SystemClock, daemon_may_be_there};
use script::{Template, Worker};
use system::secrets::sealed::Vault;
use tokio::sync::watch;

use crate::arguments::Global;
use crate::config::Config;
use crate::execute::start_worker;
use crate::kit::Kit;
use crate::render;
use crate::runbook::Renewing;
use crate::witness::Refusals;

/// The opened installation.
pub(crate) struct App {
    /// As it was when this process started.
    pub(crate) config: Config,
    /// As it is now: what the daemon takes over when it reads it again. Policy, secrets and retention come from here.
    pub(crate) live: watch::Sender<Arc<Config>>,
    pub(crate) state: PathBuf,
    pub(crate) node: String,
    pub(crate) journal: Journal,
    pub(crate) sealer: Arc<Sealer>,
    /// The sealed store of secrets.
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) global: Global,
    /// The worker that was started for the script which this command is about to evaluate.
    pub(crate) worker: Cell<Option<Worker>>,
    /// Where workers are copied from, once many runs go on in this process.
    pub(crate) template: OnceCell<Template>,
    /// What this process knows of identity beyond the records: tries, validated tokens, the queue of hashes.
    pub(crate) identity: Arc<mcias::Live>,
    /// Sign-ins that were refused of late, as far as the audit tells them.
    pub(crate) refusals: Arc<Refusals>,
    /// Whether the runbook is being written anew.
    pub(crate) renewing: Cell<Renewing>,
    /// What stands for the world in `mcrun test`.
    pub(crate) kit: Option<Arc<Kit>>,
}

impl App {
    /// Opens everything for a command that evaluates a script: its worker comes up meanwhile, on another core.
    pub(crate) fn open_to_evaluate(global: &Global) -> Result<Self> {
        // A daemon that holds the directory executes the script with a worker of its own.
        let is_alone = state_folder(global).is_ok_and(|state| !daemon_may_be_there(&state));
        // Whoever takes it starts another one, and says why that fails.
        let worker = is_alone.then(start_worker).and_then(Result::ok);
        let app = Self { worker: Cell::new(worker), ..Self::open(global)? };
        if let Some(socket) = owner::daemon_beside(&app) {
            render::note(format_args!(
                "the daemon of this machine, at `{}`, has no part in this: it executes what `sudo mcrun` hands it, and \
                 what others call it for at that socket",
                socket.display()
            ));
        }
        Ok(app)
    }

    pub(crate) fn open(global: &Global) -> Result<Self> {
        Self::with(global, Config::load(global.config.as_deref())?, state_folder(global)?)
    }

    /// Opens everything with a configuration and a state directory that are not looked for.
    pub(crate) fn with(global: &Global, config: Config, state: PathBuf) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let journal =
            Journal::open(&state, clock.clone()).map_err(|error| owner::named(error.into(), &state))?;
        let sealer = Arc::new(Sealer::open(&state)?);
        let node = config.node_name();
        let vault = Vault::new(journal.clone(), &node, sealer.clone(), config.secrets_store.clone());
        let live = watch::Sender::new(Arc::new(config.clone()));
        Ok(Self {
            config,
            live,
            state,
            node,
            journal,
            sealer,
            vault: Arc::new(vault),
            clock,
            global: global.clone(),
            worker: Cell::default(),
            template: OnceCell::new(),
            identity: Arc::default(),
            refusals: Arc::default(),
            renewing: Cell::default(),
            kit: None,
        })
    }
}

impl App {
    /// The configuration as it is now.
    pub(crate) fn live(&self) -> Arc<Config> {
        self.live.borrow().clone()
    }
}

/// The state directory of a machine that `mcrun setup` or a package has set up.
pub(crate) const OF_THE_MACHINE: &str = "/var/lib/mcrun";

/// `--state` or `MCRUN_STATE`; for root the machine's own where it is set up; else the XDG state directory.
pub(crate) fn state_folder(global: &Global) -> Result<PathBuf> {
    if let Some(state) = &global.state {
        return std::path::absolute(state).map_err(|error| {
            Error::new(Code::StateUnusable, "the state directory has no absolute path").because(error)
        });
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let machine = PathBuf::from(OF_THE_MACHINE);
    // What root deploys by hand and what the daemon runs are one and the same.
    let is_roots = rustix::process::geteuid().is_root() && absolute("XDG_STATE_HOME").is_none();
    if is_roots && machine.join("journal.db").exists() {
        return Ok(machine);
    }
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|folder| folder.join("mcrun"))
        .ok_or_else(|| {
            Error::new(Code::StateUnusable, "there is no place for the state directory")
                .because("neither XDG_STATE_HOME nor HOME is set")
                .hint("name one with `--state DIR` or MCRUN_STATE")
        })
}
