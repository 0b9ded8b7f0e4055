//! A foreign provider of OpenID whose keys rotate: what is believed of it by those who sign in with it, and by the driver that
//! validates its tokens; and forgeries that use its public keys.

use std::sync::Mutex as Lock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use effect::units::Span;
use mcias::Web;
use mcias::external::{Provider, Sort};
use mcias::remote::OpenId;
use mcias::token::Refusal;
use serde_json::{Value, json};

use super::browser::{Browser, location, parameter, text};
use super::external::{behind, provider};
use super::remote::listening;
use super::*;

struct Key {
    id: &'static str,
    pair: KeyPair,
}

impl Key {
    fn new(id: &'static str) -> Self {
        Self { id, pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// The modulus out of the DER of 2048 bits (RFC 8017, A.1.1).
    fn modulus(&self) -> Vec<u8> {
        self.pair.public_key().as_ref()[9..265].to_vec()
    }

    fn published(&self) -> Value {
        let n = URL_SAFE_NO_PAD.encode(self.modulus());
        json!({ "kty": "RSA", "kid": self.id, "use": "sig", "alg": "RS256", "n": n, "e": "AQAB" })
    }

    fn signed(&self, claims: &Value) -> String {
        self.signed_with(&json!({ "alg": "RS256", "kid": self.id, "typ": "JWT" }), claims, |message| {
            let mut signature = vec![0; self.pair.public_modulus_len()];
            self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        })
    }

    fn signed_with(&self, header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let packed = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", packed(header), packed(claims));
        let signature = sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What whoever has the public key alone can make of it.
    fn forgeries(&self, claims: &Value) -> Vec<String> {
        let mut forged = Vec::new();
        for alg in ["none", "None", ""] {
            forged.push(self.signed_with(&json!({ "alg": alg, "kid": self.id }), claims, |_| Vec::new()));
        }
        let secrets = [
            self.modulus(),
            self.pair.public_key().as_ref().to_vec(),
            URL_SAFE_NO_PAD.encode(self.modulus()).into_bytes(),
            self.published().to_string().into_bytes(),
        ];
        for (secret, alg) in secrets.iter().flat_map(|secret| [(secret, "HS256"), (secret, "RS256")]) {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let header = json!({ "alg": alg, "kid": self.id });
            forged.push(self.signed_with(&header, claims, |text| hmac::sign(&key, text).as_ref().to_vec()));
        }
        // A key of one's own, in the header and under the name of the right one.
        let own = Key { id: self.id, ..Key::new("own") };
        forged.push(own.signed(claims));
        let header = json!({ "alg": "RS256", "jwk": own.published(), "kid": "own" });
        let right = own.signed(claims);
        let signature = right.rsplit('.').next().unwrap().to_owned();
        let octets = URL_SAFE_NO_PAD.decode(signature).unwrap();
        forged.push(self.signed_with(&header, claims, |_| octets.clone()));
        forged
    }
}

/// The provider, as it is reached on this machine.
struct Foreign {
    issuer: String,
    /// What it publishes, and the ID token that it gives for a code.
    says: Arc<Lock<(Vec<Value>, String)>>,
}

impl Foreign {
    async fn new() -> Self {
        let says = Arc::new(Lock::new((Vec::new(), String::new())));
        let said = says.clone();
        let address = listening(move |address| {
            let at = move |path: &str| format!("http://{address}{path}");
            Arc::new(move |request| {
                let (published, token) = said.lock().unwrap().clone();
                let body = match request.uri().path() {
                    "/.well-known/openid-configuration" => json!({
                        "issuer": at(""), "jwks_uri": at("/keys"),
                        "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
                    }),
                    "/keys" => json!({ "keys": published }),
                    _ => json!({ "id_token": token, "access_token": "t", "token_type": "Bearer" }),
                };
                Box::pin(async move { http::Response::new(Bytes::from(body.to_string())) })
            })
        })
        .await;
        Self { issuer: format!("http://{address}"), says }
    }

    fn publish(&self, keys: &[&Key]) {
        self.says.lock().unwrap().0 = keys.iter().map(|key| key.published()).collect();
    }

    fn settings(&self) -> Provider {
        Provider {
            kind: Sort::Oidc,
            issuer: Some(self.issuer.clone()),
            url: None,
            api: None,
            ..provider("", true)
        }
    }

    /// Where a browser ends that signs in with the ID token which `made` makes of its claims.
    async fn sign_in(&self, web: &Web, made: impl Fn(&Value) -> String) -> (bool, String) {
        let mut browser = Browser::at(1);
        let sent = location(&browser.get(web, "/external/idp").await);
        let (state, nonce) = (parameter(&sent, "state").unwrap(), parameter(&sent, "nonce").unwrap());
        let now = START / 1000;
        let claims = json!({
            "iss": self.issuer, "aud": "us", "sub": "7", "nonce": nonce, "iat": now, "exp": now + 300,
            "email": "alice@example.org", "email_verified": true,
        });
        self.says.lock().unwrap().1 = made(&claims);
        let back = browser.get(web, &format!("/external/idp/callback?code=good&state={state}")).await;
        (browser.is_signed_in(), text(&back))
    }
}

#[tokio::test]
async fn keys_of_a_provider_rotate_and_what_others_make_of_them_is_no_id_token() {
    let there = Foreign::new().await;
    let (_place, web, _) = behind([(name("idp"), there.settings())].into()).await;
    let (old, new) = (Key::new("old"), Key::new("new"));
    there.publish(&[&old]);
    assert!(there.sign_in(&web, |claims| old.signed(claims)).await.0, "RS256");
    assert!(!there.sign_in(&web, |claims| new.signed(claims)).await.0, "a key that is not published");
    there.publish(&[&old, &new]);
    assert!(
        there.sign_in(&web, |claims| new.signed(claims)).await.0
            && there.sign_in(&web, |claims| old.signed(claims)).await.0
    );
    there.publish(&[&new]);
    assert!(!there.sign_in(&web, |claims| old.signed(claims)).await.0, "a key that was taken back");
    assert!(there.sign_in(&web, |claims| new.signed(claims)).await.0);
    for number in 0..new.forgeries(&Value::Null).len() {
        let (is_in, page) = there.sign_in(&web, |claims| new.forgeries(claims).swap_remove(number)).await;
        assert!(!is_in && page.contains("not meant for this service"), "{number}: {page}");
    }
}

#[tokio::test]
async fn the_driver_follows_keys_that_rotate_and_takes_no_forgeries() {
    let (there, place) = (Foreign::new().await, Place::new());
    let settings = mcias::remote::Provider {
        issuer: there.issuer.clone(),
        audience_prefix: String::new(),
        account_claim: "preferred_username".into(),
        roles_claim: None,
        groups_claim: None,
        ca: None,
        timeout: Span(Duration::from_secs(10)),
    };
    let driver = OpenId::new(settings, place.clock.clone());
    let (old, new, mcq) = (Key::new("old"), Key::new("new"), name("mcq"));
    let claims = |id: &str| {
        let now = START / 1000;
        json!({ "iss": there.issuer, "aud": "mcq", "sub": "7", "preferred_username": "alice", "jti": id,
                "iat": now, "exp": now + 3600 })
    };
    there.publish(&[&old]);
    let holder = driver.validate(&old.signed(&claims("a")), &mcq).await.unwrap().unwrap();
    assert_eq!(holder.account, name("alice"));
    there.publish(&[&new]);
    let by_new = new.signed(&claims("b"));
    assert_eq!(driver.validate(&by_new, &mcq).await.unwrap(), Err(Refusal::UnknownKey), "asked just now");
    place.pass(Duration::from_secs(61));
    assert!(driver.validate(&by_new, &mcq).await.unwrap().is_ok(), "a name that is not known is looked for");
    assert_eq!(driver.validate(&old.signed(&claims("a")), &mcq).await.unwrap(), Err(Refusal::UnknownKey));
    for (number, forged) in new.forgeries(&claims("c")).iter().enumerate() {
        let refusal = driver.validate(forged, &mcq).await.unwrap().unwrap_err();
        let is_right = matches!(refusal, Refusal::Algorithm | Refusal::Signature | Refusal::UnknownKey);
        assert!(is_right, "{number}: {refusal:?}");
    }
}
