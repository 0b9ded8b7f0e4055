//! Owns reading: a thread with a connection of its own, started when something is first read, so that a long listing
//! never holds up a commit and a run that reads nothing pays nothing.

pub(crate) mod entries;
mod folds;
pub(crate) mod records;
pub(crate) mod runs;
mod text;

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::schema;

/// What is done with the connection; it answers on its own.
pub(crate) type Query = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the reading thread, which ends with it.
pub(crate) struct Reader {
    queries: Option<Sender<Query>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Reader {
    /// Waits for the thread: the log is only folded into the database when the writer is the last one to close it.
    fn drop(&mut self) {
        self.queries = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by its thread, and whoever asked was told.
            let _ = thread.join();
        }
    }
}

impl Reader {
    /// Starts reading the database at `path`.
    pub(crate) fn start(path: &Path) -> Result<Self> {
        let connection = schema::open_for_reading(path)?;
        let (queries, arriving) = channel::<Query>();
        let thread = Builder::new()
            .name("journal-reader".into())
            .spawn(move || arriving.into_iter().for_each(|query| query(&connection)))
            .map_err(|error| Error::unusable(path, &error))?;
        Ok(Self { queries: Some(queries), thread: Some(thread) })
    }

    /// Has `query` done. Without a thread it is dropped, which its sender notices.
    pub(crate) fn ask(&self, query: Query) {
        let _ = self.queries.as_ref().map(|queries| queries.send(query));
    }
}
