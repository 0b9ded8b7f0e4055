//! Owns the public keys of passkeys (COSE, RFC 9053) and signatures by them: three algorithms, each with the one shape of key
//! that the standard has for it.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};

use super::Refusal;
use super::cbor::{self, Value};

const ES256: i128 = -7;
const EDDSA: i128 = -8;
const RS256: i128 = -257;
/// What is asked for, the best first.
pub(super) const ALGORITHMS: [i64; 3] = [-8, -7, -257];
/// Octets of an RSA modulus: what is larger is slow to verify, and nobody has it.
const LARGEST_MODULUS: usize = 512;

/// A public key.
pub(super) enum Key<'a> {
    Es256([u8; 65]),
    EdDsa(&'a [u8]),
    Rs256 { n: &'a [u8], e: &'a [u8] },
}

impl<'a> Key<'a> {
    /// Reads a key, and looks whether it can be one.
    pub(super) fn read(octets: &'a [u8]) -> Result<Self, Refusal> {
        let map = cbor::only(octets).ok_or(Refusal::Malformed)?;
        let number = |key: i128| map.at(key).and_then(Value::number);
        let bytes = |key: i128| map.at(key).and_then(Value::bytes);
        let key = match (number(3), number(1), number(-1), map.pairs()) {
            (Some(ES256), Some(2), Some(1), Some(5)) => {
                let (x, y) = bytes(-2).zip(bytes(-3)).ok_or(Refusal::Malformed)?;
                if x.len() != 32 || y.len() != 32 {
                    return Err(Refusal::Malformed);
                }
                let mut point = [4; 65];
                point[1..33].copy_from_slice(x);
                point[33..].copy_from_slice(y);
                // Whether the point lies on the curve.
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| Refusal::Malformed)?;
                Self::Es256(point)
            }
            (Some(EDDSA), Some(1), Some(6), Some(4)) => {
                let x = bytes(-2).filter(|x| x.len() == 32).ok_or(Refusal::Malformed)?;
                Self::EdDsa(x)
            }
            (Some(RS256), Some(3), None, Some(4)) => {
                let (n, e) = bytes(-1).zip(bytes(-2)).ok_or(Refusal::Malformed)?;
                let is_sized = (256..=LARGEST_MODULUS).contains(&n.len()) && (1..=4).contains(&e.len());
                // An even one has no signatures, and an exponent of one signs whatever it is given.
                let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
                let is_one = e.iter().rev().skip(1).all(|octet| *octet == 0) && e.last() == Some(&1);
                if !is_sized || !is_odd(n) || !is_odd(e) || is_one || n.first() == Some(&0) {
                    return Err(Refusal::Malformed);
                }
                Self::Rs256 { n, e }
            }
            (Some(ES256 | EDDSA | RS256), ..) => return Err(Refusal::Malformed),
            _ => return Err(Refusal::Algorithm),
        };
        Ok(key)
    }

    /// Whether it signed `message`.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        let by = |algorithm, key: &[u8]| {
            ParsedPublicKey::new(algorithm, key).ok()?.verify_sig(message, signature).ok()
        };
        let verified = match self {
            Self::Es256(point) => by(&ECDSA_P256_SHA256_ASN1, point),
            Self::EdDsa(x) => by(&ED25519, x),
            Self::Rs256 { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).ok()
            }
        };
        verified.ok_or(Refusal::Signature)
    }
}
