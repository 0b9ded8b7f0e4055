//! Owns `mcias.accounts.disable`.

use async_trait::async_trait;
use effect::{Applied, Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{World, account_key, bring_back, change_account, change_of, check_node, rewound, writes_account};
use crate::account::{Account, Status};
use crate::driver::{Feature, check_feature, unknown};
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

#[async_trait]
impl effect::Ensure for Disable {
    type State = Account;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        account_key(context, &self.name)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Account>> {
        check_node(context, self.node.as_deref())?;
        world.driver(context).account(&self.name.parse()?).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Account>,
    ) -> Result<Change<Account>> {
        check_feature(&*world.driver(context), Feature::Accounts)?;
        Ok(change_of(before, Some(disabled(&self.name.parse()?, before)?)))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Account>,
        _: &Change<Account>,
    ) -> Result<Applied<Account>> {
        let (driver, name) = (world.driver(context), self.name.parse::<Name>()?);
        let after = change_account(&*driver, context, &name, |found| disabled(&name, found)).await?;
        Ok(Applied::to(after))
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
