//! Owns accounts and their passwords, and the first admin.

use std::collections::BTreeSet;

use effect::{Code, Error, Result};
use journal::Write;

use super::Embedded;
use crate::account::{Account, Kind, Role, Status, other_kind};
use crate::credentials::{Credentials, FirstFactor};
use crate::driver::{self, Driver as _};
use crate::name::Name;
use crate::policy::{Attempt, RECOVERED_SET, Rule, RuleSet};
use crate::store::{ACCOUNT, ADMINS, CREDENTIALS, MOST_TRIES, Row, contended, expected};
use crate::witness::Event;

/// The one record of its kind.
const THE_ADMINS: &str = "admins";
/// What the first admin signs in to, the calls of the daemon and this service itself, and the set of rules that lets admins in
/// there.
const FIRST_SERVICES: [&str; 2] = ["mcrun", crate::web::OWN_SERVICE];
const FIRST_SET: &str = "admins";

impl Embedded {
    pub(super) async fn account_named(&self, name: &Name) -> Result<Option<Account>> {
        Ok(self.store.read(ACCOUNT, name.as_str()).await?.map(|row| row.value))
    }

    pub(super) async fn every_account(&self) -> Result<Vec<Account>> {
        self.store.all(ACCOUNT).await
    }

    pub(super) async fn known_account(&self, name: &Name) -> Result<Account> {
        self.account_named(name).await?.ok_or_else(|| driver::unknown(name))
    }

    pub(super) async fn put_account(&self, before: Option<&Account>, after: Option<&Account>) -> Result<()> {
        self.put_account_with(before, after, false, Vec::new()).await
    }

    /// The same together with other writes, and as the first admin of all where it is to be.
    pub(super) async fn put_account_with(
        &self,
        before: Option<&Account>,
        after: Option<&Account>,
        is_first_admin: bool,
        mut writes: Vec<Write>,
    ) -> Result<()> {
        let Some(name) = after.or(before).map(|account| &account.name) else { return Ok(()) };
        if let Some(after) = after {
            after.check()?;
            if let Some(before) = before.filter(|before| before.kind != after.kind) {
                return Err(other_kind(before, after.kind));
            }
        }
        let found: Option<Row<Account>> = self.store.read(ACCOUNT, name.as_str()).await?;
        if found.as_ref().map(|row| &row.value) != before {
            return Err(changed_meanwhile(name));
        }
        writes.push(match after {
            Some(after) => self.store.write(ACCOUNT, name.as_str(), after, expected(found.as_ref()))?,
            None => self.store.removal(ACCOUNT, name.as_str(), expected(found.as_ref())),
        });
        let of_admins: Option<Row<BTreeSet<Name>>> = self.store.read(ADMINS, THE_ADMINS).await?;
        let admins = of_admins.as_ref().map(|row| row.value.clone()).unwrap_or_default();
        if is_first_admin && !admins.is_empty() {
            return Err(admin_there());
        }
        let mut admins_after = admins.clone();
        match after.is_some_and(Account::is_active_admin) {
            true => admins_after.insert(name.clone()),
            false => admins_after.remove(name),
        };
        if admins_after != admins {
            if admins_after.is_empty() {
                return Err(Error::new(Code::LastAdmin, format!("`{name}` is the last active admin")));
            }
            let expect = expected(of_admins.as_ref());
            writes.push(self.store.write(ADMINS, THE_ADMINS, &admins_after, expect)?);
        }
        // Another account under the same name inherits nothing.
        let is_another = before.map(|before| &before.id) != after.map(|after| &after.id);
        if let Some(before) = before.filter(|_| is_another) {
            writes.push(self.store.removal(CREDENTIALS, name.as_str(), journal::Expect::Any));
            writes.extend(self.removals_of_tokens(before).await?);
        }
        if !self.store.commit(writes).await? {
            return Err(changed_meanwhile(name));
        }
        self.forget_answers();
        self.tell_difference(name, before, after).await
    }

    async fn tell_difference(
        &self,
        name: &Name,
        before: Option<&Account>,
        after: Option<&Account>,
    ) -> Result<()> {
        let status = |account: Option<&Account>| account.map(|account| account.status);
        let what = match (status(before), status(after)) {
            (_, None) => "removed",
            (None, _) => "created",
            (Some(Status::Active), Some(Status::Disabled)) => "disabled",
            (Some(Status::Disabled), Some(Status::Active)) => "enabled",
            _ => "changed",
        };
        self.tell(Event::AccountChanged { account: name.clone(), what }).await?;
        let roles =
            |account: Option<&Account>| account.map(|account| account.roles.clone()).unwrap_or_default();
        let (had, has) = (roles(before), roles(after));
        for role in has.difference(&had) {
            self.tell(Event::RoleGranted { account: name.clone(), role: *role }).await?;
        }
        for role in had.difference(&has) {
            self.tell(Event::RoleRevoked { account: name.clone(), role: *role }).await?;
        }
        Ok(())
    }

    pub(super) async fn give_password(&self, account: &Account, password: &str) -> Result<()> {
        if account.kind == Kind::System {
            let message = format!("`{}` is a system account, and those have no passwords", account.name);
            return Err(Error::new(Code::AccountKind, message).hint("make a token for it instead"));
        }
        crate::password::check(password, self.settings.password_length)?;
        let hash = self.live.hashes.hash(password).await?;
        self.change_credentials(account, |credentials| {
            credentials.password = Some(self.sealer.hide(hash.as_bytes()));
            Ok(Some(()))
        })
        .await?;
        self.tell(Event::PasswordSet { account: account.name.clone() }).await
    }

    /// What proves who `account` is; nothing where it never got anything.
    pub(super) async fn credentials(&self, account: &Account) -> Result<Option<Credentials>> {
        Ok(self.credentials_found(account).await?.map(|row| row.value))
    }

    /// The same as it lies among the records.
    pub(super) async fn credentials_found(&self, account: &Account) -> Result<Option<Row<Credentials>>> {
        let row: Option<Row<Credentials>> = self.store.read(CREDENTIALS, account.name.as_str()).await?;
        Ok(row.filter(|row| row.value.account == account.id))
    }

    /// Changes what proves who `account` is; nothing where `change` gives nothing. Whoever comes second of two at once looks
    /// at what the first one left.
    pub(super) async fn change_credentials<T>(
        &self,
        account: &Account,
        mut change: impl FnMut(&mut Credentials) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let name = account.name.as_str();
        for _ in 0..MOST_TRIES {
            let row: Option<Row<Credentials>> = self.store.read(CREDENTIALS, name).await?;
            let expect = expected(row.as_ref());
            let mut credentials = row
                .map(|row| row.value)
                .filter(|credentials| credentials.account == account.id)
                .unwrap_or_else(|| Credentials::of(&account.id));
            let Some(outcome) = change(&mut credentials)? else { return Ok(None) };
            if self.store.commit(vec![self.store.write(CREDENTIALS, name, &credentials, expect)?]).await? {
                return Ok(Some(outcome));
            }
        }
        Err(contended(&format!("what proves who `{name}` is")))
    }

    /// Whether there is an admin that can act as one.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn has_admin(&self) -> Result<bool> {
        let admins: Option<Row<BTreeSet<Name>>> = self.store.read(ADMINS, THE_ADMINS).await?;
        Ok(admins.is_some_and(|row| !row.value.is_empty()))
    }

    /// Makes the first admin, and the rule that lets admins in to mcrun itself.
    ///
    /// # Errors
    /// `MC-W011` where there is an admin, `MC-W006` for a password that is refused.
    pub async fn init(&self, name: &Name, password: &str) -> Result<Account> {
        if self.has_admin().await? {
            return Err(admin_there());
        }
        let admin = self.make_admin(name, password, true).await?;
        self.let_admins_in().await?;
        Ok(admin)
    }

    /// Makes sure that `name` is an admin who can sign in with `password` alone: whoever has the machine is in charge of it.
    /// Its second factors and its tokens are gone.
    ///
    /// # Errors
    /// `MC-W003` for the name of a system account, `MC-W006` for a password that is refused.
    pub async fn recover_admin(&self, name: &Name, password: &str) -> Result<Account> {
        let admin = self.make_admin(name, password, false).await?;
        let tokens = self.tokens_of(name).await?;
        let ids: Vec<String> = tokens.into_iter().map(|token| token.id).collect();
        self.revoke_tokens(name, &ids).await?;
        self.let_admins_in().await?;
        self.let_recovered_in(&admin).await?;
        self.tell(Event::AdminRecovered { account: name.clone() }).await?;
        Ok(admin)
    }

    /// An active admin with this password and no second factor, all in one: of two at once neither gets the other's password.
    async fn make_admin(&self, name: &Name, password: &str, is_first: bool) -> Result<Account> {
        crate::password::check(password, self.settings.password_length)?;
        let hash = self.live.hashes.hash(password).await?;
        for _ in 0..MOST_TRIES {
            let found = self.account_named(name).await?;
            let mut admin = match &found {
                Some(found) if found.kind != Kind::Human => return Err(other_kind(found, Kind::Human)),
                Some(found) => Account { changed: self.now().0, ..found.clone() },
                None => Account::new(name.clone(), Kind::Human, self.now().0)?,
            };
            admin.status = Status::Active;
            admin.roles.insert(Role::Admin);
            let row: Option<Row<Credentials>> = self.store.read(CREDENTIALS, name.as_str()).await?;
            let mut credentials = Credentials::of(&admin.id);
            credentials.password = Some(self.sealer.hide(hash.as_bytes()));
            let proof = self.store.write(CREDENTIALS, name.as_str(), &credentials, expected(row.as_ref()))?;
            match self.put_account_with(found.as_ref(), Some(&admin), is_first, vec![proof]).await {
                Err(error) if error.code == Code::AccountChanged => {}
                put => return put.map(|()| admin),
            }
        }
        Err(changed_meanwhile(name))
    }

    /// Without a rule nobody is let in, so an admin could not sign in to write the first one.
    async fn let_admins_in(&self) -> Result<()> {
        let set: Name = FIRST_SET.parse()?;
        if self.rules_named(&set).await?.is_some() {
            return Ok(());
        }
        let rules = RuleSet { name: set, rules: vec![first_rule("admins-to-mcrun", 1000)?] };
        match self.put_rules(None, Some(&rules)).await {
            // Somebody else was faster: theirs counts.
            Err(error) if error.code == Code::AccountChanged => Ok(()),
            put => put,
        }
    }
    /// A policy may lock everybody out. Whoever has the machine is let in all the same, by a set that is asked before all
    /// others, until somebody takes it away.
    async fn let_recovered_in(&self, admin: &Account) -> Result<()> {
        let policy = self.policy().await?;
        for service in FIRST_SERVICES {
            let service: Name = service.parse()?;
            let tags = self.settings.tags(&service);
            let attempt = Attempt {
                account: admin,
                service: &service,
                service_tags: &tags,
                address: None,
                at: self.now(),
                first: Some(FirstFactor::Password),
            };
            if policy.always_lets_in(&attempt) {
                continue;
            }
            let rule = Rule { accounts: vec![admin.name.to_string()], ..first_rule("by-the-machine", 0)? };
            let rules = RuleSet { name: RECOVERED_SET.parse()?, rules: vec![rule] };
            let before = self.rules_named(&rules.name).await?;
            return self.put_any_rule_set(before.as_ref(), Some(&rules)).await;
        }
        Ok(())
    }
}

/// Lets admins in where they are needed first, by password alone.
fn first_rule(name: &str, priority: u16) -> Result<Rule> {
    Ok(Rule {
        name: name.parse()?,
        priority,
        allow: true,
        roles: [Role::Admin].into(),
        accounts: Vec::new(),
        kind: Some(Kind::Human),
        groups: BTreeSet::new(),
        services: FIRST_SERVICES.map(str::to_owned).to_vec(),
        service_tags: BTreeSet::new(),
        addresses: Vec::new(),
        times: Vec::new(),
        first_factors: BTreeSet::new(),
        second_factor: false,
    })
}

fn admin_there() -> Error {
    Error::new(Code::FirstAdmin, "there is an admin already")
}

fn changed_meanwhile(name: &Name) -> Error {
    Error::new(Code::AccountChanged, format!("the account `{name}` was changed by somebody else meanwhile"))
        .retryable()
}
