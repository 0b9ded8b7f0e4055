//! Owns the errors of questions: each names the peer, the cause, and whether it may pass.

use std::error::Error as StdError;
use std::fmt::Display;
use std::time::Duration;

use effect::{Code, Error};
use http_body_util::LengthLimitError;
use hyper_util::client::legacy;
use url::Url;

/// Letters of what a peer wrote.
const LONGEST_QUOTE: usize = 600;

/// What a peer is, and the codes of its failures.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// In words: `the name server`.
    pub name: &'static str,
    /// It does not answer.
    pub unavailable: Code,
    /// Its answer was no.
    pub refused: Code,
    /// What came is no answer.
    pub garbage: Code,
}

impl Kind {
    /// No answer from `place`. The cause says why.
    pub fn unavailable(&self, place: &str, cause: impl Display) -> Error {
        Error::new(self.unavailable, format!("{} {place} does not answer", self.name))
            .because(printable(&cause.to_string()))
    }

    /// The answer was no. The cause is the peer's own words.
    pub fn refused(&self, place: &str, what: &str, cause: impl Display) -> Error {
        Error::new(self.refused, format!("{} {place} refused {what}", self.name))
            .because(printable(&cause.to_string()))
    }

    /// Something came that is no answer.
    pub fn garbage(&self, place: &str, cause: impl Display) -> Error {
        let message = format!("{} {place} answered with something that makes no sense", self.name);
        Error::new(self.garbage, message).because(printable(&cause.to_string()))
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    /// As it is told.
    pub error: Error,
    /// Whether the question cannot have arrived.
    pub is_unsent: bool,
}

/// What fails before anything is sent.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, is_unsent: true }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl Failure {
    pub(crate) fn of_time(kind: &Kind, place: &str, patience: Duration) -> Self {
        let error = kind.unavailable(place, format!("no answer within {patience:?}")).retryable();
        Self { error, is_unsent: false }
    }

    pub(crate) fn of_client(kind: &Kind, place: &str, error: &legacy::Error) -> Self {
        // What the connector said is more than what the client makes of it.
        if let Some(told) = causes(error).find_map(|cause| cause.downcast_ref::<Error>()) {
            return Self { error: told.clone(), is_unsent: true };
        }
        let is_no_http = causes(error)
            .any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse));
        if is_no_http {
            return Self { error: kind.garbage(place, "it does not speak HTTP"), is_unsent: false };
        }
        let deepest = causes(error).last().map_or_else(String::new, ToString::to_string);
        let told = kind.unavailable(place, format!("the connection broke: {deepest}")).retryable();
        Self { error: told, is_unsent: error.is_connect() }
    }

    pub(crate) fn of_body(
        kind: &Kind,
        place: &str,
        error: &(dyn StdError + 'static),
        largest: usize,
    ) -> Self {
        let error = if error.is::<LengthLimitError>() {
            kind.garbage(place, format!("it is larger than {largest} bytes"))
        } else {
            kind.unavailable(place, format!("the connection broke within the answer: {error}")).retryable()
        };
        Self { error, is_unsent: false }
    }
}

/// A peer as errors name it: its host, with the port where that is not the usual one.
#[must_use]
pub fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// What a peer wrote, as it can be shown: on one line, and not for ever.
#[must_use]
pub fn printable(text: &str) -> String {
    let one = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut shown: String = text.chars().take(LONGEST_QUOTE).map(one).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        shown.push('…');
    }
    shown
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_wrote_is_one_line_and_ends() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a b [31m");
        let long = printable(&"x".repeat(5000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST_QUOTE + 1, true));
    }

    #[test]
    fn places_are_named_without_what_everybody_knows() {
        assert_eq!(host(&"https://ca.example/acme".parse().unwrap()), "ca.example");
        assert_eq!(host(&"http://[::1]:8200".parse().unwrap()), "[::1]:8200");
    }
}
