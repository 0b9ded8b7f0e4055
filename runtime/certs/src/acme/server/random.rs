//! Owns what nobody must guess: ids, nonces, tokens.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::problem::{Kind, Outcome, Problem};

/// RFC 8555, section 8.3 asks for 128 bits at least.
const BYTES: usize = 16;
/// How many characters of base64url that makes.
const CHARACTERS: usize = 22;

/// A new word in base64url.
pub(super) fn word() -> Outcome<String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Problem::new(Kind::ServerInternal, "this machine has no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether `text` could be one of ours: what could not is never looked up.
pub(super) fn is_word(text: &str) -> bool {
    text.len() == CHARACTERS && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
