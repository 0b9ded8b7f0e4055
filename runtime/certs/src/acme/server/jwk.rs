//! Owns the keys of accounts as JSON (RFC 7517): reading, comparing, the thumbprint of RFC 7638, and what they verify.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::problem::{Kind, Outcome, Problem};

/// What clients may sign with (RFC 7518, RFC 8037). `none` and everything with shared keys is no signature here.
pub(super) const ALGORITHMS: [&str; 4] = ["ES256", "ES384", "EdDSA", "RS256"];

/// Account keys sign every request: larger ones cost the server more than they protect.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// What only a private key has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Jwk {
    P256 { x: [u8; 32], y: [u8; 32] },
    P384 { x: [u8; 48], y: [u8; 48] },
    Ed25519 { x: [u8; 32] },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl Jwk {
    /// Reads a key.
    pub(super) fn from_json(value: &Value) -> Outcome<Self> {
        let bad = |why: &str| Problem::new(Kind::BadPublicKey, format!("the key is refused: {why}"));
        let fields = value.as_object().ok_or_else(|| bad("it is no object"))?;
        if PRIVATE.iter().any(|name| fields.contains_key(*name)) {
            return Err(bad("it is a private one; make another, and keep that to yourself"));
        }
        let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let key = match (word("kty"), word("crv")) {
            ("EC", "P-256") => exact(fields, "x").zip(exact(fields, "y")).map(|(x, y)| Self::P256 { x, y }),
            ("EC", "P-384") => exact(fields, "x").zip(exact(fields, "y")).map(|(x, y)| Self::P384 { x, y }),
            ("OKP", "Ed25519") => exact(fields, "x").map(|x| Self::Ed25519 { x }),
            ("RSA", _) => bytes(fields, "n").zip(bytes(fields, "e")).map(|(n, e)| Self::Rsa { n, e }),
            _ => return Err(bad("its kind is none of P-256, P-384, Ed25519 and RSA")),
        };
        let key = key.ok_or_else(|| bad("a part of it is missing or has the wrong length"))?;
        key.check().map_err(bad)?;
        Ok(key)
    }

    /// Reads the key of a certificate or of a signing request; none where accounts cannot have such a key.
    pub(super) fn from_public(public: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(public).ok()?;
        match info.parsed().ok()? {
            PublicKey::EC(point) => {
                let (first, rest) = point.data().split_first()?;
                let (x, y) = rest.split_at_checked(rest.len() / 2)?;
                match (*first, rest.len()) {
                    (4, 64) => Some(Self::P256 { x: x.try_into().ok()?, y: y.try_into().ok()? }),
                    (4, 96) => Some(Self::P384 { x: x.try_into().ok()?, y: y.try_into().ok()? }),
                    _ => None,
                }
            }
            PublicKey::RSA(rsa) => Some(Self::Rsa { n: unpadded(rsa.modulus), e: unpadded(rsa.exponent) }),
            _ if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => {
                let x = info.subject_public_key.data.as_ref().try_into().ok()?;
                Some(Self::Ed25519 { x })
            }
            _ => None,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let Self::Rsa { n, e } = self else { return Ok(()) };
        // With zeros in front, one key would have several thumbprints.
        if n.first() == Some(&0) || e.first() == Some(&0) {
            return Err("a number of it begins with zeros");
        }
        if !RSA_BYTES.contains(&n.len()) {
            return Err("an RSA key of an account has 2048 to 4096 bits");
        }
        let is_odd = e.last().is_some_and(|last| last % 2 == 1);
        if !is_odd || e.len() > 4 || e.as_slice() == [1] {
            return Err("its exponent is not one that RSA can have");
        }
        Ok(())
    }

    /// The required fields (RFC 7638, section 3.2), which are in the order of their names.
    pub(super) fn to_json(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::P256 { x, y } => json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) }),
            Self::P384 { x, y } => json!({ "crv": "P-384", "kty": "EC", "x": text(x), "y": text(y) }),
            Self::Ed25519 { x } => json!({ "crv": "Ed25519", "kty": "OKP", "x": text(x) }),
            Self::Rsa { n, e } => json!({ "e": text(e), "kty": "RSA", "n": text(n) }),
        }
    }

    /// The thumbprint of RFC 7638 in base64url.
    pub(super) fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.to_json().to_string()))
    }

    /// Checks a signature. The kind of the key decides what it is verified with; `algorithm` must say the same.
    pub(super) fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> Outcome<()> {
        let expected = match self {
            Self::P256 { .. } => "ES256",
            Self::P384 { .. } => "ES384",
            Self::Ed25519 { .. } => "EdDSA",
            Self::Rsa { .. } => "RS256",
        };
        if algorithm != expected {
            let detail = format!("a key of this kind signs with {expected}");
            return Err(Problem::new(Kind::BadSignatureAlgorithm, detail));
        }
        let verified = match self {
            Self::P256 { x, y } => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point(x, y))
                .verify(message, signature),
            Self::P384 { x, y } => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point(x, y))
                .verify(message, signature),
            Self::Ed25519 { x } => UnparsedPublicKey::new(&signature::ED25519, x).verify(message, signature),
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        };
        verified.map_err(|_| Problem::unauthorized("the signature is not one of this key"))
    }
}

/// An uncompressed point (SEC 1, section 2.3.3).
fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

fn bytes(fields: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let text = fields.get(name)?.as_str()?;
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn exact<const LENGTH: usize>(fields: &Map<String, Value>, name: &str) -> Option<[u8; LENGTH]> {
    bytes(fields, name)?.try_into().ok()
}

fn unpadded(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, KeyType};

    #[test]
    fn the_thumbprint_is_that_of_the_example_in_rfc_7638() {
        let key = json!({
            "kty": "RSA",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        });
        let thumbprint = Jwk::from_json(&key).unwrap().thumbprint();
        assert_eq!(thumbprint, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn the_key_of_a_request_is_known_again() {
        for kind in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
            let key = Jwk::from_public(&Key::generate(kind).unwrap().public()).unwrap();
            assert_eq!(Jwk::from_json(&key.to_json()).unwrap(), key);
        }
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let short = "AQAB";
        let long = "A".repeat(2000);
        for bad in [
            json!(null),
            json!({ "kty": "oct", "k": "c2VjcmV0" }),
            json!({ "kty": "EC", "crv": "P-256", "x": short, "y": short }),
            json!({ "kty": "EC", "crv": "secp256k1", "x": short, "y": short }),
            json!({ "kty": "OKP", "crv": "X25519", "x": "A".repeat(43) }),
            json!({ "kty": "RSA", "n": short, "e": short }),
            json!({ "kty": "RSA", "n": long, "e": short }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43), "d": "A".repeat(43) }),
        ] {
            assert_eq!(Jwk::from_json(&bad).unwrap_err().kind, Kind::BadPublicKey, "{bad}");
        }
    }
}
