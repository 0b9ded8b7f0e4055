//! Owns the login policy by REST, for admins.

use std::net::IpAddr;

use effect::Timestamp;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Signed, tag};
use crate::Driver as _;
use crate::account::Account;
use crate::credentials::FirstFactor;
use crate::driver::{Planned, Question};
use crate::name::Name;
use crate::policy::{Rule, RuleSet};
use crate::web::Web;
use crate::web::answer::{self, Answered, Refused};
use crate::web::asked::Asked;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    rules: Vec<Rule>,
}

pub(super) async fn list(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::GET])?;
    signed.asker.admin()?;
    answer::json(StatusCode::OK, &json!({ "sets": web.service().every_rule_set().await? }))
}

pub(super) async fn one(web: &Web, asked: &Asked<'_>, signed: &Signed, set: &Name) -> Answered {
    asked.only(&[Method::GET, Method::PUT, Method::DELETE])?;
    let found = signed.asker.rules(&**web.service(), set).await?;
    match *asked.request.method() {
        Method::PUT => {
            let rules = asked.json::<Wanted>()?.rules;
            if rules.is_empty() {
                return Err(Refused::malformed("a set without rules is none: delete it"));
            }
            tag::check(asked, found.as_ref())?;
            let after = RuleSet { name: set.clone(), rules };
            if found.as_ref() != Some(&after) {
                web.service().put_rules(found.as_ref(), Some(&after)).await?;
            }
            let status = if found.is_none() { StatusCode::CREATED } else { StatusCode::OK };
            Ok(tag::tagged(answer::json(status, &after)?, &after))
        }
        Method::DELETE => {
            let found = found.ok_or_else(Refused::unknown)?;
            tag::check(asked, Some(&found))?;
            web.service().put_rules(Some(&found), None).await?;
            Ok(answer::nothing())
        }
        _ => {
            let found = found.ok_or_else(Refused::unknown)?;
            Ok(tag::tagged(answer::json(StatusCode::OK, &found)?, &found))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    account: Name,
    service: Name,
    #[serde(default)]
    address: Option<IpAddr>,
    /// In unix milliseconds.
    #[serde(default)]
    at: Option<i64>,
    #[serde(default)]
    first_factor: Option<FirstFactor>,
    /// The account as it will be.
    #[serde(default)]
    planned_account: Option<Account>,
    /// Sets of rules that will be others, or gone.
    #[serde(default)]
    planned_rules: Vec<(Name, Option<RuleSet>)>,
}

pub(super) async fn login_test(web: &Web, asked: &Asked<'_>, signed: &Signed) -> Answered {
    asked.only(&[Method::POST])?;
    signed.asker.admin()?;
    let test: Test = asked.json()?;
    let question = Question {
        account: &test.account,
        service: &test.service,
        address: test.address,
        at: test.at.map(Timestamp),
        first: test.first_factor,
        planned: Planned { account: test.planned_account, rules: test.planned_rules },
    };
    answer::json(StatusCode::OK, &signed.asker.explain(&**web.service(), &question).await?)
}
