//! Owns a certificate as it is recorded and handed to scripts, with what its DER says.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::units::Span;
use effect::{Code, Error, Hidden, Result, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::files::Placement;
use crate::key::{Key, KeyType};
use crate::names::{Name, Names};

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// What it is called: its first name unless said.
    pub id: String,
    /// The names it bears.
    pub hostnames: Names,
    /// What it may be used for.
    pub profile: String,
    /// The kind of its key.
    pub key_type: KeyType,
    /// How long it was asked for; as the profile says unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Span>,
    /// The service that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The driver whose authority issued it.
    pub driver: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
    /// When it begins to be valid, in unix milliseconds.
    pub not_before: i64,
    /// When it expires, in unix milliseconds.
    pub not_after: i64,
    /// When it is renewed by itself, in unix milliseconds.
    pub renew_at: i64,
    /// The certificate in PEM, then those by which it leads to a root.
    pub chain: String,
    /// The roots that peers trust, in PEM; empty where the system's own do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub roots: String,
    /// The files that it is written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Placement>,
    /// Files that are not there or hold something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amiss: Vec<String>,
    /// The key, sealed.
    pub key: Hidden,
    /// The order that brought it.
    pub order: String,
    /// Whether it was revoked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl Certificate {
    /// How long it lives altogether.
    #[must_use]
    pub fn life(&self) -> Duration {
        Timestamp(self.not_after).since(Timestamp(self.not_before))
    }

    /// How much of it is left at `now`.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        Timestamp(self.not_after).since(now)
    }

    /// The chain in DER, the certificate first.
    ///
    /// # Errors
    /// `MC-J007` where the record was damaged.
    pub fn chain_der(&self) -> Result<Vec<CertificateDer<'static>>> {
        chain_from_pem(&self.chain).map_err(|error| {
            Error::new(Code::JournalBroken, "a recorded certificate cannot be decoded").because(error.message)
        })
    }
}

/// Certificates in PEM.
///
/// # Errors
/// `MC-E012` where it holds none, or something that is none.
pub fn chain_from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let wrong =
        |why: String| Error::new(Code::CertificateAnswer, "these are no certificates in PEM").because(why);
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() { Err(wrong("there is none".into())) } else { Ok(chain) }
}

/// Certificates as PEM (RFC 7468).
#[must_use]
pub fn to_pem(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| armoured("CERTIFICATE", certificate)).collect()
}

/// `der` as PEM (RFC 7468) under a label.
#[must_use]
pub fn armoured(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The serial number in hexadecimal, without leading zeros.
    pub serial: String,
    /// SHA-256 of the whole in hexadecimal.
    pub fingerprint: String,
    /// The names it bears; those of other kinds than ours are left out.
    pub names: Vec<Name>,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
    /// Its key, a SubjectPublicKeyInfo in DER.
    pub public: Vec<u8>,
    /// Whether it may sign others.
    pub is_authority: bool,
}

impl Facts {
    /// Reads them from DER.
    ///
    /// # Errors
    /// `MC-E012` where it is no certificate.
    pub fn of(der: &[u8]) -> Result<Self> {
        let wrong = || Error::new(Code::CertificateAnswer, "this is no X.509 certificate");
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| wrong())?;
        if !rest.is_empty() {
            return Err(wrong().because("something follows it"));
        }
        let names = certificate.subject_alternative_name().map_err(|error| wrong().because(error))?;
        let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect());
        let millis = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
        Ok(Self {
            serial: serial_text(certificate.raw_serial()),
            fingerprint: hex(&Sha256::digest(der)),
            names: names.unwrap_or_default(),
            not_before: millis(certificate.validity().not_before.timestamp()),
            not_after: millis(certificate.validity().not_after.timestamp()),
            public: certificate.public_key().raw.to_vec(),
            is_authority: certificate.is_ca(),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Some(Name::Dns(name.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| Name::Ip(bytes.into())),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| Name::Ip(bytes.into())),
            _ => None,
        },
        _ => None,
    }
}

/// A serial number in hexadecimal without leading zeros.
#[must_use]
pub fn serial_text(bytes: &[u8]) -> String {
    let text = hex(bytes);
    let trimmed = text.trim_start_matches('0');
    if trimmed.is_empty() { "0".into() } else { trimmed.to_owned() }
}

/// Bytes in hexadecimal.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks what an authority answered against what was ordered: a certificate of another name or another key must never
/// reach a service.
///
/// # Errors
/// `MC-E012` with what is wrong.
pub fn check_answer(
    chain: &[CertificateDer<'static>],
    names: &Names,
    key: &Key,
    now: Timestamp,
) -> Result<Facts> {
    let wrong = |why: String| {
        Error::new(
            Code::CertificateAnswer,
            "the authority answered with a certificate that was not asked for",
        )
        .because(why)
    };
    let first = chain.first().ok_or_else(|| wrong("there is none".into()))?;
    let facts = Facts::of(first)?;
    if facts.public != key.public() {
        return Err(wrong("it is for another key".into()));
    }
    if let Some(missing) = names.as_slice().iter().find(|name| !facts.names.contains(name)) {
        return Err(wrong(format!("it does not name `{missing}`")));
    }
    if facts.is_authority {
        return Err(wrong("it is one of an authority".into()));
    }
    if facts.not_after <= now {
        return Err(wrong(format!("it expired at {}", facts.not_after))
            .hint("compare the clock of this machine with that of the authority"));
    }
    chain[1..].iter().try_for_each(|issuer| Facts::of(issuer).map(drop))?;
    Ok(facts)
}
