//! Owns `certs.renew`.

use async_trait::async_trait;
use effect::{Act, Context, Declared, Doubt, Need, OnDoubt, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::issue::{Wish, place, tell_renewed};
use super::{World, check_node, lease, observe, unknown};
use crate::certificate::Certificate;
use crate::store::certificate_writes;

/// Renews a certificate now, with a new key, and writes its files anew. What it is for stays; policy is asked again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// What the certificate is called.
    id: String,
    /// What to do when it is unknown whether it took place; the record tells, so this is hardly ever needed.
    #[serde(default)]
    on_doubt: OnDoubt,
    /// The result that a plan goes on with.
    assume: Option<Value>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Renew {
    const NAME: &'static str = "certs.renew";
    const CAPABILITY: &'static str = "certs:write:ID";
    const EXAMPLE: &'static str =
        "for _, cert in certs.list { expiring_within = \"30d\" } do\n    certs.renew { id = cert.id }\nend";
    type World = World;
    type Output = Certificate;

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
impl Act for Renew {
    const ASKABLE: bool = true;

    fn on_doubt(&self) -> OnDoubt {
        self.on_doubt
    }

    fn assume(&self) -> Option<Value> {
        self.assume.clone()
    }

    async fn act(&self, world: &World, context: &Context, key: &str) -> Result<Certificate> {
        check_node(context, self.node.as_deref())?;
        let before = observe(world, context, &self.id).await?.ok_or_else(|| unknown(&self.id))?;
        let wish = Wish {
            id: &before.id,
            names: &before.hostnames,
            profile: world.profiles().get(&before.profile)?,
            key_type: before.key_type,
            lifetime: before.lifetime.map(|span| span.0),
            service: before.service.as_deref(),
            files: before.files.clone(),
        };
        let certificate = wish.issue(world, context, Some(&before), Some(key)).await?;
        place(world, context, &certificate).await?;
        context.journal.write(certificate_writes(&context.node, &certificate).to_vec()).await?;
        tell_renewed(context, &before, &certificate).await?;
        Ok(certificate)
    }

    /// The record says which order brought the certificate that stands.
    async fn ask(&self, world: &World, context: &Context, key: &str) -> Result<Doubt<Certificate>> {
        let now = observe(world, context, &self.id).await?;
        Ok(match now {
            Some(now) if now.order == key => Doubt::Done(now),
            // The order's own record makes doing it again the same as going on.
            _ => Doubt::NotDone,
        })
    }
}
