//! What anybody can send as a token, and as the names beside it.

use mcias::token;

/// A public key that nobody has the other half of: the basepoint of the curve.
const NOBODY: [u8; 32] = {
    let mut key = [0x66; 32];
    key[0] = 0x58;
    key
};

/// A token.
pub fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(parsed) = token::parse(text) {
        assert!(text.len() <= token::LONGEST, "a longer one was taken apart");
        assert!(parsed.verify(&NOBODY).is_err(), "a key that nobody has signed it");
    }
    if let Ok(name) = text.parse::<mcias::Name>() {
        assert!(name.as_str().is_ascii() && name.as_str().len() <= 64);
        assert_eq!(name.as_str().parse::<mcias::Name>().unwrap(), name, "a name is not itself");
    }
    if let Ok(email) = text.parse::<mcias::Email>() {
        assert!(!email.as_str().contains(char::is_control));
    }
}
