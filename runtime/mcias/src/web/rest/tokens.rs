//! Owns tokens by REST: whether one is valid, for the service that was given it, and those of an account.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Signed, Typed};
use crate::Driver as _;
use crate::asker;
use crate::driver::{Holder, Token};
use crate::name::Name;
use crate::token::Refusal;
use crate::web::Web;
use crate::web::answer::{self, Answered, Refused};
use crate::web::asked::Asked;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Validate {
    token: Typed,
    service: Name,
}

#[derive(Serialize)]
struct Valid<'a> {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<&'a Holder>,
}

pub(super) async fn validate(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    let wish: Validate = asked.json()?;
    let said = match signed.asker.validate(&**web.service(), &wish.token.0, &wish.service).await? {
        Ok(holder) => {
            let valid = Valid { valid: true, refusal: None, holder: Some(&holder) };
            return answer::json(StatusCode::OK, &valid);
        }
        Err(refusal) => Valid { valid: false, refusal: Some(refusal), holder: None },
    };
    answer::json(StatusCode::OK, &said)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    service: Name,
    /// In seconds.
    #[serde(default)]
    lifetime: Option<u64>,
    /// What makes the same token when the call is made again.
    #[serde(default)]
    id: Option<String>,
}

impl Wanted {
    /// The id that was asked for.
    fn id(&self) -> Result<Option<&str>, Refused> {
        let fits = |id: &String| {
            (1..=64).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        match &self.id {
            Some(id) if fits(id) => Ok(Some(id)),
            Some(_) => Err(Refused::malformed("`id`: 1 to 64 letters, digits, `-` and `_`")),
            None => Ok(None),
        }
    }
}

/// Everything that is recorded of the tokens of an account.
pub(super) async fn of_account(web: &Web, asked: &Asked<'_>, signed: &Signed, name: &Name) -> Answered {
    asked.only(&[Method::GET, Method::POST, Method::DELETE])?;
    let (asker, service) = (&signed.asker, &**web.service());
    asker.account(service, name).await?;
    match *asked.request.method() {
        Method::POST => {
            asker.admin()?;
            let wish: Wanted = asked.json()?;
            let order = asker::Wanted {
                service: &wish.service,
                lifetime: wish.lifetime.map(Duration::from_secs),
                id: wish.id()?,
            };
            let issued = asker.issue(service, name, &order).await?;
            let made = json!({ "token": issued.text.as_str(), "about": issued.token });
            answer::json(StatusCode::CREATED, &made)
        }
        Method::DELETE => {
            let tokens = web.service().tokens(name).await?;
            revoke(web, name, tokens.into_iter()).await
        }
        _ => {
            let tokens = web.service().tokens(name).await?;
            answer::json(StatusCode::OK, &json!({ "tokens": tokens }))
        }
    }
}

/// One token of an account.
pub(super) async fn one(
    web: &Web,
    asked: &Asked<'_>,
    signed: &Signed,
    (name, id): (&Name, &str),
) -> Answered {
    asked.only(&[Method::GET, Method::DELETE])?;
    let (asker, service) = (&signed.asker, &**web.service());
    if asked.is_changing() {
        asker.revoke(service, name, id).await?;
        return Ok(answer::nothing());
    }
    let tokens = asker.tokens(service, name).await?;
    let token = tokens.into_iter().find(|token| token.id == id).ok_or_else(Refused::unknown)?;
    answer::json(StatusCode::OK, &token)
}

async fn revoke(web: &Web, name: &Name, tokens: impl Iterator<Item = Token>) -> Answered {
    let ids: Vec<String> = tokens.map(|token| token.id).collect();
    web.service().revoke(name, &ids).await?;
    Ok(answer::nothing())
}

#[derive(Serialize)]
struct Session {
    #[serde(flatten)]
    token: Token,
    /// Whether it is the one that asks.
    current: bool,
}

/// One's own sessions: what was signed in to, and not ended. All but the one that asks can be ended at once.
pub(super) async fn sessions(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::GET, Method::DELETE])?;
    let tokens = web.service().tokens(&signed.account.name).await?;
    let live = tokens.into_iter().filter(|token| !token.revoked);
    if asked.is_changing() {
        let others = live.filter(|token| token.id != signed.holder.token);
        return revoke(web, &signed.account.name, others).await;
    }
    let sessions: Vec<Session> =
        live.map(|token| Session { current: token.id == signed.holder.token, token }).collect();
    answer::json(StatusCode::OK, &json!({ "sessions": sessions }))
}

/// One of one's own sessions.
pub(super) async fn session(web: &Web, asked: &Asked<'_>, signed: &Signed, id: &str) -> Answered {
    asked.only(&[Method::DELETE])?;
    signed.asker.revoke(&**web.service(), &signed.account.name, id).await?;
    Ok(answer::nothing())
}
