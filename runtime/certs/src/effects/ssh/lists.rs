//! Owns `certs.ssh.authorities` and `certs.ssh.revoked`: what servers and clients have to know.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::{Context, Declared, Need, Read, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ssh::{Authority, Kind, Store, World, authority, revocation};

/// Reads the public keys of the authority for SSH: what servers and clients trust. Its keys are made when a
/// run first asks for them; a plan finds none before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SshAuthorities")]
pub struct Authorities {}

/// The public keys of the authority. While a key is replaced there are several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SshAuthorityKeys")]
pub struct Keys {
    /// Those that sign users, one a line: the file that `TrustedUserCAKeys` of a server names.
    pub trusted_user_ca_keys: String,
    /// The same for `authorized_keys`, where one account only is to trust them.
    pub authorized_keys: String,
    /// Those that sign hosts, for every host: lines of `known_hosts` or `ssh_known_hosts`.
    pub known_hosts: String,
    /// The fingerprints of the keys that sign users.
    pub user_fingerprints: Vec<String>,
    /// The fingerprints of the keys that sign hosts.
    pub host_fingerprints: Vec<String>,
}

impl Keys {
    fn new(users: &[Authority], hosts: &[Authority]) -> Self {
        let lines = |keys: &[Authority], before: &str| -> String {
            keys.iter().map(|key| format!("{before}{}\n", key.public)).collect()
        };
        let fingerprints = |keys: &[Authority]| keys.iter().map(|key| key.fingerprint.clone()).collect();
        Self {
            trusted_user_ca_keys: lines(users, ""),
            authorized_keys: lines(users, "cert-authority "),
            known_hosts: lines(hosts, "@cert-authority * "),
            user_fingerprints: fingerprints(users),
            host_fingerprints: fingerprints(hosts),
        }
    }
}

impl Declared for Authorities {
    const NAME: &'static str = "certs.ssh.authorities";
    const CAPABILITY: &'static str = "certs:read:ssh";
    const EXAMPLE: &'static str = r#"local keys = certs.ssh.authorities()
files.write { path = "user_ca.pub", content = keys.trusted_user_ca_keys, mode = "0644" }"#;
    type World = World;
    type Output = Keys;

    fn subject(&self) -> String {
        "ssh".into()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("certs", "ssh")])
    }
}

#[async_trait]
impl Read for Authorities {
    async fn read(&self, _: &World, context: &Context) -> Result<Keys> {
        let store = Store::of(context);
        let users = authority::trusted(&store, Kind::User).await?;
        let hosts = authority::trusted(&store, Kind::Host).await?;
        Ok(Keys::new(&users, &hosts))
    }
}

/// Reads what is revoked, in the forms that `RevokedKeys` of a server takes.
///
/// In a plan it is what is revoked now, without what the plan would revoke.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SshRevoked")]
pub struct Revoked {}

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SshRevokedKeys")]
pub struct List {
    /// OpenSSH's binary list (KRL), in base64.
    pub krl: String,
    /// Keys, one a line: for servers that cannot read the other. A revoked certificate counts with its key, and a revoked
    /// key id not at all.
    pub keys: String,
    /// How many revocations there are.
    pub count: usize,
}

impl Declared for Revoked {
    const NAME: &'static str = "certs.ssh.revoked";
    const CAPABILITY: &'static str = "certs:read:ssh";
    const EXAMPLE: &'static str = "print(certs.ssh.revoked().count)";
    type World = World;
    type Output = List;

    fn subject(&self) -> String {
        "ssh".into()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("certs", "ssh")])
    }
}

#[async_trait]
impl Read for Revoked {
    const PASSING: bool = true;

    async fn read(&self, _: &World, context: &Context) -> Result<List> {
        let list = revocation::list(&Store::of(context)).await?;
        Ok(List { krl: STANDARD.encode(&list.krl), keys: list.keys, count: list.count })
    }
}
