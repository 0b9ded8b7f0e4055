//! The journal: runs, their entries, blobs, pinned sources, records, logs, run locks and service leases, in one
//! SQLite database per state directory (`journal.db`) and a folder of lock files beside it.
//!
//! Every change goes through one writer thread, which commits whatever requests have arrived as one group; reads use
//! a connection of their own and see everything that was queued before them. Nothing here knows what an effect does:
//! arguments, results and errors are JSON text.
//!
//! Leaves to others: which effect follows which rule (the corridor), replay (the host), rendering (the cli).

pub mod audit;
mod clock;
mod entry;
mod error;
mod event;
mod follow;
mod id;
mod journal;
mod lock;
mod log;
mod probe;
mod queue;
mod reader;
mod record;
mod run;
mod schema;
mod writer;

pub use crate::clock::{Clock, SystemClock, Timestamp, set_skew};
pub use crate::entry::{
    Begin, Begun, End, Entry, Fence, Fold, Identity, Kind, Later, Open, Outcome, Place, Recorded, Status,
};
pub use crate::error::{Error, Result};
pub use crate::event::Event;
pub use crate::follow::{Followed, Follower, Topic, Written};
pub use crate::id::{InvalidId, RunId};
pub use crate::journal::{
    DATABASE_VERSION, Inspected, Journal, LastLease, Options, Part, Retention, Span, Swept, Ticket, Work,
    Working, holder_of_daemon, inspect, rest_unfinished,
};
pub use crate::lock::{DaemonLock, Holder, Lease, RunLock, daemon_may_be_there};
pub use crate::log::{Level, Log, LogLine};
pub use crate::probe::{reached, set_probe};
pub use crate::record::{Expect, Look, Record, Write};
pub use crate::run::{Filter, NewCause, NewPlan, NewRun, PageOfRuns, Run, RunState};
