//! Owns the keys of certificates: making them, reading them back, and refusing weak ones.

use effect::{Code, Error, Result};
use rcgen::{CertificateParams, KeyPair, PublicKeyData, RsaKeySize, SigningKey as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::names::{Name, Names};

/// RFC 8017 keys below this are no longer safe (NIST SP 800-131A).
const SMALLEST_RSA: usize = 2048;
/// Verifying with larger ones costs others more than it protects.
const LARGEST_RSA: usize = 8192;

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// ECDSA on the curve P-256: what every peer knows.
    #[default]
    P256,
    /// ECDSA on the curve P-384.
    P384,
    /// Ed25519; browsers do not know it.
    Ed25519,
    /// RSA with 2048 bits, for old peers.
    Rsa2048,
    /// RSA with 3072 bits, for old peers.
    Rsa3072,
}

impl KeyType {
    /// The word for it, as in a script.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
        }
    }
}

/// A private key.
pub struct Key {
    pair: KeyPair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}

impl Key {
    /// A new key. RSA takes tenths of a second of computing.
    ///
    /// # Errors
    /// Only where the machine has no randomness.
    pub fn generate(kind: KeyType) -> Result<Self> {
        let made = match kind {
            KeyType::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyType::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
        };
        let pair = made.map_err(|error| Error::new(Code::Internal, "no key could be made").because(error))?;
        Ok(Self { pair })
    }

    /// Reads a key from PEM, in whatever of the usual forms.
    ///
    /// # Errors
    /// `MC-E003` when it is none, or weak.
    pub fn from_pem(pem: &str) -> Result<Self> {
        // The cause could repeat a piece of the key, so it is not told.
        let pair = KeyPair::from_pem(pem).map_err(|_| {
            Error::new(Code::CertificateKey, "this is no private key that can be used, or it is damaged")
        })?;
        check_public(&pair.subject_public_key_info())?;
        Ok(Self { pair })
    }

    /// The key in PEM (PKCS #8).
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.pair.serialize_pem())
    }

    /// The public key as a SubjectPublicKeyInfo in DER (RFC 5280, section 4.1).
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// What signs with it.
    #[must_use]
    pub fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// The same, given away.
    #[must_use]
    pub fn into_pair(self) -> KeyPair {
        self.pair
    }

    /// Signs `message` with the key's own algorithm.
    ///
    /// # Errors
    /// Only where the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.pair.sign(message).map_err(|error| Error::new(Code::Internal, "signing failed").because(error))
    }

    /// A signing request (RFC 2986) for `names`, in DER.
    ///
    /// # Errors
    /// Only where the library fails.
    pub fn request(&self, names: &Names) -> Result<Vec<u8>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = alternative_names(names)?;
        let request = params.serialize_request(&self.pair).map_err(|error| {
            Error::new(Code::Internal, "a signing request could not be made").because(error)
        })?;
        Ok(request.der().to_vec())
    }
}

/// Names as they stand in the extension of RFC 5280, section 4.2.1.6.
pub(crate) fn alternative_names(names: &Names) -> Result<Vec<rcgen::SanType>> {
    let one = |name: &Name| match name {
        Name::Ip(address) => Ok(rcgen::SanType::IpAddress(*address)),
        Name::Dns(name) => name
            .as_str()
            .try_into()
            .map(rcgen::SanType::DnsName)
            .map_err(|error| Error::new(Code::Internal, "a checked name is not ASCII").because(error)),
    };
    names.as_slice().iter().map(one).collect()
}

/// Refuses public keys that are broken, weak or of an unknown kind. `public` is a SubjectPublicKeyInfo in DER.
///
/// # Errors
/// `MC-E003` with what is wrong with it.
pub fn check_public(public: &[u8]) -> Result<()> {
    let weak = |why: String| Error::new(Code::CertificateKey, format!("the key is refused: {why}"));
    let (rest, info) =
        SubjectPublicKeyInfo::from_der(public).map_err(|_| weak("it cannot be decoded".into()))?;
    if !rest.is_empty() {
        return Err(weak("something follows it".into()));
    }
    let algorithm = info.algorithm.algorithm.to_id_string();
    match info.parsed().map_err(|_| weak("it cannot be decoded".into()))? {
        PublicKey::RSA(rsa) => {
            let bits = rsa.key_size();
            if bits < SMALLEST_RSA {
                return Err(
                    weak(format!("RSA with {bits} bits is weak")).hint("use at least 2048 bits, or P-256")
                );
            }
            if bits > LARGEST_RSA {
                return Err(weak(format!("RSA with {bits} bits is larger than {LARGEST_RSA}")));
            }
            // An exponent of 1 leaves everything as it is; even ones have no inverse.
            let exponent = rsa.try_exponent().unwrap_or(0);
            if exponent < 3 || exponent.is_multiple_of(2) {
                return Err(weak("its exponent is not one that RSA can have".into()));
            }
            Ok(())
        }
        PublicKey::EC(_) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7" | "1.3.132.0.34") => Ok(()),
                _ => Err(weak("its curve is none of P-256 and P-384".into())),
            }
        }
        _ if algorithm == "1.3.101.112" => Ok(()),
        _ => Err(weak(format!("its kind ({algorithm}) is none of ECDSA, Ed25519 and RSA"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_pem() {
        for kind in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
            let key = Key::generate(kind).unwrap();
            assert_eq!(Key::from_pem(&key.to_pem()).unwrap().public(), key.public());
        }
        assert_eq!(Key::from_pem("garbage").unwrap_err().code, Code::CertificateKey);
    }

    #[test]
    fn a_weak_key_is_refused() {
        let small = include_bytes!("../tests/data/rsa1024.spki.der");
        let error = check_public(small).unwrap_err();
        assert_eq!(error.code, Code::CertificateKey);
        assert!(error.message.contains("1024"), "{}", error.message);
        assert!(check_public(b"").is_err());
    }
}
