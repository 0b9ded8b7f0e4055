//! Owns what the calls of identity need of whoever keeps accounts: the trait by which somebody answers them.

use std::net::IpAddr;

use api::v1;
use async_trait::async_trait;
use effect::{Principal, Result};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// As whom; the policy has let the call through.
    pub principal: Principal,
    /// From where, where that is from afar.
    pub address: Option<IpAddr>,
}

/// Whoever keeps accounts, tokens and the login policy. Beyond the policy of access an account may here what it may by REST:
/// who is no admin and manages nothing sees its own. Every change is told in the asker's name.
///
/// All of these fail with `MC-C006` where the driver lacks it, `MC-P020` where the asker may not, `MC-W001` for what is no
/// name, and `MC-W002` for an account that is not there or that the asker may not know of.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Every account, by name.
    ///
    /// # Errors
    /// See the trait.
    async fn accounts(&self, asker: &Asker) -> Result<Vec<v1::Account>>;

    /// The account with this name.
    ///
    /// # Errors
    /// See the trait.
    async fn account(&self, asker: &Asker, name: &str) -> Result<v1::Account>;

    /// Makes an account what is said.
    ///
    /// # Errors
    /// See the trait; `MC-W003` for roles of a system account, or another kind than it has, `MC-W005` for the last admin.
    async fn ensure_account(
        &self,
        asker: &Asker,
        wish: &v1::EnsureAccountRequest,
    ) -> Result<v1::EnsureAccountResponse>;

    /// Has nobody use an account any more.
    ///
    /// # Errors
    /// See the trait; `MC-W005` for the last admin.
    async fn disable_account(&self, asker: &Asker, name: &str) -> Result<v1::Account>;

    /// Gives an account a role, or takes it.
    ///
    /// # Errors
    /// As [`Accounts::ensure_account`].
    async fn set_role(&self, asker: &Asker, wish: &v1::SetRoleRequest) -> Result<v1::Account>;

    /// What is to be known of the tokens of an account.
    ///
    /// # Errors
    /// See the trait.
    async fn tokens(&self, asker: &Asker, account: &str) -> Result<Vec<v1::Token>>;

    /// Makes a token.
    ///
    /// # Errors
    /// See the trait; `MC-W009` where the login policy does not let the account in.
    async fn issue_token(
        &self,
        asker: &Asker,
        wish: &v1::IssueTokenRequest,
    ) -> Result<v1::IssueTokenResponse>;

    /// Revokes a token of an account.
    ///
    /// # Errors
    /// See the trait; `MC-W008` where there is no such token.
    async fn revoke_token(&self, asker: &Asker, account: &str, id: &str) -> Result<()>;

    /// Whom a token stands for, or why it is refused.
    ///
    /// # Errors
    /// See the trait.
    async fn validate_token(
        &self,
        asker: &Asker,
        wish: &v1::ValidateTokenRequest,
    ) -> Result<v1::ValidateTokenResponse>;

    /// The rules of a set, as JSON; nothing where there is none.
    ///
    /// # Errors
    /// See the trait.
    async fn rules(&self, asker: &Asker, set: &str) -> Result<Option<String>>;

    /// Has a set say exactly this; whether that changed anything.
    ///
    /// # Errors
    /// See the trait; `MC-W010` for rules that make no sense.
    async fn ensure_rules(&self, asker: &Asker, set: &str, rules: &str) -> Result<bool>;

    /// Whether somebody would be let in, and which rule says so.
    ///
    /// # Errors
    /// See the trait.
    async fn explain(
        &self,
        asker: &Asker,
        question: &v1::ExplainSignInRequest,
    ) -> Result<v1::ExplainSignInResponse>;
}
