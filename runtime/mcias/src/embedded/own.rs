//! Owns what people who are signed in prove once more before they change what proves who they are.

use std::net::IpAddr;
use std::time::Duration;

use effect::{Result, Timestamp};

use super::Embedded;
use crate::account::Account;
use crate::credentials::Second;
use crate::driver::{Holder, Via};
use crate::web::OWN_SERVICE;
use crate::witness::{Event, Reason};

/// What somebody has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// That they are the owner.
    Given,
    /// Nothing.
    Wrong,
    /// Nothing too often: the next try is looked at after this time.
    Wait(Duration),
}

impl Embedded {
    /// The account that a token stands for, as it is recorded now, whoever changed it; nothing where it cannot be used.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn account_now(&self, holder: &Holder) -> Result<Option<Account>> {
        let account = self.account_named(&holder.account).await?;
        Ok(account.filter(|account| account.id == holder.account_id && account.is_active()))
    }

    /// When a session began; nothing where there is no record of it.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub(crate) async fn began(&self, holder: &Holder) -> Result<Option<Timestamp>> {
        Ok(self.standing(holder).await?.map(|standing| Timestamp(standing.issued_at)))
    }

    /// Whether somebody knows the password of an account and, where one is given, has its second factor. Tries count as
    /// those to sign in.
    ///
    /// # Errors
    /// `MC-W007` where too many wait for their passwords to be checked; else where the journal cannot be used.
    pub async fn prove(
        &self,
        account: &Account,
        password: &str,
        second: Option<Second<'_>>,
        address: Option<IpAddr>,
    ) -> Result<Proof> {
        let tried = match self.live.attempts.begin(account.name.as_str(), address, self.now()) {
            Ok(tried) => tried,
            Err(wait) => {
                self.not_proven(account, address, Reason::TooOften).await?;
                return Ok(Proof::Wait(wait));
            }
        };
        let shown = self.shown(account, password, second).await;
        match &shown {
            Ok(None) => self.live.attempts.succeeded(tried),
            Ok(Some(reason)) => self.not_proven(account, address, *reason).await?,
            Err(_) => self.live.attempts.undecided(tried),
        }
        shown.map(|wrong| if wrong.is_some() { Proof::Wrong } else { Proof::Given })
    }

    async fn shown(
        &self,
        account: &Account,
        password: &str,
        second: Option<Second<'_>>,
    ) -> Result<Option<Reason>> {
        let credentials = self.credentials(account).await?;
        let hash = credentials.as_ref().map(|credentials| credentials.hash(&self.sealer)).transpose()?;
        if !self.live.hashes.verify(password, hash.flatten()).await?.is_right {
            return Ok(Some(Reason::WrongPassword));
        }
        match second {
            Some(second) => Ok(self.redeem(account, second).await?.err()),
            None => Ok(None),
        }
    }

    async fn not_proven(&self, account: &Account, address: Option<IpAddr>, reason: Reason) -> Result<()> {
        let (name, service) = (account.name.to_string(), OWN_SERVICE.to_owned());
        self.tell(Event::Refused { name, service, address, reason, rule: None }).await
    }

    /// Gives an account another password, and ends its sessions but the one with the token `kept`.
    ///
    /// # Errors
    /// `MC-W006` for a password that is refused.
    pub async fn change_password(&self, account: &Account, password: &str, kept: &str) -> Result<()> {
        self.give_password(account, password).await?;
        let tokens = self.tokens_of(&account.name).await?;
        let is_session = |token: &crate::driver::Token| token.via != Via::Issue && token.id != kept;
        let ids: Vec<String> = tokens.into_iter().filter(is_session).map(|token| token.id).collect();
        self.revoke_tokens(&account.name, &ids).await
    }
}
