//! Owns what can be asked of the writer, and how it is answered.

use serde_json::Value;
use tokio::sync::oneshot::Sender;

use crate::audit;
use crate::entry::{Begin, Begun, End, Fold};
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::log::LogLine;
use crate::record::Write;
use crate::run::{NewRun, RunState};

/// One request to the writer.
pub(crate) enum Request {
    Begin {
        run: RunId,
        begin: Begin,
        answer: Sender<Result<Begun>>,
    },
    End {
        run: RunId,
        end: End,
        urgent: bool,
        answer: Sender<Result<()>>,
    },
    Log {
        run: RunId,
        line: LogLine,
    },
    /// Joins the commit of whatever comes behind it.
    Audit {
        new: Box<audit::New>,
        answer: Sender<Result<()>>,
    },
    /// Takes the lease of a service: its new epoch.
    Lease {
        run: RunId,
        node: String,
        service: String,
        answer: Sender<Result<u64>>,
    },
    Change {
        change: Change,
        answer: Sender<Result<()>>,
    },
}

/// A request that is answered by its success.
pub(crate) enum Change {
    CreateRun(Box<NewRun>, Option<Box<audit::New>>),
    SetState {
        run: RunId,
        state: RunState,
        outcome: Option<Value>,
        exit_code: Option<i32>,
    },
    SetGrants {
        run: RunId,
        grants: Value,
    },
    SetWish {
        run: RunId,
        wish: Option<Value>,
    },
    RequestCancel(RunId),
    ReleasePlan(RunId),
    Pin {
        run: RunId,
        module: String,
        source: String,
    },
    Forget {
        run: RunId,
        after: u64,
    },
    Fork {
        from: RunId,
        until: u64,
        run: Box<NewRun>,
        origin: Value,
    },
    Write(Vec<Write>),
    Fold {
        run: RunId,
        fold: Fold,
    },
    Emit {
        name: String,
        data: String,
    },
    Tell {
        events: Vec<(String, String)>,
        writes: Vec<Write>,
        audits: Vec<audit::New>,
    },
    /// Nothing but the commit, and the news of lost ends.
    Barrier,
    /// Nothing but the commit.
    Settle,
}

/// What a request comes to.
pub(super) enum Reply {
    Done,
    Begun(Begun),
    Epoch(u64),
}

impl Request {
    /// Whether somebody waits for it.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Begin { .. } | Self::Lease { .. } | Self::Change { .. } => true,
            Self::End { urgent, .. } => *urgent,
            Self::Log { .. } | Self::Audit { .. } => false,
        }
    }

    /// The names of the moments before and after its commit.
    pub(super) fn points(&self) -> (&'static str, &'static str) {
        match self {
            Self::Begin { .. } => ("begin:before-commit", "begin:after-commit"),
            Self::End { .. } => ("end:before-commit", "end:after-commit"),
            Self::Lease { .. } => ("lease:before-commit", "lease:after-commit"),
            Self::Log { .. } => ("log:before-commit", "log:after-commit"),
            Self::Audit { .. } => ("audit:before-commit", "audit:after-commit"),
            Self::Change { change, .. } => match change {
                Change::CreateRun(..) => ("run:before-commit", "run:after-commit"),
                Change::SetState { .. } => ("state:before-commit", "state:after-commit"),
                Change::SetGrants { .. } => ("grants:before-commit", "grants:after-commit"),
                Change::SetWish { .. } => ("wish:before-commit", "wish:after-commit"),
                Change::ReleasePlan(_) => ("plan:before-commit", "plan:after-commit"),
                Change::RequestCancel(_) => ("cancel:before-commit", "cancel:after-commit"),
                Change::Pin { .. } => ("source:before-commit", "source:after-commit"),
                Change::Forget { .. } => ("forget:before-commit", "forget:after-commit"),
                Change::Fork { .. } => ("fork:before-commit", "fork:after-commit"),
                Change::Fold { .. } => ("fold:before-commit", "fold:after-commit"),
                Change::Emit { .. } | Change::Tell { .. } => ("event:before-commit", "event:after-commit"),
                Change::Write(_) => ("write:before-commit", "write:after-commit"),
                Change::Barrier | Change::Settle => ("barrier:before-commit", "barrier:after-commit"),
            },
        }
    }

    /// Tells whoever asked. Nobody may be there any more, which is their choice.
    pub(super) fn answer(self, reply: Result<Reply>) {
        match (self, reply) {
            (Self::Begin { answer, .. }, Ok(Reply::Begun(begun))) => drop(answer.send(Ok(begun))),
            (Self::End { answer, .. } | Self::Change { answer, .. } | Self::Audit { answer, .. }, Ok(_)) => {
                drop(answer.send(Ok(())))
            }
            (Self::Lease { answer, .. }, Ok(Reply::Epoch(epoch))) => drop(answer.send(Ok(epoch))),
            (Self::Begin { .. } | Self::Lease { .. } | Self::Log { .. }, Ok(_)) => {}
            (request, Err(error)) => request.fail(&error),
        }
    }

    /// Tells whoever asked that it came to nothing.
    pub(super) fn fail(self, error: &Error) {
        match self {
            Self::Begin { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Lease { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::End { answer, .. } | Self::Change { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Audit { new, answer } => {
                tracing::warn!(
                    principal = new.principal, action = new.action, %error, "a record of the audit was lost"
                );
                drop(answer.send(Err(error.clone())));
            }
            Self::Log { run, line } => {
                tracing::warn!(%run, %error, scope = line.scope, number = line.number, "a log line was lost");
            }
        }
    }
}
