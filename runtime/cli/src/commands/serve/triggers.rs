//! Owns that playbooks start by themselves: the engine, what watches files, and the listener of webhooks.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use daemon::identity::Identity;
use daemon::listen;
use daemon::playbooks::{Shelf, Table, Trigger};
use daemon::triggers::files::Files;
use daemon::triggers::webhook::{self, Keys, Settings, Webhooks};
use daemon::triggers::{Engine, Inbox, Means};
use effect::{Code, Error, Result, Secrets as _};
use jiff::tz::TimeZone;
use journal::Clock;
use rustls::ServerConfig;
use system::SecretStore;
use system::secrets::sealed::Vault;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use super::listeners::Listeners;
use crate::app::App;
use crate::config::Config;
use crate::execute::desk::Desk;
use crate::{render, wiring};

/// A secret that was changed counts after so long.
const KEPT: Duration = Duration::from_secs(60);

/// Starts playbooks by their triggers, from when every folder was looked at once.
pub(super) async fn serve(app: &App, desk: &Desk, shelf: &Shelf, listeners: &mut Listeners) -> Result<()> {
    let means = Means {
        journal: app.journal.clone(),
        node: app.node.clone(),
        runs: Arc::new(desk.clone()),
        table: shelf.table(),
        zone: TimeZone::system(),
        boot: boot()?,
    };
    let engine = Engine::load(means).await?;
    let files = Files::new(app.journal.clone(), app.node.clone(), shelf.table(), engine.inbox());
    let hooks = match &app.config.webhooks {
        Some(settings) => Some(Hooks::open(app, settings, shelf, engine.inbox(), listeners).await?),
        None => None,
    };
    let (shelf, mut over, is_on) = (shelf.clone(), listeners.shutdown(), hooks.is_some());
    listeners.tasks.spawn(async move {
        tokio::select! {
            () = shelf.loaded() => {}
            _ = over.wait_for(|is_over| *is_over) => return,
        }
        let hooks = async {
            if let Some(hooks) = hooks {
                hooks.serve(over.clone()).await;
            }
        };
        tokio::join!(
            engine.run(over.clone()),
            files.run(over.clone()),
            hooks,
            warn(shelf.table(), is_on, over.clone()),
        );
    });
    Ok(())
}

/// What tells one boot of the machine from another.
fn boot() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = std::fs::read_to_string(path)
        .map_err(|error| Error::new(Code::Internal, format!("`{path}` cannot be read")).because(error))?;
    Ok(id.trim().to_owned())
}

/// Says what nobody will hear of, whenever that changes.
async fn warn(mut table: watch::Receiver<Arc<Table>>, is_on: bool, mut over: watch::Receiver<bool>) {
    let mut said = Vec::new();
    loop {
        let wrong = wrong(&table.borrow_and_update(), is_on);
        for error in wrong.iter().filter(|error| !said.contains(*error)) {
            tracing::warn!(%error, "a webhook is not answered");
        }
        said = wrong;
        tokio::select! {
            Ok(()) = table.changed() => {}
            _ = over.wait_for(|is_over| *is_over) => return,
        }
    }
}

fn wrong(table: &Table, is_on: bool) -> Vec<Error> {
    let mut wrong = webhook::doubled(table);
    let has_hooks = |(name, playbook): (&String, &Arc<daemon::playbooks::Playbook>)| {
        let is_hook = |trigger: &Trigger| matches!(trigger, Trigger::Webhook(_));
        playbook.definition.on.iter().any(is_hook).then(|| name.clone())
    };
    if !is_on && let Some(name) = table.playbooks.iter().find_map(has_hooks) {
        let message =
            format!("`{name}` has a webhook, and mcrun.toml does not say where webhooks are answered");
        wrong.push(Error::new(Code::WebhookSecret, message).hint("set `listen` under [webhooks]"));
    }
    wrong
}

/// The listener of webhooks. Callers wait until playbooks are loaded: before, none would be known.
struct Hooks {
    listener: TcpListener,
    limits: listen::Limits,
    tls: Option<Arc<ServerConfig>>,
    webhooks: Webhooks,
}

impl Hooks {
    async fn open(
        app: &App,
        settings: &Settings,
        shelf: &Shelf,
        inbox: Inbox,
        listeners: &mut Listeners,
    ) -> Result<Self> {
        let socket = listeners.bind("webhooks", Some(settings.listen))?;
        let (listener, bound) =
            socket.ok_or_else(|| Error::new(Code::Internal, "nobody listens for webhooks"))?;
        let tls = match &settings.host {
            None => None,
            Some(host) => {
                let names = certs::Names::parse(std::slice::from_ref(host))?;
                let identity = Arc::new(Identity::new(wiring::authority(app), names));
                identity.refresh().await?;
                let config = Arc::new(identity.config());
                listeners.keep(identity);
                Some(config)
            }
        };
        let shown = Settings { listen: bound, ..settings.clone() };
        render::note(format_args!("webhooks: {} (on {bound})", shown.address("PATH")));
        let keys = Arc::new(Known {
            live: app.live.subscribe(),
            vault: Some(app.vault.clone()),
            store: Mutex::default(),
            clock: app.clock.clone(),
        });
        let webhooks = Webhooks::new(shelf.table(), inbox, keys, app.clock.clone());
        Ok(Self { listener, limits: settings.limits(), tls, webhooks })
    }

    async fn serve(self, over: watch::Receiver<bool>) {
        listen::serve(self.listener, self.tls, self.webhooks, self.limits, over).await;
    }
}

/// The secrets of mcrun.toml as it is now, read again now and then: they are changed while the daemon stays.
struct Known {
    live: watch::Receiver<Arc<Config>>,
    vault: Option<Arc<Vault>>,
    store: Mutex<Option<Kept>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Known {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Known")
    }
}

/// Secrets that were read.
struct Kept {
    since: journal::Timestamp,
    /// What mcrun.toml said then.
    of: Arc<Config>,
    store: Arc<SecretStore>,
}

impl Known {
    async fn store(&self) -> Result<Arc<SecretStore>> {
        let now = self.clock.now();
        let mut kept = self.store.lock().await;
        let live = self.live.borrow().clone();
        if let Some(Kept { since, of, store }) = &*kept
            && Arc::ptr_eq(of, &live)
            && now.since(*since) < KEPT
            && *since <= now
        {
            return Ok(store.clone());
        }
        // No script lies in this folder, so nothing is kept from secrets.
        let mut store = SecretStore::new(&live.secrets, Path::new("/dev/null"))?;
        if let Some(vault) = &self.vault {
            store = store.with_sealed(vault.clone(), None, &effect::Principal::Daemon.to_string());
        }
        let store = Arc::new(store);
        *kept = Some(Kept { since: now, of: live, store: store.clone() });
        Ok(store)
    }
}

#[async_trait]
impl Keys for Known {
    async fn key(&self, secret: &str, path: &str) -> Result<Zeroizing<Vec<u8>>> {
        let store = self.store().await?;
        let destination = format!("webhooks:{path}");
        let unusable = |why: &dyn fmt::Display| {
            Error::new(Code::WebhookSecret, format!("the secret `{secret}` cannot check who calls `{path}`"))
                .because(why)
                .hint(format!("[secrets.\"{secret}\"] in mcrun.toml takes `to = [\"{destination}\"]`"))
        };
        store.look(secret).await.map_err(|error| unusable(&error))?;
        match store.may_go(secret, &destination) {
            Ok(true) => {
                let (version, key) = store.current(secret).await.map_err(|error| unusable(&error))?;
                store.used(secret, version, &destination).await.map_err(|error| unusable(&error))?;
                Ok(key)
            }
            Ok(false) => Err(unusable(&format!("its `to` does not list `{destination}`"))),
            Err(error) => Err(unusable(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use journal::SystemClock;

    use super::*;

    #[tokio::test]
    async fn a_secret_that_mcrun_toml_has_elsewhere_now_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = |name: &str| {
            let (file, toml) = (folder.path().join(name), folder.path().join("mcrun.toml"));
            std::fs::write(&file, name).unwrap();
            let text = format!("[secrets.hook]\nfile = {file:?}\nto = [\"webhooks:deploy\"]\n");
            std::fs::write(&toml, text).unwrap();
            Arc::new(Config::load(Some(&toml)).unwrap())
        };
        let live = watch::Sender::new(config("first"));
        let known = Known {
            live: live.subscribe(),
            vault: None,
            store: Mutex::default(),
            clock: Arc::new(SystemClock),
        };
        assert_eq!(*known.key("hook", "deploy").await.unwrap(), b"first");
        live.send_replace(config("second"));
        assert_eq!(*known.key("hook", "deploy").await.unwrap(), b"second");
        // One that is not there any more checks nobody.
        live.send_replace(Arc::new(Config::default()));
        assert_eq!(known.key("hook", "deploy").await.unwrap_err().code, Code::WebhookSecret);
    }
}
