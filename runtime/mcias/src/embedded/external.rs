//! Owns which accounts other issuers' words stand for. One record for each person of each provider, so that of two that link
//! the same one the second finds it taken.

use std::collections::BTreeSet;

use effect::{Code, Error, Result};
use journal::{Expect, Write};
use serde::{Deserialize, Serialize};

use super::Embedded;
use crate::account::{Account, Kind, Role};
use crate::credentials::LETTERS;
use crate::external::{Facts, Wrong};
use crate::name::{Email, Name};
use crate::random;
use crate::store::{EXTERNAL, MOST_TRIES, Row, contended, expected};
use crate::witness::Event;

/// People of one provider for whom accounts are made, as long as they have them.
const MOST_MADE: usize = 1000;
/// Letters of a name that is made, before those that tell it from others.
const LONGEST_MADE: usize = 56;
/// Letters that tell names that are made from others: 30 bits of whom they are for.
const TELLING: usize = 6;

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

    /// Makes an account for somebody whom nobody knows, and links it, in one change. It is called by the provider, a word of theirs
    /// and letters that nobody chooses, so that nobody outside takes the name of somebody inside, nor one that a rule waits for.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub async fn join(
        &self,
        facts: &Facts,
        roles: &BTreeSet<Role>,
        groups: &BTreeSet<Name>,
    ) -> Result<std::result::Result<Account, Wrong>> {
        let _one_at_a_time = self.live.joining.lock().await;
        for _ in 0..MOST_TRIES {
            // Before the link: an account that is among these and was made for them has it by then.
            let accounts = self.every_account().await?;
            let row = self.store.read(EXTERNAL, &name_of(&facts.provider, &facts.subject)).await?;
            if let Some(row) = &row
                && let Some(account) = self.holder_of_record(&row.value).await?
            {
                return Ok(Ok(account));
            }
            let records: Vec<Record> = self.store.beneath(EXTERNAL, &format!("{}/", facts.provider)).await?;
            let name = match name_for(facts, &accounts, &records) {
                Ok(name) => name,
                Err(wrong) => return Ok(Err(wrong)),
            };
            let account = Account {
                email: facts.verified_email.clone(),
                roles: roles.clone(),
                groups: groups.clone(),
                ..Account::new(name, Kind::Human, self.now().0)?
            };
            let link = self.linking(facts, &account, row.as_ref())?;
            match self.put_account_with(None, Some(&account), false, vec![link]).await {
                // Somebody else took the name, or linked them meanwhile.
                Err(error) if error.code == Code::AccountChanged => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.tell_of_link(&account, &facts.provider, "linked").await?;
                    return Ok(Ok(account));
                }
            }
        }
        Err(contended("whose account that is"))
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
        let write = self.linking(facts, account, found.as_ref())?;
        if !self.store.commit(vec![write]).await? {
            return Ok(Err(Wrong::Taken));
        }
        self.tell_of_link(account, &facts.provider, "linked").await?;
        Ok(Ok(()))
    }

    /// What links somebody to an account in the place of what was found.
    fn linking(&self, facts: &Facts, account: &Account, found: Option<&Row<Record>>) -> Result<Write> {
        let record = Record {
            provider: facts.provider.clone(),
            subject: facts.subject.clone(),
            account: account.name.clone(),
            account_id: account.id.clone(),
        };
        self.store.write(EXTERNAL, &name_of(&facts.provider, &facts.subject), &record, expected(found))
    }

    async fn tell_of_link(&self, account: &Account, provider: &Name, what: &'static str) -> Result<()> {
        let (account, provider) = (account.name.clone(), provider.clone());
        self.tell(Event::External { account, provider, what }).await
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
        self.tell_of_link(&found, provider, "unlinked").await
    }
}

/// What an account for somebody is called, where one may be made.
fn name_for(facts: &Facts, accounts: &[Account], records: &[Record]) -> std::result::Result<Name, Wrong> {
    // Mailboxes that differ by capital letters alone are those of one person nearly everywhere.
    let is_address = |address: &str| {
        let own = facts.verified_email.as_ref().map(Email::as_str);
        own.is_some_and(|own| own.eq_ignore_ascii_case(address))
    };
    if accounts.iter().filter_map(|account| account.email.as_ref()).any(|email| is_address(email.as_str())) {
        return Err(Wrong::Address);
    }
    let ids: BTreeSet<&str> = accounts.iter().map(|account| account.id.as_str()).collect();
    if records.iter().filter(|record| ids.contains(record.account_id.as_str())).count() >= MOST_MADE {
        return Err(Wrong::Full);
    }
    let name: Option<Name> = called(facts).parse().ok();
    // Whoever has it was not made here.
    name.filter(|name| accounts.iter().all(|account| account.name != *name)).ok_or(Wrong::Full)
}

/// The provider and the beginning of the address, or what the provider calls them, in letters that names have; and letters
/// that nobody can choose, so that it is not the name of anybody else, neither now nor once this account is gone.
fn called(facts: &Facts) -> String {
    let address = facts.verified_email.as_ref().and_then(|email| email.as_str().split(['@', '+']).next());
    let word = address.unwrap_or(&facts.subject);
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let word: String = word.chars().map(letter).collect();
    let text = format!("{}.{}", facts.provider, word.trim_matches('-'));
    let text: String = text.chars().take(LONGEST_MADE).collect();
    let hash = random::sha256(facts.subject.as_bytes());
    let telling: String =
        hash[..TELLING].iter().map(|octet| char::from(LETTERS[usize::from(octet % 32)])).collect();
    format!("{}-{telling}", text.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_one_provider_are_bounded_and_a_name_that_is_taken_is_not_given() {
        let provider: Name = "idp".parse().unwrap();
        let facts = Facts { provider: provider.clone(), subject: "new".into(), verified_email: None };
        let made = |text: &str| Account::new(text.parse().unwrap(), Kind::Human, 0).unwrap();
        let record = |account: &Account| Record {
            provider: provider.clone(),
            subject: account.name.to_string(),
            account: account.name.clone(),
            account_id: account.id.clone(),
        };
        let accounts: Vec<Account> = (0..MOST_MADE).map(|number| made(&format!("a{number}"))).collect();
        let records: Vec<Record> = accounts.iter().map(record).collect();
        assert_eq!(name_for(&facts, &accounts, &records), Err(Wrong::Full));
        let fewer = &accounts[1..];
        let name = name_for(&facts, fewer, &records).unwrap();
        assert!(name.as_str().starts_with("idp.new-"), "{name}");
        assert_eq!(name_for(&facts, &[made(name.as_str())], &[]), Err(Wrong::Full));
    }
}
