//! Owns accounts and their roles by REST. One's own may be looked at; the rest is for admins.

use std::collections::BTreeSet;

use effect::{Code, Error, Timestamp};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Signed, Typed, tag};
use crate::Driver as _;
use crate::account::{Account, Kind, Role, Status};
use crate::asker::Wish;
use crate::name::{Email, Name};
use crate::web::Web;
use crate::web::answer::{self, Answered, Refused};
use crate::web::asked::Asked;

/// An account as somebody wants it: what is left out stays as it is.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// None takes it away.
    #[serde(deserialize_with = "given")]
    email: Option<Option<Email>>,
    status: Option<Status>,
    roles: Option<BTreeSet<Role>>,
    groups: Option<BTreeSet<Name>>,
    tags: Option<BTreeSet<Name>>,
    password: Option<Typed>,
    /// Of a new account, where whoever keeps accounts here has made them up before.
    id: Option<String>,
    created: Option<i64>,
    changed: Option<i64>,
}

/// What is given as `null` is another thing than what is not given.
fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

impl Wanted {
    fn of(&self, found: Option<&Account>, name: &Name, now: Timestamp) -> effect::Result<Account> {
        let wish = Wish {
            kind: self.kind,
            email: self.email.clone(),
            status: self.status,
            roles: self.roles.clone(),
            groups: self.groups.clone(),
            tags: self.tags.clone(),
        };
        let mut account = wish.of(found, name, now)?;
        if let Some(id) = self.id.as_ref().filter(|id| **id != account.id) {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if found.is_some() || !(16..=64).contains(&id.len()) || !id.bytes().all(fits) {
                let message = format!("`{name}` is another account than the one with this id");
                return Err(Error::new(Code::AccountChanged, message));
            }
            account.id.clone_from(id);
        }
        account.created = self.created.unwrap_or(account.created);
        Ok(account)
    }
}

pub(super) async fn list(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::GET])?;
    let accounts = signed.asker.accounts(&**web.service()).await?;
    answer::json(StatusCode::OK, &json!({ "accounts": accounts }))
}

pub(super) async fn one(web: &Web, asked: &Asked<'_>, signed: &Signed, name: &Name) -> Answered {
    asked.only(&[Method::GET, Method::PUT, Method::DELETE])?;
    if !asked.is_changing() {
        let account = signed.asker.account(&**web.service(), name).await?;
        return shown(StatusCode::OK, &account);
    }
    signed.asker.may_change(name)?;
    let found = web.service().account(name).await?;
    if asked.request.method() == Method::DELETE {
        let found = found.ok_or_else(Refused::unknown)?;
        tag::check(asked, Some(&found))?;
        web.service().put(Some(&found), None).await?;
        return Ok(answer::nothing());
    }
    let wish: Wanted = asked.json()?;
    tag::check(asked, found.as_ref())?;
    let wanted = |found: Option<&Account>, now| wish.of(found, name, now);
    put(web, (found, wish.changed), name, wanted, wish.password.as_ref()).await
}

/// Puts what `wish` makes of an account in its place.
async fn put(
    web: &Web,
    (found, changed): (Option<Account>, Option<i64>),
    name: &Name,
    wish: impl Fn(Option<&Account>, Timestamp) -> effect::Result<Account>,
    password: Option<&Typed>,
) -> Answered {
    let now = web.service().now();
    let mut after = wish(found.as_ref(), now)?;
    let is_new = found.is_none();
    if found.as_ref().is_none_or(|found| found.differs(&after)) {
        after.changed = changed.unwrap_or(now.0);
        web.service().put(found.as_ref(), Some(&after)).await?;
    }
    if let Some(password) = password {
        let set = web.service().set_password(&after, &password.0).await;
        // Of a new account nothing is left that nobody can use.
        if let (Err(error), true) = (&set, is_new) {
            web.service().put(Some(&after), None).await?;
            return Err(error.clone().into());
        }
        set?;
    }
    let account = web.service().account(name).await?.ok_or_else(Refused::unknown)?;
    shown(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &account)
}

fn shown(status: StatusCode, account: &Account) -> Answered {
    Ok(tag::tagged(answer::json(status, account)?, account))
}

pub(super) async fn disable(web: &Web, asked: &Asked<'_>, signed: &Signed, name: &Name) -> Answered {
    asked.only(&[Method::POST])?;
    let service = web.service();
    shown(StatusCode::OK, &signed.asker.disable(&**service, (name, service.now())).await?)
}

/// Takes the second factors of somebody away who has lost them.
pub(super) async fn factors(web: &Web, asked: &Asked<'_>, signed: &Signed, name: &Name) -> Answered {
    asked.only(&[Method::GET, Method::DELETE])?;
    if asked.is_changing() {
        signed.asker.may_change(name)?;
        signed.asker.account(&**web.service(), name).await?;
        web.service().reset_factors(name).await?;
        return Ok(answer::nothing());
    }
    signed.asker.account(&**web.service(), name).await?;
    answer::json(StatusCode::OK, &json!({ "factors": web.service().factors(name).await? }))
}

pub(super) async fn role(web: &Web, asked: &Asked<'_>, signed: &Signed, name: &Name, role: &str) -> Answered {
    asked.only(&[Method::PUT, Method::DELETE])?;
    signed.asker.may_change(name)?;
    let role = Role::ALL.into_iter().find(|known| known.as_str() == role).ok_or_else(Refused::unknown)?;
    let (service, is_granted) = (web.service(), asked.request.method() != Method::DELETE);
    let account = signed.asker.set_role(&**service, (name, service.now()), (role, is_granted)).await?;
    shown(StatusCode::OK, &account)
}
