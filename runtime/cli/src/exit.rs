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
    /// `plan --detailed-exitcode`: applying would change something. `drift`: something differs.
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

    /// What a code means that another process ended a run with.
    pub(crate) fn of_code(code: u8) -> Self {
        match code {
            0 => Exit::Done,
            1 => Exit::Failed,
            2 => Exit::Usage,
            3 => Exit::PlanHasChanges,
            4 => Exit::Denied,
            5 => Exit::Locked,
            6 => Exit::Waiting,
            7 => Exit::RolledBack,
            130 => Exit::Interrupted,
            code => Exit::Program(code),
        }
    }

    /// The exit code that an error leads to.
    pub(crate) fn of(error: &Error) -> Self {
        match error.code {
            Code::Usage | Code::Config | Code::BadCapability | Code::Parameters => Exit::Usage,
            Code::Denied | Code::AccessDenied | Code::SecretPlace | Code::ApprovalDenied => Exit::Denied,
            Code::Locked
            | Code::Fenced
            | Code::PlanStale
            | Code::PlanTaken
            | Code::DaemonSilent
            | Code::ApprovalOver
            | Code::ApprovalChanged => Exit::Locked,
            Code::InDoubt | Code::Divergence | Code::Paused | Code::DaemonGone => Exit::Waiting,
            Code::RolledBack => Exit::RolledBack,
            _ => Exit::Failed,
        }
    }
}
