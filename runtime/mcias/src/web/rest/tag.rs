//! Owns what tells one state of a record from another: whoever changes something says what it was as they know it.

use http::HeaderValue;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use serde::Serialize;

use crate::random;
use crate::web::answer::{Answer, Refused};
use crate::web::asked::Asked;

/// What stands in `ETag`.
pub(crate) fn of(value: &impl Serialize) -> String {
    // What cannot be encoded has no answer that it could stand in.
    let text = serde_json::to_vec(value).unwrap_or_default();
    format!("\"{}\"", random::encoded(&random::sha256(&text)[..18]))
}

/// The same answer with the state that it shows.
pub(super) fn tagged(mut answer: Answer, value: &impl Serialize) -> Answer {
    if let Ok(tag) = HeaderValue::try_from(of(value)) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// Refuses a change of something else than what is there.
pub(super) fn check(asked: &Asked<'_>, now: Option<&impl Serialize>) -> Result<(), Refused> {
    let is_other = asked.header(IF_MATCH.as_str())?.is_some_and(|tag| now.is_none_or(|now| of(now) != tag));
    let is_there = asked.header(IF_NONE_MATCH.as_str())?.is_some_and(|tag| tag != "*" || now.is_some());
    match is_other || is_there {
        true => {
            Err(effect::Error::new(effect::Code::AccountChanged, "it was changed by somebody else meanwhile")
                .into())
        }
        false => Ok(()),
    }
}
