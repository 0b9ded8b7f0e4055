//! Owns what every driver of identity can do: the trait and its features. Drivers know nothing of Lua, journal or plan.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::account::{Account, Kind, Role, Status};
use crate::credentials::FirstFactor;
use crate::name::Name;
use crate::policy::{Explanation, RuleSet};
use crate::sso::Client;
use crate::token::Refusal;

/// A token that is wanted without a sign-in.
#[derive(Debug)]
pub struct Order<'a> {
    /// The account that it is for.
    pub account: &'a Account,
    /// The one service that takes it.
    pub service: &'a Name,
    /// How long it lives; as the settings say unless given, and never longer.
    pub lifetime: Option<Duration>,
    /// The same whenever this very order is tried again.
    pub id: &'a str,
}

/// A token as it was made.
pub struct Issued {
    /// The token itself.
    pub text: Zeroizing<String>,
    /// What is recorded of it.
    pub token: Token,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Issued").field(&self.token.id).finish()
    }
}

/// How somebody came by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// By signing in.
    SignIn,
    /// By a script or an operator.
    Issue,
    /// By single sign-on, through a client.
    Sso,
}

impl Via {
    /// The word for it, as in a script.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Issue => "issue",
            Self::Sso => "sso",
        }
    }
}

/// What is to be known of a token: everything but itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// What tells it from every other token.
    pub id: String,
    /// Whose it is.
    pub account: Name,
    /// The one service that takes it.
    pub service: Name,
    /// When it was made, in unix milliseconds.
    pub issued_at: i64,
    /// When it expires, in unix milliseconds.
    pub expires_at: i64,
    /// How its owner came by it.
    pub via: Via,
    /// From where, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The client of single sign-on that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Name>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Whom a token stands for, as of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The account.
    pub account: Name,
    /// Its id.
    pub account_id: String,
    /// Who it is for.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The roles that it has now, whatever the token says.
    pub roles: Vec<Role>,
    /// The groups that it belongs to now.
    pub groups: Vec<Name>,
    /// The service that the token is for.
    pub service: Name,
    /// The token's id.
    pub token: String,
    /// When it expires, in unix milliseconds.
    pub expires_at: i64,
}

/// A sign-in that is tried out.
#[derive(Debug)]
pub struct Question<'a> {
    /// The account.
    pub account: &'a Name,
    /// The service.
    pub service: &'a Name,
    /// From where.
    pub address: Option<IpAddr>,
    /// When; now unless given.
    pub at: Option<Timestamp>,
    /// What a person shows first; a password unless given.
    pub first: Option<FirstFactor>,
    /// What a plan will have changed by then.
    pub planned: Planned,
}

/// Accounts and rules as they will be.
#[derive(Debug, Default)]
pub struct Planned {
    /// The account, where it will be another.
    pub account: Option<Account>,
    /// Sets of rules that will be others, or gone.
    pub rules: Vec<(Name, Option<RuleSet>)>,
}

/// Something that not every driver has. What a driver lacks is refused when planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Making and changing accounts.
    Accounts,
    /// Making and revoking tokens.
    Tokens,
    /// Rules of the login policy, and trying them out.
    Policy,
    /// Clients of single sign-on.
    Sso,
}

impl Feature {
    /// Every feature, for doctor and the conformance suite.
    pub const ALL: [Self; 4] = [Self::Accounts, Self::Tokens, Self::Policy, Self::Sso];

    /// The feature in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Accounts => "accounts that can be changed",
            Self::Tokens => "tokens that can be made",
            Self::Policy => "rules of the login policy",
            Self::Sso => "clients of single sign-on",
        }
    }
}

/// What performs the effects of the primitive. Every driver can validate tokens; the rest are features.
#[async_trait]
pub trait Driver: Send + Sync {
    /// `embedded`.
    fn name(&self) -> &'static str;

    /// What it has.
    fn features(&self) -> &[Feature];

    /// Says whom a token stands for, or why it is refused.
    ///
    /// # Errors
    /// Where it cannot be told.
    async fn validate(&self, token: &str, service: &Name) -> Result<Result<Holder, Refusal>>;

    /// The account with this name.
    ///
    /// # Errors
    /// Where it cannot be told.
    async fn account(&self, name: &Name) -> Result<Option<Account>>;

    /// Every account, by name.
    ///
    /// # Errors
    /// Where it cannot be told.
    async fn accounts(&self) -> Result<Vec<Account>>;

    /// Puts `after` in the place of `before`, or nothing: nothing in the place of an account takes it away with its tokens.
    ///
    /// # Errors
    /// `MC-W004` where it is not as `before` any more, `MC-W005` where it is the last active admin.
    async fn put(&self, before: Option<&Account>, after: Option<&Account>) -> Result<()>;

    /// Gives an account a password.
    ///
    /// # Errors
    /// `MC-W006` for one that is refused.
    async fn set_password(&self, account: &Account, password: &str) -> Result<()>;

    /// Makes a token without a sign-in. The same order makes the same token.
    ///
    /// # Errors
    /// `MC-W009` where the account is disabled or the login policy does not let it in.
    async fn issue(&self, order: &Order<'_>) -> Result<Issued>;

    /// The token that a script was given, for where it takes it.
    ///
    /// # Errors
    /// `MC-W008` where there is no such token, or it is not valid any more.
    async fn handed_on(&self, account: &Name, id: &str) -> Result<Zeroizing<String>>;

    /// The tokens of an account that have not expired, the oldest first.
    ///
    /// # Errors
    /// Where they cannot be told.
    async fn tokens(&self, account: &Name) -> Result<Vec<Token>>;

    /// Revokes tokens of an account. One that is revoked already is no error.
    ///
    /// # Errors
    /// Where they cannot be revoked.
    async fn revoke(&self, account: &Name, ids: &[String]) -> Result<()>;

    /// A set of rules of the login policy.
    ///
    /// # Errors
    /// Where it cannot be told.
    async fn rules(&self, set: &Name) -> Result<Option<RuleSet>>;

    /// Puts a set of rules in the place of another, or takes it away.
    ///
    /// # Errors
    /// `MC-W004` where it is not as `before` any more, `MC-W010` where a rule makes no sense.
    async fn put_rules(&self, before: Option<&RuleSet>, after: Option<&RuleSet>) -> Result<()>;

    /// The client of single sign-on with this id.
    ///
    /// # Errors
    /// Where it cannot be told.
    async fn sso_client(&self, _id: &Name) -> Result<Option<Client>> {
        Err(unsupported(self.name(), Feature::Sso))
    }

    /// Every client of single sign-on, by id.
    ///
    /// # Errors
    /// Where they cannot be told.
    async fn sso_clients(&self) -> Result<Vec<Client>> {
        Err(unsupported(self.name(), Feature::Sso))
    }

    /// Puts a client in the place of another, or takes it away with what it was given. Gives it as it is then: a new one, and
    /// one with another version of its secret, gets a secret.
    ///
    /// # Errors
    /// `MC-W004` where it is not as `before` any more, `MC-W020` where it makes no sense.
    async fn put_sso_client(
        &self,
        _before: Option<&Client>,
        _after: Option<&Client>,
    ) -> Result<Option<Client>> {
        Err(unsupported(self.name(), Feature::Sso))
    }

    /// The secret of a client with its version, for where a script takes it.
    ///
    /// # Errors
    /// `MC-W020` where there is no such client, or it has none.
    async fn client_secret(&self, _id: &Name) -> Result<(u32, Zeroizing<Vec<u8>>)> {
        Err(unsupported(self.name(), Feature::Sso))
    }

    /// Whether a sign-in would be let in, and which rule says so.
    ///
    /// # Errors
    /// `MC-W002` for an account that is not there.
    async fn explain(&self, question: &Question<'_>) -> Result<Explanation>;
}

/// How often a change is tried again that others come before.
const MOST_TRIES: usize = 8;

/// Makes of an account what `wish` makes of it, whatever others do to its other fields meanwhile; what it was, and what it is.
pub(crate) async fn change(
    driver: &dyn Driver,
    (name, now): (&Name, Timestamp),
    wish: impl Fn(Option<&Account>) -> Result<Account>,
) -> Result<(Option<Account>, Account)> {
    let mut tries = 1;
    loop {
        let found = driver.account(name).await?;
        let wanted = wish(found.as_ref())?;
        let after = Account { changed: now.0, ..wanted };
        if let Some(found) = found.as_ref().filter(|found| !after.differs(found)) {
            return Ok((Some(found.clone()), found.clone()));
        }
        match driver.put(found.as_ref(), Some(&after)).await {
            Ok(()) => return Ok((found, after)),
            Err(error) if error.code == Code::AccountChanged && tries < MOST_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Refuses what the driver lacks.
///
/// # Errors
/// `MC-C006` naming the missing feature.
pub fn check_feature(driver: &dyn Driver, needed: Feature) -> Result<()> {
    if driver.features().contains(&needed) {
        return Ok(());
    }
    Err(unsupported(driver.name(), needed))
}

/// The error of something that a driver lacks.
pub(crate) fn unsupported(driver: &str, needed: Feature) -> Error {
    let message = format!("the mcias driver `{driver}` does not have {}", needed.describe());
    Error::new(Code::Unsupported, message).hint("choose another driver in mcrun.toml, or leave it out")
}

/// The error of an account that is not there.
#[must_use]
pub fn unknown(name: &Name) -> Error {
    Error::new(Code::AccountUnknown, format!("there is no account `{name}`"))
}

/// The error of an account that cannot be used.
pub(crate) fn inactive(account: &Account) -> Option<Error> {
    (account.status == Status::Disabled).then(|| {
        Error::new(Code::LoginRefused, format!("`{}` is disabled", account.name))
            .hint("make it active again first")
    })
}
