//! Owns the record of every certificate that was signed: serial numbers, issuances and revocations.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::{Code, Error, Result, Sealer, Timestamp};
use journal::{Expect, Write};
use rustls::pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Request;
use super::build::Made;
use crate::certificate::hex;
use crate::driver::Reason;
use crate::names::Names;

/// The kind of the record of an issuance, by serial number.
pub(super) const ISSUED: &str = "certificate-issued";
/// The kind of the record of a revocation, by serial number: a list of them reads nothing else.
pub(super) const REVOKED: &str = "certificate-revoked";

/// The kind and name of the record that says which certificate was revoked last: whether a list is out of date.
pub(super) const REVOKED_LAST: &str = "certificate-revoked-last";
pub(super) const ANY_INTERMEDIATE: &str = "any";

/// A serial number: 16 bytes, positive, none of them leading zeros (RFC 5280, section 4.1.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Serial(pub(super) [u8; 16]);

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex(&self.0))
    }
}

/// The serial number of an order: a keyed hash, which nobody else can predict and no other order gets.
pub(super) fn serial(sealer: &Sealer, node: &str, token: &str) -> Serial {
    let tag = sealer.tag(format!("certificate serial\0{node}\0{token}").as_bytes());
    let mut bytes = [0; 16];
    for (byte, digits) in bytes.iter_mut().zip(tag.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).expect("a tag is 32 hexadecimal digits");
    }
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Serial(bytes)
}

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Issuance {
    /// The serial number in hexadecimal.
    pub serial: String,
    /// The order that it was signed for.
    pub token: String,
    /// The names that it bears.
    pub names: Names,
    /// Its profile.
    pub profile: String,
    /// The service that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The intermediate that signed it.
    pub issuer: String,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
    /// The certificate, DER in base64.
    der: String,
    /// Since when and why it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// A revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// What the list of revoked certificates needs of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) issuer: String,
    pub(super) not_after: Timestamp,
    #[serde(flatten)]
    pub(super) revoked: Revoked,
}

impl Issuance {
    pub(super) fn new(request: &Request<'_>, serial: &Serial, issuer: &str, made: &Made) -> Self {
        Self {
            serial: serial.to_string(),
            token: request.token.to_owned(),
            names: request.names.clone(),
            profile: request.profile.name.clone(),
            service: request.service.map(str::to_owned),
            issuer: issuer.to_owned(),
            not_before: made.not_before,
            not_after: made.not_after,
            der: STANDARD.encode(&made.der),
            revoked: None,
        }
    }

    /// The certificate.
    ///
    /// # Errors
    /// `MC-J007` where the record was damaged.
    pub fn certificate(&self) -> Result<CertificateDer<'static>> {
        let decoded = STANDARD.decode(&self.der).map_err(|error| damaged().because(error))?;
        Ok(decoded.into())
    }

    pub(super) fn first_write(&self, node: &str) -> Write {
        self.as_write(node, Expect::Absent)
    }

    fn as_write(&self, node: &str, expect: Expect) -> Write {
        write(ISSUED, node, &self.serial, json!(self).to_string(), expect)
    }

    /// What records that it is revoked. The first to say so wins.
    pub(super) fn revoked_writes(mut self, node: &str, revoked: Revoked) -> [Write; 3] {
        self.revoked = Some(revoked);
        let entry = Entry { issuer: self.issuer.clone(), not_after: self.not_after, revoked };
        [
            self.as_write(node, Expect::Present),
            write(REVOKED, node, &self.serial, json!(entry).to_string(), Expect::Absent),
            write(REVOKED_LAST, node, ANY_INTERMEDIATE, json!(self.serial).to_string(), Expect::Any),
        ]
    }

    /// What records it again elsewhere, where nothing has its number.
    pub(super) fn taken_over(&self, node: &str) -> Vec<Write> {
        let entry = self.revoked.map(|revoked| {
            let entry = Entry { issuer: self.issuer.clone(), not_after: self.not_after, revoked };
            write(REVOKED, node, &self.serial, json!(entry).to_string(), Expect::Absent)
        });
        [self.as_write(node, Expect::Absent)].into_iter().chain(entry).collect()
    }
}

pub(super) fn write(kind: &str, node: &str, name: &str, value: String, expect: Expect) -> Write {
    Write { kind: kind.into(), node: node.into(), name: name.into(), value: Some(value), expect }
}

/// Decodes a record of the authority's own.
pub(super) fn decode<T: DeserializeOwned>(value: &str) -> Result<T> {
    serde_json::from_str(value).map_err(|error| damaged().because(error))
}

fn damaged() -> Error {
    Error::new(Code::JournalBroken, "a record of the authority cannot be decoded")
}
