//! What anybody can send as the answer of a browser with a passkey: JSON, CBOR, keys, and what an authenticator says.

/// An answer, or a piece of one.
pub fn passkey(bytes: &[u8]) {
    mcias::passkey::read(bytes);
}
