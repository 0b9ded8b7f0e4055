//! Owns `certs.ssh.revoke`.

use async_trait::async_trait;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::ssh::revocation::{self, Target};
use crate::ssh::{Revocation, Store, World};

/// Revokes an SSH certificate by its serial number, every certificate with a key id, or a key with all its certificates.
///
/// Servers learn of it from the list of `certs.ssh.revoked`, so write that to where their `RevokedKeys` points. It cannot
/// be undone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SshRevoke")]
pub struct Revoke {
    /// The serial number of a certificate, decimal.
    serial: Option<String>,
    /// The key id of certificates, those to come included.
    key_id: Option<String>,
    /// The public key in one line.
    public_key: Option<String>,
}

impl Revoke {
    fn target(&self) -> Result<Target> {
        Target::new(self.serial.as_deref(), self.key_id.as_deref(), self.public_key.as_deref())
    }
}

impl Declared for Revoke {
    const NAME: &'static str = "certs.ssh.revoke";
    const CAPABILITY: &'static str = "certs:ssh:revoke/WHAT";
    const EXAMPLE: &'static str = "certs.ssh.revoke { key_id = \"old-laptop\" }";
    type World = World;
    type Output = Ensured<Revocation>;

    fn subject(&self) -> String {
        self.target().map_or_else(|_| String::new(), |target| target.name())
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::extra("certs", "ssh", format!("revoke/{}", self.target()?.name()))])
    }
}

#[async_trait]
impl Ensure for Revoke {
    type State = Revocation;
    const OWN_RECORDS: bool = true;

    fn key(&self, context: &Context) -> String {
        context.key("certs-ssh", None, &self.subject())
    }

    async fn observe(&self, _: &World, context: &Context) -> Result<Option<Revocation>> {
        revocation::find(&Store::of(context), &self.target()?).await
    }

    async fn change(
        &self,
        _: &World,
        context: &Context,
        before: Option<&Revocation>,
    ) -> Result<Change<Revocation>> {
        if let Some(before) = before {
            return Ok(Change::none(Some(before.clone())));
        }
        let target = self.target()?;
        let after = target.resolve(&Store::of(context)).await?;
        let field =
            FieldChange { path: "revoked".into(), before: None, after: Some(json!(true)), replaces: false };
        let lost = format!("`{}` stays revoked: undo cannot take that back", target.name());
        Ok(Change::to(Action::Create, Some(after), vec![field]).losing(lost))
    }

    async fn apply(
        &self,
        _: &World,
        context: &Context,
        _: Option<&Revocation>,
        change: &Change<Revocation>,
    ) -> Result<Applied<Revocation>> {
        let Some(after) = change.after.clone() else {
            return Err(Error::new(Code::Internal, "a revocation has no outcome"));
        };
        let write = revocation::write(&Store::of(context), &self.target()?, &after)?;
        Ok(Applied::to(after).writing(vec![write]))
    }
}
