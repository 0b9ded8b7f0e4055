use mcias::passkey::{Assertion, Refusal, Relying};
use mcias::{Factor, FirstFactor, Reason, Shown};
use serde_json::{Value, json};

use super::authenticator::{Device, Key, ORIGIN, PRESENT, VERIFIED};
use super::rest::Door;
use super::*;

fn relying() -> Relying {
    Relying::of(ORIGIN).unwrap()
}

async fn enrol(place: &Place, who: &str, device: &mut Device) -> Vec<String> {
    let (who, relying) = (name(who), relying());
    let options = place.service.begin_passkey(&who, &relying).await.unwrap();
    let made = device.register(&options);
    let enrolled = place.service.finish_passkey(&who, &relying, "a key", &made).await.unwrap();
    enrolled.recovery.iter().map(|code| code.to_string()).collect()
}

fn asked(place: &Place) -> Value {
    place.service.ask_for_passkey(&relying(), true).unwrap()
}

/// A place where `alice` has the passkey and rules let her in with it alone.
async fn with(device: &mut Device) -> Place {
    let place = Place::new();
    place.person("alice").await;
    let first_factors = [FirstFactor::Passkey].into();
    let rules = vec![Rule { first_factors, ..rule("passkeys", true) }];
    place.service.put_rules(None, Some(&RuleSet { name: name("passkeys"), rules })).await.unwrap();
    enrol(&place, "alice", device).await;
    place
}

async fn first(service: &Embedded, who: &str, answer: &Assertion, second: Option<Second<'_>>) -> Outcome {
    let relying = relying();
    let first = First::Passkey(Shown { relying: &relying, answer });
    service.sign_in(&SignIn { name: who, first, second, service: "mcq", address: None }).await.unwrap()
}

async fn second(place: &Place, who: &str, answer: &Assertion) -> Outcome {
    let relying = relying();
    place.sign_in(who, PASSWORD, Some(Second::Passkey(Shown { relying: &relying, answer }))).await
}

fn last_reason(place: &Place) -> Option<Reason> {
    let reason = |event: &Event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    };
    place.notes.taken().iter().rev().find_map(reason)
}

async fn refused(place: &Place, answer: &Assertion, why: Refusal) {
    assert!(matches!(first(&place.service, "", answer, None).await, Outcome::Refused), "{why:?}");
    assert_eq!(last_reason(place), Some(Reason::WrongPasskey(why)));
    // Whoever guesses waits; that is another test.
    place.pass(Duration::from_secs(2 * 3600));
}

#[tokio::test]
async fn each_algorithm_signs_in_as_second_factor_and_where_a_rule_says_so_alone() {
    for (at, key) in Key::all().into_iter().enumerate() {
        let mut device = Device::new(key, &[at as u8; 32]);
        let place = with(&mut device).await;
        match place.sign_in("alice", PASSWORD, None).await {
            Outcome::Challenge(factors) => assert_eq!(factors, [Factor::Passkey, Factor::Recovery]),
            other => panic!("{other:?}"),
        }
        device.flags = PRESENT;
        let answer = device.answer(&asked(&place));
        assert!(matches!(second(&place, "alice", &answer).await, Outcome::Token(_)), "key {at}");
        device.flags = PRESENT | VERIFIED;
        for who in ["", "alice", "Alice"] {
            let answer = device.answer(&asked(&place));
            assert!(matches!(first(&place.service, who, &answer, None).await, Outcome::Token(_)), "key {at}");
        }
        let listed = place.service.passkeys(&name("alice")).await.unwrap();
        assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].used), (1, "a key", Some(START)));
        // It is signed by this key and by no other.
        let other = Device::new(Key::es256(), &device.id);
        let forged =
            Assertion { signature: other.answer(&asked(&place)).signature, ..device.answer(&asked(&place)) };
        refused(&place, &forged, Refusal::Signature).await;
    }
}

#[tokio::test]
async fn a_passkey_is_no_first_factor_without_a_rule_that_says_so() {
    let place = Place::new();
    place.person("alice").await;
    let mut device = Device::new(Key::es256(), b"one");
    enrol(&place, "alice", &mut device).await;
    let answer = device.answer(&asked(&place));
    assert!(matches!(first(&place.service, "", &answer, None).await, Outcome::Refused));
    assert_eq!(last_reason(&place), Some(Reason::Policy));
    assert!(matches!(second(&place, "alice", &answer).await, Outcome::Token(_)), "it was not used up");
}

#[tokio::test]
async fn after_a_passkey_another_factor_is_asked_for_as_after_a_password() {
    let mut device = Device::new(Key::es256(), b"one");
    let place = with(&mut device).await;
    let alice = place.service.account(&name("alice")).await.unwrap().unwrap();
    let (key, codes) = sign_in::enrolled(&place, &alice).await;
    let answer = device.answer(&asked(&place));
    match first(&place.service, "", &answer, None).await {
        Outcome::Challenge(factors) => assert_eq!(factors, [Factor::Totp, Factor::Recovery]),
        other => panic!("{other:?}"),
    }
    // The same thing again is not a second one.
    let (relying, again) = (relying(), device.answer(&asked(&place)));
    let shown = Shown { relying: &relying, answer: &again };
    let twice = first(&place.service, "", &answer, Some(Second::Passkey(shown))).await;
    assert!(matches!(twice, Outcome::Refused));
    let wrong = first(&place.service, "", &answer, Some(Second::Totp("000000"))).await;
    assert!(matches!(wrong, Outcome::Refused));
    let now = sign_in::code(&key, place.clock.now());
    let right = first(&place.service, "", &answer, Some(Second::Totp(&now))).await;
    assert!(matches!(right, Outcome::Token(_)), "{right:?}");
    let replayed = first(&place.service, "", &answer, Some(Second::Recovery(&codes[0]))).await;
    assert!(matches!(replayed, Outcome::Refused));
    assert_eq!(last_reason(&place), Some(Reason::WrongPasskey(Refusal::Replayed)));
    let kept =
        first(&place.service, "", &device.answer(&asked(&place)), Some(Second::Recovery(&codes[0]))).await;
    assert!(matches!(kept, Outcome::Token(_)), "a replayed passkey uses no code up");
    let strict = Rule {
        second_factor: true,
        priority: 1,
        first_factors: [FirstFactor::Passkey].into(),
        ..rule("s", true)
    };
    let set = RuleSet { name: name("strict"), rules: vec![strict] };
    place.service.put_rules(None, Some(&set)).await.unwrap();
    let mut bobs = Device::new(Key::es256(), b"bob");
    place.person("bob").await;
    enrol(&place, "bob", &mut bobs).await;
    let alone = first(&place.service, "", &bobs.answer(&asked(&place)), None).await;
    assert!(matches!(alone, Outcome::Refused));
    assert_eq!(last_reason(&place), Some(Reason::NoSecondFactor));
}

#[tokio::test]
async fn every_part_of_an_answer_is_looked_at() {
    let mut device = Device::new(Key::es256(), b"one");
    let place = with(&mut device).await;
    let right = |device: &mut Device| {
        (device.origin, device.party, device.flags) =
            (ORIGIN.into(), "mcias.example".into(), PRESENT | VERIFIED);
        (device.kind, device.more) = (None, json!({}));
    };
    type Wrong = (Refusal, fn(&mut Device));
    let wrong: [Wrong; 14] = [
        (Refusal::Origin, |device| device.origin = "https://evil.example".into()),
        (Refusal::Origin, |device| device.origin = "https://mcias.example:8443".into()),
        (Refusal::Origin, |device| device.origin = "http://mcias.example".into()),
        (Refusal::Origin, |device| device.origin = "https://mcias.example.evil.example".into()),
        (Refusal::Origin, |device| device.origin = "https://a.mcias.example".into()),
        (Refusal::Origin, |device| device.more = json!({ "crossOrigin": true })),
        (Refusal::Origin, |device| device.more = json!({ "topOrigin": "https://evil.example" })),
        (Refusal::Party, |device| device.party = "evil.example".into()),
        (Refusal::Kind, |device| device.kind = Some("webauthn.create")),
        (Refusal::NotPresent, |device| device.flags = VERIFIED),
        (Refusal::NotVerified, |device| device.flags = PRESENT),
        (Refusal::Backup, |device| device.flags |= 1 << 4),
        (Refusal::Backup, |device| device.flags |= 1 << 3),
        (Refusal::Challenge, |device| device.more = json!({ "challenge": "AAAA" })),
    ];
    for (why, change) in wrong {
        change(&mut device);
        let answer = device.answer(&asked(&place));
        refused(&place, &answer, why).await;
        right(&mut device);
    }
    // A challenge that was made for a registration, one of another place, and one that is over.
    let registering = place.service.begin_passkey(&name("alice"), &relying()).await.unwrap();
    refused(&place, &device.answer(&registering), Refusal::Challenge).await;
    refused(&place, &device.answer(&asked(&Place::new())), Refusal::Challenge).await;
    let late = device.answer(&asked(&place));
    place.pass(Duration::from_secs(5 * 60));
    refused(&place, &late, Refusal::Challenge).await;
    let good = device.answer(&asked(&place));
    for broken in [
        Assertion { client_data: "%".into(), ..good.clone() },
        Assertion { client_data: "e30".into(), ..good.clone() },
        Assertion { authenticator_data: String::new(), ..good.clone() },
        Assertion { authenticator_data: "A".repeat(100_000), ..good.clone() },
        Assertion { signature: "=".into(), ..good.clone() },
        Assertion { user_handle: Some("!".into()), ..good.clone() },
    ] {
        // Another process each time, as time stands still here: nobody waits there.
        assert!(matches!(first(&place.elsewhere(), "alice", &broken, None).await, Outcome::Refused));
        assert_eq!(last_reason(&place), Some(Reason::WrongPasskey(Refusal::Malformed)));
    }
    for (user_handle, why) in [(None, Refusal::UserHandle), (Some("Ym9i".into()), Refusal::UserHandle)] {
        refused(&place, &Assertion { user_handle, ..device.answer(&asked(&place)) }, why).await;
    }
    assert!(matches!(
        first(&place.service, "", &device.answer(&asked(&place)), None).await,
        Outcome::Token(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_is_taken_once_also_after_a_restart_and_with_many_at_once() {
    let mut device = Device::new(Key::es256(), b"one");
    let place = with(&mut device).await;
    let answer = device.answer(&asked(&place));
    assert!(matches!(first(&place.service, "", &answer, None).await, Outcome::Token(_)));
    for service in [&place.service, &place.elsewhere()] {
        assert!(matches!(first(service, "", &answer, None).await, Outcome::Refused));
        assert_eq!(last_reason(&place), Some(Reason::WrongPasskey(Refusal::Replayed)));
    }
    let as_second = second(&place, "alice", &answer).await;
    assert!(matches!(as_second, Outcome::Refused), "nor the other way round");
    let answer = device.answer(&asked(&place));
    let services = [place.elsewhere(), place.elsewhere()];
    let tries = (0..6).map(|number| first(&services[number % 2], "", &answer, None));
    let outcomes = futures_util::future::join_all(tries).await;
    let let_in = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Token(_))).count();
    assert_eq!(let_in, 1, "{outcomes:?}");
    // What is noted of used challenges goes when they are over.
    assert_eq!(place.journal.records("mcias-challenge", None).await.unwrap().len(), 3);
    place.pass(Duration::from_secs(2 * 3600));
    place.service.sweep().await.unwrap();
    assert!(place.journal.records("mcias-challenge", None).await.unwrap().is_empty());
    assert!(matches!(first(&place.service, "", &answer, None).await, Outcome::Refused));
}

#[tokio::test]
async fn a_counter_that_does_not_grow_is_a_copy() {
    let mut device = Device::new(Key::es256(), b"one");
    device.counter = 5;
    let place = with(&mut device).await;
    for (counter, is_in) in [(5, false), (4, false), (0, false), (6, true), (6, false), (9, true), (7, false)]
    {
        device.counter = counter;
        let outcome = first(&place.service, "", &device.answer(&asked(&place)), None).await;
        assert_eq!(matches!(outcome, Outcome::Token(_)), is_in, "{counter}");
        if !is_in {
            assert_eq!(last_reason(&place), Some(Reason::WrongPasskey(Refusal::Counter)));
        }
    }
    device.counter = 0;
    let outcome = second(&place, "alice", &device.answer(&asked(&place))).await;
    assert!(matches!(outcome, Outcome::Refused), "as a second factor as well");
}

#[tokio::test]
async fn a_key_is_one_accounts_and_another_ones_is_no_good() {
    let mut device = Device::new(Key::es256(), b"one");
    let place = with(&mut device).await;
    let bob = place.person("bob").await;
    let relying = relying();
    // Alice's key with Bob's password, and under Bob's name.
    let mut bobs = Device::new(Key::es256(), b"bobs");
    enrol(&place, "bob", &mut bobs).await;
    assert!(matches!(second(&place, "bob", &device.answer(&asked(&place))).await, Outcome::Refused));
    assert_eq!(last_reason(&place), Some(Reason::WrongPasskey(Refusal::UnknownKey)));
    let as_bob = first(&place.service, "bob", &device.answer(&asked(&place)), None).await;
    assert!(matches!(as_bob, Outcome::Refused));
    assert_eq!(last_reason(&place), Some(Reason::WrongPasskey(Refusal::UnknownKey)));
    // The same id once more, whoever has it and whoever wants it; then it is free again.
    for who in ["alice", "bob"] {
        let options = place.service.begin_passkey(&name(who), &relying).await.unwrap();
        let made = Device::new(Key::es256(), b"one").register(&options);
        let taken = place.service.finish_passkey(&name(who), &relying, "x", &made).await.unwrap_err();
        assert_eq!(taken.code, Code::SecondFactor, "{who}");
    }
    // What was made for Alice is not taken for Bob.
    let options = place.service.begin_passkey(&name("alice"), &relying).await.unwrap();
    let made = Device::new(Key::es256(), b"new").register(&options);
    let other = place.service.finish_passkey(&bob.name, &relying, "x", &made).await.unwrap_err();
    assert!(other.message.contains("challenge"), "{}", other.message);
    let id = &place.service.passkeys(&name("alice")).await.unwrap()[0].id;
    assert_eq!(place.service.remove_passkey(&bob.name, id).await.unwrap_err().code, Code::SecondFactor);
    place.service.remove_passkey(&name("alice"), id).await.unwrap();
    assert!(
        matches!(place.sign_in("alice", PASSWORD, None).await, Outcome::Token(_)),
        "the last one is gone"
    );
    let mut again = Device::new(Key::es256(), b"one");
    enrol(&place, "bob", &mut again).await;
    // An account that goes takes its keys along.
    let before = place.service.account(&bob.name).await.unwrap();
    place.service.put(before.as_ref(), None).await.unwrap();
    place.service.sweep().await.unwrap();
    assert!(place.journal.records("mcias-passkey", None).await.unwrap().is_empty());
    assert!(matches!(first(&place.service, "", &again.answer(&asked(&place)), None).await, Outcome::Refused));
}

#[tokio::test]
async fn a_registration_is_checked_in_every_part_and_taken_once() {
    let place = Place::new();
    let (alice, relying) = (place.person("alice").await.name, relying());
    let begun = async || place.service.begin_passkey(&alice, &relying).await.unwrap();
    let finish = async |made| place.service.finish_passkey(&alice, &relying, "a key", &made).await;
    let options = begun().await;
    assert_eq!(options["rp"]["id"], "mcias.example");
    assert_eq!(
        (&options["attestation"], &options["authenticatorSelection"]["residentKey"]),
        (&json!("none"), &json!("required"))
    );
    let mut wrong: Vec<Device> = (0..7).map(|at| Device::new(Key::es256(), &[at + 1])).collect();
    wrong[0].origin = "https://evil.example".into();
    wrong[1].party = "evil.example".into();
    wrong[2].flags = VERIFIED;
    wrong[3].kind = Some("webauthn.get");
    wrong[4].id = vec![1; 1024];
    wrong[5].id = Vec::new();
    wrong[6].flags |= 1 << 4;
    for (at, mut device) in wrong.into_iter().enumerate() {
        let made = device.register(&begun().await);
        assert_eq!(finish(made).await.unwrap_err().code, Code::SecondFactor, "{at}");
    }
    let mut device = Device::new(Key::es256(), b"one");
    // Who attests it is read and not believed; what cannot be read is refused.
    for (format, statement) in
        [("none", &[0xa1, 0x01, 0x02][..]), ("", &[0xa0]), ("packed", &[0x80]), ("packed", &[0xff])]
    {
        let made = device.register_as(&begun().await, format, statement);
        assert!(finish(made).await.is_err(), "{format}");
    }
    let options = begun().await;
    let made = device.register_as(&options, "packed", &[0xa1, 0x63, b's', b'i', b'g', 0x41, 0x00]);
    let enrolled = finish(made).await.unwrap();
    assert_eq!(enrolled.recovery.len(), 10, "the first second factor brings recovery codes");
    let replayed = Device::new(Key::es256(), b"two").register(&options);
    let refused = finish(replayed).await.unwrap_err();
    assert!(refused.message.contains("its challenge was used"), "{}", refused.message);
    assert_eq!(begun().await["excludeCredentials"][0]["id"], enrolled.passkey.id.as_str());
    for label in ["", " ", "a\nb", &"x".repeat(65)] {
        let made = Device::new(Key::es256(), b"three").register(&begun().await);
        let refused = place.service.finish_passkey(&alice, &relying, label, &made).await.unwrap_err();
        assert_eq!(refused.code, Code::Argument);
    }
    for number in 1..16 {
        let made = Device::new(Key::es256(), &[number; 9]).register(&begun().await);
        assert!(finish(made).await.unwrap().recovery.is_empty());
    }
    let one_more = Device::new(Key::es256(), b"more").register(&begun().await);
    assert_eq!(finish(one_more).await.unwrap_err().code, Code::SecondFactor);
    let mcr = place.account("mcr", Kind::System, &[]).await;
    assert_eq!(place.service.begin_passkey(&mcr.name, &relying).await.unwrap_err().code, Code::AccountKind);
    // Somebody who lost them all.
    place.service.reset_factors(&alice).await.unwrap();
    assert!(place.service.passkeys(&alice).await.unwrap().is_empty());
    assert!(matches!(place.sign_in("alice", PASSWORD, None).await, Outcome::Token(_)));
}

/// What a browser asks: with the cookies and the proof that it has, and from which page.
async fn browse(
    door: &Door,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> (u16, String, Vec<String>) {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "mcias.example");
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let answer = door.send(request.body(bytes::Bytes::from(body)).unwrap()).await;
    let cookies = answer.headers().get_all("set-cookie").iter();
    let cookies =
        cookies.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned()).collect();
    assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap(), cookies)
}

#[tokio::test]
async fn other_sites_and_strangers_change_no_passkeys() {
    let door = Door::open().await;
    let session = format!("__Host-mcias={}", door.token("alice").await);
    let (status, page, cookies) = browse(&door, "/passkeys", &[("cookie", &session)], None).await;
    assert!(status == 200 && page.contains("<strong>alice</strong> can sign in"), "{page}");
    let proof = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let cookie = format!("{session}; {}", cookies[0]);
    let right: Vec<(&str, &str)> = vec![("cookie", &cookie), ("x-csrf", &proof), ("origin", ORIGIN)];
    let post =
        async |headers: &[(&str, &str)], path: &str| browse(&door, path, headers, Some(json!({}))).await.0;
    assert_eq!(post(&right, "/passkeys/new/options").await, 200);
    for (headers, status) in [
        (vec![], 401),
        (vec![("cookie", session.as_str())], 403),
        (vec![("cookie", cookie.as_str())], 403),
        (vec![("cookie", cookie.as_str()), ("x-csrf", "guessed")], 403),
        (vec![("cookie", cookies[0].as_str()), ("x-csrf", proof.as_str())], 401),
        ([right.clone(), vec![("sec-fetch-site", "cross-site")]].concat(), 403),
        (vec![("cookie", &cookie), ("x-csrf", &proof), ("origin", "https://evil.example")], 403),
        (
            vec![("cookie", &cookie), ("x-csrf", &proof), ("origin", "https://mcias.example.evil.example")],
            403,
        ),
        ([right.clone(), vec![("host", "evil.example")]].concat(), 421),
    ] {
        for path in ["/passkeys/new/options", "/passkeys/new"] {
            assert_eq!(post(&headers, path).await, status, "{headers:?}");
        }
    }
    // What is sent is read in one way, and no further than it has to be.
    assert_eq!(post(&right, "/passkeys/new").await, 400);
    let more = json!({ "second": true, "name": "alice" });
    assert_eq!(browse(&door, "/passkeys/options", &right, Some(more)).await.0, 400);
    let large = json!({ "second": true, "more": "x".repeat(70_000) });
    assert_eq!(browse(&door, "/passkeys/options", &right, Some(large)).await.0, 413);
    assert_eq!(browse(&door, "/passkeys/new", &[("cookie", &cookie)], None).await.0, 405);
    assert_eq!(browse(&door, "/passkeys", &[], None).await.0, 303);
    let (status, script, _) = browse(&door, "/passkeys.js", &[], None).await;
    assert!(status == 200 && script.contains("navigator.credentials.create"));
    // Two second factors, or none at all, are no sign-in.
    for wish in [json!({ "name": "alice" }), json!({ "password": PASSWORD, "code": "1", "recovery": "2" })] {
        assert_eq!(browse(&door, "/passkeys/sign-in", &right, Some(wish)).await.0, 400);
    }
}

#[tokio::test]
async fn a_browser_that_asks_for_a_passkey_learns_nothing_of_accounts() {
    let mut device = Device::new(Key::es256(), b"one");
    let place = with(&mut device).await;
    let options = asked(&place);
    assert_eq!(options["allowCredentials"], json!([]), "the same for everybody");
    // A key that is nobody's, one that is somebody else's, and a wrong signature: one answer.
    let stranger = Device { handle: device.handle.clone(), ..Device::new(Key::es256(), b"other") };
    let forged = Device { handle: device.handle.clone(), ..Device::new(Key::es256(), b"one") };
    for (who, answer) in [
        ("", stranger.answer(&asked(&place))),
        ("", forged.answer(&asked(&place))),
        ("nobody", device.answer(&asked(&place))),
        ("a\r\nX: y' OR 1=1 --", device.answer(&asked(&place))),
    ] {
        let outcome = first(&place.elsewhere(), who, &answer, None).await;
        assert_eq!(format!("{outcome:?}"), "Refused", "{who}");
    }
    assert_eq!(place.live.hashed(), 1, "the password that was set: no passkey costs a hash");
}
