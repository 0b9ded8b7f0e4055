//! An authenticator with a browser around it, made of nothing but octets, so that each part of an answer can be another one.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcias::passkey::{Assertion, Registration};
use serde_json::{Value, json};

pub(crate) const ORIGIN: &str = "https://mcias.example";
pub(crate) const PARTY: &str = "mcias.example";
pub(crate) const PRESENT: u8 = 1;
pub(crate) const VERIFIED: u8 = 4;

pub(crate) enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Key {
    pub(crate) fn all() -> [Self; 3] {
        [Self::es256(), Self::EdDsa(Ed25519KeyPair::generate().unwrap()), Self::rs256()]
    }

    pub(crate) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn cose(&self) -> Vec<u8> {
        match self {
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let head = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01];
                [&head[..], &[0x21], &bytes(&point[1..33]), &[0x22], &bytes(&point[33..])].concat()
            }
            Self::EdDsa(pair) => {
                let head = [0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21];
                [&head[..], &bytes(pair.public_key().as_ref())].concat()
            }
            Self::Rs256(pair) => {
                // A sequence of the modulus and 65,537.
                let der = pair.public_key().as_ref();
                let (n, e) = (&der[9..265], &der[der.len() - 3..]);
                let head = [0xa4, 0x01, 0x03, 0x03, 0x39, 0x01, 0x00, 0x20];
                [&head[..], &bytes(n), &[0x21], &bytes(e)].concat()
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// What an authenticator and its browser say; a test changes what it wants to have wrong.
pub(crate) struct Device {
    pub(crate) key: Key,
    pub(crate) id: Vec<u8>,
    pub(crate) origin: String,
    pub(crate) party: String,
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    pub(crate) kind: Option<&'static str>,
    pub(crate) handle: Option<String>,
    pub(crate) more: Value,
}

impl Device {
    pub(crate) fn new(key: Key, id: &[u8]) -> Self {
        Self {
            key,
            id: id.to_vec(),
            origin: ORIGIN.into(),
            party: PARTY.into(),
            flags: PRESENT | VERIFIED,
            counter: 0,
            kind: None,
            handle: None,
            more: json!({}),
        }
    }

    fn client_data(&self, kind: &str, options: &Value) -> String {
        let mut said = json!({
            "type": self.kind.unwrap_or(kind),
            "challenge": options["challenge"],
            "origin": self.origin,
            "crossOrigin": false,
        });
        for (name, value) in self.more.as_object().unwrap() {
            said[name] = value.clone();
        }
        said.to_string()
    }

    fn said(&self, flags: u8) -> Vec<u8> {
        let party = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.party.as_bytes());
        [party.as_ref(), &[flags], &self.counter.to_be_bytes()].concat()
    }

    /// Makes a passkey for whoever the options are for.
    pub(crate) fn register(&mut self, options: &Value) -> Registration {
        self.register_as(options, "none", &[0xa0])
    }

    pub(crate) fn register_as(&mut self, options: &Value, format: &str, statement: &[u8]) -> Registration {
        let handle = URL_SAFE_NO_PAD.decode(options["user"]["id"].as_str().unwrap()).unwrap();
        self.handle = Some(String::from_utf8(handle).unwrap());
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let data =
            [&self.said(self.flags | 1 << 6)[..], &[7; 16], &length, &self.id, &self.key.cose()].concat();
        let attestation = [
            &[0xa3][..],
            &text("fmt"),
            &text(format),
            &text("attStmt"),
            statement,
            &text("authData"),
            &bytes(&data),
        ];
        Registration {
            id: URL_SAFE_NO_PAD.encode(&self.id),
            client_data: URL_SAFE_NO_PAD.encode(self.client_data("webauthn.create", options)),
            attestation: URL_SAFE_NO_PAD.encode(attestation.concat()),
        }
    }

    /// Answers a question for a passkey.
    pub(crate) fn answer(&self, options: &Value) -> Assertion {
        let (client_data, said) = (self.client_data("webauthn.get", options), self.said(self.flags));
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client_data.as_bytes());
        Assertion {
            id: URL_SAFE_NO_PAD.encode(&self.id),
            signature: URL_SAFE_NO_PAD.encode(self.key.sign(&[&said[..], hash.as_ref()].concat())),
            client_data: URL_SAFE_NO_PAD.encode(client_data),
            authenticator_data: URL_SAFE_NO_PAD.encode(said),
            user_handle: self.handle.as_ref().map(|handle| URL_SAFE_NO_PAD.encode(handle)),
        }
    }
}

fn head(major: u8, length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short) if short < 24 => vec![major << 5 | short],
        Ok(byte) => vec![major << 5 | 24, byte],
        Err(_) => [&[major << 5 | 25][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    }
}

fn bytes(octets: &[u8]) -> Vec<u8> {
    [&head(2, octets.len())[..], octets].concat()
}

fn text(words: &str) -> Vec<u8> {
    [&head(3, words.len())[..], words.as_bytes()].concat()
}
