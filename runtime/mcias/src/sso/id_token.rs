//! Owns ID tokens: what a client reads who has signed in. They are never taken for access tokens: their type and their
//! audience are others.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::request::{Scope, Scopes};
use crate::account::Account;
use crate::credentials::FirstFactor;
use crate::name::Name;
use crate::random;
use crate::token::LONGEST;

const TYPE: &str = "JWT";

/// What an ID token is about.
pub(crate) struct About<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client: &'a Name,
    pub(crate) account: &'a Account,
    pub(crate) scopes: &'a Scopes,
    pub(crate) nonce: Option<&'a str>,
    pub(crate) access_token: &'a str,
    /// The session that it was given in.
    pub(crate) session: &'a str,
    /// All in unix seconds.
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) signed_in_at: i64,
    pub(crate) first: Option<FirstFactor>,
    pub(crate) has_second_factor: bool,
}

/// What a client learns of an account, by what it asked for.
pub(crate) fn claims_of(account: &Account, scopes: &Scopes) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("sub".into(), json!(account.id));
    if scopes.has(Scope::Profile) {
        claims.insert("name".into(), json!(account.name));
        claims.insert("preferred_username".into(), json!(account.name));
    }
    if let Some(email) = account.email.as_ref().filter(|_| scopes.has(Scope::Email)) {
        claims.insert("email".into(), json!(email));
        // Operators write it down; nobody was asked to show that mail arrives.
        claims.insert("email_verified".into(), json!(false));
    }
    if scopes.has(Scope::Groups) {
        claims.insert("groups".into(), json!(account.groups));
        claims.insert("roles".into(), json!(account.roles));
    }
    claims
}

impl About<'_> {
    fn claims(&self) -> Value {
        let mut claims = claims_of(self.account, self.scopes);
        claims.insert("iss".into(), json!(self.issuer));
        claims.insert("aud".into(), json!(self.client));
        claims.insert("iat".into(), json!(self.issued_at));
        claims.insert("exp".into(), json!(self.expires_at));
        claims.insert("auth_time".into(), json!(self.signed_in_at));
        claims.insert("sid".into(), json!(self.session));
        claims.insert("at_hash".into(), json!(half_hash(self.access_token)));
        // RFC 8176, as far as it has words for it.
        let password = (self.first == Some(FirstFactor::Password)).then_some("pwd");
        let methods: Vec<&str> =
            password.into_iter().chain(self.has_second_factor.then_some("mfa")).collect();
        if !methods.is_empty() {
            claims.insert("amr".into(), json!(methods));
        }
        if let Some(nonce) = self.nonce {
            claims.insert("nonce".into(), json!(nonce));
        }
        Value::Object(claims)
    }
}

/// OpenID Connect Core, section 3.1.3.6: half of the hash that the signature is made with, which for Ed25519 is SHA-512.
fn half_hash(token: &str) -> String {
    random::encoded(&digest::digest(&digest::SHA512, token.as_bytes()).as_ref()[..32])
}

/// Signs it.
pub(crate) fn sign(pair: &Ed25519KeyPair, kid: &str, about: &About<'_>) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "EdDSA", "kid": kid, "typ": TYPE }));
    let signed = format!("{header}.{}", part(about.claims()));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// What an ID token says that comes back as a hint of who wants to be signed out: whose it was, and in which session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) client: Name,
    pub(crate) account_id: String,
    pub(crate) session: String,
}

/// Reads a hint that `key` finds the public key of. How old it is does not matter.
pub(crate) async fn hint(
    text: &str,
    issuer: &str,
    key: impl AsyncFnOnce(&str) -> effect::Result<Option<Vec<u8>>>,
) -> effect::Result<Option<Hint>> {
    let Some((signed, kid, signature)) = parts(text) else { return Ok(None) };
    let Some(public) = key(&kid).await? else { return Ok(None) };
    if UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &signature).is_err() {
        return Ok(None);
    }
    Ok(read(signed, issuer))
}

fn parts(text: &str) -> Option<(&str, String, Vec<u8>)> {
    let (signed, signature) = text.rsplit_once('.').filter(|_| text.len() <= LONGEST)?;
    let header = decoded(signed.split_once('.')?.0)?;
    let says = |key: &str, value: &str| header.get(key).and_then(Value::as_str) == Some(value);
    let is_ours = header.len() == 3 && says("alg", "EdDSA") && says("typ", TYPE);
    let kid = header.get("kid").and_then(Value::as_str).filter(|_| is_ours)?;
    Some((signed, kid.to_owned(), URL_SAFE_NO_PAD.decode(signature).ok()?))
}

fn read(signed: &str, issuer: &str) -> Option<Hint> {
    let claims = decoded(signed.split_once('.')?.1)?;
    let text = |key: &str| claims.get(key).and_then(Value::as_str).map(str::to_owned);
    text("iss").filter(|says| says == issuer)?;
    Some(Hint { client: text("aud")?.parse().ok()?, account_id: text("sub")?, session: text("sid")? })
}

fn decoded(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
