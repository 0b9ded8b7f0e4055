//! Owns `mcias.login_test` and `mcias.whoami`.

use std::net::IpAddr;

use async_trait::async_trait;
use effect::{Code, Context, Declared, Error, Need, Read, Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use super::account::account_key;
use super::tokens::revealed;
use super::{World, check_node};
use crate::account::Account;
use crate::credentials::FirstFactor;
use crate::driver::{Feature, Holder, Planned, Question, check_feature};
use crate::name::Name;
use crate::policy::{Explanation, RuleSet, moment};

/// Says whether the login policy would let an account in to a service, which rule decides, and why each one before it does
/// not. Nobody is signed in by it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginTest {
    /// The account.
    account: String,
    /// The service.
    service: String,
    /// From which address; one that is not known unless given.
    address: Option<String>,
    /// At what time, such as `"2026-02-03T04:05:06Z"`; now unless given.
    at: Option<String>,
    /// What is shown first: a password unless given.
    first_factor: Option<FirstFactor>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for LoginTest {
    const NAME: &'static str = "mcias.login_test";
    const CAPABILITY: &'static str = "mcias:read:policy/*";
    const EXAMPLE: &'static str = "mcias.accounts.ensure { name = \"alice\" }\nlocal test = mcias.login_test { account = \"alice\", service = \"mcq\", address = \"192.0.2.1\" }\nprint(test.allowed, test.because)";
    type World = World;
    type Output = Explanation;

    fn subject(&self) -> String {
        format!("{} to {}", self.account, self.service)
    }

    /// It tells of every set of rules, and of the account.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        let account = self.account.parse::<Name>()?;
        Ok(vec![
            Need::read("mcias", format!("accounts/{account}")),
            Need::read("mcias", "policy").and_beneath(),
        ])
    }
}

/// The sets of rules that a plan will have changed.
fn planned_rules(context: &Context) -> Result<Vec<(Name, Option<RuleSet>)>> {
    let prefix = context.key("mcias", None, "policy/");
    let planned = context.overlay.beneath::<RuleSet>(&prefix).into_iter();
    planned.map(|(key, set)| Ok((key[prefix.len()..].parse()?, set))).collect()
}

#[async_trait]
impl Read for LoginTest {
    const PASSING: bool = true;

    async fn read(&self, world: &World, context: &Context) -> Result<Explanation> {
        check_node(context, self.node.as_deref())?;
        let driver = world.driver(context);
        check_feature(&*driver, Feature::Policy)?;
        let address = self.address.as_deref().map(|text| {
            text.parse::<IpAddr>().map_err(|_| {
                Error::new(Code::Argument, format!("`address`: `{}` is none", crate::name::shown(text)))
            })
        });
        let planned = Planned {
            account: context.overlay.get::<Account>(&account_key(context, &self.account)).flatten(),
            rules: planned_rules(context)?,
        };
        let question = Question {
            account: &self.account.parse()?,
            service: &self.service.parse()?,
            address: address.transpose()?,
            at: self.at.as_deref().map(moment).transpose()?,
            first: self.first_factor,
            planned,
        };
        driver.explain(&question).await
    }
}

/// Says whom a token stands for, with the roles that the account has now. One that is refused is an error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whoami {
    /// The token.
    token: Secret,
    /// The service that it is for.
    service: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Whoami {
    const NAME: &'static str = "mcias.whoami";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "mcias.accounts.ensure { name = \"mcq\", type = \"system\" }\nmcias.policy.ensure { name = \"mcq\", rules = { { name = \"push\", allow = true, accounts = { \"mcq\" }, services = { \"mcr\" } } } }\nlocal made = mcias.tokens.issue { account = \"mcq\", service = \"mcr\" }\nprint(mcias.whoami({ token = made.token, service = \"mcr\" }).account)";
    type World = World;
    type Output = Holder;

    fn subject(&self) -> String {
        self.service.clone()
    }

    /// Whoever has the token may know whose it is.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for Whoami {
    const PASSING: bool = true;

    async fn read(&self, world: &World, context: &Context) -> Result<Holder> {
        check_node(context, self.node.as_deref())?;
        let token = revealed(context, &self.token).await?;
        world.driver(context).validate(&token, &self.service.parse()?).await?.map_err(|refusal| {
            Error::new(Code::TokenRefused, format!("the token is refused: {}", refusal.describe()))
        })
    }
}
