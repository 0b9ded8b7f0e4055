//! Owns passkeys of accounts: making, listing and removing them, and what uses their answers up. A challenge is used, a counter
//! raised and a key's owner noted in one commit, so that neither a kill nor somebody else at once makes two of one.

use std::time::Duration;

use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Write};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Embedded;
use crate::account::{Account, Kind};
use crate::credentials::{self, Credentials, Shown};
use crate::name::Name;
use crate::passkey::{
    self, Asserted, Challenges, Purpose, Refusal, Registered, Registration, Relying, Spent,
};
use crate::random;
use crate::store::{CHALLENGE, CREDENTIALS, MOST_TRIES, PASSKEY, Row, contended, expected};
use crate::witness::Event;

/// Of one account.
const MOST_PASSKEYS: usize = 16;
/// Characters of what an owner calls a passkey.
const LONGEST_NAME: usize = 64;
/// Used challenges that are over and go with one that is used.
const MOST_REMOVED: usize = 64;
/// A clock that goes back by less makes no used challenge good again.
const REST: Duration = Duration::from_secs(3600);

/// A passkey as its owner and admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passkey {
    /// The key's id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was made, in unix milliseconds.
    pub made: i64,
    /// When it was used last, in unix milliseconds.
    pub used: Option<i64>,
    /// Whether it may lie on several devices.
    pub can_be_copied: bool,
}

/// What comes of making a passkey.
pub struct Enrolled {
    /// The passkey.
    pub passkey: Passkey,
    /// Recovery codes, where it is the first second factor of the account. They are shown once.
    pub recovery: Vec<Zeroizing<String>>,
}

impl std::fmt::Debug for Enrolled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Enrolled").field(&self.passkey.id).finish()
    }
}

/// Whose passkey it is.
#[derive(Serialize, Deserialize)]
struct Owner {
    /// SHA-256 of the key's id.
    index: String,
    account: Name,
    account_id: String,
}

/// A challenge that was used.
#[derive(Serialize, Deserialize)]
struct Used {
    hash: String,
    until: i64,
}

impl Embedded {
    /// What a browser is to make a passkey from.
    ///
    /// # Errors
    /// `MC-W002` for an account that is not there, `MC-W003` for one of a service.
    pub async fn begin_passkey(&self, name: &Name, relying: &Relying) -> Result<Value> {
        let account = self.person(name).await?;
        let credentials = self.credentials(&account).await?;
        let known = credentials.as_ref().map(|credentials| credentials.passkeys.as_slice());
        let known: Vec<&str> = known.unwrap_or_default().iter().map(|passkey| passkey.id.as_str()).collect();
        let challenge = self.challenges().make(Purpose::Register(&account.id), self.now())?;
        let handle = random::encoded(account.id.as_bytes());
        let user = (handle.as_str(), account.name.as_str());
        Ok(passkey::creation(relying, &challenge, user, &known, self.settings.issuer()))
    }

    /// Takes the passkey that a browser made, under the name that its owner gives it.
    ///
    /// # Errors
    /// `MC-W012` where it is refused, is somebody's already, or the account has the most that it may have.
    pub async fn finish_passkey(
        &self,
        name: &Name,
        relying: &Relying,
        label: &str,
        made: &Registration,
    ) -> Result<Enrolled> {
        let account = self.person(name).await?;
        let label = label_of(label)?;
        let registered = made.check(relying, &self.challenges(), &account.id, self.now()).map_err(refused)?;
        for _ in 0..MOST_TRIES {
            if self.was_used(&registered.spent).await? {
                return Err(refused(Refusal::Replayed));
            }
            if let Some(enrolled) = self.try_to_enrol(&account, &label, &registered).await? {
                let key = enrolled.passkey.id.chars().take(16).collect();
                self.tell(Event::Passkey { account: account.name, key, what: "enrolled" }).await?;
                return Ok(enrolled);
            }
        }
        Err(contended(&format!("what proves who `{name}` is")))
    }

    /// Nothing where somebody else changed one of the records meanwhile.
    async fn try_to_enrol(
        &self,
        account: &Account,
        label: &str,
        registered: &Registered,
    ) -> Result<Option<Enrolled>> {
        let (mut credentials, expect) = self.credentials_row(account).await?;
        if credentials.passkeys.len() >= MOST_PASSKEYS {
            let message = format!("`{}` has {MOST_PASSKEYS} passkeys, and that is the most", account.name);
            return Err(Error::new(Code::SecondFactor, message).hint("remove one that is not used any more"));
        }
        let index = index_of(&registered.id);
        let owner: Option<Row<Owner>> = self.store.read(PASSKEY, &index).await?;
        if let Some(owner) = &owner
            && self.still_has(&owner.value).await?
        {
            return Err(Error::new(Code::SecondFactor, "there is an account with this passkey already"));
        }
        let now = self.now();
        let passkey = credentials::Passkey {
            id: random::encoded(&registered.id),
            name: label.to_owned(),
            key: random::encoded(&registered.key),
            counter: registered.counter,
            can_be_copied: registered.can_be_copied,
            made: now.0,
            used: None,
        };
        let is_first = !credentials.has_second_factor();
        credentials.passkeys.push(passkey.clone());
        let recovery = if is_first { credentials.renew_recovery()? } else { Vec::new() };
        let owned =
            Owner { index: index.clone(), account: account.name.clone(), account_id: account.id.clone() };
        let mut writes = vec![
            self.store.write(CREDENTIALS, account.name.as_str(), &credentials, expect)?,
            self.store.write(PASSKEY, &index, &owned, expected(owner.as_ref()))?,
        ];
        writes.extend(self.spending(&registered.spent, now).await?);
        let is_done = self.store.commit(writes).await?;
        Ok(is_done.then(|| Enrolled { passkey: listed(&passkey), recovery }))
    }

    /// The passkeys of an account, the oldest first.
    ///
    /// # Errors
    /// `MC-W002` for an account that is not there.
    pub async fn passkeys(&self, name: &Name) -> Result<Vec<Passkey>> {
        let account = self.known_account(name).await?;
        let credentials = self.credentials(&account).await?;
        let passkeys = credentials.map(|credentials| credentials.passkeys).unwrap_or_default();
        Ok(passkeys.iter().map(listed).collect())
    }

    /// Removes a passkey, as one that was lost. With the last second factor the recovery codes go.
    ///
    /// # Errors
    /// `MC-W012` where the account has no such passkey.
    pub async fn remove_passkey(&self, name: &Name, id: &str) -> Result<()> {
        let account = self.known_account(name).await?;
        let unknown = || {
            let message = format!("`{name}` has no passkey `{}`", crate::name::shown(id));
            Error::new(Code::SecondFactor, message)
        };
        for _ in 0..MOST_TRIES {
            let (mut credentials, expect) = self.credentials_row(&account).await?;
            let key = credentials.passkeys.iter().find(|passkey| passkey.id == id).ok_or_else(unknown)?;
            let index = index_of_text(&key.id);
            credentials.passkeys.retain(|passkey| passkey.id != id);
            if !credentials.has_second_factor() {
                credentials.recovery.clear();
            }
            let writes = vec![
                self.store.write(CREDENTIALS, name.as_str(), &credentials, expect)?,
                self.store.removal(PASSKEY, &index, Expect::Any),
            ];
            if self.store.commit(writes).await? {
                let key = id.chars().take(16).collect();
                return self.tell(Event::Passkey { account: account.name, key, what: "removed" }).await;
            }
        }
        Err(contended(&format!("what proves who `{name}` is")))
    }

    /// What a browser is to ask a passkey for: the same for everybody, whoever it will turn out to be.
    ///
    /// # Errors
    /// Only where the machine has no randomness.
    pub fn ask_for_passkey(&self, relying: &Relying, is_first: bool) -> Result<Value> {
        let challenge = self.challenges().make(Purpose::SignIn, self.now())?;
        Ok(passkey::request(relying, &challenge, is_first))
    }

    /// The account that a passkey says it is of.
    pub(super) async fn owner_of(&self, shown: Shown<'_>) -> Result<Option<Name>> {
        let Ok(id) = shown.answer.id() else { return Ok(None) };
        let owner: Option<Row<Owner>> = self.store.read(PASSKEY, &index_of(&id)).await?;
        Ok(owner.map(|row| row.value.account))
    }

    /// Looks at a passkey's answer without using it up.
    pub(super) async fn look_at_passkey(
        &self,
        credentials: Option<&Credentials>,
        shown: Shown<'_>,
    ) -> Result<Result<Asserted, Refusal>> {
        let asserted = match shown.answer.check(shown.relying, &self.challenges(), self.now()) {
            Ok(asserted) => asserted,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(credentials) = credentials else { return Ok(Err(Refusal::UnknownKey)) };
        if self.was_used(&asserted.spent).await? {
            return Ok(Err(Refusal::Replayed));
        }
        Ok(credentials.check_passkey(&asserted).map(|()| asserted))
    }

    /// Notes in `credentials` that a passkey was used, and gives what uses its answer up together with them.
    pub(super) async fn use_passkey(
        &self,
        credentials: &mut Credentials,
        asserted: &Asserted,
    ) -> Result<Result<Vec<Write>, Refusal>> {
        if let Err(refusal) = credentials.check_passkey(asserted) {
            return Ok(Err(refusal));
        }
        let now = self.now();
        credentials.use_passkey(asserted, now);
        Ok(Ok(self.spending(&asserted.spent, now).await?))
    }

    fn challenges(&self) -> Challenges {
        Challenges::new(&self.sealer)
    }

    async fn was_used(&self, spent: &Spent) -> Result<bool> {
        Ok(self.store.read::<Used>(CHALLENGE, &spent.hash).await?.is_some())
    }

    /// What uses a challenge up, and takes a few away that would not be taken any more.
    async fn spending(&self, spent: &Spent, now: Timestamp) -> Result<Vec<Write>> {
        let used: Vec<Used> = self.store.all(CHALLENGE).await?;
        let over = used.iter().filter(|used| Timestamp(used.until).after(REST) <= now).take(MOST_REMOVED);
        let mut writes: Vec<Write> =
            over.map(|used| self.store.removal(CHALLENGE, &used.hash, Expect::Any)).collect();
        let used = Used { hash: spent.hash.clone(), until: spent.until.0 };
        writes.push(self.store.write(CHALLENGE, &spent.hash, &used, Expect::Absent)?);
        Ok(writes)
    }

    /// Takes away used challenges that would not be taken any more, and owners of passkeys that are gone with their account
    /// or were reset.
    pub(super) async fn sweep_passkeys(&self) -> Result<()> {
        let now = self.now();
        let used: Vec<Used> = self.store.all(CHALLENGE).await?;
        let over: Vec<Used> =
            used.into_iter().filter(|used| Timestamp(used.until).after(REST) <= now).collect();
        for some in over.chunks(MOST_REMOVED) {
            let removal = |used: &Used| self.store.removal(CHALLENGE, &used.hash, Expect::Any);
            self.store.commit(some.iter().map(removal).collect()).await?;
        }
        for owner in self.store.all::<Owner>(PASSKEY).await? {
            if self.still_has(&owner).await? {
                continue;
            }
            let found: Option<Row<Owner>> = self.store.read(PASSKEY, &owner.index).await?;
            // Somebody may have made it their own meanwhile.
            if let Some(found) = found.filter(|found| found.value.account_id == owner.account_id) {
                self.store.commit(vec![self.store.removal(PASSKEY, &owner.index, found.expected())]).await?;
            }
        }
        Ok(())
    }

    /// Whether the account on record as a passkey's owner has it; one that was reset or is gone has not.
    async fn still_has(&self, owner: &Owner) -> Result<bool> {
        let Some(account) = self.account_named(&owner.account).await? else { return Ok(false) };
        if account.id != owner.account_id {
            return Ok(false);
        }
        let credentials = self.credentials(&account).await?;
        let passkeys = credentials.map(|credentials| credentials.passkeys).unwrap_or_default();
        Ok(passkeys.iter().any(|passkey| index_of_text(&passkey.id) == owner.index))
    }

    /// What proves who somebody is, and what a change of it expects.
    pub(super) async fn credentials_row(&self, account: &Account) -> Result<(Credentials, Expect)> {
        let row: Option<Row<Credentials>> = self.store.read(CREDENTIALS, account.name.as_str()).await?;
        let expect = expected(row.as_ref());
        let credentials = row.map(|row| row.value).filter(|credentials| credentials.account == account.id);
        Ok((credentials.unwrap_or_else(|| Credentials::of(&account.id)), expect))
    }

    async fn person(&self, name: &Name) -> Result<Account> {
        let account = self.known_account(name).await?;
        if account.kind == Kind::System {
            let message = format!("`{name}` is a system account, and those have no passkeys");
            return Err(Error::new(Code::AccountKind, message).hint("make a token for it instead"));
        }
        Ok(account)
    }
}

/// An id may be longer than the name of a record, and the same for two parties by chance alone.
fn index_of(id: &[u8]) -> String {
    random::encoded(&random::sha256(id))
}

fn index_of_text(id: &str) -> String {
    index_of(&random::decoded(id).unwrap_or_default())
}

fn listed(passkey: &credentials::Passkey) -> Passkey {
    Passkey {
        id: passkey.id.clone(),
        name: passkey.name.clone(),
        made: passkey.made,
        used: passkey.used,
        can_be_copied: passkey.can_be_copied,
    }
}

fn label_of(text: &str) -> Result<String> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > LONGEST_NAME || text.chars().any(char::is_control) {
        let message =
            format!("a passkey's name has from 1 to {LONGEST_NAME} characters, all of them visible");
        return Err(Error::new(Code::Argument, message));
    }
    Ok(text.to_owned())
}

fn refused(refusal: Refusal) -> Error {
    Error::new(Code::SecondFactor, format!("the passkey is refused: {}", refusal.describe()))
}
