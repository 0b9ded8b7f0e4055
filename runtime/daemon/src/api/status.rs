//! Owns which status of gRPC an error has, for clients that know no codes of ours.

use effect::{Code, Error};
use tonic::Status;

pub(super) fn of(error: &Error) -> Status {
    peer::calls::status(code_of(error), error)
}

fn code_of(error: &Error) -> tonic::Code {
    use tonic::Code as Grpc;
    match error.code {
        Code::ApiRequest
        | Code::Argument
        | Code::UnknownField
        | Code::Malformed
        | Code::BadCapability
        | Code::Syntax
        | Code::LimitSource
        | Code::DataTooLarge
        | Code::Parameters
        | Code::IdentityName
        | Code::LoginPolicy
        | Code::Usage => Grpc::InvalidArgument,
        Code::RunUnknown
        | Code::ServiceUnknown
        | Code::PlaybookUnknown
        | Code::PlaybookVersion
        | Code::AccountUnknown
        | Code::ApprovalUnknown
        | Code::DocumentUnknown => Grpc::NotFound,
        Code::ApiKeyTaken => Grpc::AlreadyExists,
        Code::ApiUser | Code::ApiRole | Code::AccessDenied | Code::Denied | Code::ApprovalDenied => {
            Grpc::PermissionDenied
        }
        Code::ApiVersion
        | Code::RunState
        | Code::ApprovalOver
        | Code::ApprovalChanged
        | Code::Locked
        | Code::AccountChanged
        | Code::AccountKind
        | Code::LastAdmin
        | Code::LoginRefused
        | Code::TokenRefused
        | Code::PlanTaken
        | Code::NotUndoable
        | Code::NotExecuted
        | Code::QuestionGone => Grpc::FailedPrecondition,
        Code::ApiBusy | Code::DaemonBusy | Code::IdentityBusy => Grpc::ResourceExhausted,
        Code::TimedOut => Grpc::DeadlineExceeded,
        Code::Unsupported => Grpc::Unimplemented,
        Code::ApiUnavailable | Code::DaemonStops => Grpc::Unavailable,
        Code::JournalBroken => Grpc::DataLoss,
        Code::Internal => Grpc::Internal,
        _ if error.retryable => Grpc::Unavailable,
        _ => Grpc::Unknown,
    }
}
