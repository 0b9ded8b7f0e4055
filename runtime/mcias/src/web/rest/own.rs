//! Owns what people change of their own by REST: the password and second factors. Each takes the password again, as a
//! session that somebody else came by must not take the account over.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Signed, Typed};
use crate::account::Account;
use crate::credentials::Second;
use crate::embedded::Proof;
use crate::web::Web;
use crate::web::answer::{self, Answered, Refused};
use crate::web::asked::Asked;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proven {
    password: Typed,
    #[serde(default)]
    totp: Option<Typed>,
    #[serde(default)]
    recovery: Option<Typed>,
}

impl Proven {
    fn second(&self) -> Option<Second<'_>> {
        let totp = self.totp.as_ref().map(|code| Second::Totp(&code.0));
        totp.or(self.recovery.as_ref().map(|code| Second::Recovery(&code.0)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    current: Typed,
    new: Typed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    code: Typed,
}

async fn proven(
    web: &Web,
    asked: &Asked<'_>,
    account: &Account,
    (password, second): (&Typed, Option<Second<'_>>),
) -> Result<(), Refused> {
    match web.service().prove(account, &password.0, second, Some(asked.peer)).await? {
        Proof::Given => Ok(()),
        Proof::Wrong => Err(Refused::new(StatusCode::FORBIDDEN, "refused", "that does not prove who asks")),
        Proof::Wait(wait) => Err(Refused::too_often(wait)),
    }
}

/// Other sessions end with the password by which they began.
pub(super) async fn password(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::PUT])?;
    let account = signed.person()?;
    let wish: Password = asked.json()?;
    proven(web, asked, account, (&wish.current, None)).await?;
    web.service().change_password(account, &wish.new.0, &signed.holder.token).await?;
    Ok(answer::nothing())
}

pub(super) async fn factors(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::GET])?;
    let factors = web.service().factors(&signed.account.name).await?;
    answer::json(StatusCode::OK, &json!({ "factors": factors }))
}

pub(super) async fn totp(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::POST, Method::DELETE])?;
    let account = signed.person()?;
    let wish: Proven = asked.json()?;
    if asked.request.method() == Method::POST {
        proven(web, asked, account, (&wish.password, None)).await?;
        let enrolment = web.service().enrol_totp(&account.name).await?;
        let shown = json!({ "key": enrolment.key.as_str(), "url": enrolment.url.as_str() });
        return answer::json(StatusCode::CREATED, &shown);
    }
    // Whoever takes the second factor away shows once more that it is theirs.
    let second = wish.second().ok_or_else(|| Refused::malformed("`totp` or `recovery` is missing"))?;
    proven(web, asked, account, (&wish.password, Some(second))).await?;
    web.service().reset_factors(&account.name).await?;
    Ok(answer::nothing())
}

pub(super) async fn confirm(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::POST])?;
    let account = signed.person()?;
    let wish: Code = asked.json()?;
    let codes = web.service().confirm_totp(&account.name, &wish.code.0).await?;
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    answer::json(StatusCode::OK, &json!({ "recovery": codes }))
}

pub(super) async fn recovery(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::POST])?;
    let account = signed.person()?;
    let wish: Proven = asked.json()?;
    let second = wish.second().ok_or_else(|| Refused::malformed("`totp` or `recovery` is missing"))?;
    proven(web, asked, account, (&wish.password, Some(second))).await?;
    let codes = web.service().renew_recovery(&account.name).await?;
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    answer::json(StatusCode::OK, &json!({ "recovery": codes }))
}
