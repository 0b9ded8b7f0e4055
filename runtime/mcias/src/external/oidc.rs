//! Owns what an OpenID provider is asked: where things are, its keys, and an ID token, which is believed only where it is from
//! this issuer, for this client, of now, and an answer to this very question.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use effect::{Error, Result, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::keys::{self, Key};
use super::{Connected, Exchange, Facts, Failed, Wrong, nonsense, subject};

/// For how long a provider's document is believed.
const BELIEVED: Duration = Duration::from_secs(3600);
/// How much clocks may differ, in seconds.
const LEEWAY: i64 = 60;

/// What a provider says of itself.
#[derive(Deserialize)]
pub(super) struct About {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// The same, as it was read last.
#[derive(Default)]
pub(super) struct Known(Mutex<Option<(Timestamp, Arc<About>)>>);

impl Known {
    pub(super) async fn get(&self, known: &Connected, now: Timestamp) -> Result<Arc<About>> {
        if let Some(about) = self.believed(now) {
            return Ok(about);
        }
        let issuer = known.settings.issuer.as_deref().unwrap_or_default();
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let about: About = known.read(&url, None).await?;
        // OpenID Connect Discovery, section 4.3: another's document would have codes sent elsewhere.
        if about.issuer != issuer {
            return Err(nonsense("its document is of another issuer"));
        }
        super::parsed(&about.authorization_endpoint)?;
        let about = Arc::new(about);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, about.clone()));
        Ok(about)
    }

    fn believed(&self, now: Timestamp) -> Option<Arc<About>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, about) = seen.as_ref()?;
        (*at <= now && now < at.after(BELIEVED)).then(|| about.clone())
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

pub(super) async fn facts(
    known: &Connected,
    exchange: &Exchange<'_>,
    nonce: &str,
    issuer: Option<&str>,
    now: Timestamp,
) -> Result<Facts, Failed> {
    let failed = |wrong| move |error: Error| (wrong, error);
    let about = known.about(now).await.map_err(failed(Wrong::Exchange))?;
    // RFC 9207: whoever answers must be the one who was asked.
    let must_say = about.authorization_response_iss_parameter_supported;
    if issuer.map_or(must_say, |issuer| issuer != about.issuer) {
        return Err((Wrong::State, nonsense("another issuer answered")));
    }
    let tokens: Tokens =
        known.redeem(&about.token_endpoint, exchange).await.map_err(failed(Wrong::Exchange))?;
    let set: KeySet = known.read(&about.jwks_uri, None).await.map_err(failed(Wrong::IdToken))?;
    let keys: Vec<Key> = set.keys.iter().filter_map(Key::read).collect();
    let claims = keys::verified(&tokens.id_token, &keys).ok_or("its signature is wrong");
    let told = claims.and_then(|claims| {
        let asked = Asked { issuer: &about.issuer, client: &known.settings.client_id, nonce, now };
        asked.read(&claims)
    });
    let (subject, email) = told.map_err(|why| (Wrong::IdToken, nonsense(why)))?;
    Ok(Facts {
        provider: known.name.clone(),
        subject,
        verified_email: email.and_then(|email| email.parse().ok()),
    })
}

/// What an ID token has to be an answer to.
pub(super) struct Asked<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
}

impl Asked<'_> {
    /// The subject, and the address where it is verified (OpenID Connect Core, section 3.1.3.7).
    pub(super) fn read(&self, claims: &Value) -> Result<(String, Option<String>), &'static str> {
        let text = |key: &str| claims.get(key).and_then(Value::as_str);
        let number = |key: &str| claims.get(key).and_then(Value::as_f64);
        if text("iss") != Some(self.issuer) {
            return Err("another issuer made it");
        }
        let is_ours = match claims.get("aud") {
            Some(Value::String(aud)) => aud == self.client,
            Some(Value::Array(all)) => {
                let is_among = all.iter().any(|aud| aud.as_str() == Some(self.client));
                is_among && (all.len() == 1 || text("azp") == Some(self.client))
            }
            _ => false,
        };
        if !is_ours || text("azp").is_some_and(|azp| azp != self.client) {
            return Err("it is for another client");
        }
        if text("nonce") != Some(self.nonce) {
            return Err("it answers another question");
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of our time are far below 2^52")]
        let (now, leeway) = ((self.now.0 / 1000) as f64, LEEWAY as f64);
        if number("exp").is_none_or(|exp| now >= exp + leeway) {
            return Err("it has expired");
        }
        if number("iat").is_none_or(|iat| iat > now + leeway) {
            return Err("it is not of this time");
        }
        let subject = text("sub").and_then(subject).ok_or("it names nobody")?;
        let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
        Ok((subject, text("email").filter(|_| is_verified).map(str::to_owned)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_that_is_not_an_answer_to_us_is_not_believed() {
        let asked =
            Asked { issuer: "https://idp.example", client: "us", nonce: "n", now: Timestamp(1_000_000_000) };
        let good = json!({
            "iss": "https://idp.example", "aud": "us", "sub": "s", "nonce": "n",
            "iat": 1_000_000, "exp": 1_000_300, "email": "a@b.example", "email_verified": true,
        });
        assert_eq!(asked.read(&good), Ok(("s".into(), Some("a@b.example".into()))));
        let with = |key: &str, value: Value| {
            let mut claims = good.clone();
            claims[key] = value;
            asked.read(&claims)
        };
        for (key, value) in [
            ("iss", json!("https://evil.example")),
            ("iss", json!("https://idp.example/")),
            ("aud", json!("them")),
            ("aud", json!(["us", "them"])),
            ("aud", Value::Null),
            ("azp", json!("them")),
            ("nonce", json!("m")),
            ("nonce", Value::Null),
            ("exp", json!(999_900)),
            ("exp", Value::Null),
            ("iat", json!(1_000_100)),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("sub", json!("s".repeat(256))),
        ] {
            assert!(with(key, value.clone()).is_err(), "{key} {value}");
        }
        for value in [json!(false), json!("true"), json!(1), Value::Null] {
            assert_eq!(
                with("email_verified", value),
                Ok(("s".into(), None)),
                "an address that is not verified"
            );
        }
    }
}
