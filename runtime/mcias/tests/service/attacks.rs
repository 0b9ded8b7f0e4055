use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcias::token::Refusal;
use serde_json::{Value, json};

use super::*;

async fn refusal(place: &Place, token: &str) -> Refusal {
    place.service.validate(token, &name("mcq")).await.unwrap().unwrap_err()
}

fn part(text: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

fn packed(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Header, claims and signature of a token.
fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

#[tokio::test]
async fn no_other_algorithm_is_taken() {
    let place = Place::new();
    place.person("alice").await;
    let token = place.token("alice").await;
    let [header, claims, signature] = parts(&token.text);
    let with = |key: &str, value: Value| {
        let mut header = part(&header);
        header[key] = value;
        packed(&header)
    };
    for none in ["none", "None", "NONE", "", "ES256", "RS256", "eddsa"] {
        let header = with("alg", json!(none));
        for signature in ["", &signature] {
            let forged = format!("{header}.{claims}.{signature}");
            assert_eq!(refusal(&place, &forged).await, Refusal::Algorithm, "{none}");
        }
    }
    // The public key as the secret of an HMAC: as bytes, as text and as the document.
    let set = place.service.key_set().await.unwrap();
    let x = set["keys"][0]["x"].as_str().unwrap().to_owned();
    let secrets =
        [URL_SAFE_NO_PAD.decode(&x).unwrap(), x.into_bytes(), set["keys"][0].to_string().into_bytes()];
    for secret in secrets {
        for header in [with("alg", json!("HS256")), header.clone()] {
            let signed = format!("{header}.{claims}");
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
            let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
            let refusal = refusal(&place, &forged).await;
            assert!(matches!(refusal, Refusal::Algorithm | Refusal::Signature), "{refusal:?}");
        }
    }
    // A header that brings its own key, or asks for something to be understood.
    for (key, value) in [
        ("jwk", set["keys"][0].clone()),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("crit", json!(["exp"])),
        ("typ", json!("JWT")),
    ] {
        let forged = format!("{}.{claims}.{signature}", with(key, value));
        assert_eq!(refusal(&place, &forged).await, Refusal::Malformed, "{key}");
    }
    let other = format!("{}.{claims}.{signature}", with("kid", json!("../../etc/passwd")));
    assert_eq!(refusal(&place, &other).await, Refusal::UnknownKey);
}

#[tokio::test]
async fn what_was_changed_is_refused() {
    let place = Place::new();
    place.person("alice").await;
    let token = place.token("alice").await;
    let [header, claims, signature] = parts(&token.text);
    for (claim, value) in [
        ("roles", json!(["admin"])),
        ("sub", json!("other")),
        ("exp", json!(i64::MAX)),
        ("aud", json!("mcr")),
    ] {
        let mut changed = part(&claims);
        changed[claim] = value;
        let forged = format!("{header}.{}.{signature}", packed(&changed));
        assert_eq!(refusal(&place, &forged).await, Refusal::Signature, "{claim}");
    }
    for broken in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        &format!("{header}.{claims}"),
        &format!("{header}.{claims}.{signature}."),
        &format!("{header}.{claims}.{signature}="),
        &format!(" {}", &*token.text),
        &"a".repeat(100_000),
    ] {
        assert!(place.service.validate(broken, &name("mcq")).await.unwrap().is_err(), "{broken:.20}");
    }
    // The same signature in another spelling would be another token with the same meaning.
    for at in 0..token.text.len() {
        let mut bytes = token.text.as_bytes().to_vec();
        bytes[at] ^= 1;
        if let Ok(text) = String::from_utf8(bytes) {
            assert!(place.service.validate(&text, &name("mcq")).await.unwrap().is_err(), "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_token_is_for_one_service_and_one_time() {
    let place = Place::new();
    place.person("alice").await;
    let token = place.token("alice").await;
    let at = |service: &'static str| place.service.validate(&token.text, Box::leak(Box::new(name(service))));
    assert!(at("mcq").await.unwrap().is_ok());
    assert_eq!(
        at("mcr").await.unwrap().unwrap_err(),
        Refusal::Audience,
        "also from the answers that are kept"
    );
    assert_eq!(place.elsewhere().validate(&token.text, &name("mcr")).await.unwrap(), Err(Refusal::Audience));
    place.pass(Duration::from_secs(15 * 60 + 9));
    assert!(at("mcq").await.unwrap().is_ok(), "clocks differ a little");
    place.pass(Duration::from_secs(2));
    assert_eq!(at("mcq").await.unwrap().unwrap_err(), Refusal::Expired);
    let early = place.token("alice").await;
    place.clock.0.fetch_sub(60_000, Ordering::Relaxed);
    assert_eq!(refusal(&place, &early.text).await, Refusal::NotYetValid);
}

#[tokio::test]
async fn another_issuers_token_is_none() {
    let (place, other) = (Place::new(), Place::new());
    other.person("alice").await;
    let token = other.token("alice").await;
    assert_eq!(refusal(&place, &token.text).await, Refusal::UnknownKey);
    // The same keys under another name.
    let renamed = Embedded::new(Parts {
        journal: other.journal.clone(),
        node: "here".into(),
        sealer: other.sealer.clone(),
        settings: Settings { issuer: Some("https://mcias.example".into()), ..Settings::default() },
        clock: other.clock.clone(),
        witness: other.notes.clone(),
        live: Arc::default(),
    });
    assert_eq!(renamed.validate(&token.text, &name("mcq")).await.unwrap(), Err(Refusal::Issuer));
}

#[tokio::test]
async fn a_revocation_counts_at_once_here_and_soon_elsewhere() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let (token, other) = (place.token("alice").await, place.token("alice").await);
    let elsewhere = place.elsewhere();
    for service in [&place.service, &elsewhere] {
        assert!(service.validate(&token.text, &name("mcq")).await.unwrap().is_ok());
    }
    place.service.revoke(&alice.name, std::slice::from_ref(&token.token.id)).await.unwrap();
    assert_eq!(refusal(&place, &token.text).await, Refusal::Revoked);
    assert!(place.service.validate(&other.text, &name("mcq")).await.unwrap().is_ok());
    place.pass(Duration::from_secs(30));
    assert_eq!(elsewhere.validate(&token.text, &name("mcq")).await.unwrap(), Err(Refusal::Revoked));
    let listed = place.service.tokens(&alice.name).await.unwrap();
    assert_eq!(listed.iter().filter(|token| token.revoked).count(), 1);
    // One's own id does not reach somebody else's token.
    place.person("bob").await;
    place.service.revoke(&name("bob"), std::slice::from_ref(&other.token.id)).await.unwrap();
    assert!(place.service.validate(&other.text, &name("mcq")).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_role_counts_from_when_it_changes() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let token = place.token("alice").await;
    let roles = async || place.service.validate(&token.text, &name("mcq")).await.unwrap().unwrap().roles;
    assert_eq!(roles().await, [Role::User]);
    place.change(&alice, |alice| alice.roles = [Role::Guest].into()).await;
    assert_eq!(roles().await, [Role::Guest]);
    place.change(&alice, |alice| alice.status = Status::Disabled).await;
    assert_eq!(refusal(&place, &token.text).await, Refusal::AccountInactive);
}

#[tokio::test]
async fn a_token_without_a_record_is_none() {
    let place = Place::new();
    place.person("alice").await;
    let token = place.token("alice").await;
    let record = place.journal.records("mcias-token", None).await.unwrap().remove(0);
    let gone = journal::Write {
        kind: record.kind,
        node: record.node,
        name: record.name,
        value: None,
        expect: journal::Expect::Any,
    };
    place.journal.write(vec![gone]).await.unwrap();
    assert_eq!(refusal(&place, &token.text).await, Refusal::Unknown);
}

#[tokio::test]
async fn what_is_oversized_or_meant_for_a_statement_is_refused_like_anything_else() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let accounts = place.service.accounts().await.unwrap();
    let large = "a".repeat(1 << 20);
    let smuggled =
        ["alice' --", "alice\r\nSet-Cookie: a=b", "alice\0", "%61lice", "../alice", "alice/../root", "*"];
    let texts = || smuggled.into_iter().chain([large.as_str(), ""]);
    let (totp, recovery) = (Second::Totp(&large), Second::Recovery(&large));
    let named = texts().map(|text| (text, PASSWORD, "mcq", None));
    let to = texts().map(|text| ("alice", PASSWORD, text, None));
    let by = texts().map(|text| ("alice", text, "mcq", None));
    let with = [totp, recovery].map(|second| ("nobody", PASSWORD, "mcq", Some(second)));
    for (at, (name, password, service, second)) in named.chain(to).chain(by).chain(with).enumerate() {
        let before = place.live.hashed();
        let address = Some([198, 51, 100, u8::try_from(at).unwrap()].into());
        let wish = SignIn { name, first: First::Password(password), second, service, address };
        let outcome = place.service.sign_in(&wish).await.unwrap();
        assert_eq!(format!("{outcome:?}"), "Refused", "{name:.20} {password:.20} {service:.20}");
        assert_eq!(place.live.hashed() - before, 1, "another time than the others");
        // The rate of a name is another test.
        place.pass(Duration::from_secs(60));
    }
    for event in place.notes.taken() {
        let Event::Refused { name, service, .. } = event else { continue };
        for told in [name, service] {
            assert!(told.len() < 1000 && !told.contains(char::is_control), "{told:.100}");
        }
    }
    assert_eq!(place.service.accounts().await.unwrap(), accounts);
    assert_eq!(place.service.account(&alice.name).await.unwrap(), Some(alice));
    // Nor is a token found by what its name begins with, or revoked under another's.
    let token = place.token("alice").await;
    for id in ["", "%", "_", "*", "../", &token.token.id[..10], &format!("{}/", token.token.id)] {
        place.service.revoke(&name("alice"), &[id.to_owned()]).await.unwrap();
    }
    assert!(place.service.validate(&token.text, &name("mcq")).await.unwrap().is_ok());
}

#[tokio::test]
async fn whoever_is_taken_out_of_the_policy_signs_in_no_more_and_a_disabled_account_is_out_at_once() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let token = place.token("alice").await;
    place.change(&alice, |alice| alice.roles = BTreeSet::new()).await;
    assert!(matches!(place.sign_in("alice", PASSWORD, None).await, Outcome::Refused));
    let holder = place.service.validate(&token.text, &name("mcq")).await.unwrap().unwrap();
    assert!(holder.roles.is_empty(), "a session goes on with what the account has now");
    place.change(&alice, |alice| alice.status = Status::Disabled).await;
    assert_eq!(refusal(&place, &token.text).await, Refusal::AccountInactive);
    let back = place.change(&alice, |alice| alice.status = Status::Active).await;
    assert!(back.is_active());
    place.service.revoke(&alice.name, std::slice::from_ref(&token.token.id)).await.unwrap();
    assert_eq!(refusal(&place, &token.text).await, Refusal::Revoked);
}
