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
/// Encoded, nothing larger is looked at.
const LARGEST: usize = 8 << 10;

fn cut(text: &str, longest: usize) -> String {
    match text.len() > longest {
        true => format!("{}…", &text[..text.floor_char_boundary(longest)]),
        false => text.to_owned(),
    }
}

fn status_code(code: Code) -> tonic::Code {
    match code {
        Code::Argument | Code::RouteName | Code::RouteTerms => tonic::Code::InvalidArgument,
        Code::RouteUnknown | Code::CertificateUnknown => tonic::Code::NotFound,
        Code::RouteClaimed => tonic::Code::AlreadyExists,
        Code::RoutePort => tonic::Code::FailedPrecondition,
        Code::ProxyRefused | Code::CertificatePolicy => tonic::Code::PermissionDenied,
        Code::Unsupported => tonic::Code::Unimplemented,
        Code::ProxyUnavailable | Code::BackendUnreachable => tonic::Code::Unavailable,
        Code::Internal => tonic::Code::Internal,
        _ => tonic::Code::Unknown,
    }
}

/// What a caller gets to see.
pub(super) fn status(error: &Error) -> Status {
    let failure = Failure {
        code: error.code.to_string(),
        message: cut(&error.message, LONGEST),
        cause: error.cause.as_deref().map(|text| cut(text, LONGEST)),
        hint: error.hint.as_deref().map(|text| cut(text, LONGEST)),
        retryable: error.retryable,
        details: error.details.iter().take(MOST_LINES).map(|line| cut(line, LONGEST_LINE)).collect(),
    };
    let mut trailers = MetadataMap::new();
    trailers.insert_bin(api::FAILURE, MetadataValue::from_bytes(&failure.encode_to_vec()));
    let message = cut(&format!("{}: {}", error.code, error.message), LONGEST_LINE);
    Status::with_metadata(status_code(error.code), message, trailers)
}

/// What `place` says, in our own codes; none where it said nothing, because the connection broke.
pub(super) fn told(status: &Status, place: &str, theirs: Option<&str>) -> Option<Error> {
    if let Some(failure) = failure(status) {
        let Ok(code) = failure.code.parse() else {
            let message = format!("{place} fails with a code that this version does not know");
            let message =
                format!("{message}: {}: {}", cut(&failure.code, 16), cut(&failure.message, LONGEST));
            return Some(version::skew(Code::ProxyAnswer, message, place, theirs));
        };
        let mut error = Error::new(code, cut(&failure.message, LONGEST));
        error.cause = failure.cause.map(|text| cut(&text, LONGEST));
        error.hint = failure.hint.map(|text| cut(&text, LONGEST));
        error.retryable = failure.retryable;
        error.details = failure.details.iter().take(MOST_LINES).map(|line| cut(line, LONGEST_LINE)).collect();
        return Some(error.detail(format!("so says the mcrun at {place}")));
    }
    if status.source().is_some() {
        return None;
    }
    let why = cut(status.message(), LONGEST_LINE);
    Some(match status.code() {
        tonic::Code::Unimplemented => version::skew(
            Code::ProxyAnswer,
            format!("{place} does not know the call: an older mcrun, or something else"),
            place,
            theirs,
        ),
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => {
            Error::new(Code::ProxyRefused, format!("{place} refuses")).because(why)
        }
        tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => {
            Error::new(Code::ProxyUnavailable, format!("{place} does not answer")).because(why).retryable()
        }
        code => Error::new(Code::ProxyAnswer, format!("{place} answers something else than mcrun does"))
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

    #[test]
    fn an_error_comes_back_under_its_own_code() {
        let error = Error::new(Code::RouteClaimed, "`a` belongs to `b`").because("x").hint("y").retryable();
        let back = told(&status(&error), "192.0.2.1:9443", None).unwrap();
        assert_eq!(back.details, ["so says the mcrun at 192.0.2.1:9443"]);
        assert_eq!(Error { details: Vec::new(), ..back }, error);
    }

    #[test]
    fn the_longest_error_fits_into_a_trailer() {
        let long = "ä".repeat(100_000);
        let mut error = Error::new(Code::Internal, long.clone()).because(&long).hint(long.clone());
        error.details = vec![long; 1000];
        let status = status(&error);
        let failure = failure(&status).unwrap();
        assert!(failure.encoded_len() <= LARGEST && status.message().len() < 512);
    }

    #[test]
    fn a_code_of_a_newer_version_is_told_as_one() {
        let mut trailers = MetadataMap::new();
        let newer = Failure { code: "MC-Z999".into(), message: "no".into(), ..Failure::default() };
        trailers.insert_bin(api::FAILURE, MetadataValue::from_bytes(&newer.encode_to_vec()));
        let status = Status::with_metadata(tonic::Code::Unknown, "no", trailers);
        let error = told(&status, "192.0.2.1:9443", Some("99.0.0")).unwrap();
        assert_eq!(error.code, Code::ProxyAnswer);
        assert!(error.message.contains("MC-Z999: no"), "{error}");
        assert!(error.hint.unwrap().starts_with("this side is the older one"));
    }
}
