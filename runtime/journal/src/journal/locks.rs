//! Owns the locks as the rest of the program takes them.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::{Journal, writer_is_gone};
use crate::entry::Fence;
use crate::error::Result;
use crate::id::RunId;
use crate::lock::{self, DaemonLock, Holder, Lease, RunLock};
use crate::reader;
use crate::writer::Request;

impl Journal {
    /// Takes the right to execute a run.
    pub fn lock_run(&self, run: &RunId) -> Result<RunLock> {
        let holder = Holder { executes: true, ..self.holder(run, "it executes the run") };
        lock::lock_run(&self.locks(), &holder, run)
    }

    /// Takes the right to be the one process that stays with this state directory.
    pub fn lock_daemon(&self) -> Result<DaemonLock> {
        let holder = Holder {
            pid: std::process::id(),
            run: None,
            executes: false,
            what: "it serves this state directory".to_owned(),
            since: self.inner.clock.now(),
        };
        lock::lock_daemon(&self.locks(), &holder)
    }

    /// Takes the right to change a service, on behalf of `run` and for `why`. Its epoch is durable on return: whoever held
    /// it before begins nothing any more.
    pub async fn lease(&self, node: &str, service: &str, run: &RunId, why: &str) -> Result<Lease> {
        let file = lock::lease(&self.locks(), &self.holder(run, why), node, service)?;
        let (node, service) = (node.to_owned(), service.to_owned());
        let (answer, answered) = oneshot::channel();
        self.send(Request::Lease { run: *run, node: node.clone(), service: service.clone(), answer });
        let epoch = answered.await.unwrap_or_else(|_| Err(writer_is_gone()))?;
        Ok(Lease::new(file, Fence { node, service, epoch }))
    }

    /// The services of which a run has ever held the lease, by node and name.
    pub async fn held(&self, run: &RunId) -> Result<Vec<(String, String)>> {
        let run = *run;
        self.read(move |connection| reader::runs::held(connection, &run)).await
    }

    /// Who executes a run, if anybody does.
    #[must_use]
    pub fn holder_of_run(&self, run: &RunId) -> Option<Holder> {
        lock::holder_of_run(&self.locks(), run)
    }

    /// The one process that stays with this state directory, if there is one.
    #[must_use]
    pub fn holder_of_daemon(&self) -> Option<Holder> {
        lock::holder_of_daemon(&self.locks())
    }

    fn holder(&self, run: &RunId, what: &str) -> Holder {
        Holder {
            pid: std::process::id(),
            run: Some(*run),
            executes: false,
            what: what.to_owned(),
            since: self.inner.clock.now(),
        }
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.inner.folder.join(lock::FOLDER)
    }
}
