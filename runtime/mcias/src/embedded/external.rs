//! Owns which accounts other issuers' words stand for. One record for each person of each provider, so that of two that link
//! the same one the second finds it taken.

use effect::{Code, Error, Result};
use journal::Expect;
use serde::{Deserialize, Serialize};

use super::Embedded;
use crate::account::Account;
use crate::external::{Facts, Wrong};
use crate::name::Name;
use crate::random;
use crate::store::{EXTERNAL, Row, expected};
use crate::witness::Event;

/// Whose it is.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    provider: Name,
    subject: String,
    account: Name,
    account_id: String,
}

fn name_of(provider: &Name, subject: &str) -> String {
    format!("{provider}/{}", random::encoded(&random::sha256(subject.as_bytes())))
}

impl Embedded {
    /// The account that these facts stand for. By provider and subject; by a verified address only where `match_email` says so,
    /// nobody has that subject, and the account has none of that provider: whoever comes by an address again is not them.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub async fn known_by(
        &self,
        facts: &Facts,
        match_email: bool,
    ) -> Result<std::result::Result<Account, Wrong>> {
        let name = name_of(&facts.provider, &facts.subject);
        let found: Option<Row<Record>> = self.store.read(EXTERNAL, &name).await?;
        if let Some(row) = &found
            && let Some(account) = self.holder_of_record(&row.value).await?
        {
            return Ok(Ok(account));
        }
        let Some(email) = facts.verified_email.as_ref().filter(|_| match_email) else {
            return Ok(Err(Wrong::Nobody));
        };
        let accounts = self.every_account().await?;
        let mut owners = accounts.into_iter().filter(|account| account.email.as_ref() == Some(email));
        // An address of two accounts is nobody's.
        let (Some(account), None) = (owners.next(), owners.next()) else { return Ok(Err(Wrong::Nobody)) };
        if self.linked(&account).await?.contains(&facts.provider) {
            return Ok(Err(Wrong::Nobody));
        }
        Ok(self.link(facts, &account).await?.map(|()| account))
    }

    /// The account of a record; nothing where it is gone, also where another has its name.
    async fn holder_of_record(&self, record: &Record) -> Result<Option<Account>> {
        let account = self.account_named(&record.account).await?;
        Ok(account.filter(|account| account.id == record.account_id))
    }

    /// Links somebody of another issuer to an account.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub async fn link(&self, facts: &Facts, account: &Account) -> Result<std::result::Result<(), Wrong>> {
        let name = name_of(&facts.provider, &facts.subject);
        let found: Option<Row<Record>> = self.store.read(EXTERNAL, &name).await?;
        if let Some(row) = &found
            && let Some(holder) = self.holder_of_record(&row.value).await?
        {
            return Ok(if holder.id == account.id { Ok(()) } else { Err(Wrong::Taken) });
        }
        let record = Record {
            provider: facts.provider.clone(),
            subject: facts.subject.clone(),
            account: account.name.clone(),
            account_id: account.id.clone(),
        };
        let write = self.store.write(EXTERNAL, &name, &record, expected(found.as_ref()))?;
        if !self.store.commit(vec![write]).await? {
            return Ok(Err(Wrong::Taken));
        }
        let (account, provider) = (account.name.clone(), facts.provider.clone());
        self.tell(Event::External { account, provider, what: "linked" }).await?;
        Ok(Ok(()))
    }

    /// The providers of which somebody is linked to an account.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn linked(&self, account: &Account) -> Result<Vec<Name>> {
        let records: Vec<Record> = self.store.all(EXTERNAL).await?;
        let own = records.into_iter().filter(|record| record.account_id == account.id);
        let mut providers: Vec<Name> = own.map(|record| record.provider).collect();
        providers.sort();
        providers.dedup();
        Ok(providers)
    }

    /// Takes the links of an account to a provider away.
    ///
    /// # Errors
    /// `MC-W002` for an account that is not there.
    pub async fn unlink(&self, account: &Name, provider: &Name) -> Result<()> {
        let found = self.known_account(account).await?;
        let records: Vec<Record> = self.store.beneath(EXTERNAL, &format!("{provider}/")).await?;
        let own = records.iter().filter(|record| record.account_id == found.id);
        let name = |record: &Record| name_of(&record.provider, &record.subject);
        let writes: Vec<_> =
            own.map(|record| self.store.removal(EXTERNAL, &name(record), Expect::Any)).collect();
        if writes.is_empty() {
            return Ok(());
        }
        if !self.store.commit(writes).await? {
            return Err(Error::new(Code::Internal, "a link could not be taken away"));
        }
        let (account, provider) = (account.clone(), provider.clone());
        self.tell(Event::External { account, provider, what: "unlinked" }).await
    }
}
