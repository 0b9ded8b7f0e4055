//! Owns that the calls about identity are answered by the driver that mcrun.toml chooses, in the name of whoever asks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::v1;
use async_trait::async_trait;
use daemon::api::{Accounts, Asker};
use effect::{Code, Error, Principal, Result, Timestamp};
use journal::Clock;
use mcias::account::{Account, Kind, Role, Status};
use mcias::asker::{Asked, Denied, Wanted, Wish};
use mcias::driver::{Planned, Question, Token, check_feature, unknown};
use mcias::policy::{Rule, RuleSet};
use mcias::witness::{Actor, acting};
use mcias::{Driver, Feature, FirstFactor, Name, Settings};
use serde_json::json;

/// The keeper of accounts, behind its driver.
pub(super) struct Kept {
    pub(super) driver: Arc<dyn Driver>,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
}

impl Kept {
    /// What whoever asks may do: an account as it is now, whatever its token said.
    async fn asker(&self, by: &Asker, needed: Option<Feature>) -> Result<mcias::Asker> {
        if let Some(needed) = needed {
            check_feature(&*self.driver, needed)?;
        }
        let (name, kind) = match &by.principal {
            Principal::Account { name, .. } => (name, Kind::Human),
            Principal::System { name, .. } => (name, Kind::System),
            // The policy of access knows them, and nobody else does.
            Principal::User { .. } | Principal::Certificate { .. } | Principal::Daemon => {
                return Ok(mcias::Asker::trusted());
            }
        };
        let account = self.driver.account(&name.parse()?).await?;
        let account = account.filter(|account| account.kind == kind && account.is_active());
        let account = account.ok_or_else(|| denied(by))?;
        Ok(mcias::Asker::of(account, &self.settings))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn actor(by: &Asker) -> Actor {
    Actor { principal: by.principal.to_string(), address: by.address }
}

fn denied(by: &Asker) -> Error {
    let message = format!("`{}` is no admin's account: it sees and ends what is its own", by.principal);
    Error::new(Code::AccessDenied, message)
}

/// What is told of what came of it.
fn told<T>(by: &Asker, done: Asked<T>, missing: impl FnOnce() -> Error) -> Result<T> {
    done.map_err(|why| match why {
        Denied::Forbidden | Denied::Hidden => denied(by),
        Denied::Missing => missing(),
        Denied::Failed(error) => error,
    })
}

fn words<T: ToString>(words: impl IntoIterator<Item = T>) -> Vec<String> {
    words.into_iter().map(|word| word.to_string()).collect()
}

fn account_of(account: &Account) -> v1::Account {
    v1::Account {
        id: account.id.clone(),
        name: account.name.to_string(),
        kind: account.kind.as_str().into(),
        email: account.email.as_ref().map(|email| email.as_str().into()),
        status: account.status.as_str().into(),
        roles: words(account.roles.iter().map(|role| role.as_str())),
        groups: words(&account.groups),
        tags: words(&account.tags),
        created: account.created,
        changed: account.changed,
    }
}

fn token_of(token: &Token) -> v1::Token {
    v1::Token {
        id: token.id.clone(),
        account: token.account.to_string(),
        service: token.service.to_string(),
        issued: token.issued_at,
        expires: token.expires_at,
        via: token.via.as_str().into(),
        address: token.address.map(|address| address.to_string()),
        client: token.client.as_ref().map(ToString::to_string),
        is_revoked: token.revoked,
    }
}

fn role(word: &str) -> Result<Role> {
    let known = Role::ALL.into_iter().find(|role| role.as_str() == word);
    known.ok_or_else(|| Error::new(Code::ApiRequest, "a role is one of admin, user, guest"))
}

fn names(given: Option<&v1::Words>) -> Result<Option<std::collections::BTreeSet<Name>>> {
    given.map(|given| given.words.iter().map(|name| name.parse()).collect()).transpose()
}

/// An account as it is asked for. The words in it were looked at by whoever took the call.
fn wish(message: &v1::EnsureAccountRequest) -> Result<Wish> {
    let v1::EnsureAccountRequest { account: _, kind, email, status, roles, groups, tags } = message;
    let email = match email.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(email) => Some(Some(email.parse()?)),
    };
    let roles = roles.as_ref().map(|roles| roles.words.iter().map(|word| role(word)).collect());
    Ok(Wish {
        kind: kind
            .as_ref()
            .map(|kind| if kind == Kind::System.as_str() { Kind::System } else { Kind::Human }),
        email,
        status: status.as_ref().map(|status| match status == Status::Disabled.as_str() {
            true => Status::Disabled,
            false => Status::Active,
        }),
        roles: roles.transpose()?,
        groups: names(groups.as_ref())?,
        tags: names(tags.as_ref())?,
    })
}

/// The set with these rules; none where there are none.
fn rule_set(set: &Name, rules: &str) -> Result<Option<RuleSet>> {
    let rules: Vec<Rule> = serde_json::from_str(rules).map_err(|error| {
        Error::new(Code::LoginPolicy, format!("the rules of `{set}` are no JSON list of rules"))
            .because(error)
            .hint("each is as `mcias.policy.ensure` takes it")
    })?;
    Ok((!rules.is_empty()).then(|| RuleSet { name: set.clone(), rules }))
}

#[async_trait]
impl Accounts for Kept {
    async fn accounts(&self, by: &Asker) -> Result<Vec<v1::Account>> {
        let asker = self.asker(by, Some(Feature::Accounts)).await?;
        let accounts = told(by, asker.accounts(&*self.driver).await, || denied(by))?;
        Ok(accounts.iter().map(account_of).collect())
    }

    async fn account(&self, by: &Asker, name: &str) -> Result<v1::Account> {
        let asker = self.asker(by, Some(Feature::Accounts)).await?;
        let name = name.parse()?;
        Ok(account_of(&told(by, asker.account(&*self.driver, &name).await, || unknown(&name))?))
    }

    async fn ensure_account(
        &self,
        by: &Asker,
        message: &v1::EnsureAccountRequest,
    ) -> Result<v1::EnsureAccountResponse> {
        let asker = self.asker(by, Some(Feature::Accounts)).await?;
        let (name, wish) = (message.account.parse()?, wish(message)?);
        let ensured = asker.ensure(&*self.driver, (&name, self.now()), &wish);
        let (before, after) = told(by, acting(actor(by), ensured).await, || unknown(&name))?;
        let has_changed = before.is_none_or(|before| before.differs(&after));
        Ok(v1::EnsureAccountResponse { account: Some(account_of(&after)), has_changed })
    }

    async fn disable_account(&self, by: &Asker, name: &str) -> Result<v1::Account> {
        let asker = self.asker(by, Some(Feature::Accounts)).await?;
        let name = name.parse()?;
        let disabled = acting(actor(by), asker.disable(&*self.driver, (&name, self.now()))).await;
        Ok(account_of(&told(by, disabled, || unknown(&name))?))
    }

    async fn set_role(&self, by: &Asker, message: &v1::SetRoleRequest) -> Result<v1::Account> {
        let asker = self.asker(by, Some(Feature::Accounts)).await?;
        let (name, wanted) = (message.account.parse()?, (role(&message.role)?, message.is_granted));
        let set = asker.set_role(&*self.driver, (&name, self.now()), wanted);
        Ok(account_of(&told(by, acting(actor(by), set).await, || unknown(&name))?))
    }

    async fn tokens(&self, by: &Asker, account: &str) -> Result<Vec<v1::Token>> {
        let asker = self.asker(by, Some(Feature::Tokens)).await?;
        let name = account.parse()?;
        let tokens = told(by, asker.tokens(&*self.driver, &name).await, || unknown(&name))?;
        Ok(tokens.iter().map(token_of).collect())
    }

    async fn issue_token(
        &self,
        by: &Asker,
        message: &v1::IssueTokenRequest,
    ) -> Result<v1::IssueTokenResponse> {
        let asker = self.asker(by, Some(Feature::Tokens)).await?;
        let (name, service): (Name, Name) = (message.account.parse()?, message.service.parse()?);
        let lifetime = message.lifetime.map(Duration::from_secs);
        let wanted = Wanted { service: &service, lifetime, id: message.id.as_deref() };
        let issued = acting(actor(by), asker.issue(&*self.driver, &name, &wanted)).await;
        let issued = told(by, issued, || unknown(&name))?;
        let (token, about) = (issued.text.to_string(), Some(token_of(&issued.token)));
        Ok(v1::IssueTokenResponse { token, about })
    }

    async fn revoke_token(&self, by: &Asker, account: &str, id: &str) -> Result<()> {
        let asker = self.asker(by, Some(Feature::Tokens)).await?;
        let name: Name = account.parse()?;
        let missing = || Error::new(Code::TokenRefused, format!("`{name}` has no token `{id}`"));
        told(by, acting(actor(by), asker.revoke(&*self.driver, &name, id)).await, missing)
    }

    async fn validate_token(
        &self,
        by: &Asker,
        message: &v1::ValidateTokenRequest,
    ) -> Result<v1::ValidateTokenResponse> {
        let asker = self.asker(by, None).await?;
        let service = message.service.parse()?;
        let validated = asker.validate(&*self.driver, &message.token, &service).await;
        Ok(match told(by, validated, || denied(by))? {
            Ok(holder) => {
                let holder = v1::Holder {
                    account: holder.account.to_string(),
                    account_id: holder.account_id,
                    kind: holder.kind.as_str().into(),
                    roles: words(holder.roles.iter().map(|role| role.as_str())),
                    groups: words(&holder.groups),
                    service: holder.service.to_string(),
                    token: holder.token,
                    expires: holder.expires_at,
                };
                v1::ValidateTokenResponse { holder: Some(holder), refusal: String::new() }
            }
            Err(refusal) => {
                let refusal = json!(refusal).as_str().unwrap_or_default().to_owned();
                v1::ValidateTokenResponse { holder: None, refusal }
            }
        })
    }

    async fn rules(&self, by: &Asker, set: &str) -> Result<Option<String>> {
        let asker = self.asker(by, Some(Feature::Policy)).await?;
        let found = told(by, asker.rules(&*self.driver, &set.parse()?).await, || denied(by))?;
        Ok(found.map(|set| json!(set.rules).to_string()))
    }

    async fn ensure_rules(&self, by: &Asker, set: &str, rules: &str) -> Result<bool> {
        let asker = self.asker(by, Some(Feature::Policy)).await?;
        let set: Name = set.parse()?;
        let after = rule_set(&set, rules)?;
        let ensured = asker.ensure_rules(&*self.driver, &set, after.as_ref());
        told(by, acting(actor(by), ensured).await, || denied(by))
    }

    async fn explain(
        &self,
        by: &Asker,
        message: &v1::ExplainSignInRequest,
    ) -> Result<v1::ExplainSignInResponse> {
        let asker = self.asker(by, Some(Feature::Policy)).await?;
        let (account, service) = (message.account.parse()?, message.service.parse()?);
        let address: Option<IpAddr> = message.address.as_ref().and_then(|address| address.parse().ok());
        let first = FirstFactor::ALL
            .into_iter()
            .find(|factor| message.first_factor.as_deref() == Some(factor.as_str()));
        let question = Question {
            account: &account,
            service: &service,
            address,
            at: message.at.map(Timestamp),
            first,
            planned: Planned::default(),
        };
        let said = told(by, asker.explain(&*self.driver, &question).await, || unknown(&account))?;
        let missed = said.tried.into_iter();
        Ok(v1::ExplainSignInResponse {
            is_allowed: said.allowed,
            set: said.set,
            rule: said.rule,
            wants_second_factor: said.second_factor,
            because: said.because,
            missed: missed.map(|one| v1::Missed { set: one.set, rule: one.rule, why: one.why }).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use journal::SystemClock;

    use super::*;

    #[tokio::test]
    async fn what_the_driver_lacks_is_said_before_anything_is_asked() {
        let provider = serde_json::from_value(json!({ "issuer": "https://id.example" })).unwrap();
        let clock = Arc::new(SystemClock);
        let driver = Arc::new(mcias::remote::OpenId::new(provider, clock.clone()));
        let kept = Kept { driver, settings: Settings::default(), clock };
        let by = |principal: &str| Asker { principal: principal.parse().unwrap(), address: None };
        for by in [by("user:root"), by("account:ada")] {
            let ensure = v1::EnsureAccountRequest { account: "ada".into(), ..Default::default() };
            let issue =
                v1::IssueTokenRequest { account: "ada".into(), service: "mcq".into(), ..Default::default() };
            let explain = v1::ExplainSignInRequest {
                account: "ada".into(),
                service: "mcq".into(),
                ..Default::default()
            };
            let codes = [
                kept.accounts(&by).await.map(drop),
                kept.account(&by, "ada").await.map(drop),
                kept.ensure_account(&by, &ensure).await.map(drop),
                kept.disable_account(&by, "ada").await.map(drop),
                kept.tokens(&by, "ada").await.map(drop),
                kept.issue_token(&by, &issue).await.map(drop),
                kept.revoke_token(&by, "ada", "t").await,
                kept.rules(&by, "staff").await.map(drop),
                kept.ensure_rules(&by, "staff", "[]").await.map(drop),
                kept.explain(&by, &explain).await.map(drop),
            ]
            .map(|done| done.unwrap_err().code);
            assert_eq!(codes, [Code::Unsupported; 10]);
        }
    }
}
