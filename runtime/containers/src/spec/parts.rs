//! Owns the parts of a spec that have a form of their own: ports, mounts, restart policies, health checks, secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use effect::units::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

/// One published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The port on the host.
    pub host: u16,
    /// The port inside the container.
    pub container: u16,
    /// The host address it is bound to; all addresses unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `"tcp"` (the default), `"udp"` or `"both"`.
    #[serde(default)]
    pub protocol: Protocol,
}

/// The transport protocol of a published port.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP only.
    #[default]
    Tcp,
    /// UDP only.
    Udp,
    /// The same port for TCP and UDP.
    Both,
}

impl Protocol {
    /// The word as it is written in specs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Both => "both",
        }
    }
}

impl Port {
    /// One port for each protocol, with the addresses that mean "all" left out.
    pub(crate) fn expand(&self) -> Vec<Self> {
        let protocols: &[Protocol] = match self.protocol {
            Protocol::Tcp => &[Protocol::Tcp],
            Protocol::Udp => &[Protocol::Udp],
            Protocol::Both => &[Protocol::Tcp, Protocol::Udp],
        };
        let address = self.address.clone().filter(|address| !address.is_empty() && address != "0.0.0.0");
        protocols.iter().map(|&protocol| Self { address: address.clone(), protocol, ..*self }).collect()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = &self.address {
            write!(formatter, "{address}:")?;
        }
        write!(formatter, "{}:{}/{}", self.host, self.container, self.protocol.as_str())
    }
}

/// Where the data of a mount lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A path of the host.
    Host(String),
    /// A named volume of the engine.
    Volume(String),
}

/// One entry of `volumes`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// The absolute path inside the container.
    pub target: String,
    /// Whether the container may only read it.
    pub read_only: bool,
}

impl FromStr for Mount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not a mount: {why}");
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err(wrong("write \"/host:/container\" or \"volume:/container\""));
        };
        let read_only = match (parts.next(), parts.next()) {
            (None | Some("rw"), None) => false,
            (Some("ro"), None) => true,
            _ => return Err(wrong("only `:ro` and `:rw` may follow the two paths")),
        };
        let target = trim_slashes(target);
        if !is_plain_path(&target) {
            return Err(wrong("the path inside the container is absolute and has no `..`"));
        }
        let source = if source.starts_with('/') {
            let path = trim_slashes(source);
            if !is_plain_path(&path) {
                return Err(wrong("the host's path has no `..`"));
            }
            Source::Host(path)
        } else if super::validate::is_name(source) {
            Source::Volume(source.to_owned())
        } else {
            return Err(wrong("the source is an absolute path or the name of a volume"));
        };
        Ok(Self { source, target, read_only })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Source::Host(source) | Source::Volume(source)) = &self.source;
        write!(formatter, "{source}:{}{}", self.target, if self.read_only { ":ro" } else { "" })
    }
}

fn trim_slashes(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() && path.starts_with('/') { "/".to_owned() } else { trimmed.to_owned() }
}

fn is_plain_path(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| part == "..")
}

/// When a container is started again after it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restart {
    /// The policy.
    pub policy: RestartPolicy,
    /// How many times `on-failure` tries; without it there is no bound.
    pub max: Option<u32>,
}

/// The restart policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After an exit code other than 0.
    OnFailure,
    /// After every exit, and after a reboot.
    Always,
    /// After every exit unless it was stopped on purpose.
    UnlessStopped,
}

impl RestartPolicy {
    /// The word as it is written in specs and told to engines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

impl FromStr for Restart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a restart policy: `no`, `on-failure`, `on-failure:5`, `always` or `unless-stopped`"
            )
        };
        let (policy, max) = match text.split_once(':') {
            Some(("on-failure", max)) => ("on-failure", Some(max.parse().map_err(|_| wrong())?)),
            Some(_) => return Err(wrong()),
            None => (text, None),
        };
        let policy = match policy {
            "no" => RestartPolicy::No,
            "on-failure" => RestartPolicy::OnFailure,
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            _ => return Err(wrong()),
        };
        Ok(Self { policy, max: max.filter(|max| *max > 0) })
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.policy.as_str())?;
        self.max.map_or(Ok(()), |max| write!(formatter, ":{max}"))
    }
}

impl Serialize for Restart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Restart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Restart {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Restart".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(no|on-failure(:[0-9]+)?|always|unless-stopped)$",
            "examples": ["unless-stopped"],
        })
    }
}

/// A probe that mcrun runs itself. Exactly one of `http`, `tcp` and `exec` is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The path of an HTTP request that has to answer with a status below 400: `"/health"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Whether a TCP connection has to be accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<bool>,
    /// A program inside the container that has to end with exit code 0. Beside a native program it runs on the host, and
    /// sees what that one sees: its first word is an absolute path, and it takes `exec:write` as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// The host port to probe, at the address that it is published at; the first published one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The time between two probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// The time one probe may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How many probes have to pass in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successes: Option<u32>,
    /// The time in which it has to become healthy after a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

/// What a driver gets of one secret: the bytes, and a keyed hash by which a later diff sees that they changed.
#[derive(Clone)]
pub struct SecretMaterial {
    /// The secret itself; wiped from memory when dropped.
    pub value: Zeroizing<Vec<u8>>,
    /// A keyed hash of the value; harmless to store.
    pub tag: String,
    /// Where the value came from, sealed, for undo.
    pub origin: effect::Hidden,
}

impl fmt::Debug for SecretMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SecretMaterial").field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// The resolved secrets of one container, by the name that the spec gives them.
pub type Secrets = BTreeMap<String, SecretMaterial>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_read_back_as_they_print() {
        for text in ["/srv/a:/data", "/srv/a:/data:ro", "cache:/var/cache"] {
            assert_eq!(text.parse::<Mount>().unwrap().to_string(), text);
        }
        assert_eq!("/srv/a/:/data/:rw".parse::<Mount>().unwrap().to_string(), "/srv/a:/data");
    }

    #[test]
    fn mounts_with_dots_or_half_a_path_are_refused() {
        for text in
            ["/srv", "/srv:data", "/a/../b:/c", "/a:/b/../c", "../a:/b", "/a:/b:z", ":/b", "/a:/b:ro:x"]
        {
            assert!(text.parse::<Mount>().is_err(), "{text}");
        }
    }

    #[test]
    fn restart_policies_read_back_as_they_print() {
        for text in ["no", "on-failure", "on-failure:5", "always", "unless-stopped"] {
            assert_eq!(text.parse::<Restart>().unwrap().to_string(), text);
        }
        for text in ["", "sometimes", "always:3", "on-failure:x"] {
            assert!(text.parse::<Restart>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_for_both_protocols_is_two_ports() {
        let port =
            Port { host: 53, container: 53, address: Some("0.0.0.0".to_owned()), protocol: Protocol::Both };
        let texts: Vec<String> = port.expand().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["53:53/tcp", "53:53/udp"]);
    }

    #[test]
    fn secret_material_never_shows_its_value() {
        let origin = effect::Sealer::ephemeral().hide(b"hunter2");
        let value = Zeroizing::new(b"hunter2".to_vec());
        let material = SecretMaterial { value, tag: "t".to_owned(), origin };
        assert!(!format!("{material:?}").contains("hunter2"));
        assert!(!format!("{material:?}").contains("104"));
    }
}
