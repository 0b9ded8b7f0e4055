//! Owns what the driver asks of the edge.

use std::time::Duration;

use async_trait::async_trait;
use effect::Result;

use crate::driver::{Drained, Figures, Standing};
use crate::route::{Backend, Key};

/// The way to the edge that serves the routes. What is recorded it has from the database itself.
#[async_trait]
pub trait Gateway: Send + Sync {
    /// Whether an edge is there.
    async fn is_there(&self) -> bool;

    /// Refuses what the edge could not serve, without changing anything.
    ///
    /// # Errors
    /// `MC-G004` where the port is another program's, `MC-G011` where no edge answers.
    async fn admit(&self, standing: &Standing) -> Result<()>;

    /// Waits until the edge serves `standing` under `key`, or nothing there, as was recorded before, and until nothing of
    /// older versions runs any more.
    ///
    /// # Errors
    /// Why the edge cannot serve it; `MC-G011` where it does not answer `within` that time.
    async fn settle(&self, key: &Key, standing: Option<&Standing>, within: Duration) -> Result<()>;

    /// Waits until the edge offers the recorded proof with this id, or does no longer.
    ///
    /// # Errors
    /// As [`Gateway::settle`].
    async fn settle_proof(&self, id: &str, is_offered: bool) -> Result<()>;

    /// Waits until nothing is under way on a route, or at one of its back ends; none where there is no such route.
    ///
    /// # Errors
    /// As [`Gateway::settle`].
    async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Result<Option<Drained>>;

    /// The figures of every route.
    ///
    /// # Errors
    /// `MC-G011` where no edge answers.
    async fn figures(&self) -> Result<Vec<Figures>>;
}
