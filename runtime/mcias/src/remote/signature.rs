//! Owns whether another issuer signed a token: three algorithms, each with keys of its own kind alone. What a header asks for
//! is held against the key; nothing in it chooses a key that is not the issuer's.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::token::Refusal;

/// Keys of one issuer that are looked at.
const MOST_KEYS: usize = 64;
/// Octets of the modulus of RSA: 8192 bits.
const LONGEST_MODULUS: usize = 1024;

/// A key as an issuer publishes it (RFC 7517).
#[derive(Clone, Deserialize)]
struct Published {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

#[derive(Clone)]
enum Public {
    Ed25519(Vec<u8>),
    P256(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// Keys of an issuer, by which it signs.
#[derive(Clone, Default)]
pub(super) struct Keys(Vec<(Option<String>, Public)>);

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keys({})", self.0.len())
    }
}

impl Public {
    fn of(key: &Published) -> Option<Self> {
        let octets = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let is_for = |alg: &str| key.alg.as_deref().is_none_or(|named| named == alg);
        if key.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        match (key.kty.as_str(), key.crv.as_deref()) {
            ("OKP", Some("Ed25519")) if is_for("EdDSA") => {
                octets(&key.x).filter(|x| x.len() == 32).map(Self::Ed25519)
            }
            ("EC", Some("P-256")) if is_for("ES256") => {
                let (x, y) = (octets(&key.x)?, octets(&key.y)?);
                (x.len() == 32 && y.len() == 32).then(|| Self::P256([&[4][..], &x, &y].concat()))
            }
            ("RSA", _) if is_for("RS256") => {
                let (n, e) = (octets(&key.n)?, octets(&key.e)?);
                (n.len() <= LONGEST_MODULUS && e.len() <= 8).then_some(Self::Rsa { n, e })
            }
            _ => None,
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::Rsa { .. } => "RS256",
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok(),
            Self::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature).is_ok()
            }
            Self::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
        }
    }
}

impl Keys {
    /// Those of a set that can be used; others are left out.
    pub(super) fn of(set: &Value) -> Option<Self> {
        let listed = set.get("keys")?.as_array()?.iter().take(MOST_KEYS);
        let keys = listed.filter_map(|key| {
            let key = Published::deserialize(key).ok()?;
            Some((key.kid.clone(), Public::of(&key)?))
        });
        Some(Self(keys.collect()))
    }

    /// The claims of a token that one of these keys signed.
    pub(super) fn verify(&self, token: &str) -> Result<Map<String, Value>, Refusal> {
        let mut parts = token.split('.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        let octets = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed);
        let object = |part: &str| -> Result<Map<String, Value>, Refusal> {
            serde_json::from_slice(&octets(part)?).map_err(|_| Refusal::Malformed)
        };
        let header = object(head)?;
        // What must be understood is not.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Refusal::Malformed);
        }
        let is_type =
            |kind: &str| ["jwt", "at+jwt", "application/at+jwt"].contains(&kind.to_lowercase().as_str());
        if !header.get("typ").is_none_or(|kind| kind.as_str().is_some_and(is_type)) {
            return Err(Refusal::Malformed);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
        if !["EdDSA", "ES256", "RS256"].contains(&algorithm) {
            return Err(Refusal::Algorithm);
        }
        let kid = header.get("kid").and_then(Value::as_str);
        let named: Vec<&Public> = match kid {
            Some(kid) => {
                self.0.iter().filter(|(known, _)| known.as_deref() == Some(kid)).map(|(_, key)| key).collect()
            }
            // Without a name there must be no choice.
            None => self.0.iter().filter(|_| self.0.len() == 1).map(|(_, key)| key).collect(),
        };
        if named.is_empty() {
            return Err(Refusal::UnknownKey);
        }
        let fitting: Vec<&&Public> = named.iter().filter(|key| key.algorithm() == algorithm).collect();
        if fitting.is_empty() {
            return Err(Refusal::Algorithm);
        }
        let message = &token.as_bytes()[..head.len() + 1 + claims.len()];
        let signature = octets(signature)?;
        match fitting.iter().any(|key| key.has_signed(message, &signature)) {
            true => object(claims),
            false => Err(Refusal::Signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    fn encoded(octets: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(octets)
    }

    fn message(header: &Value) -> String {
        format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(br#"{"sub":"alice"}"#))
    }

    #[test]
    fn each_algorithm_takes_keys_of_its_own_kind() {
        let ed = Ed25519KeyPair::generate().unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = ec.public_key().as_ref();
        let set = json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encoded(ed.public_key().as_ref()) },
            { "kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "x": encoded(&point[1..33]), "y": encoded(&point[33..]) },
            { "kty": "oct", "kid": "secret", "k": "AAAA" },
            { "kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc", "x": encoded(&point[1..33]), "y": encoded(&point[33..]) },
        ] });
        let keys = Keys::of(&set).unwrap();
        let by_ed = |header: Value| {
            let message = message(&header);
            format!("{message}.{}", encoded(ed.sign(message.as_bytes()).as_ref()))
        };
        let by_ec = |header: Value| {
            let message = message(&header);
            let signature = ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
            format!("{message}.{}", encoded(signature.as_ref()))
        };
        assert_eq!(keys.verify(&by_ed(json!({ "alg": "EdDSA", "kid": "ed" }))).unwrap()["sub"], "alice");
        assert_eq!(
            keys.verify(&by_ec(json!({ "alg": "ES256", "kid": "ec", "typ": "JWT" }))).unwrap()["sub"],
            "alice"
        );
        for (token, refusal) in [
            (by_ed(json!({ "alg": "ES256", "kid": "ed" })), Refusal::Algorithm),
            (by_ed(json!({ "alg": "none", "kid": "ed" })), Refusal::Algorithm),
            (by_ed(json!({ "alg": "HS256", "kid": "ed" })), Refusal::Algorithm),
            (by_ed(json!({ "alg": "EdDSA", "kid": "ec" })), Refusal::Algorithm),
            (by_ed(json!({ "alg": "EdDSA", "kid": "secret" })), Refusal::UnknownKey),
            (by_ec(json!({ "alg": "ES256", "kid": "enc" })), Refusal::UnknownKey),
            (by_ed(json!({ "alg": "EdDSA" })), Refusal::UnknownKey),
            (by_ed(json!({ "alg": "EdDSA", "kid": "ed", "crit": ["x"] })), Refusal::Malformed),
            (by_ed(json!({ "alg": "EdDSA", "kid": "ed", "typ": "logout+jwt" })), Refusal::Malformed),
            ("a.b".to_owned(), Refusal::Malformed),
        ] {
            assert_eq!(keys.verify(&token).unwrap_err(), refusal, "{token}");
        }
        let mut forged = by_ed(json!({ "alg": "EdDSA", "kid": "ed" }));
        let claims = encoded(br#"{"sub":"root"}"#);
        let parts: Vec<&str> = forged.split('.').collect();
        forged = format!("{}.{claims}.{}", parts[0], parts[2]);
        assert_eq!(keys.verify(&forged).unwrap_err(), Refusal::Signature);
    }
}
