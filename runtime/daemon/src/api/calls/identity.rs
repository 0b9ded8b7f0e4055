//! Owns the calls about identity: bounds on what they say, pages, and that a refusal by whoever keeps accounts is in the audit
//! as one of the policy is. Leaves the rest to that room.

use std::net::IpAddr;

use api::v1;
use api::v1::identity_server::Identity;
use async_trait::async_trait;
use effect::{Code, Result};
use tonic::Request;

use super::{Answer, answer, granted, lacks};
use crate::api::accounts::{Accounts, Asker};
use crate::api::fields::{text, texts, word, wrong};
use crate::api::gate::unknown_account;
use crate::api::page::{Question, fill, size};
use crate::api::{Api, Caller, asked};

const LONGEST_NAME: usize = 64;
const LONGEST_EMAIL: usize = 254;
const LONGEST_ID: usize = 64;
const LONGEST_TOKEN: usize = 4096;
const LONGEST_ADDRESS: usize = 45;
const LARGEST_RULES: usize = 64 << 10;
const ROLES: [&str; 3] = ["admin", "user", "guest"];
/// Groups or tags of an account.
const MOST_WORDS: usize = 64;

fn named<'a>(field: &str, given: &'a str) -> Result<&'a str> {
    text(field, given, LONGEST_NAME)
}

fn listed(field: &str, given: Option<&v1::Words>) -> Result<()> {
    given.map_or(Ok(()), |given| texts(field, &given.words, (MOST_WORDS, LONGEST_NAME)))
}

/// What an account is asked to be, within bounds. What there is for it is told by whoever keeps accounts.
fn check(wish: &v1::EnsureAccountRequest) -> Result<()> {
    named("account", &wish.account)?;
    if let Some(kind) = &wish.kind {
        word("kind", kind, &["human", "system"])?;
    }
    if let Some(status) = &wish.status {
        word("status", status, &["active", "disabled"])?;
    }
    if let Some(email) = wish.email.as_ref().filter(|email| !email.is_empty()) {
        text("email", email, LONGEST_EMAIL)?;
    }
    listed("roles", wish.roles.as_ref())?;
    for role in wish.roles.iter().flat_map(|roles| &roles.words) {
        word("roles", role, &ROLES)?;
    }
    listed("groups", wish.groups.as_ref())?;
    listed("tags", wish.tags.as_ref())
}

impl Api {
    /// Whoever keeps accounts, and who asks.
    fn identity<T>(&self, request: &Request<T>) -> Result<(&dyn Accounts, Asker)> {
        let accounts = lacks(self.rooms().accounts.as_deref(), "keeps no accounts")?;
        let address = request.extensions().get::<Caller>().and_then(Caller::socket_address);
        let principal = granted(request)?.principal.clone();
        Ok((accounts, Asker { principal, address: address.map(|address| address.ip()) }))
    }

    /// The same answer; that somebody may not is recorded.
    fn told<T, M>(&self, request: &Request<M>, call: &str, (object, done): (&str, Result<T>)) -> Result<T> {
        if let Err(error) = &done
            && error.code == Code::AccessDenied
            && let (Some(caller), Ok(granted)) = (request.extensions().get::<Caller>(), granted(request))
        {
            let action = asked::action(&format!("/mcrun.v1.Identity/{call}")).unwrap_or(call);
            self.gate().denied_by_request(caller, granted, (action, object), &error.message);
        }
        done
    }

    /// The same about an account: others than the own one are not there for who may not.
    fn told_of<T, M>(&self, request: &Request<M>, call: &str, (name, done): (&str, Result<T>)) -> Result<T> {
        self.told(request, call, (name, done)).map_err(|error| match granted(request) {
            Ok(granted) if error.code == Code::AccessDenied && !granted.is_account(name) => {
                unknown_account(name)
            }
            _ => error,
        })
    }

    async fn accounts(&self, request: &Request<v1::ListAccountsRequest>) -> Result<v1::ListAccountsResponse> {
        let (accounts, asker) = self.identity(request)?;
        let (message, granted) = (request.get_ref(), granted(request)?);
        let question = Question { call: "ListAccounts", about: "" };
        let after = question.position(&message.page_token)?;
        let most = size(message.page_size);
        let mut found = self.told(request, "ListAccounts", ("", accounts.accounts(&asker).await))?;
        found.retain(|account| {
            after.as_ref().is_none_or(|after| account.name > *after)
                && granted.may_to_account("accounts.read", &account.name)
        });
        let is_last = found.len() <= most;
        found.truncate(most);
        let (accounts, is_whole) = fill(found);
        let next_page_token = match accounts.last() {
            Some(last) if !is_last || !is_whole => question.token(&last.name),
            _ => String::new(),
        };
        Ok(v1::ListAccountsResponse { accounts, next_page_token })
    }

    async fn issue(&self, request: &Request<v1::IssueTokenRequest>) -> Result<v1::IssueTokenResponse> {
        let (accounts, asker) = self.identity(request)?;
        let wish = request.get_ref();
        let account = named("account", &wish.account)?;
        named("service", &wish.service)?;
        if let Some(id) = &wish.id {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if !text("id", id, LONGEST_ID)?.bytes().all(fits) {
                return Err(wrong("id", "it has letters, digits, `-` and `_` only"));
            }
        }
        self.told_of(request, "IssueToken", (account, accounts.issue_token(&asker, wish).await))
    }

    async fn explain(
        &self,
        request: &Request<v1::ExplainSignInRequest>,
    ) -> Result<v1::ExplainSignInResponse> {
        let (accounts, asker) = self.identity(request)?;
        let question = request.get_ref();
        let account = named("account", &question.account)?;
        named("service", &question.service)?;
        if let Some(address) = &question.address {
            let why = |_| wrong("address", "it is an address of IPv4 or IPv6, such as 192.0.2.1");
            text("address", address, LONGEST_ADDRESS)?.parse::<IpAddr>().map_err(why)?;
        }
        if let Some(factor) = &question.first_factor {
            word("first_factor", factor, &["password", "passkey", "external"])?;
        }
        self.told(request, "ExplainSignIn", (account, accounts.explain(&asker, question).await))
    }

    async fn set_rules(&self, request: &Request<v1::EnsureRulesRequest>) -> Result<v1::EnsureRulesResponse> {
        let (accounts, asker) = self.identity(request)?;
        let v1::EnsureRulesRequest { set, rules } = request.get_ref();
        let set = named("set", set)?;
        if rules.len() > LARGEST_RULES {
            let why = format!("it has {} octets, the most is {LARGEST_RULES}", rules.len());
            return Err(wrong("rules", why));
        }
        let done = accounts.ensure_rules(&asker, set, rules).await;
        let has_changed = self.told(request, "EnsureRules", (set, done))?;
        Ok(v1::EnsureRulesResponse { has_changed })
    }
}

/// A call about one account, by its field `account`.
macro_rules! about_account {
    ($self:ident, $request:ident, $call:literal, |$accounts:ident, $asker:ident, $account:ident| $done:expr) => {{
        let done = async {
            let ($accounts, asker) = $self.identity(&$request)?;
            let ($asker, $account) = (&asker, named("account", &$request.get_ref().account)?);
            $self.told_of(&$request, $call, ($account, $done))
        };
        done.await
    }};
}

#[async_trait]
impl Identity for Api {
    async fn list_accounts(
        &self,
        request: Request<v1::ListAccountsRequest>,
    ) -> Answer<v1::ListAccountsResponse> {
        answer(self.accounts(&request).await)
    }

    async fn get_account(&self, request: Request<v1::GetAccountRequest>) -> Answer<v1::GetAccountResponse> {
        let found = about_account!(self, request, "GetAccount", |accounts, asker, account| {
            accounts.account(asker, account).await
        });
        answer(found.map(|account| v1::GetAccountResponse { account: Some(account) }))
    }

    async fn ensure_account(
        &self,
        request: Request<v1::EnsureAccountRequest>,
    ) -> Answer<v1::EnsureAccountResponse> {
        answer(about_account!(self, request, "EnsureAccount", |accounts, asker, _account| {
            check(request.get_ref())?;
            accounts.ensure_account(asker, request.get_ref()).await
        }))
    }

    async fn disable_account(
        &self,
        request: Request<v1::DisableAccountRequest>,
    ) -> Answer<v1::DisableAccountResponse> {
        let disabled = about_account!(self, request, "DisableAccount", |accounts, asker, account| {
            accounts.disable_account(asker, account).await
        });
        answer(disabled.map(|account| v1::DisableAccountResponse { account: Some(account) }))
    }

    async fn set_role(&self, request: Request<v1::SetRoleRequest>) -> Answer<v1::SetRoleResponse> {
        let set = about_account!(self, request, "SetRole", |accounts, asker, _account| {
            word("role", &request.get_ref().role, &ROLES)?;
            accounts.set_role(asker, request.get_ref()).await
        });
        answer(set.map(|account| v1::SetRoleResponse { account: Some(account) }))
    }

    async fn list_tokens(&self, request: Request<v1::ListTokensRequest>) -> Answer<v1::ListTokensResponse> {
        let listed = about_account!(self, request, "ListTokens", |accounts, asker, account| {
            accounts.tokens(asker, account).await
        });
        answer(listed.map(|tokens| v1::ListTokensResponse { tokens }))
    }

    async fn issue_token(&self, request: Request<v1::IssueTokenRequest>) -> Answer<v1::IssueTokenResponse> {
        answer(self.issue(&request).await)
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Answer<v1::RevokeTokenResponse> {
        let revoked = about_account!(self, request, "RevokeToken", |accounts, asker, account| {
            let id = text("id", &request.get_ref().id, LONGEST_ID)?;
            accounts.revoke_token(asker, account, id).await
        });
        answer(revoked.map(|()| v1::RevokeTokenResponse {}))
    }

    async fn validate_token(
        &self,
        request: Request<v1::ValidateTokenRequest>,
    ) -> Answer<v1::ValidateTokenResponse> {
        let validated = async {
            let (accounts, asker) = self.identity(&request)?;
            let wish = request.get_ref();
            let service = named("service", &wish.service)?;
            text("token", &wish.token, LONGEST_TOKEN)?;
            self.told(&request, "ValidateToken", (service, accounts.validate_token(&asker, wish).await))
        };
        answer(validated.await)
    }

    async fn get_rules(&self, request: Request<v1::GetRulesRequest>) -> Answer<v1::GetRulesResponse> {
        let found = async {
            let (accounts, asker) = self.identity(&request)?;
            let set = named("set", &request.get_ref().set)?;
            let rules = self.told(&request, "GetRules", (set, accounts.rules(&asker, set).await))?;
            Ok(v1::GetRulesResponse { rules: rules.unwrap_or_default() })
        };
        answer(found.await)
    }

    async fn ensure_rules(
        &self,
        request: Request<v1::EnsureRulesRequest>,
    ) -> Answer<v1::EnsureRulesResponse> {
        answer(self.set_rules(&request).await)
    }

    async fn explain_sign_in(
        &self,
        request: Request<v1::ExplainSignInRequest>,
    ) -> Answer<v1::ExplainSignInResponse> {
        answer(self.explain(&request).await)
    }
}
