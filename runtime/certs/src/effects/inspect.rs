//! Owns the reads: `certs.get`, `certs.list` and `certs.ca_bundle`.

use async_trait::async_trait;
use effect::units::Span;
use effect::{Context, Declared, Need, Read, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{World, check_node, key, observe};
use crate::certificate::{Certificate, to_pem};
use crate::store;

/// Looks at one certificate. Returns `nil` when there is none of this id.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// What the certificate is called.
    id: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Get {
    const NAME: &'static str = "certs.get";
    const CAPABILITY: &'static str = "certs:read:ID";
    const EXAMPLE: &'static str =
        "local cert = certs.get { id = \"hello.mcrun.test\" }\nprint(if cert then cert.serial else \"none\")";
    type World = World;
    type Output = Option<Certificate>;

    fn subject(&self) -> String {
        self.id.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("certs", &self.id)])
    }
}

#[async_trait]
impl Read for Get {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<Certificate>> {
        check_node(context, self.node.as_deref())?;
        match context.overlay.get(&key(context, &self.id)) {
            Some(planned) => Ok(planned),
            None => observe(world, context, &self.id).await,
        }
    }
}

/// Lists the certificates that the script may see, by id.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Only those that expire within this time, such as `"30d"`.
    expiring_within: Option<Span>,
    /// Only those of this service.
    service: Option<String>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for List {
    const NAME: &'static str = "certs.list";
    const CAPABILITY: &'static str = "certs:read:ID";
    const EXAMPLE: &'static str =
        "for _, cert in certs.list { expiring_within = \"30d\" } do\n    print(cert.id, cert.not_after)\nend";
    type World = World;
    type Output = Vec<Certificate>;

    fn subject(&self) -> String {
        self.service.clone().unwrap_or_default()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for List {
    async fn read(&self, _: &World, context: &Context) -> Result<Vec<Certificate>> {
        check_node(context, self.node.as_deref())?;
        let mut certificates = store::certificates(&context.journal, &context.node).await?;
        for (planned_key, planned) in context.overlay.beneath::<Certificate>(&key(context, "")) {
            certificates.retain(|certificate| key(context, &certificate.id) != planned_key);
            certificates.extend(planned);
        }
        certificates.sort_by(|one, other| one.id.cmp(&other.id));
        let horizon = self.expiring_within.map(|span| context.now().after(span.0));
        certificates.retain(|certificate| {
            self.service.as_ref().is_none_or(|service| certificate.service.as_ref() == Some(service))
                && horizon.is_none_or(|horizon| Timestamp(certificate.not_after) <= horizon)
                && context.policy.allows(&Need::read("certs", &certificate.id))
        });
        Ok(certificates)
    }
}

/// The certificates of the roots that peers should trust.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The profile whose authority is asked for.
    #[serde(default = "default_profile")]
    profile: String,
}

fn default_profile() -> String {
    "server".into()
}

/// Roots that peers should trust.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Roots {
    /// The certificates in PEM; empty where the system's own do, and before the embedded authority was made.
    pub pem: String,
    /// How many there are.
    pub count: usize,
}

impl Declared for Bundle {
    const NAME: &'static str = "certs.ca_bundle";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "print(certs.ca_bundle({}).pem)";
    type World = World;
    type Output = Roots;

    fn subject(&self) -> String {
        self.profile.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for Bundle {
    async fn read(&self, world: &World, context: &Context) -> Result<Roots> {
        let driver = world.driver(context, world.profiles().get(&self.profile)?)?;
        // Looking must not make an authority.
        let is_made = driver.name() != "embedded" || world.authority(context).exists().await?;
        let roots = if is_made { driver.roots().await? } else { Vec::new() };
        Ok(Roots { pem: to_pem(&roots), count: roots.len() })
    }
}
