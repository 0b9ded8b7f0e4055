//! Owns what the server says when it refuses: problem documents (RFC 7807) with the types of RFC 8555, section 6.7.

use std::time::Duration;

use effect::{Code, Error};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::names::Name;

const NAMESPACE: &str = "urn:ietf:params:acme:error:";
/// How long to wait where the authority behind is the reason.
const SOON: Duration = Duration::from_secs(30);

/// The types of RFC 8555, section 6.7, RFC 8737 and RFC 9773 that occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    AccountDoesNotExist,
    AlreadyReplaced,
    AlreadyRevoked,
    #[serde(rename = "badCSR")]
    BadCsr,
    BadNonce,
    BadPublicKey,
    BadRevocationReason,
    BadSignatureAlgorithm,
    Connection,
    Dns,
    ExternalAccountRequired,
    IncorrectResponse,
    InvalidContact,
    Malformed,
    OrderNotReady,
    RateLimited,
    RejectedIdentifier,
    ServerInternal,
    Tls,
    Unauthorized,
    UnsupportedContact,
    UnsupportedIdentifier,
    UserActionRequired,
}

impl Kind {
    /// The status that goes with it unless something else is said.
    fn status(self) -> StatusCode {
        match self {
            Self::AlreadyReplaced => StatusCode::CONFLICT,
            Self::ExternalAccountRequired
            | Self::IncorrectResponse
            | Self::OrderNotReady
            | Self::RejectedIdentifier
            | Self::Unauthorized
            | Self::UserActionRequired => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::ServerInternal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn urn(self) -> String {
        let name = serde_json::to_value(self).ok();
        let name = name.as_ref().and_then(Value::as_str).unwrap_or("serverInternal");
        format!("{NAMESPACE}{name}")
    }
}

/// A refusal. It is recorded with orders and challenges that have failed; what is skipped goes with an answer only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    pub(super) detail: String,
    /// The HTTP status code.
    pub(super) status: u16,
    /// The same for single names of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<(Name, Kind, String)>,
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
    #[serde(skip)]
    pub(super) location: Option<String>,
    /// Where the reader has to go first (relation `terms-of-service`).
    #[serde(skip)]
    pub(super) terms: Option<String>,
}

/// The answer, or why there is none.
pub(super) type Outcome<T> = Result<T, Problem>;

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let status = kind.status().as_u16();
        let detail = detail.into();
        Self { kind, detail, status, parts: Vec::new(), retry_after: None, location: None, terms: None }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unauthorized, detail)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::malformed(format!("there is no such {what}")).with_status(StatusCode::NOT_FOUND)
    }

    pub(super) fn rate_limited(detail: impl Into<String>, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..Self::new(Kind::RateLimited, detail) }
    }

    #[must_use]
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status: status.as_u16(), ..self }
    }

    /// The document.
    pub(super) fn document(&self) -> Value {
        let mut document = json!({ "type": self.kind.urn(), "detail": self.detail, "status": self.status });
        if self.kind == Kind::BadSignatureAlgorithm {
            document["algorithms"] = json!(super::jwk::ALGORITHMS);
        }
        if !self.parts.is_empty() {
            let part = |(name, kind, detail): &(Name, Kind, String)| json!({ "type": kind.urn(), "detail": detail, "identifier": super::order::identifier(name) });
            document["subproblems"] = self.parts.iter().map(part).collect();
        }
        document
    }
}

/// What the authority says is told where it concerns the client's own names and key; the rest is for the operator.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let told = match &error.cause {
            Some(cause) => format!("{}: {cause}", error.message),
            None => error.message.clone(),
        };
        match error.code {
            Code::CertificateName => {
                Self::new(Kind::RejectedIdentifier, told).with_status(StatusCode::BAD_REQUEST)
            }
            Code::CertificatePolicy => Self::new(Kind::RejectedIdentifier, told),
            Code::CertificateRequest => Self::new(Kind::BadCsr, told),
            Code::CertificateKey => Self::new(Kind::BadPublicKey, told),
            code => {
                tracing::error!(%code, %error, "an ACME request could not be carried out");
                let problem =
                    Self::new(Kind::ServerInternal, format!("the authority cannot do this now ({code})"));
                if !error.retryable {
                    return problem;
                }
                Self { retry_after: Some(SOON), ..problem.with_status(StatusCode::SERVICE_UNAVAILABLE) }
            }
        }
    }
}

impl From<journal::Error> for Problem {
    fn from(error: journal::Error) -> Self {
        tracing::error!(%error, "an ACME request could not be recorded");
        let problem = Self::new(Kind::ServerInternal, "the authority cannot record this now");
        Self { retry_after: Some(SOON), ..problem.with_status(StatusCode::SERVICE_UNAVAILABLE) }
    }
}
