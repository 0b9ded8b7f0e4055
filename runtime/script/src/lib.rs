//! Runs one script: the worker process with its Lua VM, and the host's side of the pipe to it.
//!
//! The worker ([`worker_main`]) trusts nobody and holds nothing; the host ([`run`]) trusts nothing that the worker
//! says. What an effect does, whether it is allowed and where it is recorded is the business of whoever implements
//! [`Effects`].

pub mod functions;
#[doc(hidden)]
pub mod fuzz;
mod host;
mod limits;
pub mod modules;
mod protocol;
pub mod read;
pub mod types;
mod worker;

pub use host::{
    Effects, Ended, Failure, Interrupt, Launch, LimitHit, Lost, Reply, Request, Template, Worker, run,
};
pub use limits::{LIMIT_NAMES, Limits};
pub use modules::Modules;
pub use protocol::{
    Description, Divergence, Frame as StackFrame, HistoryItem, Level, LogLine, Mode, Module, Outcome, Place,
    PlanEnd, Progress, Recorded, WhichLimit, arguments_hash,
};
pub use worker::worker_main;
