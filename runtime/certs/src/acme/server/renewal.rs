//! Owns when certificates are to be renewed (ARI, RFC 9773), and how certificates are named there.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use effect::Timestamp;
use http::StatusCode;
use serde_json::json;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Inner;
use super::answer::Answer;
use super::problem::{Kind, Outcome, Problem};
use super::signer::Standing;
use crate::certificate::{Facts, serial_text};

/// How long clients may wait before they look again: a revocation is noticed within.
const AGAIN: Duration = Duration::from_secs(6 * 3600);
/// RFC 5280, section 4.1.2.2, and as much for the key of the authority.
const LONGEST_PART: usize = 64;

impl Inner {
    /// renewalInfo: anybody may ask.
    pub(super) async fn renewal_info(&self, id: &str) -> Outcome<Answer> {
        let (_, standing) = self.find_certificate(id).await?;
        let facts = facts(&standing)?;
        let (start, end) = standing.window.unwrap_or_else(|| window(&facts, standing.revoked));
        let window = json!({ "start": start.to_string(), "end": end.to_string() });
        Ok(Answer::json(StatusCode::OK, json!({ "suggestedWindow": window })).after(AGAIN))
    }

    /// The certificate with this name (RFC 9773, section 4.1), and its serial number in hexadecimal.
    pub(super) async fn find_certificate(&self, id: &str) -> Outcome<(String, Standing)> {
        let unknown = || Problem::not_found("certificate");
        let malformed =
            || Problem::malformed("a certificate is named by two parts in base64url, with a dot between");
        let (authority, serial) = id.split_once('.').ok_or_else(malformed)?;
        let decoded = |text: &str| match URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if !bytes.is_empty() && bytes.len() <= LONGEST_PART => Ok(bytes),
            _ => Err(malformed()),
        };
        let (authority, serial) = (decoded(authority)?, decoded(serial)?);
        let text = serial_text(&serial);
        let standing = self.signer.standing(&text).await?.ok_or_else(unknown)?;
        let first = standing.chain.first().ok_or_else(unknown)?;
        let (_, certificate) = X509Certificate::from_der(first).map_err(|_| unknown())?;
        let is_it = certificate.raw_serial() == serial && issuer(&certificate) == Some(authority.as_slice());
        if is_it { Ok((text, standing)) } else { Err(unknown()) }
    }
}

/// What the certificate says of itself.
pub(super) fn facts(standing: &Standing) -> Outcome<Facts> {
    let broken = || Problem::new(Kind::ServerInternal, "the record of the certificate is damaged");
    let first = standing.chain.first().ok_or_else(broken)?;
    Facts::of(first).map_err(|_| broken())
}

/// The key identifier of whoever signed.
fn issuer<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref().map(|key| key.0),
        _ => None,
    })
}

/// A fortieth of the life from its two thirds on, so that clients spread; what was revoked is over at once.
fn window(facts: &Facts, revoked: bool) -> (Timestamp, Timestamp) {
    let life = facts.not_after.since(facts.not_before);
    let start = if revoked { facts.not_before } else { facts.not_before.after(life * 2 / 3) };
    (start, start.after((life / 40).max(Duration::from_secs(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_opens_at_two_thirds_of_life_and_at_once_when_revoked() {
        let facts = Facts {
            serial: "1".into(),
            fingerprint: String::new(),
            names: Vec::new(),
            not_before: Timestamp(0),
            not_after: Timestamp(90 * 86_400_000),
            public: Vec::new(),
            is_authority: false,
        };
        let (start, end) = window(&facts, false);
        assert_eq!((start, end), (Timestamp(60 * 86_400_000), Timestamp(62 * 86_400_000 + 21_600_000)));
        let (start, end) = window(&facts, true);
        assert!(start == facts.not_before && end > start && end < Timestamp(3 * 86_400_000));
    }
}
