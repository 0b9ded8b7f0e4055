//! Signing in on the pages, from the first factor to the last.

use bytes::Bytes;
use mcias::passkey::{Assertion, Relying};
use mcias::{FirstFactor, Web};
use serde_json::json;

use super::authenticator::{Device, Key, ORIGIN};
use super::browser::{Browser, location, proof, text};
use super::*;

/// What the script of the page puts into the form.
fn filled(answer: &Assertion) -> String {
    json!({
        "id": answer.id,
        "client_data": answer.client_data,
        "authenticator_data": answer.authenticator_data,
        "signature": answer.signature,
        "user_handle": answer.user_handle,
    })
    .to_string()
}

/// Alice has a passkey, one-time codes and recovery codes, and a rule lets her in by a passkey.
async fn place(device: &mut Device) -> (Place, Web, String, Vec<String>) {
    let place = Place::new();
    let alice = place.person("alice").await;
    let rule = Rule {
        services: vec!["mcias".into()],
        first_factors: [FirstFactor::Passkey].into(),
        ..rule("passkeys", true)
    };
    let rules = RuleSet { name: name("passkeys"), rules: vec![rule] };
    place.service.put_rules(None, Some(&rules)).await.unwrap();
    let relying = Relying::of(ORIGIN).unwrap();
    let made = device.register(&place.service.begin_passkey(&alice.name, &relying).await.unwrap());
    place.service.finish_passkey(&alice.name, &relying, "a key", &made).await.unwrap();
    let (key, recovery) = sign_in::enrolled(&place, &alice).await;
    let web = Web::new(Arc::new(place.with(|settings| settings.url = Some(ORIGIN.into())))).unwrap();
    (place, web, key, recovery)
}

fn shown(place: &Place, device: &Device) -> String {
    let relying = Relying::of(ORIGIN).unwrap();
    filled(&device.answer(&place.service.ask_for_passkey(&relying, true).unwrap()))
}

/// Shows a passkey on the page, and gets the next one.
async fn show(browser: &mut Browser, web: &Web, answer: &str) -> http::Response<Bytes> {
    let proof = proof(&browser.get(web, "/login?next=%2Fpasskeys").await);
    let fields = [
        ("csrf", proof.as_str()),
        ("next", "/passkeys"),
        ("name", ""),
        ("password", ""),
        ("passkey", answer),
    ];
    browser.post(web, "/login", &fields).await
}

async fn tokens(place: &Place) -> usize {
    place.service.tokens(&name("alice")).await.unwrap().len()
}

#[tokio::test]
async fn after_a_passkey_the_page_asks_for_the_code_and_lets_in_with_both() {
    let mut device = Device::new(Key::es256(), b"one");
    let (place, web, key, recovery) = place(&mut device).await;
    let mut browser = Browser::at(1);
    let answer = shown(&place, &device);
    let page = show(&mut browser, &web, &answer).await;
    let asked = text(&page);
    assert!(
        page.status() == 200 && asked.contains("One-time code") && asked.contains("Recovery code"),
        "{asked}"
    );
    assert!(!asked.contains("data-passkey") && !browser.is_signed_in(), "one thing is not two: {asked}");
    // A wrong code costs neither the passkey nor the code.
    let second = |proof: String, code: &str| {
        [("csrf".to_owned(), proof), ("step".into(), "second".into()), ("code".into(), code.to_owned())]
    };
    let post = async |browser: &mut Browser, fields: [(String, String); 3]| {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        browser.post(&web, "/login", &fields).await
    };
    let wrong = post(&mut browser, second(proof(&page), "000000")).await;
    assert!(wrong.status() == 403 && text(&wrong).contains("try the next one"), "{}", text(&wrong));
    assert_eq!(tokens(&place).await, 0);
    let code = sign_in::code(&key, place.clock.now());
    let right = second(proof(&wrong), &code);
    let entered = post(&mut browser, right.clone()).await;
    assert_eq!((entered.status().as_u16(), location(&entered).as_str()), (303, "/passkeys"));
    assert!(browser.is_signed_in() && tokens(&place).await == 1);
    // What was waited for is over: with the same form, in this browser and in another, nobody gets in again.
    let again = post(&mut browser, right).await;
    assert_eq!(again.status(), 403);
    let mut other = Browser::at(2);
    let page = show(&mut other, &web, &answer).await;
    assert!(page.status() == 403 && !other.is_signed_in(), "the passkey was used");
    // By a recovery code as well, which is used with another answer alone.
    let page = show(&mut other, &web, &shown(&place, &device)).await;
    let proof = proof(&page);
    let fields = [("csrf", proof.as_str()), ("step", "second"), ("recovery", &recovery[0])];
    assert_eq!(location(&other.post(&web, "/login", &fields).await), "/passkeys");
    assert_eq!(tokens(&place).await, 2);
}

#[tokio::test]
async fn a_passkey_that_waits_is_bounded_and_ends_with_its_challenge() {
    let mut device = Device::new(Key::es256(), b"one");
    let (place, web, key, _) = place(&mut device).await;
    let mut browser = Browser::at(1);
    let long = format!("{}{}", shown(&place, &device), " ".repeat(8 << 10));
    assert_eq!(show(&mut browser, &web, &long).await.status(), 400);
    let page = show(&mut browser, &web, &shown(&place, &device)).await;
    place.pass(Duration::from_secs(5 * 60));
    let (proof, code) = (proof(&page), sign_in::code(&key, place.clock.now()));
    let fields = [("csrf", proof.as_str()), ("step", "second"), ("code", &code)];
    let late = browser.post(&web, "/login", &fields).await;
    assert!(late.status() == 403 && text(&late).contains("Sign in again"), "{}", text(&late));
    assert_eq!(tokens(&place).await, 0);
}
