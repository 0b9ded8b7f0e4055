//! Owns that calls on routes are decided by the policy of access, as the daemon's own are, and that refusals and changes are
//! in the audit.

use std::sync::Arc;

use async_trait::async_trait;
use effect::Result;
use journal::Journal;
use routes::Key;
use routes::remote::{Doorkeeper, Pass};

use crate::api::{Access, Caller, Deciding, Granted};

/// Asks the policy about calls on routes; cheap to copy.
#[derive(Clone)]
pub struct Gate(Arc<Deciding>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Gate")
    }
}

impl Gate {
    /// One that decides by `policy`, and records in `journal`.
    #[must_use]
    pub fn new(policy: Access, journal: Journal) -> Self {
        Self(Arc::new(Deciding::new(policy, journal)))
    }

    /// What is asked about the calls of one connection.
    pub(super) fn keeper(&self, caller: Caller) -> Arc<dyn Doorkeeper> {
        Arc::new(Keeper { gate: self.0.clone(), caller })
    }
}

struct Keeper {
    gate: Arc<Deciding>,
    caller: Caller,
}

#[async_trait]
impl Doorkeeper for Keeper {
    async fn pass(&self, call: &str, message: &[u8]) -> Result<Arc<dyn Pass>> {
        Ok(Arc::new(Passed(self.gate.pass(&self.caller, call, Some(message)).await?)))
    }
}

struct Passed(Granted);

impl Pass for Passed {
    fn may_see(&self, key: &Key) -> bool {
        self.0.may("routes.read", &object(key))
    }
}

/// What rules know a route by: `mcq.example.net:443/api`.
pub(crate) fn object(key: &Key) -> String {
    let Key { listen, hostname, path } = key;
    format!("{hostname}:{listen}{path}")
}
