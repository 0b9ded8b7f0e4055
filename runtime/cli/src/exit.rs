//! Owns the exit codes: they are part of the interface.

use effect::{Code, Error};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is as asked for.
    Done,
    /// It failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// `plan --detailed-exitcode`: applying would change something.
    PlanHasChanges,
    /// The script lacks a capability.
    Denied,
    /// Another mcrun holds the run or the service, or a saved plan is stale.
    Locked,
    /// The run waits or is paused.
    Waiting,
    /// The deploy failed and the previous release is back.
    RolledBack,
    /// Ctrl-C.
    Interrupted,
    /// What a program inside a container ended with.
    Program(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::PlanHasChanges => 3,
            Exit::Denied => 4,
            Exit::Locked => 5,
            Exit::Waiting => 6,
            Exit::RolledBack => 7,
            Exit::Interrupted => 130,
            Exit::Program(code) => code,
        }
    }

    /// The exit code that an error leads to.
    pub(crate) fn of(error: &Error) -> Self {
        match error.code {
            Code::Usage | Code::Config | Code::BadCapability | Code::Parameters => Exit::Usage,
            Code::Denied | Code::SecretPlace => Exit::Denied,
            Code::Locked | Code::Fenced | Code::PlanStale | Code::PlanTaken => Exit::Locked,
            Code::InDoubt | Code::Divergence | Code::Paused => Exit::Waiting,
            Code::RolledBack => Exit::RolledBack,
            _ => Exit::Failed,
        }
    }
}
