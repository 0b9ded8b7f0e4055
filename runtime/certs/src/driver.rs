//! Owns what every driver of certificates can do: the trait, its features and what an order says. Drivers know nothing
//! of Lua, journal or plan.

use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result, Timestamp};
use rustls::pki_types::CertificateDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::key::{Key, KeyType};
use crate::names::Names;
use crate::profile::Profile;

/// One certificate as it is ordered. Names and profile were allowed by policy before.
#[derive(Debug)]
pub struct Order<'a> {
    /// The same whenever this very order is tried again.
    pub token: &'a str,
    /// The names, each of which the certificate must bear.
    pub names: &'a Names,
    /// What it may be used for.
    pub profile: &'a Profile,
    /// The key that it is for.
    pub key: &'a Key,
    /// The kind of the key.
    pub key_type: KeyType,
    /// How long it is wanted for; what the authority gives unless said.
    pub lifetime: Option<Duration>,
    /// The service that it is for.
    pub service: Option<&'a str>,
    /// The certificate in whose place it comes (RFC 9773, section 5).
    pub replaces: Option<&'a CertificateDer<'static>>,
}

/// Where an order keeps what a later attempt needs to go on with it, such as the address of an ACME order.
#[async_trait]
pub trait Progress: Send + Sync {
    /// What an earlier attempt noted last.
    fn noted(&self) -> Option<&str>;

    /// Notes how far the order is. Durable on return.
    async fn note(&self, text: &str) -> Result<()>;
}

/// What an authority answered: the certificate, then those by which it leads to a root, without the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The chain in DER, the certificate first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Why a certificate is revoked (RFC 5280, section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// None is given.
    #[default]
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The names or the owner changed.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// The service is gone.
    CessationOfOperation,
    /// It may no longer be used for this.
    PrivilegeWithdrawn,
}

impl Reason {
    /// The number of the reason in RFC 5280.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    /// The reason with this number; none for those that end-entity certificates do not have here.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        use Reason::{
            AffiliationChanged, CessationOfOperation, KeyCompromise, PrivilegeWithdrawn, Superseded,
            Unspecified,
        };
        [Unspecified, KeyCompromise, AffiliationChanged, Superseded, CessationOfOperation, PrivilegeWithdrawn]
            .into_iter()
            .find(|reason| reason.number() == number)
    }
}

/// Something that not every driver has. What a driver lacks is refused when planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Keys of a kind.
    Key(KeyType),
    /// Certificates of clients.
    Clients,
    /// Names with `*`.
    Wildcards,
    /// IP addresses as names.
    Addresses,
    /// A lifetime that the order chooses.
    Lifetimes,
    /// Revoking.
    Revocation,
    /// Extensions of a profile's own.
    Extensions,
}

impl Feature {
    /// Every feature, for doctor and the conformance suite.
    pub const ALL: [Self; 11] = [
        Self::Key(KeyType::P256),
        Self::Key(KeyType::P384),
        Self::Key(KeyType::Ed25519),
        Self::Key(KeyType::Rsa2048),
        Self::Key(KeyType::Rsa3072),
        Self::Clients,
        Self::Wildcards,
        Self::Addresses,
        Self::Lifetimes,
        Self::Revocation,
        Self::Extensions,
    ];

    /// What every driver must have.
    pub const REQUIRED: [Self; 2] = [Self::Key(KeyType::P256), Self::Revocation];

    /// The feature in words.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Key(kind) => format!("{} keys", kind.as_str()),
            Self::Clients => "client certificates".into(),
            Self::Wildcards => "wildcard names".into(),
            Self::Addresses => "IP addresses".into(),
            Self::Lifetimes => "chosen lifetimes".into(),
            Self::Revocation => "revocation".into(),
            Self::Extensions => "extensions of a profile's own".into(),
        }
    }
}

/// What performs the effects of the primitive: an authority, or the way to one.
#[async_trait]
pub trait Driver: Send + Sync {
    /// `embedded`, `acme`, `vault`.
    fn name(&self) -> &'static str;

    /// What it has.
    fn features(&self) -> &[Feature];

    /// Has `order` carried out, going on where an earlier attempt with the same token stopped: no attempt makes a second
    /// certificate where the first one's can still be had.
    ///
    /// # Errors
    /// `MC-E010` to `MC-E012` where the authority refuses, does not answer, or answers something that is none.
    async fn issue(&self, order: &Order<'_>, progress: &dyn Progress) -> Result<Issued>;

    /// Revokes the certificate at the head of `chain`. One that is revoked already is no error.
    ///
    /// # Errors
    /// Where the authority refuses or does not answer.
    async fn revoke(&self, chain: &[CertificateDer<'static>], key: &Key, reason: Reason) -> Result<()>;

    /// The certificates that whoever talks to a holder should trust; empty where the system's own do.
    ///
    /// # Errors
    /// Where the authority does not answer.
    async fn roots(&self) -> Result<Vec<CertificateDer<'static>>>;

    /// When the authority wants the certificate at the head of `chain` to be renewed (RFC 9773), if it says so.
    ///
    /// # Errors
    /// Where the authority does not answer.
    async fn renewal_window(
        &self,
        _chain: &[CertificateDer<'static>],
    ) -> Result<Option<(Timestamp, Timestamp)>> {
        Ok(None)
    }

    /// What an operator can do to get a feature that is missing, where there is something.
    fn remedy(&self, _missing: Feature) -> Option<&'static str> {
        None
    }
}

/// The features that an order takes.
#[must_use]
pub fn needed(names: &Names, profile: &Profile, key_type: KeyType, has_lifetime: bool) -> Vec<Feature> {
    let any = |is: bool, feature: Feature| is.then_some(feature);
    let of_names = names.as_slice();
    [
        Some(Feature::Key(key_type)),
        any(profile.client, Feature::Clients),
        any(of_names.iter().any(crate::names::Name::is_wildcard), Feature::Wildcards),
        any(of_names.iter().any(|name| name.domain().is_none()), Feature::Addresses),
        any(has_lifetime, Feature::Lifetimes),
        any(!profile.extensions.is_empty(), Feature::Extensions),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Refuses what the driver lacks.
///
/// # Errors
/// `MC-C006` naming the first missing feature.
pub fn check_features(driver: &dyn Driver, needed: &[Feature]) -> Result<()> {
    match needed.iter().find(|feature| !driver.features().contains(feature)) {
        None => Ok(()),
        Some(missing) => {
            let message =
                format!("the certs driver `{}` does not have {}", driver.name(), missing.describe());
            let remedy = driver
                .remedy(*missing)
                .unwrap_or("choose another driver for this profile in mcrun.toml, or leave it out");
            Err(Error::new(Code::Unsupported, message).hint(remedy))
        }
    }
}
