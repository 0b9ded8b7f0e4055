//! Owns the calls of `proto/mcias/v1.json`: which path with which method does what, and who may.
//!
//! Whoever asks has a token of the service itself, and may what its account may at that moment. What somebody may not know
//! of is answered like what is not there.

mod accounts;
pub(crate) mod login;
mod own;
mod policy;
pub(crate) mod tag;
mod tokens;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use zeroize::Zeroizing;

use super::Web;
use super::answer::{self, Answered, Refused};
use super::asked::Asked;
use crate::account::{Account, Kind, Role};
use crate::asker::{Asker, Denied};
use crate::driver::Holder;
use crate::name::Name;
use crate::witness::{Actor, acting};

/// Whoever asks, as of now.
pub(super) struct Signed {
    pub(super) holder: Arc<Holder>,
    pub(super) account: Account,
    /// What it may do to accounts, tokens and rules.
    asker: Asker,
}

impl Signed {
    /// Guests look.
    fn is_guest(&self) -> bool {
        let roles = &self.account.roles;
        !roles.is_empty() && roles.iter().all(|role| *role == Role::Guest)
    }

    /// A person who may change what is their own.
    fn person(&self) -> Result<&Account, Refused> {
        match self.account.kind == Kind::Human && !self.is_guest() {
            true => Ok(&self.account),
            false => Err(Refused::forbidden()),
        }
    }
}

/// A text that proves something: it is gone from memory when it was looked at.
struct Typed(Zeroizing<String>);

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A name in a path: what is no name is not there.
fn named(text: &str) -> Result<Name, Refused> {
    text.parse().map_err(|_| Refused::unknown())
}

/// The answer to a call; its path is in parts, without `v1`.
pub(super) async fn answer(web: &Web, asked: &Asked<'_>, parts: &[&str]) -> Answered {
    match parts {
        ["login"] => {
            asked.only(&[Method::POST])?;
            return login::login(web, asked).await;
        }
        ["logout"] => {
            asked.only(&[Method::POST])?;
            return login::logout(web, asked).await;
        }
        _ => {}
    }
    let signed = signed(web, asked).await?;
    let principal = match signed.account.kind {
        Kind::Human => format!("account:{}", signed.account.name),
        Kind::System => format!("system:{}", signed.account.name),
    };
    let actor = Actor { principal, address: Some(asked.peer) };
    acting(actor, of_signed(web, asked, &signed, parts)).await
}

async fn of_signed(web: &Web, asked: &Asked<'_>, signed: &Signed, parts: &[&str]) -> Answered {
    match parts {
        ["whoami"] => {
            asked.only(&[Method::GET])?;
            let token = json!({ "id": signed.holder.token, "expires_at": signed.holder.expires_at });
            answer::json(StatusCode::OK, &json!({ "account": signed.account, "token": token }))
        }
        ["validate"] => {
            asked.only(&[Method::POST])?;
            tokens::validate(web, asked, signed).await
        }
        ["sessions"] => tokens::sessions(web, asked, signed).await,
        ["sessions", id] => tokens::session(web, asked, signed, id).await,
        ["password"] => own::password(web, asked, signed).await,
        ["factors"] => own::factors(web, asked, signed).await,
        ["totp"] => own::totp(web, asked, signed).await,
        ["totp", "confirm"] => own::confirm(web, asked, signed).await,
        ["recovery-codes"] => own::recovery(web, asked, signed).await,
        ["accounts"] => accounts::list(web, asked, signed).await,
        ["accounts", name] => accounts::one(web, asked, signed, &named(name)?).await,
        ["accounts", name, "disable"] => accounts::disable(web, asked, signed, &named(name)?).await,
        ["accounts", name, "factors"] => accounts::factors(web, asked, signed, &named(name)?).await,
        ["accounts", name, "roles", role] => accounts::role(web, asked, signed, &named(name)?, role).await,
        ["accounts", name, "tokens"] => tokens::of_account(web, asked, signed, &named(name)?).await,
        ["accounts", name, "tokens", id] => tokens::one(web, asked, signed, (&named(name)?, id)).await,
        ["policy"] => policy::list(web, asked, signed).await,
        ["policy", set] => policy::one(web, asked, signed, &named(set)?).await,
        ["login-test"] => policy::login_test(web, asked, signed).await,
        _ => Err(Refused::unknown()),
    }
}

/// Who asks. Roles count as they are now, whoever changed them.
async fn signed(web: &Web, asked: &Asked<'_>) -> Result<Signed, Refused> {
    let holder = web.bearer(asked).await?.ok_or_else(Refused::unauthenticated)?;
    let account = web.service().account_now(&holder).await?.ok_or_else(Refused::unauthenticated)?;
    let asker = Asker::of(account.clone(), web.service().settings());
    Ok(Signed { holder, account, asker })
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Forbidden => Self::forbidden(),
            Denied::Hidden | Denied::Missing => Self::unknown(),
            Denied::Failed(error) => error.into(),
        }
    }
}
