//! Owns what the other rooms hold of playbooks: the table of what is loaded, as it changes, and what was loaded before.

use std::sync::Arc;

use effect::Result;
use journal::Journal;
use tokio::sync::watch;

use super::history::History;
use super::keep::Keep;
use super::keeper::Keeper;
use super::loader::Loader;
use super::look::Memory;
use super::settings::Settings;
use super::table::Table;
use super::watching::{Heard, Watching};

/// More files in one folder are a mistake.
const MOST_FILES: usize = 10_000;

/// What playbooks are loaded with.
#[derive(Debug)]
pub struct Options {
    /// Where from, and when.
    pub settings: Settings,
    /// Where versions are kept.
    pub journal: Journal,
    /// This node.
    pub node: String,
    /// What reads files.
    pub loader: Arc<dyn Loader>,
    /// Tells what reads files from every other that would read them otherwise: then each is read again at the start.
    pub program: String,
}

/// The playbooks.
#[derive(Debug, Clone)]
pub struct Shelf {
    table: watch::Receiver<Arc<Table>>,
    is_loaded: watch::Receiver<bool>,
    settings: Arc<watch::Sender<Settings>>,
    heard: Arc<Heard>,
    history: History,
}

impl Shelf {
    /// Reads what was kept. The table is empty until the [`Keeper`] has looked at the folders.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn open(options: Options) -> Result<(Self, Keeper)> {
        let Options { settings, journal, node, loader, program } = options;
        let history = History::new(journal.clone(), node.clone());
        let clock = journal.clock().clone();
        let (keep, restored) = Keep::open(journal, node, program, settings.versions).await?;
        let heard = Arc::new(Heard::default());
        let memory = Memory::new(settings.folders.clone(), MOST_FILES, Watching::new(heard.clone()));
        let (table, tables) = watch::channel(Arc::new(Table::default()));
        let (loaded, is_loaded) = watch::channel(false);
        let (settings, live) = watch::channel(settings);
        let settings = Arc::new(settings);
        let shelf = Self { table: tables, is_loaded, settings, heard: heard.clone(), history };
        let mut keeper = Keeper::new(keep, loader, clock, memory, heard, table, loaded, live);
        keeper.restore(restored).await;
        Ok((shelf, keeper))
    }

    /// What is loaded, and what cannot be.
    #[must_use]
    pub fn table(&self) -> watch::Receiver<Arc<Table>> {
        self.table.clone()
    }

    /// Waits until every folder was looked at once, or the keeper has ended.
    pub async fn loaded(&self) {
        let _ = self.is_loaded.clone().wait_for(|is_loaded| *is_loaded).await;
    }

    /// Keeps playbooks by other settings from now on, and has every file read again.
    pub fn reconfigure(&self, settings: Settings) {
        self.settings.send_replace(settings);
        self.heard.look_at_all();
    }

    /// What was loaded before.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }
}
