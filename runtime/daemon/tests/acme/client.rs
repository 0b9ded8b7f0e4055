//! Owns a client that can do wrong: every part of a request can be another than it should be.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use certs::acme::server::Server;
use certs::{Key, KeyType, Names};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};

use crate::stage::{Stage, URL};

pub(crate) const JOSE: &str = "application/jose+json";
pub(crate) const PEER: &str = "192.0.2.1:40000";

/// What an account signs with.
pub(crate) enum Signing {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signing {
    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// The key of a certificate, which must be one of P-256.
    pub(crate) fn of(key: &Key) -> Self {
        let der = key.pair().serialize_der();
        Self::P256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        match self {
            Self::P256(key) => elliptic("P-256", key.public_key().as_ref()),
            Self::P384(key) => elliptic("P-384", key.public_key().as_ref()),
            Self::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) })
            }
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) | Self::P384(key) => {
                key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A flattened JWS with this header.
    pub(crate) fn jws(&self, header: &Value, payload: &str) -> Value {
        sealed(header, payload, |message| self.sign(message))
    }
}

fn elliptic(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn sealed(header: &Value, payload: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Value {
    let (protected, payload) = (encode(header.to_string().as_bytes()), encode(payload.as_bytes()));
    let signature = encode(&sign(format!("{protected}.{payload}").as_bytes()));
    json!({ "protected": protected, "payload": payload, "signature": signature })
}

/// A binding to an external account (RFC 8555, section 7.3.4).
pub(crate) fn binding(id: &str, shared: &str, jwk: &Value) -> Value {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(shared).unwrap());
    let header = json!({ "alg": "HS256", "kid": id, "url": format!("{URL}/new-account") });
    sealed(&header, &jwk.to_string(), |message| hmac::sign(&key, message).as_ref().to_vec())
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn links(&self) -> Vec<&str> {
        self.headers.get_all("link").iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// The same, which must have this status.
    #[track_caller]
    pub(crate) fn ends(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// It must be a refusal of this type.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json()["type"], format!("urn:ietf:params:acme:error:{kind}"), "{self:?}");
    }
}

pub(crate) struct Client {
    pub(crate) server: Server,
    pub(crate) key: Signing,
    pub(crate) kid: String,
    pub(crate) peer: SocketAddr,
}

impl Client {
    /// A client without an account.
    pub(crate) fn new(server: &Server) -> Self {
        let peer = PEER.parse().unwrap();
        Self { server: server.clone(), key: Signing::p256(), kid: String::new(), peer }
    }

    /// A client with an account.
    pub(crate) async fn registered(stage: &Stage) -> Self {
        let mut client = Self::new(&stage.server);
        client.register(json!({})).await.ends(201);
        client
    }

    pub(crate) async fn register(&mut self, wanted: Value) -> Reply {
        let url = format!("{URL}/new-account");
        let header = json!({
            "alg": self.key.algorithm(), "jwk": self.key.jwk(), "url": url, "nonce": self.nonce().await,
        });
        let reply = self.send(&url, &self.key.jws(&header, &wanted.to_string())).await;
        self.kid = reply.header("location").to_owned();
        reply
    }

    pub(crate) async fn call(&self, request: Request<Bytes>) -> Reply {
        let response = self.server.handle(request, self.peer).await;
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Reply { status: head.status.as_u16(), headers: head.headers, text }
    }

    pub(crate) async fn get(&self, url: &str) -> Reply {
        self.call(Request::get(url).body(Bytes::new()).unwrap()).await
    }

    pub(crate) async fn nonce(&self) -> String {
        let request = Request::builder().method(Method::HEAD).uri(format!("{URL}/new-nonce"));
        self.call(request.body(Bytes::new()).unwrap()).await.header("replay-nonce").to_owned()
    }

    /// Sends a body as it is.
    pub(crate) async fn send(&self, url: &str, body: &Value) -> Reply {
        let request = Request::post(url).header(CONTENT_TYPE, JOSE).body(body.to_string().into());
        self.call(request.unwrap()).await
    }

    pub(crate) async fn header(&self, url: &str) -> Value {
        json!({ "alg": self.key.algorithm(), "kid": self.kid, "url": url, "nonce": self.nonce().await })
    }

    /// A request as it should be.
    pub(crate) async fn post(&self, url: &str, wanted: &Value) -> Reply {
        self.send(url, &self.key.jws(&self.header(url).await, &wanted.to_string())).await
    }

    pub(crate) async fn read(&self, url: &str) -> Reply {
        self.send(url, &self.key.jws(&self.header(url).await, "")).await
    }

    pub(crate) async fn order(&self, names: &[&str]) -> Reply {
        self.post(&format!("{URL}/new-order"), &json!({ "identifiers": identifiers(names) })).await
    }

    /// Proves all the names of an order; then, the order.
    pub(crate) async fn prove(&self, order: &str) -> Value {
        let shown = self.read(order).await.json();
        for authorization in shown["authorizations"].as_array().unwrap() {
            let found = self.read(authorization.as_str().unwrap()).await.json();
            let challenge = found["challenges"][0]["url"].as_str().unwrap().to_owned();
            self.post(&challenge, &json!({})).await.ends(200);
        }
        self.until(order, |shown| shown["status"] != "pending").await
    }

    /// Reads something until it is as wanted.
    pub(crate) async fn until(&self, url: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..500 {
            let shown = self.read(url).await.json();
            if is_right(&shown) {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{url} does not become what it should");
    }

    /// An order for `names` that only waits for its signing request; its address.
    pub(crate) async fn ready(&self, names: &[&str]) -> String {
        let order = self.order(names).await.ends(201).header("location").to_owned();
        assert_eq!(self.prove(&order).await["status"], "ready");
        order
    }

    pub(crate) async fn finalize(&self, order: &str, request: &[u8]) -> Reply {
        self.post(&format!("{order}/finalize"), &json!({ "csr": encode(request) })).await
    }

    /// A certificate for `names`: the chain in PEM, its key and the order's address.
    pub(crate) async fn issue(&self, names: &[&str]) -> (String, Key, String) {
        let order = self.ready(names).await;
        let key = Key::generate(KeyType::P256).unwrap();
        let request = key.request(&Names::parse(names).unwrap()).unwrap();
        let shown = self.finalize(&order, &request).await.ends(200).json();
        assert_eq!(shown["status"], "valid");
        let chain = self.read(shown["certificate"].as_str().unwrap()).await.ends(200);
        assert_eq!(chain.header("content-type"), "application/pem-certificate-chain");
        (chain.text, key, order)
    }
}

pub(crate) fn identifiers(names: &[&str]) -> Value {
    let one = |name: &&str| {
        let kind = if name.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
        json!({ "type": kind, "value": name })
    };
    names.iter().map(one).collect()
}

/// The address that a reply leads to.
pub(crate) fn location(reply: &Reply) -> String {
    reply.headers.get(LOCATION).unwrap().to_str().unwrap().to_owned()
}
