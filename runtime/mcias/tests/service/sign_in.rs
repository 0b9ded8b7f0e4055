use mcias::token::Refusal;
use mcias::{Factor, FirstFactor, Reason};

use super::*;

/// What an app shows at this time.
pub(crate) fn code(key: &str, at: Timestamp) -> String {
    let secret = totp_rs::Secret::try_from_base32(key).unwrap();
    let totp = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    totp.generate(at.0 as u64 / 1000).to_string()
}

pub(crate) async fn enrolled(place: &Place, who: &Account) -> (String, Vec<String>) {
    let key = place.service.enrol_totp(&who.name).await.unwrap().key.to_string();
    let codes = place.service.confirm_totp(&who.name, &code(&key, place.clock.now())).await.unwrap();
    place.pass(Duration::from_secs(60));
    (key, codes.iter().map(|code| code.to_string()).collect())
}

fn reasons(place: &Place) -> Vec<Reason> {
    let reason = |event| match event {
        Event::Refused { reason, .. } => Some(reason),
        _ => None,
    };
    place.notes.taken().into_iter().filter_map(reason).collect()
}

#[tokio::test]
async fn nobody_learns_whether_there_is_an_account() {
    let place = Place::new();
    place.person("alice").await;
    let carol = place.person("carol").await;
    place.change(&carol, |carol| carol.status = Status::Disabled).await;
    let dave = place.person("dave").await;
    place.change(&dave, |dave| dave.roles = [Role::Guest].into()).await;
    place.account("mcr", Kind::System, &[]).await;
    let tries = [
        ("nobody", PASSWORD, Reason::UnknownName),
        ("Not A Name\r\n' OR 1=1 --", PASSWORD, Reason::UnknownName),
        ("alice", "wrong horse battery", Reason::WrongPassword),
        ("carol", PASSWORD, Reason::Disabled),
        ("dave", PASSWORD, Reason::Policy),
        ("mcr", PASSWORD, Reason::NotHuman),
    ];
    for (who, password, _) in tries {
        let before = place.live.hashed();
        let outcome = place.sign_in(who, password, None).await;
        assert_eq!(format!("{outcome:?}"), "Refused", "{who}");
        assert_eq!(place.live.hashed() - before, 1, "{who}: another time than the others");
    }
    assert_eq!(reasons(&place), tries.map(|(_, _, reason)| reason));
    for event in place.notes.taken() {
        assert!(!format!("{event:?}").contains("horse"), "{event:?}");
    }
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_taken_once() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let (key, codes) = enrolled(&place, &alice).await;
    match place.sign_in("alice", PASSWORD, None).await {
        Outcome::Challenge(factors) => assert_eq!(factors, [Factor::Totp, Factor::Recovery]),
        other => panic!("{other:?}"),
    }
    let now = code(&key, place.clock.now());
    assert!(matches!(place.sign_in("alice", PASSWORD, Some(Second::Totp(&now))).await, Outcome::Token(_)));
    let replayed = place.sign_in("alice", PASSWORD, Some(Second::Totp(&now))).await;
    assert!(matches!(replayed, Outcome::Refused));
    // After a restart as well.
    let wish = SignIn {
        name: "alice",
        first: First::Password(PASSWORD),
        second: Some(Second::Totp(&now)),
        service: "mcq",
        address: None,
    };
    assert!(matches!(place.elsewhere().sign_in(&wish).await.unwrap(), Outcome::Refused));
    let recovered = place.sign_in("alice", PASSWORD, Some(Second::Recovery(&codes[0]))).await;
    assert!(matches!(recovered, Outcome::Token(_)));
    let again = place.sign_in("alice", PASSWORD, Some(Second::Recovery(&codes[0]))).await;
    assert!(matches!(again, Outcome::Refused));
    let without = place.sign_in("alice", "wrong horse battery", Some(Second::Recovery(&codes[1]))).await;
    assert!(matches!(without, Outcome::Refused));
    let kept = place.sign_in("alice", PASSWORD, Some(Second::Recovery(&codes[1]))).await;
    assert!(matches!(kept, Outcome::Token(_)), "a wrong password uses no code up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_with_the_same_code_one_is_let_in() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let (key, codes) = enrolled(&place, &alice).await;
    let now = code(&key, place.clock.now());
    for second in [Second::Recovery(&codes[0]), Second::Totp(&now)] {
        // Two processes, and several at once in each.
        let services = [place.elsewhere(), place.elsewhere()];
        let tries = (0_u8..6).map(|number| {
            let address = Some([198, 51, 100, number].into());
            let wish = SignIn {
                name: "alice",
                first: First::Password(PASSWORD),
                second: Some(second),
                service: "mcq",
                address,
            };
            let service = &services[usize::from(number % 2)];
            async move { service.sign_in(&wish).await.unwrap() }
        });
        let outcomes = futures_util::future::join_all(tries).await;
        let let_in = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Token(_))).count();
        assert_eq!(let_in, 1, "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_signs_in_while_the_password_changes_keeps_no_session_of_the_old_one() {
    let place = Place::new();
    place.person("alice").await;
    let services = [place.elsewhere(), place.elsewhere()];
    let passwords = [PASSWORD, "another horse battery"];
    for round in 0..4 {
        let (old, new) = (passwords[round % 2], passwords[(round + 1) % 2]);
        let tries = (0_u8..4).map(|number| {
            let address = Some([198, 51, 100, number].into());
            let first = First::Password(old);
            let wish = SignIn { name: "alice", first, second: None, service: "mcq", address };
            let service = &services[usize::from(number % 2)];
            async move { service.sign_in(&wish).await.unwrap() }
        });
        let name = name("alice");
        let taken = place.service.recover_admin(&name, new);
        let (outcomes, taken) = tokio::join!(futures_util::future::join_all(tries), taken);
        taken.unwrap();
        for outcome in outcomes {
            if let Outcome::Token(issued) = outcome {
                let valid = place.service.validate(&issued.text, &self::name("mcq")).await.unwrap();
                assert_eq!(valid.unwrap_err(), Refusal::Revoked);
            }
        }
    }
}

#[tokio::test]
async fn a_rule_can_ask_for_a_second_factor() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let set = name("strict");
    let strict = Rule { priority: 1, second_factor: true, ..rule("strict", true) };
    place.service.put_rules(None, Some(&RuleSet { name: set, rules: vec![strict] })).await.unwrap();
    assert!(matches!(place.sign_in("alice", PASSWORD, None).await, Outcome::Refused));
    assert_eq!(reasons(&place), [Reason::NoSecondFactor]);
    let (key, _) = enrolled(&place, &alice).await;
    let now = code(&key, place.clock.now());
    assert!(matches!(place.sign_in("alice", PASSWORD, Some(Second::Totp(&now))).await, Outcome::Token(_)));
}

#[tokio::test]
async fn guessing_waits_and_locks_nobody_else_out() {
    let place = Place::new();
    place.person("alice").await;
    place.token("alice").await;
    let from = |last: u8| Some([203, 0, 113, last].into());
    let guess = |address| SignIn {
        name: "alice",
        first: First::Password("wrong horse battery"),
        second: None,
        service: "mcq",
        address,
    };
    for _ in 0..5 {
        assert!(matches!(place.service.sign_in(&guess(from(1))).await.unwrap(), Outcome::Refused));
    }
    let before = place.live.hashed();
    let right = SignIn { first: First::Password(PASSWORD), ..guess(from(1)) };
    assert!(matches!(place.service.sign_in(&right).await.unwrap(), Outcome::Wait(_)));
    assert_eq!(place.live.hashed(), before, "who waits costs nothing");
    // An unknown name waits just the same.
    for _ in 0..5 {
        place.service.sign_in(&SignIn { name: "nobody", ..guess(from(1)) }).await.unwrap();
    }
    let nobody = place.service.sign_in(&SignIn { name: "nobody", ..guess(from(1)) }).await.unwrap();
    assert!(matches!(nobody, Outcome::Wait(_)));
    // The owner goes on where she has been before.
    assert!(matches!(place.sign_in("alice", PASSWORD, None).await, Outcome::Token(_)));
}

#[tokio::test]
async fn guessing_the_second_factor_waits_as_well() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let (key, _) = enrolled(&place, &alice).await;
    for number in 0..5 {
        let guess = format!("00000{number}");
        let outcome = place.sign_in("alice", PASSWORD, Some(Second::Totp(&guess))).await;
        assert!(matches!(outcome, Outcome::Refused));
        // To be asked for more clears nothing: whoever knows the password guesses no faster for it.
        if number < 4 {
            assert!(matches!(place.sign_in("alice", PASSWORD, None).await, Outcome::Challenge(_)));
        }
    }
    let now = code(&key, place.clock.now());
    let right = place.sign_in("alice", PASSWORD, Some(Second::Totp(&now))).await;
    assert!(matches!(right, Outcome::Wait(_)), "{right:?}");
    place.pass(Duration::from_secs(30));
    let now = code(&key, place.clock.now());
    let right = place.sign_in("alice", PASSWORD, Some(Second::Totp(&now))).await;
    assert!(matches!(right, Outcome::Token(_)), "{right:?}");
}

#[tokio::test]
async fn one_time_codes_agree_with_oathtool() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let key = place.service.enrol_totp(&alice.name).await.unwrap().key.to_string();
    let at = format!("@{}", place.clock.now().0 / 1000);
    #[expect(clippy::disallowed_methods, reason = "the test asks another implementation")]
    let said =
        std::process::Command::new("oathtool").args(["--totp", "--base32", "--now", &at, &key]).output();
    let said = String::from_utf8(said.expect("oathtool, as tests/install.sh installs it").stdout).unwrap();
    let wrong = place.service.confirm_totp(&alice.name, "000000").await.unwrap_err();
    assert_eq!(wrong.code, Code::SecondFactor);
    assert_eq!(place.service.confirm_totp(&alice.name, said.trim()).await.unwrap().len(), 10);
}

#[tokio::test]
async fn another_issuers_word_is_a_first_factor_where_a_rule_says_so_and_a_second_one_is_asked_for_as_ever() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let bob = place.person("bob").await;
    let by = |id| SignIn {
        name: "alice",
        first: First::External { account: id },
        second: None,
        service: "mcq",
        address: None,
    };
    assert!(matches!(place.service.sign_in(&by(&alice.id)).await.unwrap(), Outcome::Refused));
    assert_eq!(reasons(&place), [Reason::Policy], "a rule that names no first factors lets in by password");
    let first_factors = [FirstFactor::External].into();
    let rules = vec![Rule { first_factors, priority: 1, ..rule("external", true) }];
    let set = RuleSet { name: name("external"), rules };
    place.service.put_rules(None, Some(&set)).await.unwrap();
    let before = place.live.hashed();
    assert!(matches!(place.service.sign_in(&by(&alice.id)).await.unwrap(), Outcome::Token(_)));
    assert_eq!(place.live.hashed(), before);
    // Somebody else's word, and that of somebody whose account is another one by now.
    for wrong in [bob.id.as_str(), "", "gone"] {
        assert!(matches!(place.service.sign_in(&by(wrong)).await.unwrap(), Outcome::Refused));
    }
    assert_eq!(reasons(&place)[1..], [Reason::WrongExternal; 3]);
    let (key, _) = enrolled(&place, &alice).await;
    assert!(matches!(place.service.sign_in(&by(&alice.id)).await.unwrap(), Outcome::Challenge(_)));
    let now = code(&key, place.clock.now());
    let with = SignIn { second: Some(Second::Totp(&now)), ..by(&alice.id) };
    assert!(matches!(place.service.sign_in(&with).await.unwrap(), Outcome::Token(_)));
    assert!(matches!(place.service.sign_in(&with).await.unwrap(), Outcome::Refused), "the code was used");
    place.change(&alice, |alice| alice.status = Status::Disabled).await;
    assert!(matches!(place.service.sign_in(&by(&alice.id)).await.unwrap(), Outcome::Refused));
}
