//! Owns what a certificate may be used for: the profiles that are there and those that the operator adds.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::units::Span;
use effect::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use crate::settings::Choice;

/// Extensions that the authority decides on by itself: none of them can be written by a profile.
const RESERVED: [&str; 9] = [
    "2.5.29.14",
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.35",
    "2.5.29.37",
    "1.3.6.1.5.5.7.1.1",
];

/// What certificates of one kind may be used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Whether holders may answer as servers.
    pub server: bool,
    /// Whether holders may sign in as clients.
    pub client: bool,
    /// Whether the names are public ones, so that internal names are refused.
    pub public: bool,
    /// How long certificates live unless said.
    pub lifetime: Duration,
    /// How long they may live.
    pub longest: Duration,
    /// What the authority writes into them beyond its own.
    pub extensions: Vec<Extension>,
    /// The driver whose authority issues them; the usual one unless said.
    #[serde(skip)]
    pub driver: Option<Choice>,
}

/// An extension that the authority writes, never one that a request brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Its object identifier.
    pub oid: Vec<u64>,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// Its value in DER.
    pub value: Vec<u8>,
}

/// A profile as `[certs.profiles.NAME]` of mcrun.toml describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileSettings {
    /// `server`, `client` or both.
    usage: Vec<Usage>,
    /// Whether the names are public ones.
    #[serde(default)]
    public: bool,
    /// How long certificates live unless said.
    lifetime: Option<Span>,
    /// How long they may live.
    longest: Option<Span>,
    /// Extensions of its own.
    #[serde(default)]
    extensions: Vec<ExtensionSettings>,
    /// The driver whose authority issues them.
    driver: Option<Choice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Usage {
    Server,
    Client,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtensionSettings {
    oid: String,
    #[serde(default)]
    critical: bool,
    /// DER in base64.
    value: String,
}

const DAY: u64 = 86_400;
/// Long enough to be off for a fortnight after two thirds of it.
const LIFETIME: Duration = Duration::from_secs(90 * DAY);
/// Longer ones are refused by Apple's platforms even from private authorities.
const LONGEST: Duration = Duration::from_secs(825 * DAY);

/// Every profile by name.
#[derive(Debug, Clone)]
pub struct Profiles(BTreeMap<String, Profile>);

impl Profiles {
    /// The four that are always there, and the operator's.
    ///
    /// # Errors
    /// `MC-U002` where a profile of the operator's makes no sense.
    pub fn new(settings: &BTreeMap<String, ProfileSettings>) -> Result<Self> {
        let built_in = [
            built_in("server", true, false, false),
            built_in("client", false, true, false),
            built_in("both", true, true, false),
            built_in("public", true, false, true),
        ];
        let mut profiles: BTreeMap<String, Profile> =
            built_in.into_iter().map(|profile| (profile.name.clone(), profile)).collect();
        for (name, settings) in settings {
            profiles.insert(name.clone(), profile(name, settings)?);
        }
        Ok(Self(profiles))
    }

    /// The profile with this name.
    ///
    /// # Errors
    /// `MC-E002` where there is none.
    pub fn get(&self, name: &str) -> Result<&Profile> {
        self.0.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            Error::new(Code::CertificatePolicy, format!("there is no profile `{name}`")).hint(format!(
                "one of {}; `[certs.profiles.{name}]` in mcrun.toml would add it",
                known.join(", ")
            ))
        })
    }
}

fn built_in(name: &str, server: bool, client: bool, public: bool) -> Profile {
    Profile {
        name: name.to_owned(),
        server,
        client,
        public,
        lifetime: LIFETIME,
        longest: LONGEST,
        extensions: Vec::new(),
        driver: None,
    }
}

fn profile(name: &str, settings: &ProfileSettings) -> Result<Profile> {
    let wrong = |why: String| Error::new(Code::Config, format!("[certs.profiles.{name}]: {why}"));
    if settings.usage.is_empty() {
        return Err(wrong("`usage` says neither server nor client".into()));
    }
    let longest = settings.longest.map_or(LONGEST, |span| span.0);
    let lifetime = settings.lifetime.map_or(LIFETIME.min(longest), |span| span.0);
    if lifetime > longest || lifetime.is_zero() {
        return Err(wrong("`lifetime` is nothing, or longer than `longest`".into()));
    }
    let extensions = settings
        .extensions
        .iter()
        .map(|settings| {
            extension(settings).map_err(|why| wrong(format!("extension `{}`: {why}", settings.oid)))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Profile {
        name: name.to_owned(),
        server: settings.usage.contains(&Usage::Server),
        client: settings.usage.contains(&Usage::Client),
        public: settings.public,
        lifetime,
        longest,
        extensions,
        driver: settings.driver,
    })
}

fn extension(settings: &ExtensionSettings) -> Result<Extension, String> {
    if RESERVED.contains(&settings.oid.as_str()) {
        return Err("the authority writes this one by itself".into());
    }
    let oid: Vec<u64> = settings
        .oid
        .split('.')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| "an object identifier is numbers with dots between".to_owned())?;
    // X.660: the first arc is 0 to 2, the second below 40 beneath the first two.
    let is_encodable = oid.len() >= 2 && oid[0] <= 2 && (oid[0] == 2 || oid[1] < 40);
    if !is_encodable {
        return Err("this is no object identifier".into());
    }
    let value = STANDARD.decode(&settings.value).map_err(|_| "`value` is not base64".to_owned())?;
    Ok(Extension { oid, critical: settings.critical, value })
}
