//! Owns `mcias.accounts.ensure`.

use std::collections::BTreeSet;

use effect::{Change, Context, Declared, Ensured, Need, Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use super::account::{change_account, change_of, ensures_account, writes_account};
use super::{World, writes_role};
use crate::account::{Account, Kind, Role, Status, other_kind};
use crate::driver::Driver;
use crate::name::{Email, Name};

/// Makes sure that there is an account, with these roles, groups and tags.
///
/// What is left out stays as it is. A person gets `password` when the account is made, and it is left alone afterwards.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ensure {
    /// What it is called: letters a to z, digits, `-`, `_`, `.`; capital letters are taken as small ones.
    name: String,
    /// Who it is for: a person (`human`) or a service (`system`). It never changes.
    #[serde(rename = "type", default)]
    kind: Kind,
    /// The address of its owner.
    email: Option<String>,
    /// Whether it can be used.
    status: Option<Status>,
    /// What it is trusted with: exactly these roles. A system account has none.
    roles: Option<BTreeSet<Role>>,
    /// The groups that it belongs to: exactly these.
    groups: Option<Vec<String>>,
    /// What else is to be known of it: exactly these tags.
    tags: Option<Vec<String>>,
    /// The password that it gets when it is made.
    password: Option<Secret>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Ensure {
    const NAME: &'static str = "mcias.accounts.ensure";
    const CAPABILITY: &'static str = "mcias:write:accounts/NAME";
    const EXAMPLE: &'static str =
        "mcias.accounts.ensure { name = \"alice\", roles = { \"user\" }, groups = { \"operators\" } }";
    type World = World;
    type Output = Ensured<Account>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    /// A role is given or taken only by whoever may write it; which ones change is not known here.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        let name = writes_account(&self.name.parse()?);
        let Some(roles) = &self.roles else { return Ok(vec![name]) };
        // Exactly these roles: every other one is taken.
        let concerned = match self.kind {
            Kind::Human => Role::ALL.to_vec(),
            Kind::System => roles.iter().copied().collect(),
        };
        Ok([name].into_iter().chain(concerned.into_iter().map(writes_role)).collect())
    }
}

fn names(texts: &[String]) -> Result<BTreeSet<Name>> {
    texts.iter().map(|text| text.parse()).collect()
}

impl Ensure {
    /// What this call makes of the account that was found.
    fn wanted(&self, context: &Context, found: Option<&Account>) -> Result<Account> {
        let name: Name = self.name.parse()?;
        let mut account = match found {
            Some(found) if found.kind != self.kind => return Err(other_kind(found, self.kind)),
            Some(found) => found.clone(),
            None => Account::new(name, self.kind, context.now().0)?,
        };
        if let Some(email) = &self.email {
            account.email = Some(email.parse::<Email>()?);
        }
        account.status = self.status.unwrap_or(account.status);
        if let Some(roles) = &self.roles {
            account.roles = roles.clone();
        }
        if let Some(groups) = &self.groups {
            account.groups = names(groups)?;
        }
        if let Some(tags) = &self.tags {
            account.tags = names(tags)?;
        }
        account.check()?;
        Ok(account)
    }

    fn destination(&self) -> Result<String> {
        Ok(format!("mcias:{}", self.name.parse::<Name>()?))
    }

    fn account(&self) -> &str {
        &self.name
    }

    fn planned(&self, context: &Context, before: Option<&Account>) -> Result<Change<Account>> {
        if let Some(password) = &self.password {
            context.may_go(password, &self.destination()?)?;
        }
        let change = change_of(before, Some(self.wanted(context, before)?));
        let sets_password = before.is_none() && self.password.is_some();
        Ok(if sets_password { change.note("with a password") } else { change })
    }

    async fn carry_out(
        &self,
        driver: &dyn Driver,
        context: &Context,
        before: Option<&Account>,
    ) -> Result<Account> {
        let name = self.name.parse::<Name>()?;
        if let Some(secret) = self.password.as_ref().filter(|_| before.is_none()) {
            let password = context.reveal(secret, &self.destination()?).await?;
            let password = zeroize::Zeroizing::new(String::from_utf8_lossy(&password).into_owned());
            // Without its roles at first: an account that was cut here can do nothing.
            let made = change_account(driver, context, &name, |found| match found {
                Some(found) => Ok(found.clone()),
                None => Ok(Account { roles: BTreeSet::new(), ..self.wanted(context, None)? }),
            });
            driver.set_password(&made.await?, &password).await?;
        }
        change_account(driver, context, &name, |found| self.wanted(context, found)).await
    }
}

ensures_account!(Ensure);
