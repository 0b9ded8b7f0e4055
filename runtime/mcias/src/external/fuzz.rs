//! Owns what fuzzing calls of external sign-in: what another issuer answers, without asking one. It lies in every build, so that
//! the targets and the tests that replay their seeds run the same code.

use effect::Timestamp;
use serde_json::Value;

use super::{Facts, keys, oidc};

/// Reads a set of keys and an ID token, and what the token says as if one of the keys had signed it.
///
/// # Panics
/// When a token is believed that names nobody, or an address that is none.
pub fn id_token(set: &[u8], token: &str) {
    let set: Value = serde_json::from_slice(set).unwrap_or_default();
    let keys = set.get("keys").and_then(Value::as_array);
    let keys: Vec<_> = keys.into_iter().flatten().filter_map(keys::Key::read).collect();
    // Somebody may have signed it: that is what a seed is.
    let _ = keys::verified(token, &keys);
    let Some(claims) = keys::claims(token) else { return };
    let asked = oidc::Asked {
        issuer: "https://idp.example",
        client: "us",
        nonce: "n",
        now: Timestamp(1_000_000_000),
    };
    let Ok((subject, email)) = asked.read(&claims) else { return };
    assert!((1..=super::LONGEST_SUBJECT).contains(&subject.len()) && !subject.contains(char::is_control));
    let provider = "idp".parse().expect("it is a name");
    let facts = Facts { provider, subject, verified_email: email.and_then(|email| email.parse().ok()) };
    assert!(facts.verified_email.is_none_or(|email| !email.as_str().contains(char::is_control)));
}
