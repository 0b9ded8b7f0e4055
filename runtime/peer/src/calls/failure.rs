//! Owns how errors cross: typed in a trailer, within bounds, and back under the same code.

use std::error::Error as _;

use api::v1::Failure;
use effect::{Code, Error};
use prost::Message as _;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::version;

/// A text of a failure is cut here, so that all of it fits what a peer takes as headers.
const LONGEST: usize = 1024;
const MOST_LINES: usize = 6;
const LONGEST_LINE: usize = 256;
/// Encoded, nothing larger is looked at in a trailer.
const LARGEST: usize = 8 << 10;

/// Under which codes an error is told that the other side did not tell itself.
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    /// It does not answer.
    pub unavailable: Code,
    /// It answers something else.
    pub answer: Code,
    /// It refuses.
    pub refused: Code,
    /// It is of another version.
    pub version: Code,
}

fn cut(text: &str, longest: usize) -> String {
    match text.len() > longest {
        true => format!("{}…", &text[..text.floor_char_boundary(longest)]),
        false => text.to_owned(),
    }
}

fn cut_lines(lines: &[String]) -> Vec<String> {
    lines.iter().take(MOST_LINES).map(|line| cut(line, LONGEST_LINE)).collect()
}

/// A failure as a message holds it, whole.
#[must_use]
pub fn failure_of(error: &Error) -> Failure {
    let error = error.clone().shortened();
    Failure {
        code: error.code.to_string(),
        message: error.message,
        cause: error.cause,
        hint: error.hint,
        retryable: error.retryable,
        details: error.details,
        effect: error.effect,
        missing: error.missing,
    }
}

/// The error that a message holds; one of a code that this version does not know is told under `unknown`.
#[must_use]
pub fn error_of(failure: Failure, unknown: Code) -> Error {
    let (code, message) = match failure.code.parse() {
        Ok(code) => (code, failure.message),
        Err(_) => (unknown, format!("{}: {}", cut(&failure.code, 16), failure.message)),
    };
    let mut error = Error::new(code, message);
    error.cause = failure.cause;
    error.hint = failure.hint;
    error.retryable = failure.retryable;
    error.details = failure.details;
    error.effect = failure.effect;
    error.missing = failure.missing;
    error.shortened()
}

/// What a caller gets to see.
#[must_use]
pub fn status(code: tonic::Code, error: &Error) -> Status {
    let failure = Failure {
        code: error.code.to_string(),
        message: cut(&error.message, LONGEST),
        cause: error.cause.as_deref().map(|text| cut(text, LONGEST)),
        hint: error.hint.as_deref().map(|text| cut(text, LONGEST)),
        retryable: error.retryable,
        details: cut_lines(&error.details),
        effect: error.effect.as_deref().map(|text| cut(text, LONGEST_LINE)),
        missing: cut_lines(&error.missing),
    };
    let mut trailers = MetadataMap::new();
    trailers.insert_bin(api::FAILURE, MetadataValue::from_bytes(&failure.encode_to_vec()));
    let message = cut(&format!("{}: {}", error.code, error.message), LONGEST_LINE);
    Status::with_metadata(code, message, trailers)
}

/// What `place` says, in our own codes; none where it said nothing, because the connection broke.
#[must_use]
pub fn told(status: &Status, codes: Codes, place: &str, theirs: Option<&str>) -> Option<Error> {
    if let Some(failure) = failure(status) {
        if failure.code.parse::<Code>().is_err() {
            let message = format!(
                "{place} fails with a code that this version does not know: {}: {}",
                cut(&failure.code, 16),
                cut(&failure.message, LONGEST)
            );
            return Some(version::skew(codes.version, message, place, theirs));
        }
        return Some(error_of(failure, codes.version));
    }
    if status.source().is_some() {
        return None;
    }
    let why = cut(status.message(), LONGEST_LINE);
    Some(match status.code() {
        tonic::Code::Unimplemented => version::skew(
            codes.version,
            format!("{place} does not know the call: an older mcrun, or something else"),
            place,
            theirs,
        ),
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => {
            Error::new(codes.refused, format!("{place} refuses")).because(why)
        }
        tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => {
            Error::new(codes.unavailable, format!("{place} does not answer")).because(why).retryable()
        }
        code => Error::new(codes.answer, format!("{place} answers something else than mcrun does"))
            .because(format!("{code:?}: {why}")),
    })
}

fn failure(status: &Status) -> Option<Failure> {
    let bytes = status.metadata().get_bin(api::FAILURE)?.to_bytes().ok()?;
    if bytes.len() > LARGEST {
        return None;
    }
    Failure::decode(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: Codes = Codes {
        unavailable: Code::ApiUnavailable,
        answer: Code::ApiStranger,
        refused: Code::ApiUser,
        version: Code::ApiVersion,
    };

    fn back(status: &Status) -> Error {
        told(status, CODES, "here", Some("99.0.0")).unwrap()
    }

    #[test]
    fn an_error_comes_back_as_it_was() {
        let mut error =
            Error::new(Code::Denied, "`a` may not").because("x").hint("y").retryable().detail("z");
        error.effect = Some("exec.run".into());
        error.missing = vec!["exec:write:/bin/a".into()];
        assert_eq!(back(&status(tonic::Code::PermissionDenied, &error)), error);
        assert_eq!(error_of(failure_of(&error), Code::ApiVersion), error);
    }

    #[test]
    fn the_longest_error_fits_into_a_trailer() {
        let long = "ä".repeat(100_000);
        let mut error = Error::new(Code::Internal, long.clone()).because(&long).hint(long.clone());
        error.details = vec![long.clone(); 1000];
        error.missing = vec![long; 1000];
        let status = status(tonic::Code::Internal, &error);
        assert!(failure(&status).unwrap().encoded_len() <= LARGEST && status.message().len() < 512);
    }

    #[test]
    fn a_code_of_a_newer_version_is_told_as_one() {
        let newer = Failure { code: "MC-Z999".into(), message: "no".into(), ..Failure::default() };
        let mut trailers = MetadataMap::new();
        trailers.insert_bin(api::FAILURE, MetadataValue::from_bytes(&newer.encode_to_vec()));
        let error = back(&Status::with_metadata(tonic::Code::Unknown, "no", trailers));
        assert_eq!(error.code, Code::ApiVersion);
        assert!(error.message.contains("MC-Z999: no"), "{error}");
        assert!(error.hint.unwrap().starts_with("this side is the older one"));
    }
}
