//! Owns the bytes of a certificate (OpenSSH's PROTOCOL.certkeys) and their signature.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::{Code, Error, Result};
use ssh_encoding::Encode;
use ssh_key::PublicKey;
use ssh_key::certificate::{CertType, OptionsMap};

use super::{Kind, Order, unencodable};
use crate::key::Key;

/// As long as those of `ssh-keygen`.
const NONCE: usize = 32;

/// The moments between which a certificate is valid, in unix seconds: from the first on, and before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) after: u64,
    pub(super) before: u64,
}

/// Signs a certificate: one line, with the key id as its comment.
pub(super) fn sign(order: &Order, serial: u64, window: Window, public: &str, key: &Key) -> Result<String> {
    let mut bytes = to_be_signed(order, serial, window, public).map_err(unencodable)??;
    let mut signature = Vec::new();
    let signed = key.sign(&bytes)?;
    let encode = |signature: &mut Vec<u8>| {
        "ssh-ed25519".encode(signature)?;
        signed.encode(signature)
    };
    encode(&mut signature).map_err(unencodable)?;
    signature.encode(&mut bytes).map_err(unencodable)?;
    let kind = order.key.algorithm().to_certificate_type();
    Ok(format!("{kind} {} {}", STANDARD.encode(bytes), order.key_id))
}

fn to_be_signed(
    order: &Order,
    serial: u64,
    window: Window,
    public: &str,
) -> ssh_encoding::Result<Result<Vec<u8>>> {
    let mut nonce = [0; NONCE];
    if rand::fill(&mut nonce).is_err() {
        return Ok(Err(Error::new(Code::Internal, "there is no randomness")));
    }
    let (fields, authority) =
        match (fields(&order.key), PublicKey::from_openssh(public).and_then(|key| key.to_bytes())) {
            (Ok(fields), Ok(authority)) => (fields, authority),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(unencodable(error))),
        };
    let mut principals = Vec::new();
    order.principals.iter().try_for_each(|principal| principal.encode(&mut principals))?;
    let mut bytes = Vec::new();
    order.key.algorithm().to_certificate_type().encode(&mut bytes)?;
    nonce[..].encode(&mut bytes)?;
    bytes.extend_from_slice(&fields);
    serial.encode(&mut bytes)?;
    let kind = match order.kind {
        Kind::User => CertType::User,
        Kind::Host => CertType::Host,
    };
    kind.encode(&mut bytes)?;
    order.key_id.encode(&mut bytes)?;
    principals.encode(&mut bytes)?;
    window.after.encode(&mut bytes)?;
    window.before.encode(&mut bytes)?;
    // The map keeps names in order, as the form wants them.
    OptionsMap(order.critical.clone()).encode(&mut bytes)?;
    OptionsMap(order.extensions.clone()).encode(&mut bytes)?;
    // Reserved.
    "".encode(&mut bytes)?;
    authority.encode(&mut bytes)?;
    Ok(Ok(bytes))
}

/// The key without its kind in front, which in a certificate is another.
fn fields(key: &PublicKey) -> ssh_key::Result<Vec<u8>> {
    let bytes = key.to_bytes()?;
    let kind = key.algorithm().as_str().len() + size_of::<u32>();
    Ok(bytes[kind..].to_vec())
}
