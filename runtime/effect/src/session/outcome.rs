//! Owns how results and failures are encoded for journal and script.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Code, Error, Result};

pub(super) fn raw<T: Serialize>(value: &T) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| Error::new(Code::Internal, "a result cannot be encoded").because(error))
}

/// An error as the journal keeps it.
pub(super) fn recorded_form(error: &Error) -> Box<str> {
    serde_json::to_string(error).expect("an error is plain data: strings, lists and a flag").into()
}

pub(super) fn parse_error(text: &str) -> Result<Error> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(Code::JournalBroken, "a recorded failure cannot be decoded").because(error)
    })
}

/// The journal's failures under their codes.
#[must_use]
pub fn journal_error(error: journal::Error) -> Error {
    if let journal::Error::EndLost { cause, .. } = &error {
        // What went wrong first is what the reader can mend.
        let cause = journal_error((**cause).clone());
        return cause.detail("the end of an effect could not be recorded: it is in doubt, and a resume asks the world about it");
    }
    let code = match &error {
        journal::Error::Newer { .. } => Code::StateNewer,
        journal::Error::Unusable { .. } => Code::StateUnusable,
        journal::Error::Full => Code::DiskFull,
        journal::Error::Locked { .. } => Code::Locked,
        journal::Error::Fenced { .. } => Code::Fenced,
        journal::Error::Unfit(_) => Code::ExportUnusable,
        journal::Error::UnknownRun { .. } | journal::Error::AmbiguousRun { .. } => Code::RunUnknown,
        journal::Error::Conflict { kind, .. } if matches!(&**kind, "occurrence" | "delivery") => {
            Code::OccurrenceTaken
        }
        journal::Error::Conflict { .. } => Code::Internal,
        _ => Code::JournalBroken,
    };
    let hint = match &error {
        journal::Error::Newer { .. } => Some("use the newer mcrun, or another directory with `--state`"),
        journal::Error::Unusable { .. } => {
            Some("check its permissions, or choose another with `--state` or MCRUN_STATE")
        }
        journal::Error::UnknownRun { .. } | journal::Error::AmbiguousRun { .. } => {
            Some("`mcrun runs` lists them")
        }
        _ => None,
    };
    let described = Error::new(code, error.to_string());
    if let journal::Error::Locked { holder: Some(holder), .. } = &error {
        return match &holder.run {
            Some(run) if !holder.executes => described
                .because(format!("it is executed by process {}", holder.pid))
                .hint(format!("wait for it with `--wait`, or end it: `mcrun cancel {run}`")),
            _ => described.hint("the lock is freed when its holder ends; `mcrun runs` lists what is running"),
        };
    }
    match hint {
        Some(hint) => described.hint(hint),
        None => described,
    }
}
