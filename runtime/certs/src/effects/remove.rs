//! Owns `certs.remove`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensured, FieldChange, Need, Result, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::ensure::{bring_back, rewound};
use super::issue::displace;
use super::{World, check_node, key, lease, observe};
use crate::certificate::Certificate;
use crate::store::removal_writes;

/// Forgets a certificate with its key, and takes its files away. It is not revoked by that: see `certs.revoke`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// What the certificate is called.
    id: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Remove {
    const NAME: &'static str = "certs.remove";
    const CAPABILITY: &'static str = "certs:write:ID";
    const EXAMPLE: &'static str = "certs.remove { id = \"hello.mcrun.test\" }";
    type World = World;
    type Output = Ensured<Certificate>;

    fn subject(&self) -> String {
        self.id.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("certs", &self.id)])
    }

    fn lease(&self) -> Option<String> {
        lease(&self.id)
    }
}

#[async_trait]
impl effect::Ensure for Remove {
    type State = Certificate;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, &self.id)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Certificate>> {
        check_node(context, self.node.as_deref())?;
        observe(world, context, &self.id).await
    }

    async fn change(
        &self,
        _: &World,
        context: &Context,
        before: Option<&Certificate>,
    ) -> Result<Change<Certificate>> {
        let Some(before) = before else { return Ok(Change::none(None)) };
        let field = FieldChange {
            path: "serial".into(),
            before: Some(json!(before.serial)),
            after: None,
            replaces: false,
        };
        let change = Change::to(Action::Remove, None, vec![field]);
        if before.revoked || before.left(context.now()).is_zero() {
            return Ok(change);
        }
        let until = Timestamp(before.not_after);
        Ok(change.note(format!("it is not revoked: whoever has it can use it until {until}")))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Certificate>,
        _: &Change<Certificate>,
    ) -> Result<Applied<Certificate>> {
        if let Some(placement) = before.and_then(|before| before.files.as_ref()) {
            displace(world, context, placement).await?;
        }
        Ok(Applied::gone().writing(removal_writes(&context.node, &self.id).to_vec()))
    }

    async fn rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Certificate>,
        earlier: Option<&Certificate>,
    ) -> Result<Change<Certificate>> {
        Ok(rewound(context, now, earlier))
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Certificate>,
        earlier: Option<&Certificate>,
        _: &Change<Certificate>,
    ) -> Result<Applied<Certificate>> {
        bring_back(world, context, now, earlier).await
    }
}
