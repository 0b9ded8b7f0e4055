//! Owns what can be asked of the authority: one checked order, whoever asks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use effect::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use super::{Kind, World, key};
use crate::names::{Name, Names};
use crate::policy::Applicant;

const MOST_PRINCIPALS: usize = 64;
const LONGEST_PRINCIPAL: usize = 128;
const LONGEST_KEY_ID: usize = 256;
const LONGEST_COMMAND: usize = 4096;
const MOST_ADDRESSES: usize = 64;
/// What is shorter would have expired by the time it is used.
const SHORTEST: Duration = Duration::from_secs(60);

/// What a user may do beyond running commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Extension {
    /// Forward X11.
    #[serde(rename = "permit-X11-forwarding")]
    X11Forwarding,
    /// Forward the agent.
    #[serde(rename = "permit-agent-forwarding")]
    AgentForwarding,
    /// Forward ports.
    #[serde(rename = "permit-port-forwarding")]
    PortForwarding,
    /// Have a terminal.
    #[serde(rename = "permit-pty")]
    Pty,
    /// Have `~/.ssh/rc` run.
    #[serde(rename = "permit-user-rc")]
    UserRc,
    /// Use a security key without touching it.
    #[serde(rename = "no-touch-required")]
    NoTouch,
}

impl Extension {
    /// What `ssh-keygen` grants unless told otherwise.
    pub const USUAL: [Self; 5] =
        [Self::X11Forwarding, Self::AgentForwarding, Self::PortForwarding, Self::Pty, Self::UserRc];

    fn as_str(self) -> &'static str {
        match self {
            Self::X11Forwarding => "permit-X11-forwarding",
            Self::AgentForwarding => "permit-agent-forwarding",
            Self::PortForwarding => "permit-port-forwarding",
            Self::Pty => "permit-pty",
            Self::UserRc => "permit-user-rc",
            Self::NoTouch => "no-touch-required",
        }
    }
}

/// What somebody asks for, unchecked.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// Whom it is for.
    pub kind: Kind,
    /// The public key in one line.
    pub public_key: &'a str,
    /// Accounts and roles of a user, names of a host.
    pub principals: &'a [String],
    /// How long it lives.
    pub lifetime: Option<Duration>,
    /// What servers write into their logs; the first principal unless given.
    pub key_id: Option<&'a str>,
    /// The service that a host belongs to, for the policy on names.
    pub service: Option<&'a str>,
    /// The only command that a user can run.
    pub force_command: Option<&'a str>,
    /// The addresses that a user can come from, as CIDR.
    pub source_address: &'a [String],
    /// Whether a security key must ask for a PIN or a finger.
    pub verify_required: bool,
    /// What a user may do besides.
    pub extensions: Option<&'a [Extension]>,
}

/// What the authority signs.
#[derive(Debug, Clone)]
pub struct Order {
    pub(super) kind: Kind,
    pub(super) key: PublicKey,
    pub(super) principals: Vec<String>,
    pub(super) lifetime: Duration,
    pub(super) key_id: String,
    pub(super) critical: BTreeMap<String, String>,
    pub(super) extensions: BTreeMap<String, String>,
}

impl Order {
    /// Checks what somebody asks for.
    ///
    /// # Errors
    /// `MC-E003` for the key, `MC-E030` for principals, `MC-E001` and `MC-E002` for names of hosts, `MC-E031` for the
    /// rest.
    pub fn new(world: &World, wish: &Wish<'_>) -> Result<Self> {
        let principals = principals(wish.kind, wish.principals)?;
        if wish.kind == Kind::Host {
            admit(world, &principals, wish.service)?;
        }
        let key = key::parse(wish.public_key)?;
        let key_id = wish.key_id.unwrap_or(&principals[0]).to_owned();
        check_key_id(&key_id)?;
        let lifetime = wish.lifetime.unwrap_or_else(|| world.settings.lifetime(wish.kind));
        let longest = world.settings.longest(wish.kind);
        if lifetime < SHORTEST || lifetime > longest {
            let message = format!(
                "a certificate of {} s is refused: {}s get from {} s to {} s",
                lifetime.as_secs(),
                wish.kind.as_str(),
                SHORTEST.as_secs(),
                longest.as_secs()
            );
            return Err(refused(message));
        }
        let (critical, extensions) = options(wish)?;
        Ok(Self { kind: wish.kind, key, principals, lifetime, key_id, critical, extensions })
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Code::SshOrder, message)
}

/// The principals in the form in which they are signed and granted: names of hosts in their ASCII form.
///
/// # Errors
/// `MC-E030` where there is none, one is none, or there are too many; `MC-E001` for names that no host has.
pub fn principals(kind: Kind, texts: &[String]) -> Result<Vec<String>> {
    let wrong = |message: String| Error::new(Code::SshPrincipal, message);
    if texts.is_empty() {
        // OpenSSH takes a certificate without principals as one for all of them.
        return Err(wrong("a certificate names at least one principal".into()));
    }
    if texts.len() > MOST_PRINCIPALS {
        return Err(wrong(format!(
            "a certificate names at most {MOST_PRINCIPALS} principals, not {}",
            texts.len()
        )));
    }
    let mut kept: Vec<String> = Vec::with_capacity(texts.len());
    for text in texts {
        let principal = match kind {
            Kind::User => account(text)?,
            Kind::Host => text.parse::<Name>()?.to_string(),
        };
        if !kept.contains(&principal) {
            kept.push(principal);
        }
    }
    Ok(kept)
}

fn account(text: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '+' | '=' | ':' | '-');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if starts_well && text.len() <= LONGEST_PRINCIPAL && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    let shown: String = text.chars().take(80).collect();
    Err(Error::new(Code::SshPrincipal, format!("`{}` is no principal", shown.escape_debug())))
}

fn admit(world: &World, principals: &[String], service: Option<&str>) -> Result<()> {
    // A wildcard would let one machine answer for all: there is no grant for it.
    let applicant = Applicant { service, wildcards: false };
    for principal in principals {
        let names = Names::parse(&[principal])?;
        let internal = world.policy.admit(&names, &world.internal, applicant);
        if internal.is_err() && world.policy.admit(&names, &world.public, applicant).is_err() {
            return internal;
        }
    }
    Ok(())
}

/// Refuses key ids that cannot stand in a certificate.
pub(super) fn check_key_id(key_id: &str) -> Result<()> {
    check_text("key_id", key_id, LONGEST_KEY_ID)
}

fn check_text(field: &str, text: &str, longest: usize) -> Result<()> {
    if text.is_empty() || text.len() > longest || text.chars().any(char::is_control) {
        return Err(refused(format!("`{field}` has from 1 to {longest} bytes that can be printed")));
    }
    Ok(())
}

type Options = BTreeMap<String, String>;

fn options(wish: &Wish<'_>) -> Result<(Options, Options)> {
    let has_any = wish.force_command.is_some()
        || !wish.source_address.is_empty()
        || wish.verify_required
        || wish.extensions.is_some_and(|extensions| !extensions.is_empty());
    if wish.kind == Kind::Host {
        // Clients refuse hosts with critical options, and know no extensions of theirs.
        return if has_any {
            Err(refused("certificates of hosts have no options"))
        } else {
            Ok(Default::default())
        };
    }
    let mut critical = Options::new();
    if let Some(command) = wish.force_command {
        check_text("force_command", command, LONGEST_COMMAND)?;
        critical.insert("force-command".into(), command.to_owned());
    }
    if !wish.source_address.is_empty() {
        critical.insert("source-address".into(), source_address(wish.source_address)?);
    }
    if wish.verify_required {
        critical.insert("verify-required".into(), String::new());
    }
    let extensions = wish.extensions.unwrap_or(&Extension::USUAL);
    Ok((
        critical,
        extensions.iter().map(|extension| (extension.as_str().to_owned(), String::new())).collect(),
    ))
}

fn source_address(texts: &[String]) -> Result<String> {
    if texts.len() > MOST_ADDRESSES {
        return Err(refused(format!("`source_address` lists at most {MOST_ADDRESSES}, not {}", texts.len())));
    }
    let networks = texts.iter().map(|text| network(text)).collect::<Result<Vec<_>>>()?;
    Ok(networks.join(","))
}

/// A server that cannot read the list refuses everybody, so it is checked as servers check it.
fn network(text: &str) -> Result<String> {
    let shown: String = text.chars().take(80).collect();
    let wrong = |why: &str| refused(format!("`source_address`: `{}` {why}", shown.escape_debug()));
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong("is no address or network"))?;
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let Some(length) = length else { return Ok(address.to_string()) };
    let length: u32 =
        length.parse().ok().filter(|length| *length <= width).ok_or_else(|| wrong("has no such mask"))?;
    if bits.checked_shl(length).unwrap_or(0) != 0 {
        return Err(wrong("has bits beyond its mask").hint("name the network by its first address"));
    }
    Ok(format!("{address}/{length}"))
}
