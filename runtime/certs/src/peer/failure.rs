//! Owns the errors of questions to other authorities: each names the authority, the cause, and whether it may pass.

use std::error::Error as StdError;

use effect::{Code, Error};
use http_body_util::LengthLimitError;
use hyper_util::client::legacy;
use url::Url;

use super::Question;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether the question cannot have arrived.
    is_unsent: bool,
}

impl Failure {
    pub(super) fn may_be_repeated(&self, question: &Question) -> bool {
        self.error.retryable && (self.is_unsent || question.is_harmless)
    }

    pub(super) fn tried(self, number: u32) -> Error {
        match number {
            1 => self.error,
            _ => self.error.detail(format!("it was tried {number} times")),
        }
    }
}

/// What fails before anything is sent.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, is_unsent: true }
    }
}

/// The authority as errors name it.
pub(crate) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// `MC-E011`: no answer. The cause says why.
pub(crate) fn unavailable(url: &Url, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::AuthorityUnavailable, format!("the authority {} does not answer", host(url)))
        .because(printable(&cause.to_string()))
}

/// `MC-E010`: the answer was no. The cause is the authority's own words.
pub(crate) fn refused(url: &Url, what: &str, cause: &str) -> Error {
    Error::new(Code::AuthorityRefused, format!("the authority {} refused {what}", host(url)))
        .because(printable(cause))
}

/// `MC-E012`: something came that is no answer.
pub(crate) fn garbage(url: &Url, cause: impl std::fmt::Display) -> Error {
    let message = format!("the authority {} answered with something that makes no sense", host(url));
    Error::new(Code::CertificateAnswer, message).because(printable(&cause.to_string()))
}

const LONGEST_QUOTE: usize = 600;

/// What a peer wrote, as it can be shown: on one line, and not for ever.
fn printable(text: &str) -> String {
    let one = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut shown: String = text.chars().take(LONGEST_QUOTE).map(one).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        shown.push('…');
    }
    shown
}

pub(super) fn of_time(url: &Url, cause: &str) -> Failure {
    Failure { error: unavailable(url, cause).retryable(), is_unsent: false }
}

pub(super) fn of_client(url: &Url, error: &legacy::Error) -> Failure {
    // What the connector said is more than what the client makes of it.
    if let Some(told) = causes(error).find_map(|cause| cause.downcast_ref::<Error>()) {
        return Failure { error: told.clone(), is_unsent: true };
    }
    let is_no_http =
        causes(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse));
    if is_no_http {
        return Failure { error: garbage(url, "it does not speak HTTP"), is_unsent: false };
    }
    let deepest = causes(error).last().map_or_else(String::new, ToString::to_string);
    let cause = format!("the connection broke: {deepest}");
    Failure { error: unavailable(url, cause).retryable(), is_unsent: error.is_connect() }
}

pub(super) fn of_body(url: &Url, error: &(dyn StdError + 'static), limit: usize) -> Failure {
    let error = if error.is::<LengthLimitError>() {
        garbage(url, format!("it is larger than {limit} bytes"))
    } else {
        unavailable(url, format!("the connection broke within the answer: {error}")).retryable()
    };
    Failure { error, is_unsent: false }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
