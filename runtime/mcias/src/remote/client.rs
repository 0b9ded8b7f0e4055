//! The driver that makes the calls of an mcias which others run.

use std::sync::Arc;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use http::Method;
use journal::Clock;
use peer::Secrets;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::ask::{Api, Call};
use super::{Issuer, Valid};
use crate::account::Account;
use crate::driver::{Driver, Feature, Holder, Issued, Order, Question, Token, unknown};
use crate::name::Name;
use crate::policy::{Explanation, RuleSet};
use crate::token::Refusal;
use crate::web::rest::tag;

/// The way to another mcias.
pub struct Client {
    api: Api,
    clock: Arc<dyn Clock>,
    valid: Valid,
}

#[derive(Deserialize)]
struct Said {
    valid: bool,
    refusal: Option<Refusal>,
    holder: Option<Holder>,
}

#[derive(Deserialize)]
struct Accounts {
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct Made {
    token: String,
    about: Token,
}

impl Client {
    /// The way by `settings`, with the secrets that may go to `mcias:issuer`. Nothing is asked yet.
    #[must_use]
    pub fn new(settings: Issuer, secrets: Arc<dyn effect::Secrets>, clock: Arc<dyn Clock>) -> Self {
        let secrets = Secrets::new(secrets, "mcias:issuer");
        Self { api: Api::new(settings, secrets), clock, valid: Valid::default() }
    }

    async fn make(&self, account: &Name, body: serde_json::Value) -> Result<Option<Issued>> {
        let call = Call::new(Method::POST, &["accounts", account.as_str(), "tokens"]).saying(body);
        let made: Option<Made> = self.api.read(call).await?;
        Ok(made.map(|made| Issued { text: Zeroizing::new(made.token), token: made.about }))
    }
}

#[async_trait]
impl Driver for Client {
    fn name(&self) -> &'static str {
        "issuer"
    }

    fn features(&self) -> &[Feature] {
        &[Feature::Accounts, Feature::Tokens, Feature::Policy]
    }

    async fn validate(&self, token: &str, service: &Name) -> Result<Result<Holder, Refusal>> {
        if token.len() > crate::token::LONGEST {
            return Ok(Err(Refusal::Malformed));
        }
        let (key, now) = (Valid::key(token, service), self.clock.now());
        if let Some(holder) = self.valid.get(&key, now) {
            return Ok(Ok(holder));
        }
        let call =
            Call::new(Method::POST, &["validate"]).saying(json!({ "token": token, "service": service }));
        let nothing = || Error::new(Code::IssuerAnswer, "the issuer does not know how to validate a token");
        let said: Said = self.api.read(call).await?.ok_or_else(nothing)?;
        match (said.valid, said.holder) {
            // Whatever it says, a token of another service is none here.
            (true, Some(holder)) if holder.service == *service => {
                self.valid.put(key, &holder, now);
                Ok(Ok(holder))
            }
            (true, _) => Ok(Err(Refusal::Audience)),
            (false, _) => Ok(Err(said.refusal.unwrap_or(Refusal::Unknown))),
        }
    }

    async fn account(&self, name: &Name) -> Result<Option<Account>> {
        self.api.read(Call::new(Method::GET, &["accounts", name.as_str()])).await
    }

    async fn accounts(&self) -> Result<Vec<Account>> {
        let listed: Option<Accounts> = self.api.read(Call::new(Method::GET, &["accounts"])).await?;
        Ok(listed.map(|listed| listed.accounts).unwrap_or_default())
    }

    async fn put(&self, before: Option<&Account>, after: Option<&Account>) -> Result<()> {
        let Some(name) = after.or(before).map(|account| account.name.as_str()) else { return Ok(()) };
        let expected = before.map(tag::of);
        let path = ["accounts", name];
        let call = match after {
            None => Call::new(Method::DELETE, &path),
            Some(after) => {
                let Account { id, kind, email, status, roles, groups, tags, created, changed, .. } = after;
                Call::new(Method::PUT, &path).saying(json!({
                    "id": id, "type": kind, "email": email, "status": status, "roles": roles, "groups": groups,
                    "tags": tags, "created": created, "changed": changed,
                }))
            }
        };
        let is_there = self.api.tell(call.expecting(expected)).await?;
        self.valid.forget();
        match is_there {
            true => Ok(()),
            false => Err(Error::new(Code::AccountChanged, format!("`{name}` is gone meanwhile")).retryable()),
        }
    }

    async fn set_password(&self, account: &Account, password: &str) -> Result<()> {
        let call = Call::new(Method::PUT, &["accounts", account.name.as_str()])
            .saying(json!({ "password": password }))
            .expecting(Some(tag::of(account)));
        self.api.tell(call).await.map(drop)
    }

    async fn issue(&self, order: &Order<'_>) -> Result<Issued> {
        let lifetime = order.lifetime.map(|lifetime| lifetime.as_secs());
        let body = json!({ "service": order.service, "lifetime": lifetime, "id": order.id });
        let made = self.make(&order.account.name, body).await?;
        made.ok_or_else(|| unknown(&order.account.name))
    }

    async fn handed_on(&self, account: &Name, id: &str) -> Result<Zeroizing<String>> {
        let refused = || Error::new(Code::TokenRefused, format!("there is no such token of `{account}`"));
        let path = ["accounts", account.as_str(), "tokens", id];
        let token: Token = self.api.read(Call::new(Method::GET, &path)).await?.ok_or_else(refused)?;
        // The same order makes the same token.
        let body = json!({ "service": token.service, "id": id });
        let made = self.make(account, body).await?.ok_or_else(refused)?;
        Ok(made.text)
    }

    async fn tokens(&self, account: &Name) -> Result<Vec<Token>> {
        let path = ["accounts", account.as_str(), "tokens"];
        let listed: Option<Tokens> = self.api.read(Call::new(Method::GET, &path)).await?;
        Ok(listed.map(|listed| listed.tokens).unwrap_or_default())
    }

    async fn revoke(&self, account: &Name, ids: &[String]) -> Result<()> {
        for id in ids {
            // One that is not there is not valid either.
            let path = ["accounts", account.as_str(), "tokens", id];
            self.api.tell(Call::new(Method::DELETE, &path)).await?;
        }
        self.valid.forget();
        Ok(())
    }

    async fn rules(&self, set: &Name) -> Result<Option<RuleSet>> {
        self.api.read(Call::new(Method::GET, &["policy", set.as_str()])).await
    }

    async fn put_rules(&self, before: Option<&RuleSet>, after: Option<&RuleSet>) -> Result<()> {
        let Some(name) = after.or(before).map(|set| set.name.as_str()) else { return Ok(()) };
        let path = ["policy", name];
        let call = match after {
            None => Call::new(Method::DELETE, &path),
            Some(after) => Call::new(Method::PUT, &path).saying(json!({ "rules": after.rules })),
        };
        match self.api.tell(call.expecting(before.map(tag::of))).await? {
            true => Ok(()),
            false => {
                let message = format!("the rules `{name}` are gone meanwhile");
                Err(Error::new(Code::AccountChanged, message).retryable())
            }
        }
    }

    async fn explain(&self, question: &Question<'_>) -> Result<Explanation> {
        let Question { account, service, address, at, first, planned } = question;
        let call = Call::new(Method::POST, &["login-test"]).saying(json!({
            "account": account, "service": service, "address": address, "at": at.map(|at| at.0),
            "first_factor": first,
            "planned_account": planned.account, "planned_rules": planned.rules,
        }));
        self.api.read(call).await?.ok_or_else(|| unknown(account))
    }
}
