//! Owns who may do what to accounts, tokens and the login policy, whichever way they ask: by REST or by the daemon's calls.
//! Who is no admin sees and ends what is its own.
//!
//! Leaves how it is asked and answered to [`crate::web`] and to the daemon.

use std::collections::BTreeSet;

use effect::{Error, Timestamp};

use crate::account::{Account, Kind, Role, Status, other_kind};
use crate::driver::{self, Driver, Holder, Issued, Order, Question, Token, unknown};
use crate::name::{Email, Name};
use crate::policy::{Explanation, RuleSet};
use crate::random;
use crate::settings::Settings;
use crate::token::Refusal;

/// Why something is not done for whoever asks.
#[derive(Debug)]
pub enum Denied {
    /// It may not.
    Forbidden,
    /// It may not even know whether that is there.
    Hidden,
    /// What it is about is not there.
    Missing,
    /// It could not be done.
    Failed(Error),
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What comes of asking.
pub type Asked<T> = Result<T, Denied>;

/// Whoever asks, as of now.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Its account; nothing where somebody else has decided that it may.
    account: Option<Account>,
    is_manager: bool,
}

impl Asker {
    /// Whoever holds an account.
    #[must_use]
    pub fn of(account: Account, settings: &Settings) -> Self {
        let is_manager = account.kind == Kind::System && settings.managers.contains(&account.name);
        Self { account: Some(account), is_manager }
    }

    /// Somebody without an account, of whom it is decided elsewhere what he may: a user of this machine, whoever holds a
    /// certificate.
    #[must_use]
    pub fn trusted() -> Self {
        Self { account: None, is_manager: false }
    }

    /// Whether it may change accounts, tokens and rules of others.
    fn is_admin(&self) -> bool {
        self.is_manager || self.account.as_ref().is_none_or(Account::is_active_admin)
    }

    /// Refuses who is no admin.
    ///
    /// # Errors
    /// [`Denied::Forbidden`].
    pub fn admin(&self) -> Asked<()> {
        if self.is_admin() { Ok(()) } else { Err(Denied::Forbidden) }
    }

    fn is(&self, name: &Name) -> bool {
        self.account.as_ref().is_some_and(|account| account.name == *name)
    }

    /// Whoever is no admin learns of no other account; of the own one that it is not theirs to change.
    ///
    /// # Errors
    /// [`Denied::Forbidden`], [`Denied::Hidden`].
    pub fn may_change(&self, name: &Name) -> Asked<()> {
        match self.is_admin() {
            true => Ok(()),
            false if self.is(name) => Err(Denied::Forbidden),
            false => Err(Denied::Hidden),
        }
    }

    /// The account with this name, where whoever asks may know of it.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn account(&self, driver: &dyn Driver, name: &Name) -> Asked<Account> {
        if let Some(account) = self.account.as_ref().filter(|account| account.name == *name) {
            return Ok(account.clone());
        }
        if !self.is_admin() {
            return Err(Denied::Hidden);
        }
        driver.account(name).await?.ok_or(Denied::Missing)
    }

    /// Every account, for admins.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn accounts(&self, driver: &dyn Driver) -> Asked<Vec<Account>> {
        self.admin()?;
        Ok(driver.accounts().await?)
    }

    /// Makes an account what `wish` says; what it was before, and what it is.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn ensure(
        &self,
        driver: &dyn Driver,
        (name, now): (&Name, Timestamp),
        wish: &Wish,
    ) -> Asked<(Option<Account>, Account)> {
        self.may_change(name)?;
        Ok(driver::change(driver, (name, now), |found| wish.of(found, name, now)).await?)
    }

    /// Has nobody use an account any more.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn disable(&self, driver: &dyn Driver, (name, now): (&Name, Timestamp)) -> Asked<Account> {
        let disabled = |found: &Account| Ok(Account { status: Status::Disabled, ..found.clone() });
        self.change_known(driver, (name, now), disabled).await
    }

    /// Gives an account a role, or takes it.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn set_role(
        &self,
        driver: &dyn Driver,
        (name, now): (&Name, Timestamp),
        (role, is_granted): (Role, bool),
    ) -> Asked<Account> {
        let changed = |found: &Account| {
            let mut after = found.clone();
            match is_granted {
                true => after.roles.insert(role),
                false => after.roles.remove(&role),
            };
            after.check()?;
            Ok(after)
        };
        self.change_known(driver, (name, now), changed).await
    }

    async fn change_known(
        &self,
        driver: &dyn Driver,
        (name, now): (&Name, Timestamp),
        change: impl Fn(&Account) -> effect::Result<Account>,
    ) -> Asked<Account> {
        self.may_change(name)?;
        if driver.account(name).await?.is_none() {
            return Err(Denied::Missing);
        }
        let wish = |found: Option<&Account>| change(found.ok_or_else(|| unknown(name))?);
        Ok(driver::change(driver, (name, now), wish).await?.1)
    }

    /// The tokens of an account that have not expired.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn tokens(&self, driver: &dyn Driver, name: &Name) -> Asked<Vec<Token>> {
        self.account(driver, name).await?;
        Ok(driver.tokens(name).await?)
    }

    /// Makes a token without a sign-in.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn issue(&self, driver: &dyn Driver, name: &Name, order: &Wanted<'_>) -> Asked<Issued> {
        let account = self.account(driver, name).await?;
        self.admin()?;
        let Wanted { service, lifetime, id } = *order;
        let id = id.map_or_else(random::token::<16>, |id| Ok(id.to_owned()))?;
        Ok(driver.issue(&Order { account: &account, service, lifetime, id: &id }).await?)
    }

    /// Revokes one token of an account.
    ///
    /// # Errors
    /// [`Denied`]; [`Denied::Missing`] also for a token that it does not have.
    pub async fn revoke(&self, driver: &dyn Driver, name: &Name, id: &str) -> Asked<()> {
        let tokens = self.tokens(driver, name).await?;
        if !tokens.iter().any(|token| token.id == id) {
            return Err(Denied::Missing);
        }
        Ok(driver.revoke(name, &[id.to_owned()]).await?)
    }

    /// Whom a token stands for. A service asks about what it was given itself, by the system account of its name; who manages,
    /// about anything.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn validate(
        &self,
        driver: &dyn Driver,
        token: &str,
        service: &Name,
    ) -> Asked<Result<Holder, Refusal>> {
        let is_system = self.account.as_ref().is_some_and(|account| account.kind == Kind::System);
        if !(is_system && self.is(service)) {
            self.admin()?;
        }
        Ok(driver.validate(token, service).await?)
    }

    /// A set of rules, for admins.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn rules(&self, driver: &dyn Driver, set: &Name) -> Asked<Option<RuleSet>> {
        self.admin()?;
        Ok(driver.rules(set).await?)
    }

    /// Has a set of rules say this, or takes it away; whether that changed anything.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn ensure_rules(
        &self,
        driver: &dyn Driver,
        set: &Name,
        after: Option<&RuleSet>,
    ) -> Asked<bool> {
        let before = self.rules(driver, set).await?;
        if before.as_ref() == after {
            return Ok(false);
        }
        driver.put_rules(before.as_ref(), after).await?;
        Ok(true)
    }

    /// Tries a sign-in out, for admins.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn explain(&self, driver: &dyn Driver, question: &Question<'_>) -> Asked<Explanation> {
        self.admin()?;
        Ok(driver.explain(question).await?)
    }
}

/// A token that is wanted, but for its account.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The one service that takes it.
    pub service: &'a Name,
    /// How long it lives; as the settings say unless given.
    pub lifetime: Option<std::time::Duration>,
    /// The same whenever this very order is tried again; one that nobody has unless given.
    pub id: Option<&'a str>,
}

/// An account as somebody wants it: what is left out stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Who it is for; one that is there keeps its kind.
    pub kind: Option<Kind>,
    /// The address of its owner. None takes it away.
    pub email: Option<Option<Email>>,
    /// Whether it can be used.
    pub status: Option<Status>,
    /// Exactly these roles.
    pub roles: Option<BTreeSet<Role>>,
    /// Exactly these groups.
    pub groups: Option<BTreeSet<Name>>,
    /// Exactly these tags.
    pub tags: Option<BTreeSet<Name>>,
}

impl Wish {
    /// What becomes of the account that was found, or of none.
    ///
    /// # Errors
    /// `MC-W003` where it is of the other kind.
    pub fn of(&self, found: Option<&Account>, name: &Name, now: Timestamp) -> effect::Result<Account> {
        let mut account = match found {
            Some(found) => match self.kind.filter(|kind| *kind != found.kind) {
                Some(kind) => return Err(other_kind(found, kind)),
                None => found.clone(),
            },
            None => Account::new(name.clone(), self.kind.unwrap_or_default(), now.0)?,
        };
        if let Some(email) = &self.email {
            account.email.clone_from(email);
        }
        account.status = self.status.unwrap_or(account.status);
        for (wanted, has) in [(&self.groups, &mut account.groups), (&self.tags, &mut account.tags)] {
            if let Some(wanted) = wanted {
                has.clone_from(wanted);
            }
        }
        if let Some(roles) = &self.roles {
            account.roles.clone_from(roles);
        }
        Ok(account)
    }
}
