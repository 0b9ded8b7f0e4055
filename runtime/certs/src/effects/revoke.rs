//! Owns `certs.revoke`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, FieldChange, Need, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{World, check_node, lease, observe, unknown};
use crate::certificate::Certificate;
use crate::driver::Reason;
use crate::key::Key;
use crate::store::certificate_writes;

/// Revokes a certificate: peers that look at the list of revoked ones refuse it from then on.
///
/// It cannot be undone. The next `certs.ensure` for it makes a new one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// What the certificate is called.
    id: String,
    /// Its serial number in hexadecimal, where an earlier certificate of that id is meant; the embedded authority only.
    serial: Option<String>,
    /// Why.
    #[serde(default)]
    reason: Reason,
    /// The node; this one unless given.
    node: Option<String>,
}

/// How a certificate stands with its authority.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Revocation {
    /// What it is called.
    pub id: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Whether it is revoked.
    pub revoked: bool,
    /// When it expires, in unix milliseconds.
    pub not_after: i64,
}

impl Declared for Revoke {
    const NAME: &'static str = "certs.revoke";
    const CAPABILITY: &'static str = "certs:write:ID";
    const EXAMPLE: &'static str = "local cert = certs.ensure { hostnames = { \"old.mcrun.test\" } }\ncerts.revoke { id = cert.after.id, reason = \"superseded\" }";
    type World = World;
    type Output = Ensured<Revocation>;

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

impl Revoke {
    /// An earlier certificate of the id, from the embedded authority's own record.
    async fn earlier(&self, world: &World, context: &Context, serial: &str) -> Result<Revocation> {
        let authority = world.authority(context);
        let issuance = authority.issuance(&serial.to_ascii_lowercase()).await?;
        let is_named = |name: &crate::Name| name.to_string() == self.id;
        // The capability is for this id: a number alone must not reach somebody else's certificate.
        let issuance = issuance.filter(|issuance| issuance.names.as_slice().iter().any(is_named));
        let issuance = issuance.ok_or_else(|| {
            let shown: String = serial.chars().take(80).collect();
            Error::new(
                Code::CertificateUnknown,
                format!("no certificate `{shown}` was issued for `{}`", self.id),
            )
        })?;
        Ok(Revocation {
            id: self.id.clone(),
            serial: issuance.serial,
            revoked: issuance.revoked.is_some(),
            not_after: issuance.not_after.0,
        })
    }
}

fn standing(certificate: &Certificate) -> Revocation {
    Revocation {
        id: certificate.id.clone(),
        serial: certificate.serial.clone(),
        revoked: certificate.revoked,
        not_after: certificate.not_after,
    }
}

#[async_trait]
impl effect::Ensure for Revoke {
    type State = Revocation;

    fn key(&self, context: &Context) -> String {
        context.key(
            "certs-revoked",
            None,
            &format!("{}/{}", self.id, self.serial.as_deref().unwrap_or("current")),
        )
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Revocation>> {
        check_node(context, self.node.as_deref())?;
        if let Some(serial) = &self.serial {
            return self.earlier(world, context, serial).await.map(Some);
        }
        let planned: Option<Option<Certificate>> = context.overlay.get(&super::key(context, &self.id));
        let found = match planned {
            Some(planned) => planned,
            None => observe(world, context, &self.id).await?,
        };
        found.as_ref().map(standing).map(Some).ok_or_else(|| unknown(&self.id))
    }

    async fn change(
        &self,
        _: &World,
        _: &Context,
        before: Option<&Revocation>,
    ) -> Result<Change<Revocation>> {
        let before = before.ok_or_else(|| unknown(&self.id))?;
        if before.revoked {
            return Ok(Change::none(Some(before.clone())));
        }
        let field = FieldChange {
            path: "revoked".into(),
            before: Some(json!(false)),
            after: Some(json!(self.reason)),
            replaces: false,
        };
        let after = Revocation { revoked: true, ..before.clone() };
        Ok(Change::to(Action::Update, Some(after), vec![field]).losing("a revocation cannot be taken back"))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Revocation>,
        change: &Change<Revocation>,
    ) -> Result<Applied<Revocation>> {
        let after =
            change.after.clone().ok_or_else(|| Error::new(Code::Internal, "a revocation has no outcome"))?;
        if let Some(serial) = &self.serial {
            world.authority(context).revoke_serial(&serial.to_ascii_lowercase(), self.reason).await?;
            return Ok(Applied::to(after));
        }
        let certificate = observe(world, context, &self.id).await?.ok_or_else(|| unknown(&self.id))?;
        let key = Key::from_pem(&world.key_of(context, &certificate)?)?;
        let issuer = world.issuer(context, &certificate)?;
        issuer.revoke(&certificate.chain_der()?, &key, self.reason).await?;
        let revoked = Certificate { revoked: true, amiss: Vec::new(), ..certificate };
        let writes = certificate_writes(&context.node, &revoked).to_vec();
        Ok(Applied::to(after).writing(writes))
    }
}
