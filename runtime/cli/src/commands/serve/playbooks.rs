//! Owns the playbooks of the process that stays: their folders are watched, and what changes there takes its place.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use daemon::playbooks::{
    Loader, Mistake, Options, Parts, Playbook, Shelf, Table, Text, lacking, lacking_note,
};
use effect::Result;
use tokio::sync::watch;

use super::listeners::Listeners;
use crate::app::App;
use crate::config::Config;
use crate::playbooks;
use crate::render;

/// Loads every playbook, and keeps them as their folders are.
pub(super) async fn keep(app: &App, listeners: &mut Listeners) -> Result<Shelf> {
    let settings = app.config.playbooks.clone();
    for folder in &settings.folders {
        apart(&app.config, folder)?;
    }
    let live = app.live.subscribe();
    let loader = Apart { loader: playbooks::Loader::start(&app.global)?, live: live.clone() };
    let (shelf, keeper) = Shelf::open(Options {
        settings,
        journal: app.journal.clone(),
        node: app.node.clone(),
        loader: Arc::new(loader),
        program: program(),
    })
    .await?;
    listeners.tasks.spawn(keeper.keep(listeners.shutdown()));
    listeners.tasks.spawn(warn(shelf.table(), live.clone(), listeners.shutdown()));
    listeners.tasks.spawn(follow(shelf.clone(), live, listeners.shutdown()));
    shelf.loaded().await;
    if !app.config.playbooks.folders.is_empty() {
        let table = shelf.table().borrow().clone();
        let loaded = render::count(table.playbooks.len() as u64, "playbook");
        render::note(match table.broken.len() as u64 {
            0 => loaded,
            broken => {
                let broken = render::count(broken, "file");
                format!("{loaded}; {broken} cannot be loaded: `mcrun playbooks` shows why")
            }
        });
    }
    Ok(shelf)
}

/// Takes over what mcrun.toml says from now on. Whoever has it read again has every file looked at again, too.
async fn follow(shelf: Shelf, mut live: watch::Receiver<Arc<Config>>, mut over: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = over.wait_for(|is_over| *is_over) => return,
            changed = live.changed() => if changed.is_err() { return },
        }
        let config = live.borrow_and_update().clone();
        match config.playbooks.folders.iter().try_for_each(|folder| apart(&config, folder)) {
            Ok(()) => shelf.reconfigure(config.playbooks.clone()),
            Err(error) => tracing::error!(%error, "playbooks are loaded from where they were before"),
        }
    }
}

/// Says which playbooks take what the operator's policy does not grant, whenever either changes.
async fn warn(
    mut table: watch::Receiver<Arc<Table>>,
    mut live: watch::Receiver<Arc<Config>>,
    mut over: watch::Receiver<bool>,
) {
    let mut said = Vec::new();
    loop {
        let lacking = lacking_in(&table.borrow_and_update(), &live.borrow_and_update());
        for note in lacking.iter().filter(|note| !said.contains(*note)) {
            tracing::warn!("{note}");
        }
        said = lacking;
        tokio::select! {
            Ok(()) = table.changed() => {}
            Ok(()) = live.changed() => {}
            _ = over.wait_for(|is_over| *is_over) => return,
        }
    }
}

fn lacking_in(table: &Table, config: &Config) -> Vec<String> {
    let note = |(name, playbook): (&String, &Arc<Playbook>)| {
        let lacking = lacking(playbook.definition.allow.as_deref(), config.granted());
        (!lacking.is_empty()).then(|| lacking_note(name, &lacking))
    };
    table.playbooks.iter().filter_map(note).collect()
}

/// Another build may read the same file otherwise.
fn program() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let built = std::fs::metadata("/proc/self/exe").and_then(|exe| Ok((exe.len(), exe.modified()?)));
    let built = built.ok().and_then(|(length, modified)| {
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(format!(" {length} {}", since.as_millis()))
    });
    format!("{version}{}", built.unwrap_or_default())
}

/// Whoever may write a playbook must not write its policy.
fn apart(config: &Config, folder: &Path) -> Result<()> {
    let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    config.check_apart_from(&real)
}

/// Reads no file beside the configuration, wherever a link may lead.
#[derive(Debug)]
struct Apart {
    loader: playbooks::Loader,
    live: watch::Receiver<Arc<Config>>,
}

#[async_trait]
impl Loader for Apart {
    async fn load(&self, text: &Text) -> Result<Parts, Mistake> {
        let config = self.live.borrow().clone();
        apart(&config, &text.root)?;
        self.loader.load(text).await
    }
}
