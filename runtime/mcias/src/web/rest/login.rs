//! Owns signing in and out by REST. Whatever comes of a sign-in has one shape, and says nothing of why it was refused.

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use serde::{Deserialize, Serialize};

use super::Typed;
use crate::Driver as _;
use crate::account::Kind;
use crate::credentials::{Factor, First, Second};
use crate::embedded::{Outcome, SignIn};
use crate::name::Name;
use crate::web::Web;
use crate::web::answer::{self, Answered, Refused, seconds};
use crate::web::asked::Asked;
use crate::witness::{Actor, acting};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    password: Typed,
    #[serde(default)]
    totp: Option<Typed>,
    #[serde(default)]
    recovery: Option<Typed>,
    service: String,
}

#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Told<'a> {
    Token { token: &'a str, id: &'a str, account: &'a Name, service: &'a Name, expires_at: i64 },
    Challenge { factors: &'a [Factor] },
    Wait { seconds: u64 },
    Refused,
}

pub(super) async fn login(web: &Web, asked: &Asked<'_>) -> Answered {
    let given: Login = asked.json()?;
    let second = match (&given.totp, &given.recovery) {
        (Some(_), Some(_)) => return Err(Refused::malformed("one second factor is given at a time")),
        (Some(code), None) => Some(Second::Totp(&code.0)),
        (None, Some(code)) => Some(Second::Recovery(&code.0)),
        (None, None) => None,
    };
    let wish = SignIn {
        name: &given.name,
        first: First::Password(&given.password.0),
        second,
        service: &given.service,
        address: Some(asked.peer),
    };
    told(&web.service().sign_in(&wish).await?)
}

/// What is told of a sign-in, whatever its first factor was.
pub(crate) fn told(outcome: &Outcome) -> Answered {
    match outcome {
        Outcome::Token(issued) => {
            let token = &issued.token;
            let told = Told::Token {
                token: &issued.text,
                id: &token.id,
                account: &token.account,
                service: &token.service,
                expires_at: token.expires_at,
            };
            answer::json(StatusCode::OK, &told)
        }
        Outcome::Challenge(factors) => answer::json(StatusCode::OK, &Told::Challenge { factors }),
        Outcome::Wait(wait) => {
            let seconds = seconds(*wait);
            let mut answer = answer::json(StatusCode::TOO_MANY_REQUESTS, &Told::Wait { seconds })?;
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            Ok(answer)
        }
        Outcome::Refused => answer::json(StatusCode::UNAUTHORIZED, &Told::Refused),
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Logout {
    /// The service that the token is for.
    service: Option<Name>,
}

/// Ends the token that is presented, of whichever service: whoever has it may do that.
pub(super) async fn logout(web: &Web, asked: &Asked<'_>) -> Answered {
    let token = asked.bearer()?.ok_or_else(Refused::unauthenticated)?;
    let wish: Logout = if asked.request.body().is_empty() { Logout::default() } else { asked.json()? };
    let service = wish.service.unwrap_or_else(|| web.own.clone());
    let holder = web.service().validated(token, &service).await?.map_err(|_| Refused::unauthenticated())?;
    let kind = if holder.kind == Kind::Human { "account" } else { "system" };
    let actor = Actor { principal: format!("{kind}:{}", holder.account), address: Some(asked.peer) };
    acting(actor, web.service().revoke(&holder.account, std::slice::from_ref(&holder.token))).await?;
    Ok(answer::nothing())
}
