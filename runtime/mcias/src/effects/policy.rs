//! Owns `mcias.policy.ensure`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{World, check_node, field};
use crate::driver::{Feature, check_feature};
use crate::name::Name;
use crate::policy::{Rule, RuleSet};

/// Makes sure that a set of rules of the login policy says exactly this.
///
/// All sets together are the policy: the rule with the lowest `priority` that matches decides, of two with the same number
/// one that refuses, and where none matches nobody is let in. A set without rules is taken away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnsurePolicy {
    /// What the set is called.
    name: String,
    /// Its rules.
    rules: Vec<Rule>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for EnsurePolicy {
    const NAME: &'static str = "mcias.policy.ensure";
    const CAPABILITY: &'static str = "mcias:write:policy/SET";
    const EXAMPLE: &'static str = "mcias.policy.ensure {\n    name = \"staff\",\n    rules = {\n        { name = \"office\", priority = 10, allow = true, roles = { \"user\" }, services = { \"mcq\" },\n          times = { { days = { \"mon\", \"tue\", \"wed\", \"thu\", \"fri\" }, from = \"07:00\", to = \"20:00\" } } },\n    },\n}";
    type World = World;
    type Output = Ensured<RuleSet>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("mcias", format!("policy/{}", self.name.parse::<Name>()?))])
    }
}

impl EnsurePolicy {
    fn wanted(&self) -> Result<Option<RuleSet>> {
        if self.rules.is_empty() {
            return Ok(None);
        }
        let set = RuleSet { name: self.name.parse()?, rules: self.rules.clone() };
        set.check()?;
        Ok(Some(set))
    }
}

fn change_of(before: Option<&RuleSet>, after: Option<RuleSet>) -> Change<RuleSet> {
    let rules = |set: Option<&RuleSet>| set.map(|set| json!(set.rules));
    let fields = field("rules", rules(before), rules(after.as_ref())).into_iter().collect();
    match (before, &after) {
        (before, after) if before == after.as_ref() => Change::none(before.cloned()),
        (None, _) => Change::to(Action::Create, after, fields),
        (Some(_), None) => Change::to(Action::Remove, None, fields),
        (Some(_), Some(_)) => Change::to(Action::Update, after, fields),
    }
}

#[async_trait]
impl effect::Ensure for EnsurePolicy {
    type State = RuleSet;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        context.key("mcias", None, &format!("policy/{}", self.name.to_ascii_lowercase()))
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<RuleSet>> {
        check_node(context, self.node.as_deref())?;
        world.driver(context).rules(&self.name.parse()?).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&RuleSet>,
    ) -> Result<Change<RuleSet>> {
        check_feature(&*world.driver(context), Feature::Policy)?;
        Ok(change_of(before, self.wanted()?))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&RuleSet>,
        _: &Change<RuleSet>,
    ) -> Result<Applied<RuleSet>> {
        let after = self.wanted()?;
        world.driver(context).put_rules(before, after.as_ref()).await?;
        Ok(after.map_or_else(Applied::gone, Applied::to))
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&RuleSet>,
        earlier: Option<&RuleSet>,
    ) -> Result<Change<RuleSet>> {
        Ok(change_of(now, earlier.cloned()))
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&RuleSet>,
        earlier: Option<&RuleSet>,
        _: &Change<RuleSet>,
    ) -> Result<Applied<RuleSet>> {
        world.driver(context).put_rules(now, earlier).await?;
        Ok(earlier.cloned().map_or_else(Applied::gone, Applied::to))
    }
}
