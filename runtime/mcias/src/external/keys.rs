//! Owns keys of other issuers (RFC 7517), and whether one of them signed a token (RFC 7515). A key says itself what it is for:
//! what a token's header says must agree with it, and never decides.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Longer tokens are none.
const LONGEST: usize = 64 << 10;

/// A public key.
pub(super) struct Key {
    id: Option<String>,
    public: Public,
}

enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    /// One of those that sign tokens; others are left out.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let octets = |key: &str| URL_SAFE_NO_PAD.decode(text(key)?).ok();
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let public = match (text("kty")?, text("crv")) {
            ("RSA", None) => Public::Rsa { n: octets("n")?, e: octets("e")? },
            ("EC", Some("P-256")) => Public::P256([&[4], &*octets("x")?, &*octets("y")?].concat()),
            ("OKP", Some("Ed25519")) => Public::Ed25519(octets("x")?),
            _ => return None,
        };
        let key = Self { id: text("kid").map(str::to_owned), public };
        text("alg").is_none_or(|alg| alg == key.algorithm()).then_some(key)
    }

    fn algorithm(&self) -> &'static str {
        match self.public {
            Public::Rsa { .. } => "RS256",
            Public::P256(_) => "ES256",
            Public::Ed25519(_) => "EdDSA",
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Public::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Public::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok()
            }
        }
    }
}

/// What a token says, where one of `keys` signed it.
pub(super) fn verified(token: &str, keys: &[Key]) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.').filter(|_| token.len() <= LONGEST)?;
    let (header, claims) = signed.split_once('.')?;
    let decoded =
        |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let (header, signature) = (decoded(header)?, URL_SAFE_NO_PAD.decode(signature).ok()?);
    // Something that has to be understood, and is not (RFC 7515, section 4.1.11).
    if header.get("crit").is_some() {
        return None;
    }
    let named = header.get("kid").and_then(Value::as_str);
    let algorithm = header.get("alg").and_then(Value::as_str)?;
    let mut fitting = keys.iter().filter(|key| {
        key.algorithm() == algorithm && named.is_none_or(|named| key.id.as_deref() == Some(named))
    });
    fitting.any(|key| key.has_signed(signed.as_bytes(), &signature)).then(|| decoded(claims))?
}

/// What a token says, whoever signed it.
pub(super) fn claims(token: &str) -> Option<Value> {
    let claims = token.split('.').nth(1).filter(|_| token.len() <= LONGEST)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    fn packed(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn a_key_counts_for_its_own_algorithm_alone() {
        let ed = Ed25519KeyPair::generate().unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let x = URL_SAFE_NO_PAD.encode(ed.public_key());
        let point = ec.public_key().as_ref();
        let set = [
            json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "e" }),
            json!({
                "kty": "EC", "crv": "P-256", "kid": "c",
                "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
            }),
        ];
        let keys: Vec<Key> = set.iter().filter_map(Key::read).collect();
        let said = json!({ "sub": "s" });
        let signed = |header: &Value, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
            let signed = format!("{}.{}", packed(header), packed(&said));
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
        };
        let by_ed = |text: &[u8]| ed.sign(text).as_ref().to_vec();
        let by_ec = |text: &[u8]| ec.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec();
        assert_eq!(
            verified(&signed(&json!({ "alg": "EdDSA", "kid": "e" }), &by_ed), &keys),
            Some(said.clone())
        );
        assert_eq!(verified(&signed(&json!({ "alg": "ES256" }), &by_ec), &keys), Some(said.clone()));
        let hmac = |text: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, x.as_bytes()), text).as_ref().to_vec()
        };
        for (header, sign) in [
            (json!({ "alg": "none" }), &(|_: &[u8]| Vec::new()) as &dyn Fn(&[u8]) -> Vec<u8>),
            (json!({ "alg": "HS256", "kid": "e" }), &hmac),
            (json!({ "alg": "EdDSA", "kid": "e" }), &hmac),
            (json!({ "alg": "ES256", "kid": "e" }), &by_ed),
            (json!({ "alg": "EdDSA", "kid": "other" }), &by_ed),
            (json!({ "alg": "EdDSA", "kid": "e", "crit": ["x"] }), &by_ed),
            (json!({ "alg": "EdDSA", "kid": "c" }), &by_ec),
            (json!({ "kid": "e" }), &by_ed),
        ] {
            assert_eq!(verified(&signed(&header, sign), &keys), None, "{header}");
        }
        for text in ["", ".", "..", "a.b.c", "....", &"a".repeat(100_000)] {
            assert_eq!(verified(text, &keys), None);
        }
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        for value in [
            json!({ "kty": "oct", "k": "AAAA" }),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc" }),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "HS256" }),
            json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
            json!(null),
        ] {
            assert!(Key::read(&value).is_none(), "{value}");
        }
    }
}
