//! Owns `mcias.accounts.get` and `mcias.accounts.list`.

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::account::account_key;
use super::{World, check_node};
use crate::account::{Account, Kind, Role};
use crate::name::Name;

/// Returns an account, or nothing where there is none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// What it is called.
    name: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Get {
    const NAME: &'static str = "mcias.accounts.get";
    const CAPABILITY: &'static str = "mcias:read:accounts/NAME";
    const EXAMPLE: &'static str =
        "local alice = mcias.accounts.get { name = \"alice\" }\nprint(alice and alice.status)";
    type World = World;
    type Output = Option<Account>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("mcias", format!("accounts/{}", self.name.parse::<Name>()?))])
    }
}

#[async_trait]
impl Read for Get {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<Account>> {
        check_node(context, self.node.as_deref())?;
        match context.overlay.get::<Account>(&account_key(context, &self.name)) {
            Some(planned) => Ok(planned),
            None => world.driver(context).account(&self.name.parse()?).await,
        }
    }
}

/// Lists accounts that the script may read, by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Only those for people, or for services.
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// Only those with this role.
    role: Option<Role>,
    /// Only those of this group.
    group: Option<String>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for List {
    const NAME: &'static str = "mcias.accounts.list";
    const CAPABILITY: &'static str = "mcias:read:accounts/NAME";
    const EXAMPLE: &'static str = "for _, account in mcias.accounts.list { role = \"admin\" } do\n    print(account.name, account.status)\nend";
    type World = World;
    type Output = Vec<Account>;

    fn subject(&self) -> String {
        self.group.clone().unwrap_or_default()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for List {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Account>> {
        check_node(context, self.node.as_deref())?;
        let group = self.group.as_deref().map(str::parse::<Name>).transpose()?;
        let mut accounts = world.driver(context).accounts().await?;
        for (planned_key, planned) in context.overlay.beneath::<Account>(&account_key(context, "")) {
            accounts.retain(|account| account_key(context, account.name.as_str()) != planned_key);
            accounts.extend(planned);
        }
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        accounts.retain(|account| {
            self.kind.is_none_or(|kind| account.kind == kind)
                && self.role.is_none_or(|role| account.roles.contains(&role))
                && group.as_ref().is_none_or(|group| account.groups.contains(group))
                && context.policy.allows(&Need::read("mcias", format!("accounts/{}", account.name)))
        });
        Ok(accounts)
    }
}
