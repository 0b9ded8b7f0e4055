//! Owns the form of tokens: JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037), and nothing else. What a header
//! could ask for is not looked at: there is one algorithm, and keys come from our own record alone.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use crate::account::{Kind, Role};
use crate::name::Name;

/// Ours have some 600 bytes.
pub const LONGEST: usize = 4096;
const ALGORITHM: &str = "EdDSA";
/// RFC 9068, section 2.1: what says who signed in is of another type, and is not taken for this.
const TYPE: &str = "at+jwt";

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It is no token of ours by its form.
    Malformed,
    /// It names another algorithm.
    Algorithm,
    /// It names a key that is not ours, or not any more.
    UnknownKey,
    /// Its signature is wrong.
    Signature,
    /// Another issuer made it.
    Issuer,
    /// It is for another service.
    Audience,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// There is no record of it.
    Unknown,
    /// It was revoked.
    Revoked,
    /// Its account is disabled or gone.
    AccountInactive,
}

impl Refusal {
    /// The reason in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Malformed => "it is malformed",
            Self::Algorithm => "it is signed with another algorithm than EdDSA",
            Self::UnknownKey => "it names a key that does not sign here",
            Self::Signature => "its signature is wrong",
            Self::Issuer => "another issuer made it",
            Self::Audience => "it is for another service",
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::Unknown => "there is no record of it",
            Self::Revoked => "it was revoked",
            Self::AccountInactive => "its account is disabled or gone",
        }
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// The id of the account.
    pub sub: String,
    /// The one service that it is for.
    pub aud: Name,
    /// When it was made, in unix seconds.
    pub iat: i64,
    /// From when on it is valid.
    pub nbf: i64,
    /// Until when it is valid.
    pub exp: i64,
    /// What tells it from every other token.
    pub jti: String,
    /// The name of the account.
    pub name: Name,
    /// Who the account is for.
    pub account_type: Kind,
    /// The roles that it had then; what counts are those that it has now.
    pub roles: BTreeSet<Role>,
    /// The client of single sign-on that it was given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Name>,
    /// What that client may learn by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// Nothing beyond these is understood, so nothing beyond these is taken (RFC 7515, section 4.1.11, and more).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// A token taken apart, of which nothing is to be believed before [`Parsed::verify`].
pub struct Parsed<'a> {
    /// The key that it names.
    pub kid: String,
    claims: Claims,
    signed: &'a str,
    signature: Vec<u8>,
}

/// Takes a token apart.
///
/// # Errors
/// Why it cannot be one of ours.
pub fn parse(text: &str) -> Result<Parsed<'_>, Refusal> {
    if text.len() > LONGEST {
        return Err(Refusal::Malformed);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed);
    let header = decode(header)?;
    // The algorithm is told apart from all else that can be wrong: it is what attackers try first.
    let named: serde_json::Value = serde_json::from_slice(&header).map_err(|_| Refusal::Malformed)?;
    if named.get("alg").and_then(|alg| alg.as_str()).is_none_or(|alg| alg != ALGORITHM) {
        return Err(Refusal::Algorithm);
    }
    let header: Header = serde_json::from_slice(&header).map_err(|_| Refusal::Malformed)?;
    if header.alg != ALGORITHM || header.typ != TYPE {
        return Err(Refusal::Malformed);
    }
    let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| Refusal::Malformed)?;
    Ok(Parsed { kid: header.kid, claims, signed, signature: decode(signature)? })
}

impl Parsed<'_> {
    /// The service that it says it is for.
    #[must_use]
    pub fn service(&self) -> &Name {
        &self.claims.aud
    }

    /// What it says, where `public` signed it.
    ///
    /// # Errors
    /// [`Refusal::Signature`] where it did not.
    pub fn verify(self, public: &[u8]) -> Result<Claims, Refusal> {
        UnparsedPublicKey::new(&ED25519, public)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| Refusal::Signature)?;
        Ok(self.claims)
    }
}

/// Signs. The same claims and the same key make the same token.
#[must_use]
pub fn sign(pair: &Ed25519KeyPair, kid: &str, claims: &Claims) -> Zeroizing<String> {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": ALGORITHM, "kid": kid, "typ": TYPE }));
    let signed = format!("{header}.{}", part(json!(claims)));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
    Zeroizing::new(format!("{signed}.{signature}"))
}
