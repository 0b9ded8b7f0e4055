//! Owns tokens that calls present: where they stand in a call, and the trait by which somebody says whom they stand for.

use std::net::SocketAddr;

use async_trait::async_trait;
use effect::{Code, Error, Principal, Result, Timestamp};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Caller;

/// Longer ones are none.
const LONGEST: usize = 4096;

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The account, with its roles and groups as they are now.
    pub principal: Principal,
    /// When the token expires.
    pub until: Timestamp,
}

/// Whoever knows tokens that were given for this daemon.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Whom a token stands for; nobody where it is not valid here.
    ///
    /// # Errors
    /// Where it cannot be told.
    async fn bearer(&self, token: &str) -> Result<Option<Bearer>>;
}

/// The token of a call; none where it presents none.
pub(super) fn presented(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    let token = value.and_then(|value| value.split_once(' '));
    let token =
        token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    token
        .filter(|token| !token.is_empty() && token.len() <= LONGEST)
        .map(Some)
        .ok_or_else(|| Error::new(Code::ApiUser, "`authorization` is no `Bearer TOKEN`"))
}

/// Who calls: whoever presents a token calls as its account, and may not do what they might without it.
pub(super) fn as_bearer(caller: &Caller, bearer: &Bearer) -> Caller {
    Caller::Bearer { principal: bearer.principal.clone(), address: caller.socket_address() }
}

impl Caller {
    /// From where it calls, where that is from afar.
    pub(super) fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Holder { address, .. } | Self::Nobody { address } | Self::Bearer { address, .. } => {
                *address
            }
            Self::User { .. } | Self::Stranger(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_in_one_place() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, http::HeaderValue::from_static(value));
            }
            presented(&headers).map(|token| token.map(str::to_owned))
        };
        assert_eq!(with(&[]).unwrap(), None);
        assert_eq!(with(&["bearer abc"]).unwrap().as_deref(), Some("abc"));
        for wrong in [&["Basic abc"][..], &["Bearer"], &["Bearer "], &["Bearer a", "Bearer b"]] {
            assert_eq!(with(wrong).unwrap_err().code, Code::ApiUser, "{wrong:?}");
        }
    }
}
