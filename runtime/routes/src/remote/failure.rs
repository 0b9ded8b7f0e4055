//! Owns how errors cross: the status of each code, and the codes of what the other side did not say itself.

use effect::{Code, Error};
use peer::calls::{self, Codes};
use tonic::Status;

const CODES: Codes = Codes {
    unavailable: Code::ProxyUnavailable,
    answer: Code::ProxyAnswer,
    refused: Code::ProxyRefused,
    version: Code::ProxyAnswer,
};

fn status_code(code: Code) -> tonic::Code {
    match code {
        Code::Argument | Code::RouteName | Code::RouteTerms | Code::ApiRequest | Code::ApiVersion => {
            tonic::Code::InvalidArgument
        }
        Code::RouteUnknown | Code::CertificateUnknown => tonic::Code::NotFound,
        Code::RouteClaimed => tonic::Code::AlreadyExists,
        Code::RoutePort => tonic::Code::FailedPrecondition,
        Code::ProxyRefused | Code::CertificatePolicy | Code::ApiUser | Code::ApiRole | Code::AccessDenied => {
            tonic::Code::PermissionDenied
        }
        Code::Unsupported => tonic::Code::Unimplemented,
        Code::ProxyUnavailable | Code::BackendUnreachable => tonic::Code::Unavailable,
        Code::Internal => tonic::Code::Internal,
        _ => tonic::Code::Unknown,
    }
}

/// What a caller gets to see.
pub(super) fn status(error: &Error) -> Status {
    calls::status(status_code(error.code), error)
}

/// What `place` says, in our own codes; none where it said nothing, because the connection broke.
pub(super) fn told(status: &Status, place: &str, theirs: Option<&str>) -> Option<Error> {
    let error = calls::told(status, CODES, place, theirs)?;
    Some(match status.metadata().contains_key(api::FAILURE) {
        true => error.detail(format!("so says the mcrun at {place}")),
        false => error,
    })
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
}
