//! The drivers that lead to another issuer, against our own service as that issuer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex as Lock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use effect::Secrets;
use effect::units::Span;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mcias::Web;
use mcias::remote::{Client, Issuer, OpenId, Provider};
use mcias::token::Refusal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::conformance::conforms;
use super::*;

/// One secret, which may go everywhere.
struct Held(Lock<String>);

#[async_trait]
impl Secrets for Held {
    async fn reveal(&self, _: &str) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(self.0.lock().unwrap().as_bytes().to_vec()))
    }

    async fn look(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn may_go(&self, _: &str, destination: &str) -> Result<bool> {
        Ok(destination == "mcias:issuer")
    }

    fn mask<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        text.into()
    }
}

pub(super) type Answering = Arc<
    dyn Fn(http::Request<Bytes>) -> futures_util::future::BoxFuture<'static, mcias::web::Answer>
        + Send
        + Sync,
>;

/// Has somebody answer on this machine.
pub(super) async fn listening(answering: impl FnOnce(SocketAddr) -> Answering) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = answering(address);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answering = answering.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let answering = answering.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let answer = answering(http::Request::from_parts(head, body)).await;
                    Ok::<_, Infallible>(answer.map(Full::new))
                }
            });
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// A service that others reach over HTTP, the driver that leads there, and the secret with its token.
async fn issuer() -> (Place, Client, Arc<Held>) {
    let place = Place::new();
    let account = place.account("mcrun", Kind::System, &[]).await;
    let rules = RuleSet {
        name: name("all"),
        rules: vec![Rule { priority: 200, services: Vec::new(), ..rule("everybody", true) }],
    };
    place.service.put_rules(None, Some(&rules)).await.unwrap();
    let address = listening(|address| {
        let service = place.with(|settings| {
            settings.url = Some("https://mcias.example".into());
            settings.hosts = vec![address.to_string()];
            settings.managers = [name("mcrun")].into();
        });
        let web = Arc::new(Web::new(Arc::new(service)).unwrap());
        Arc::new(move |request| {
            let web = web.clone();
            Box::pin(async move { web.answer(request, ([127, 0, 0, 1], 1).into()).await })
        })
    })
    .await;
    let service = place.with(|settings| settings.url = Some("https://mcias.example".into()));
    let own = name("mcias");
    let order = Order { account: &account, service: &own, lifetime: None, id: "own" };
    let token = service.issue(&order).await.unwrap().text.to_string();
    let held = Arc::new(Held(Lock::new(token)));
    let settings = Issuer {
        url: format!("http://{address}"),
        token: "mcias/token".into(),
        ca: None,
        timeout: Span(Duration::from_secs(10)),
    };
    settings.check().unwrap();
    let client = Client::new(settings, held.clone(), place.clock.clone());
    (place, client, held)
}

#[tokio::test]
async fn another_mcias_conforms() {
    let (_place, client, _) = issuer().await;
    conforms(&client).await;
}

#[tokio::test]
async fn an_answer_is_kept_for_thirty_seconds_and_no_longer() {
    let (place, client, _) = issuer().await;
    let account = place.account("mcq", Kind::System, &[]).await;
    let service = name("mcr");
    let order = Order { account: &account, service: &service, lifetime: None, id: "a-token" };
    let issued = client.issue(&order).await.unwrap();
    assert_eq!(*client.handed_on(&account.name, "a-token").await.unwrap(), *issued.text);
    assert!(client.validate(&issued.text, &service).await.unwrap().is_ok());
    assert_eq!(client.validate(&issued.text, &name("mcq")).await.unwrap(), Err(Refusal::Audience));
    place.service.revoke(&account.name, &["a-token".to_owned()]).await.unwrap();
    place.pass(Duration::from_secs(29));
    assert!(client.validate(&issued.text, &service).await.unwrap().is_ok(), "it is kept");
    place.pass(Duration::from_secs(2));
    assert_eq!(client.validate(&issued.text, &service).await.unwrap(), Err(Refusal::Revoked));
}

#[tokio::test]
async fn what_keeps_the_issuer_from_answering_is_no_refusal_of_the_token() {
    let (_place, client, held) = issuer().await;
    "not a token".clone_into(&mut held.0.lock().unwrap());
    let error = client.validate("some token", &name("mcq")).await.unwrap_err();
    assert_eq!(error.code, Code::IssuerRefused);
    assert!(error.hint.unwrap().contains("mcias/token"));
    let settings = |url: String| Issuer {
        url,
        token: "mcias/token".into(),
        ca: None,
        timeout: Span(Duration::from_secs(10)),
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let clock = Arc::new(Hands(AtomicI64::new(START)));
    let nobody = Client::new(settings(format!("http://{closed}")), held.clone(), clock.clone());
    assert_eq!(nobody.validate("x", &name("mcq")).await.unwrap_err().code, Code::IssuerUnavailable);
    let other = listening(|_| {
        Arc::new(|_| {
            Box::pin(async { http::Response::builder().status(404).body(Bytes::from("a page")).unwrap() })
        })
    })
    .await;
    let stranger = Client::new(settings(format!("http://{other}")), held.clone(), clock.clone());
    assert_eq!(stranger.validate("x", &name("mcq")).await.unwrap_err().code, Code::IssuerAnswer);
    // TLS that fails is named as such.
    let no_tls = Client::new(settings(format!("https://{other}")), held, clock);
    let error = no_tls.validate("x", &name("mcq")).await.unwrap_err();
    assert_eq!(error.code, Code::IssuerUnavailable);
    assert!(error.cause.as_ref().is_some_and(|cause| cause.contains("TLS")), "{error:?}");
    assert!(settings("http://mcias.example".into()).check().is_err(), "in the clear only here");
}

struct Published {
    place: Place,
    key: Ed25519KeyPair,
    issuer: String,
    driver: OpenId,
}

impl Published {
    async fn new() -> Self {
        let (place, key) = (Place::new(), Ed25519KeyPair::generate().unwrap());
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let address = listening(|address| {
            Arc::new(move |request| {
                let body = match request.uri().path() {
                    "/.well-known/openid-configuration" => json!({
                        "issuer": format!("http://{address}"), "jwks_uri": format!("http://{address}/keys"),
                    }),
                    _ => json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x }] }),
                };
                Box::pin(async move { http::Response::new(Bytes::from(body.to_string())) })
            })
        })
        .await;
        let issuer = format!("http://{address}");
        let driver = OpenId::new(Self::provider(&issuer), place.clock.clone());
        Self { place, key, issuer, driver }
    }

    fn provider(issuer: &str) -> Provider {
        Provider {
            issuer: issuer.to_owned(),
            audience_prefix: "svc:".into(),
            account_claim: "preferred_username".into(),
            roles_claim: Some("roles".into()),
            groups_claim: Some("groups".into()),
            ca: None,
            timeout: Span(Duration::from_secs(10)),
        }
    }

    fn signed(&self, header: &Value, change: impl FnOnce(&mut Value)) -> String {
        let now = START / 1000;
        let mut claims = json!({
            "iss": self.issuer, "sub": "42", "aud": ["svc:mcq"], "exp": now + 600, "iat": now, "jti": "t",
            "preferred_username": "alice", "roles": ["user", "owner"], "groups": ["ops"],
        });
        change(&mut claims);
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encoded(header), encoded(&claims));
        let signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

#[tokio::test]
async fn tokens_of_a_provider_of_openid_are_validated_by_its_own_keys_alone() {
    let there = Published::new().await;
    conforms(&there.driver).await;
    let header = json!({ "alg": "EdDSA", "kid": "one" });
    let service = name("mcq");
    let good = there.signed(&header, |_| {});
    let holder = there.driver.validate(&good, &service).await.unwrap().unwrap();
    assert_eq!((holder.account.as_str(), holder.account_id.as_str()), ("alice", "42"));
    assert_eq!((holder.roles, holder.groups), (vec![Role::User], vec![name("ops")]));
    let now = START / 1000;
    for (token, refusal) in [
        (there.signed(&header, |claims| claims["iss"] = "https://evil.test".into()), Refusal::Issuer),
        (there.signed(&header, |claims| claims["aud"] = "svc:mcr".into()), Refusal::Audience),
        (there.signed(&header, |claims| claims["exp"] = (now - 60).into()), Refusal::Expired),
        (there.signed(&header, |claims| claims["nbf"] = (now + 60).into()), Refusal::NotYetValid),
        (there.signed(&header, |claims| claims["exp"] = Value::Null), Refusal::Malformed),
        (
            there.signed(&header, |claims| claims["preferred_username"] = "a b".into()),
            Refusal::AccountInactive,
        ),
        // Somebody else of that provider, whose name only looks the same when it is folded.
        (
            there.signed(&header, |claims| claims["preferred_username"] = "Alice".into()),
            Refusal::AccountInactive,
        ),
        (there.signed(&json!({ "alg": "none", "kid": "one" }), |_| {}), Refusal::Algorithm),
        (there.signed(&json!({ "alg": "RS256", "kid": "one" }), |_| {}), Refusal::Algorithm),
        (there.signed(&json!({ "alg": "EdDSA", "kid": "two" }), |_| {}), Refusal::UnknownKey),
    ] {
        assert_eq!(there.driver.validate(&token, &service).await.unwrap(), Err(refusal), "{refusal:?}");
    }
    let folded = there.signed(&header, |claims| claims["groups"] = json!(["Ops", "ops2"]));
    let holder = there.driver.validate(&folded, &service).await.unwrap().unwrap();
    assert_eq!(holder.groups, vec![name("ops2")], "a group is another one where its letters are");
    // Another issuer's discovery has no say.
    let other = Published::provider(&there.issuer.replace("127.0.0.1", "localhost"));
    let other = OpenId::new(other, there.place.clock.clone());
    assert_eq!(other.validate(&good, &service).await.unwrap_err().code, Code::IssuerAnswer);
}
