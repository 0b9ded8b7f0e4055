//! Owns answers to calls: statuses, bodies, headers, and which error of a driver is which status.

use bytes::Bytes;
use effect::{Code, Error};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use crate::rest::api::Refusal;

/// An answer, or why there is none.
pub(super) type Answered = Result<Answer, Denied>;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) location: Option<String>,
}

pub(super) enum Denied {
    Unknown(&'static str),
    Forbidden(String),
    Malformed(String),
    Conflict(String),
    TooLarge,
    Method(&'static str),
    Failed(Error),
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) const NO_ZONE: Denied = Denied::Unknown("there is no such zone");
pub(super) const NO_RECORD: Denied = Denied::Unknown("there is no such record");

pub(super) fn forbidden(what: &str, name: &str) -> Denied {
    Denied::Forbidden(format!("this token lacks `{what}:{name}`"))
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answered {
    let body = serde_json::to_vec(value)
        .map_err(|error| Error::new(Code::Internal, "an answer cannot be encoded").because(error))?;
    Ok(Answer { status, body, location: None })
}

pub(super) fn nothing() -> Answer {
    Answer { status: StatusCode::NO_CONTENT, body: Vec::new(), location: None }
}

pub(super) fn respond(answered: Answered) -> Response<Bytes> {
    let denied = match answered {
        Ok(answer) => {
            let mut headers = HeaderMap::new();
            if let Some(Ok(location)) = answer.location.map(HeaderValue::try_from) {
                headers.insert(LOCATION, location);
            }
            return response(answer.status, answer.body, headers);
        }
        Err(denied) => denied,
    };
    match denied {
        Denied::Unknown(why) => refusal(StatusCode::NOT_FOUND, why),
        Denied::Forbidden(why) => refusal(StatusCode::FORBIDDEN, &why),
        Denied::Malformed(why) => refusal(StatusCode::BAD_REQUEST, &why),
        Denied::Conflict(why) => refusal(StatusCode::CONFLICT, &why),
        Denied::TooLarge => refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
        Denied::Method(allowed) => {
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "this path has other methods");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            response
        }
        Denied::Failed(error) => refusal(status(&error), &words(&error)),
    }
}

fn status(error: &Error) -> StatusCode {
    match error.code {
        Code::DnsName | Code::DnsValue => StatusCode::BAD_REQUEST,
        Code::DnsExclusive => StatusCode::CONFLICT,
        Code::DnsZone => StatusCode::NOT_FOUND,
        Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Code::DnsRefused | Code::DnsAnswer => StatusCode::BAD_GATEWAY,
        Code::DnsUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn words(error: &Error) -> String {
    match &error.cause {
        Some(cause) => format!("{}: {cause}", error.message),
        None => error.message.clone(),
    }
}

pub(super) fn refusal(status: StatusCode, why: &str) -> Response<Bytes> {
    let body = serde_json::to_vec(&Refusal { error: why.to_owned() }).unwrap_or_default();
    response(status, body, HeaderMap::new())
}

fn response(status: StatusCode, body: Vec<u8>, headers: HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
