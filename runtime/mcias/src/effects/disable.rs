//! Owns `mcias.accounts.disable`.

use effect::{Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::World;
use super::account::{change_account, change_of, ensures_account, writes_account};
use crate::account::{Account, Status};
use crate::driver::{Driver, unknown};
use crate::name::Name;

/// Makes sure that an account cannot be used: nobody signs in with it, and none of its tokens is valid.
///
/// It stays, with all that belongs to it; `mcias.accounts.ensure` with `status = "active"` lets it be used again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// What the account is called.
    name: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Disable {
    const NAME: &'static str = "mcias.accounts.disable";
    const CAPABILITY: &'static str = "mcias:write:accounts/NAME";
    const EXAMPLE: &'static str =
        "mcias.accounts.ensure { name = \"bob\" }\nmcias.accounts.disable { name = \"bob\" }";
    type World = World;
    type Output = Ensured<Account>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![writes_account(&self.name.parse()?)])
    }
}

fn disabled(name: &Name, found: Option<&Account>) -> Result<Account> {
    let found = found.ok_or_else(|| unknown(name))?;
    Ok(Account { status: Status::Disabled, ..found.clone() })
}

impl Disable {
    fn account(&self) -> &str {
        &self.name
    }

    fn planned(&self, _: &Context, before: Option<&Account>) -> Result<Change<Account>> {
        Ok(change_of(before, Some(disabled(&self.name.parse()?, before)?)))
    }

    async fn carry_out(
        &self,
        driver: &dyn Driver,
        context: &Context,
        _: Option<&Account>,
    ) -> Result<Account> {
        let name = self.name.parse::<Name>()?;
        change_account(driver, context, &name, |found| disabled(&name, found)).await
    }
}

ensures_account!(Disable);
