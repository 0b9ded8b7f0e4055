//! Owns the faults that a test has asked for: which call fails, when, how often and with what.

use effect::{Asked, Code, Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It does nothing and fails.
    #[default]
    Fails,
    /// It does what it should, and then its answer is lost.
    LosesAnswer,
}

/// One fault.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) effect: String,
    /// The object; any unless given.
    pub(super) subject: Option<String>,
    /// So many calls pass before.
    pub(super) skip: u32,
    /// So many fail then; all that follow unless given.
    pub(super) times: Option<u32>,
    pub(super) outcome: Outcome,
    pub(super) code: Code,
    pub(super) message: Option<String>,
    pub(super) retryable: bool,
}

/// Before or after a call has done its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call, and fails when its turn has come.
    pub(super) fn meet(&mut self, asked: Asked<'_>, moment: Moment) -> Result<()> {
        let wanted = if moment == Moment::Before { Outcome::Fails } else { Outcome::LosesAnswer };
        let fits = |fault: &&mut Fault| {
            fault.outcome == wanted
                && fault.effect == asked.name
                && fault.subject.as_deref().is_none_or(|subject| subject == asked.subject)
        };
        for fault in self.0.iter_mut().filter(fits) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            match &mut fault.times {
                Some(0) => continue,
                Some(left) => *left -= 1,
                None => {}
            }
            return Err(fault.error(asked));
        }
        Ok(())
    }
}

impl Fault {
    fn error(&self, asked: Asked<'_>) -> Error {
        let message = self.message.clone().unwrap_or_else(|| match self.outcome {
            Outcome::Fails => format!("`{}` {} fails, as the test says", asked.name, asked.subject),
            Outcome::LosesAnswer => {
                format!("the answer to `{}` {} was lost, as the test says", asked.name, asked.subject)
            }
        });
        let error = Error::new(self.code, message);
        if self.retryable { error.retryable() } else { error }
    }
}
