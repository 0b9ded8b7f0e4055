//! Owns `mcias.roles.grant` and `mcias.roles.revoke`.

use async_trait::async_trait;
use effect::{Applied, Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    World, account_key, bring_back, change_account, change_of, check_node, rewound, writes_account,
    writes_role,
};
use crate::account::{Account, Role};
use crate::driver::{Feature, check_feature, unknown};
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

        #[async_trait]
        impl effect::Ensure for $effect {
            type State = Account;
            const UNDOABLE: bool = true;

            fn key(&self, context: &Context) -> String {
                account_key(context, &self.account)
            }

            async fn observe(&self, world: &World, context: &Context) -> Result<Option<Account>> {
                check_node(context, self.node.as_deref())?;
                world.driver(context).account(&self.account.parse()?).await
            }

            async fn change(
                &self,
                world: &World,
                context: &Context,
                before: Option<&Account>,
            ) -> Result<Change<Account>> {
                check_feature(&*world.driver(context), Feature::Accounts)?;
                Ok(change_of(before, Some($wish(&self.account.parse()?, self.role, before)?)))
            }

            async fn apply(
                &self,
                world: &World,
                context: &Context,
                _: Option<&Account>,
                _: &Change<Account>,
            ) -> Result<Applied<Account>> {
                let (driver, name) = (world.driver(context), self.account.parse::<Name>()?);
                let wish = |found: Option<&Account>| $wish(&name, self.role, found);
                Ok(Applied::to(change_account(&*driver, context, &name, wish).await?))
            }

            async fn rewind(
                &self,
                _: &World,
                _: &Context,
                now: Option<&Account>,
                earlier: Option<&Account>,
            ) -> Result<Change<Account>> {
                Ok(rewound(now, earlier))
            }

            async fn apply_rewind(
                &self,
                world: &World,
                context: &Context,
                now: Option<&Account>,
                earlier: Option<&Account>,
                _: &Change<Account>,
            ) -> Result<Applied<Account>> {
                bring_back(&*world.driver(context), context, now, earlier).await
            }
        }
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
