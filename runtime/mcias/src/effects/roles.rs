//! Owns `mcias.roles.grant` and `mcias.roles.revoke`.

use effect::{Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::account::{change_account, change_of, ensures_account, writes_account};
use super::{World, writes_role};
use crate::account::{Account, Role};
use crate::driver::{Driver, unknown};
use crate::name::Name;

/// Makes sure that a person has a role. Tokens that stand for the account have it at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What the account is called.
    account: String,
    /// The role.
    role: Role,
    /// The node; this one unless given.
    node: Option<String>,
}

/// Makes sure that a person does not have a role. Tokens that stand for the account lose it at once.
///
/// The last active admin keeps the role: that is an error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// What the account is called.
    account: String,
    /// The role.
    role: Role,
    /// The node; this one unless given.
    node: Option<String>,
}

fn with(name: &Name, role: Role, found: Option<&Account>) -> Result<Account> {
    let mut account = found.ok_or_else(|| unknown(name))?.clone();
    account.roles.insert(role);
    account.check()?;
    Ok(account)
}

fn without(name: &Name, role: Role, found: Option<&Account>) -> Result<Account> {
    let mut account = found.ok_or_else(|| unknown(name))?.clone();
    account.roles.remove(&role);
    Ok(account)
}

macro_rules! of_roles {
    ($effect:ident, $name:literal, $example:literal, $wish:ident) => {
        impl Declared for $effect {
            const NAME: &'static str = $name;
            const CAPABILITY: &'static str = "mcias:write:accounts/NAME";
            const EXAMPLE: &'static str = $example;
            type World = World;
            type Output = Ensured<Account>;

            fn subject(&self) -> String {
                format!("{} {}", self.account, self.role.as_str())
            }

            fn needs(&self, _: &World) -> Result<Vec<Need>> {
                Ok(vec![writes_account(&self.account.parse()?), writes_role(self.role)])
            }
        }

        impl $effect {
            fn account(&self) -> &str {
                &self.account
            }

            fn planned(&self, _: &Context, before: Option<&Account>) -> Result<Change<Account>> {
                Ok(change_of(before, Some($wish(&self.account.parse()?, self.role, before)?)))
            }

            async fn carry_out(
                &self,
                driver: &dyn Driver,
                context: &Context,
                _: Option<&Account>,
            ) -> Result<Account> {
                let name = self.account.parse::<Name>()?;
                change_account(driver, context, &name, |found| $wish(&name, self.role, found)).await
            }
        }

        ensures_account!($effect);
    };
}

of_roles!(
    Grant,
    "mcias.roles.grant",
    "mcias.accounts.ensure { name = \"carol\" }\nmcias.roles.grant { account = \"carol\", role = \"user\" }",
    with
);
of_roles!(
    Revoke,
    "mcias.roles.revoke",
    "mcias.accounts.ensure { name = \"carol\", roles = { \"user\" } }\nmcias.roles.revoke { account = \"carol\", role = \"user\" }",
    without
);
