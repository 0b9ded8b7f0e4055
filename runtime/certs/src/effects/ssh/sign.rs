//! Owns `certs.ssh.sign`.

use async_trait::async_trait;
use effect::units::Span;
use effect::{Act, Context, Declared, Doubt, Need, OnDoubt, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::ssh::order::{Extension, principals};
use crate::ssh::{Kind, Order, Signed, Store, Wish, World, issue};

/// Signs a public key for a user or a host, with the authority for SSH of this node.
///
/// A user's certificate lets its holder in wherever `TrustedUserCAKeys` names the authority, as the accounts that its
/// principals stand for; a host's is believed by clients with a line `@cert-authority`. `certs.ssh.authorities` has both
/// keys. The certificate is valid from a minute before on, because clocks differ.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SshSign")]
pub struct Sign {
    /// `"user"` or `"host"`.
    kind: Kind,
    /// The public key in one line, as in `id_ed25519.pub`.
    public_key: String,
    /// The accounts or roles of a user, the names of a host: 64 at most.
    principals: Vec<String>,
    /// How long it lives: 16 hours for users and 90 days for hosts, unless `[certs.ssh]` says otherwise.
    lifetime: Option<Span>,
    /// What servers write into their logs; the first principal unless given.
    key_id: Option<String>,
    /// The service that a host belongs to, where mcrun.toml lists names by service.
    service: Option<String>,
    /// The only command that a user can run.
    force_command: Option<String>,
    /// The addresses or networks that a user can come from, such as `192.0.2.0/24`.
    #[serde(default)]
    source_address: Vec<String>,
    /// Whether a security key must ask for a PIN or a finger.
    #[serde(default)]
    verify_required: bool,
    /// What a user may do besides running commands: all but `no-touch-required` unless given.
    extensions: Option<Vec<Extension>>,
    /// What to do when it is unknown whether it took place: the record knows it.
    on_doubt: Option<OnDoubt>,
    /// The result that a plan goes on with.
    assume: Option<Value>,
}

impl Sign {
    fn order(&self, world: &World) -> Result<Order> {
        Order::new(
            world,
            &Wish {
                kind: self.kind,
                public_key: &self.public_key,
                principals: &self.principals,
                lifetime: self.lifetime.map(|span| span.0),
                key_id: self.key_id.as_deref(),
                service: self.service.as_deref(),
                force_command: self.force_command.as_deref(),
                source_address: &self.source_address,
                verify_required: self.verify_required,
                extensions: self.extensions.as_deref(),
            },
        )
    }
}

impl Declared for Sign {
    const NAME: &'static str = "certs.ssh.sign";
    const CAPABILITY: &'static str = "certs:ssh:KIND/PRINCIPAL";
    const EXAMPLE: &'static str = r#"local signed = certs.ssh.sign {
    kind = "user",
    public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
    principals = { "deploy" },
    lifetime = "1h",
    source_address = { "192.0.2.0/24" },
}
print(signed.serial, signed.certificate)"#;
    type World = World;
    type Output = Signed;

    fn subject(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.principals.join(","))
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        let need = |principal| Need::extra("certs", "ssh", format!("{}/{principal}", self.kind.as_str()));
        Ok(principals(self.kind, &self.principals)?.into_iter().map(need).collect())
    }
}

#[async_trait]
impl Act for Sign {
    const ASKABLE: bool = true;

    fn on_doubt(&self) -> OnDoubt {
        self.on_doubt.unwrap_or_default()
    }

    fn assume(&self) -> Option<Value> {
        self.assume.clone()
    }

    fn admit(&self, world: &World, _: &Context) -> Result<()> {
        self.order(world).map(drop)
    }

    async fn act(&self, world: &World, context: &Context, key: &str) -> Result<Signed> {
        issue::sign(&Store::of(context), &self.order(world)?, key).await
    }

    async fn ask(&self, _: &World, context: &Context, key: &str) -> Result<Doubt<Signed>> {
        let signed = issue::of_token(&Store::of(context), key).await?;
        Ok(signed.map_or(Doubt::NotDone, Doubt::Done))
    }
}
