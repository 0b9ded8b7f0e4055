//! Owns the error that crosses the corridor: what went wrong, where, why and what to do next, under a stable
//! [`Code`]. Leaves rendering to the command line and the pages of the codes to [`crate::codes`].

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::codes::Code;

/// The result of everything that can fail on the way of an effect.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error under a stable code. It never holds a secret: messages name fields and objects, not values of type Secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// The stable code, `MC-C003` and the like.
    pub code: Code,
    /// What went wrong, naming the object: one line, no trailing stop.
    pub message: String,
    /// Why, as the layer below told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What the reader can do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same call may succeed later without any change.
    #[serde(default)]
    pub retryable: bool,
    /// The effect that failed, `containers.ensure`; the corridor fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// Further lines for a person: a service's last log lines, the two sides of a divergence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Capabilities that were missing, in the form `--allow` takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Error {
    /// An error of `code` that says `message`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            cause: None,
            hint: None,
            retryable: false,
            effect: None,
            details: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// The same error with the reason that a lower layer gave.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// That a task did not come to its end. What a panic says could hold the value of a secret, so it stands nowhere; where it
    /// was is told by the process itself.
    #[must_use]
    pub fn ended(message: impl Into<String>, task: &tokio::task::JoinError) -> Self {
        let why = if task.is_panic() { "it panicked" } else { "it was given up" };
        Self::new(Code::Internal, message).because(why)
    }

    /// The same error with advice for the reader.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error, marked as one that may pass by itself.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// What the reader can do next: the error's own hint, else what its code advises, in the form of a hint.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        self.hint.clone().or_else(|| {
            let advice = self.code.advice()?.trim_end_matches('.');
            let mut rest = advice.chars();
            let first = rest.next()?;
            // A name in capitals stays as it is.
            let is_name = rest.clone().next().is_some_and(char::is_uppercase);
            let first = if is_name { first } else { first.to_ascii_lowercase() };
            Some(std::iter::once(first).chain(rest).collect())
        })
    }

    /// The same error with one more line for a person.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }
}

/// Errors repeat what they were given: a name, a path, the words of an engine. Each text is cut here.
const LONGEST_TEXT: usize = 2048;
const MOST_LINES: usize = 1000;

impl Error {
    /// The same error without what goes beyond its bounds: it is recorded, shown and handed to the script.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        shorten(&mut self.message);
        [&mut self.cause, &mut self.hint, &mut self.effect].into_iter().flatten().for_each(shorten);
        for lines in [&mut self.details, &mut self.missing] {
            lines.truncate(MOST_LINES);
            lines.iter_mut().for_each(shorten);
        }
        self
    }
}

fn shorten(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        let rest = text.len() - LONGEST_TEXT;
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push_str(&format!("… ({rest} bytes more)"));
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)?;
        if let Some(cause) = &self.cause {
            write!(formatter, " ({cause})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_panic_says_is_in_no_error() {
        let task = tokio::task::spawn_blocking(|| panic!("it is {}", std::hint::black_box("hunter2")));
        let ended = task.await.unwrap_err();
        assert!(ended.to_string().contains("hunter2"), "that is why it is kept out");
        let error = Error::ended("reading ended early", &ended);
        assert_eq!((error.code, error.cause.as_deref()), (Code::Internal, Some("it panicked")));
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
