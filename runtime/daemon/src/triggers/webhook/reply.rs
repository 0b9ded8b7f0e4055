//! Owns what callers are answered: short JSON that tells no secrets.

use bytes::Bytes;
use effect::Code;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::triggers::engine::Verdict;

pub(super) type Reply = Result<Response<Bytes>, Refused>;

/// A call that starts nothing.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    code: Code,
    message: &'static str,
    header: Option<(&'static str, String)>,
}

pub(super) fn refused(status: u16, message: &'static str) -> Refused {
    Refused { status, code: Code::WebhookRefused, message, header: None }
}

impl Refused {
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    pub(super) fn of(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let body = json!({ "error": { "code": self.code.as_str(), "message": self.message } });
        let mut response = accepted(self.status, &body);
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
        response
    }
}

fn accepted(status: u16, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{body}\n")));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What became of a call that tells of an event.
pub(super) fn of(verdict: Verdict, event: Option<&str>) -> Reply {
    match verdict {
        Verdict::Recorded { occurrence, outcome, run, reason } => {
            let mut body = json!({ "occurrence": occurrence, "outcome": outcome.as_str() });
            if let Some(run) = run {
                body["run"] = run.to_string().into();
            }
            if let Some(reason) = reason {
                body["reason"] = reason.into();
            }
            Ok(accepted(202, &body))
        }
        Verdict::Ignored => Ok(accepted(200, &json!({ "ignored": event }))),
        Verdict::Known => Err(refused(409, "this call was made before")),
        Verdict::TooOften(wait) => {
            Err(refused(429, "the webhook is called too often")
                .with("retry-after", wait.as_secs().to_string()))
        }
        Verdict::Gone => Err(refused(404, "there is no webhook at this address")),
    }
}
