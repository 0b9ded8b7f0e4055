//! The daemon's API: gRPC over a unix socket, and over TCP with TLS on both sides.
//!
//! Owns the calls of `proto/mcrun/v1`, who may make them, bounds on everything that a caller controls, and the client that the
//! command line uses. Leaves what calls do to the rooms that it is given: whoever executes runs, loads playbooks, counts
//! occurrences.

mod accounts;
mod asked;
mod caller;
mod calls;
pub mod client;
mod convert;
mod deadline;
mod fields;
mod gate;
mod keys;
mod listen;
mod open;
mod page;
mod patterns;
mod recheck;
mod rooms;
mod settings;
mod status;
mod tokens;
mod watch_events;
mod watch_run;

use std::sync::Arc;

use effect::access::Policy;
use effect::{Code, Error, Result, Timestamp};
use jiff::tz::TimeZone;
use journal::Journal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use accounts::{Accounts, Asker};
pub use caller::Caller;
pub use gate::{Denials, object_of};
pub(crate) use gate::{Gate as Deciding, Granted};
pub use listen::{Opened, open_socket, serve_socket, serve_tls};
pub use open::Doors;
pub use rooms::Reload;
pub use settings::Settings;
pub use tokens::{Bearer, Tokens};

use crate::feed::Feed;
use crate::playbooks::Table;
use crate::runs::Runs;

/// Callers that follow runs or events at once, on this machine and, apart from them, from afar: whoever may only read must
/// not keep the command line from following.
const MOST_WATCHERS: usize = 1024;

/// Gives the policy of access as it is now.
pub type Access = Arc<dyn Fn() -> Arc<Policy> + Send + Sync>;

/// What calls are answered from.
pub struct Rooms {
    /// Executes runs.
    pub runs: Arc<dyn Runs>,
    /// Runs, events and services as recorded.
    pub journal: Journal,
    /// Tells of new events.
    pub feed: Feed,
    /// What is loaded.
    pub playbooks: watch::Receiver<Arc<Table>>,
    /// The zone in which times are meant that name none.
    pub zone: TimeZone,
    /// Who may make which calls.
    pub access: Access,
    /// Knows tokens that calls present; without it none is valid.
    pub tokens: Option<Arc<dyn Tokens>>,
    /// Keeps accounts, tokens and the login policy.
    pub accounts: Option<Arc<dyn Accounts>>,
    /// Reads the configuration again.
    pub reload: Option<Arc<dyn Reload>>,
    /// This node.
    pub node: String,
    /// When the daemon was started.
    pub started: Timestamp,
}

/// Answers calls; cheap to copy.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    rooms: Rooms,
    near: Arc<Semaphore>,
    afar: Arc<Semaphore>,
    keys: keys::Keys,
    gate: gate::Gate,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Api").field("node", &self.0.rooms.node).finish_non_exhaustive()
    }
}

impl Api {
    /// Answers calls from `rooms`.
    #[must_use]
    pub fn new(rooms: Rooms) -> Self {
        let keys = keys::Keys::new(rooms.journal.clone(), rooms.node.clone());
        let gate = gate::Gate::new(rooms.access.clone(), rooms.journal.clone());
        let places = || Arc::new(Semaphore::new(MOST_WATCHERS));
        Self(Arc::new(Inner { rooms, near: places(), afar: places(), keys, gate }))
    }

    fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    /// Who lets calls through.
    fn gate(&self) -> &gate::Gate {
        &self.0.gate
    }

    /// Whom a token stands for; nobody where it is not valid here.
    async fn bearer(&self, token: &str) -> Result<Option<Bearer>> {
        match &self.rooms().tokens {
            Some(tokens) => tokens.bearer(token).await,
            None => Ok(None),
        }
    }

    /// A place among those who follow.
    fn place<T>(&self, request: &tonic::Request<T>) -> Result<OwnedSemaphorePermit> {
        let (places, whence) = match request.extensions().get() {
            Some(Caller::Holder { .. } | Caller::Nobody { .. } | Caller::Bearer { .. }) => {
                (&self.0.afar, "from afar")
            }
            _ => (&self.0.near, "on this machine"),
        };
        places.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{MOST_WATCHERS} callers {whence} follow runs or events already");
            Error::new(Code::ApiBusy, message).retryable()
        })
    }
}

/// What those who follow are told last when the daemon ends.
fn stopping() -> Error {
    Error::new(Code::ApiUnavailable, "the daemon is stopping").retryable()
}
