//! Single sign-on without sockets: what a client asks for, gets once, and what others try with it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcias::driver::Holder;
use mcias::embedded::{Authorized, Granted};
use mcias::sso::{Client, Denial, Kind as Wrong, Pairs, Type};
use mcias::token::Refusal;
use serde_json::Value;

use super::*;

const CALLBACK: &str = "https://mcq.example/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// What follows `redirect_uri` and `client_id` in every good request.
const REST: &str = "&response_type=code&scope=openid+profile+email+groups&state=a%20state&nonce=a-nonce\
                    &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

fn client(id: &str, kind: Type) -> Client {
    Client {
        id: name(id),
        kind,
        service: name("mcq"),
        redirect_uris: [CALLBACK.to_owned()].into(),
        logout_uris: ["https://mcq.example/bye".to_owned()].into(),
        secret_version: 1,
        secret: None,
    }
}

/// A place with alice signed in, and the client `app` with its secret.
async fn place() -> (Place, Holder, String) {
    let place = Place::new();
    place.person("alice").await;
    place.person("bob").await;
    let made = place.service.put_sso_client(None, Some(&client("app", Type::Confidential))).await.unwrap();
    assert!(made.unwrap().secret.is_some());
    let secret = secret_of(&place, "app").await;
    let session = session(&place, "alice").await;
    (place, session, secret)
}

async fn secret_of(place: &Place, id: &str) -> String {
    let (_, secret) = place.service.client_secret(&name(id)).await.unwrap();
    String::from_utf8(secret.to_vec()).unwrap()
}

async fn session(place: &Place, who: &str) -> Holder {
    let token = place.token(who).await;
    place.service.validate(&token.text, &name("mcq")).await.unwrap().unwrap()
}

fn asking(client: &str) -> String {
    format!("client_id={client}&redirect_uri=https%3A%2F%2Fmcq.example%2Fcallback{REST}")
}

async fn authorized(place: &Place, query: &str, session: Option<&Holder>) -> Authorized {
    place.service.authorize(query, session, None).await.unwrap()
}

/// The parameters that the browser takes back to the client.
async fn back(place: &Place, query: &str, session: Option<&Holder>) -> Pairs {
    match authorized(place, query, session).await {
        Authorized::Back(address) => {
            let (base, query) = address.split_once('?').unwrap();
            assert_eq!(base, CALLBACK);
            Pairs::parse(query).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

async fn code(place: &Place, session: &Holder, client: &str) -> String {
    back(place, &asking(client), Some(session)).await.get("code").expect("a code").to_owned()
}

fn form(fields: &[(&str, &str)]) -> Pairs {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Pairs::parse(&fields.join("&")).unwrap()
}

fn redeeming(code: &str) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "https%3A%2F%2Fmcq.example%2Fcallback"),
        ("code_verifier", VERIFIER),
    ]
}

async fn redeem(service: &Embedded, code: &str, secret: &str) -> std::result::Result<Granted, Denial> {
    service.redeem_code(&form(&redeeming(code)), Some(("app", secret)), None).await.unwrap()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_code_becomes_tokens_that_say_who_signed_in() {
    let (place, alice, secret) = place().await;
    let sent = back(&place, &asking("app"), Some(&alice)).await;
    assert_eq!((sent.get("state"), sent.get("iss")), (Some("a state"), Some("mcrun")));
    let granted = redeem(&place.service, sent.get("code").unwrap(), &secret).await.unwrap();
    assert_eq!((granted.expires_in, granted.scope.as_str()), (900, "openid profile email groups"));
    let says = claims(&granted.id_token);
    for (claim, value) in [
        ("aud", "app"),
        ("nonce", "a-nonce"),
        ("name", "alice"),
        ("iss", "mcrun"),
        ("sub", &alice.account_id),
    ] {
        assert_eq!(says[claim], value, "{claim}");
    }
    assert_eq!((&says["roles"][0], &says["amr"][0]), (&"user".into(), &"pwd".into()));
    let holder = place.service.validate(&granted.access_token, &name("mcq")).await.unwrap().unwrap();
    assert_eq!(holder.account, name("alice"));
    let told = place.service.userinfo(&granted.access_token).await.unwrap().unwrap();
    assert_eq!((&told["sub"], &told["preferred_username"]), (&says["sub"], &"alice".into()));
    // Who somebody is opens nothing.
    let taken = place.service.validate(&granted.id_token, &name("mcq")).await.unwrap();
    assert_eq!(taken.unwrap_err(), Refusal::Malformed);
    assert_eq!(
        place.service.userinfo(&granted.id_token).await.unwrap().unwrap_err().kind,
        Wrong::InvalidToken
    );
    // Nor does a session ask what no client was granted.
    let own = place.token("alice").await;
    assert_eq!(place.service.userinfo(&own.text).await.unwrap().unwrap_err().kind, Wrong::InsufficientScope);
}

#[tokio::test]
async fn a_client_learns_what_it_asked_for() {
    let (place, alice, secret) = place().await;
    let asked = asking("app")
        .replace("+profile+email+groups", "+something")
        .replace("&state=a%20state", "")
        .replace("&nonce=a-nonce", "");
    let sent = back(&place, &asked, Some(&alice)).await;
    assert_eq!(sent.get("state"), None);
    let granted = redeem(&place.service, sent.get("code").unwrap(), &secret).await.unwrap();
    assert_eq!(granted.scope, "openid");
    let told = place.service.userinfo(&granted.access_token).await.unwrap().unwrap();
    assert_eq!(told.as_object().unwrap().len(), 1, "{told}");
    for claim in ["nonce", "name", "email", "groups", "roles"] {
        assert!(claims(&granted.id_token)[claim].is_null(), "{claim}");
    }
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let (place, alice, _) = place().await;
    for address in [
        "https://mcq.example/callback/",
        "https://mcq.example/callback/evil",
        "https://mcq.example/Callback",
        "https://MCQ.example/callback",
        "HTTPS://mcq.example/callback",
        "https://mcq.example/callback%23x",
        "https://mcq.example/callback%3Fx",
        "https://mcq.example/%2563allback",
        "https://mcq.example/./callback",
        "https://mcq.example:443/callback",
        "https://mcq.example/callback%20",
        "https://mcq.example.evil.test/callback",
        "https://evil.test/https://mcq.example/callback",
        "https://mcq.example@evil.test/callback",
        "http://mcq.example/callback",
        "//mcq.example/callback",
        "javascript:alert(1)",
        "https://mcq.example/bye",
        "",
    ] {
        for rest in [REST, "&response_type=token", "&error=x"] {
            let query = format!("client_id=app&redirect_uri={address}{rest}");
            let shown = authorized(&place, &query, Some(&alice)).await;
            assert!(matches!(&shown, Authorized::Shown(_)), "{address}: {shown:?}");
        }
    }
    for query in ["", "client_id=app", "%", "client_id=app&client_id=app", &asking("other"), &asking("APP")] {
        assert!(matches!(authorized(&place, query, Some(&alice)).await, Authorized::Shown(_)), "{query}");
    }
    // Twice the same parameter would be read in two ways.
    let twice = format!("{}&redirect_uri=https://evil.test/", asking("app"));
    assert!(matches!(authorized(&place, &twice, Some(&alice)).await, Authorized::Shown(_)));
}

#[tokio::test]
async fn what_else_is_wrong_goes_back_to_the_client() {
    let (place, alice, _) = place().await;
    for (from, to, error) in [
        ("response_type=code", "response_type=token", "unsupported_response_type"),
        ("openid", "email", "invalid_scope"),
        ("S256", "plain", "invalid_request"),
        ("&code_challenge_method=S256", "", "invalid_request"),
        (CHALLENGE, "", "invalid_request"),
    ] {
        let sent = back(&place, &asking("app").replace(from, to), Some(&alice)).await;
        assert_eq!((sent.get("error"), sent.get("code")), (Some(error), None), "{from}");
        assert_eq!((sent.get("state"), sent.get("iss")), (Some("a state"), Some("mcrun")));
    }
    // A header cannot be split, and what was sent stands in none of the words.
    let split = asking("app").replace("a%20state", "%22%3E%3Cscript%3E%26code%3Dx");
    match authorized(&place, &split, Some(&alice)).await {
        Authorized::Back(address) => {
            assert!(address.chars().all(|c| c.is_ascii_graphic() && !"\"<>".contains(c)), "{address}");
            assert_eq!(address.matches("code=").count(), 1, "{address}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn somebody_signs_in_first_unless_nobody_may_be_asked() {
    let (place, alice, _) = place().await;
    let asked = asking("app");
    assert!(matches!(authorized(&place, &asked, None).await, Authorized::SignIn { is_again: false, .. }));
    let silent = back(&place, &format!("{asked}&prompt=none"), None).await;
    assert_eq!(silent.get("error"), Some("login_required"));
    assert!(back(&place, &format!("{asked}&prompt=none"), Some(&alice)).await.get("code").is_some());
    let again = authorized(&place, &format!("{asked}&prompt=login"), Some(&alice)).await;
    assert!(matches!(again, Authorized::SignIn { is_again: true, .. }));
    place.pass(Duration::from_secs(100));
    assert!(back(&place, &format!("{asked}&max_age=100"), Some(&alice)).await.get("code").is_some());
    let old = authorized(&place, &format!("{asked}&max_age=99"), Some(&alice)).await;
    assert!(matches!(old, Authorized::SignIn { is_again: true, .. }));
}

#[tokio::test]
async fn the_login_policy_is_asked_about_the_service_of_the_client() {
    let (place, alice, _) = place().await;
    let other = Client { service: name("mcr"), ..client("other", Type::Public) };
    place.service.put_sso_client(None, Some(&other)).await.unwrap();
    let sent = back(&place, &asking("other"), Some(&alice)).await;
    assert_eq!(sent.get("error"), Some("access_denied"));
    let refused = place.notes.taken().into_iter().any(|event| {
        matches!(event, Event::Refused { service, reason: mcias::Reason::Policy, .. } if service == "mcr")
    });
    assert!(refused);
    // Where a second factor is asked for, and there is none.
    let strict = Rule { priority: 1, second_factor: true, ..rule("strict", true) };
    let set = RuleSet { name: name("strict"), rules: vec![strict] };
    place.service.put_rules(None, Some(&set)).await.unwrap();
    let sent = back(&place, &asking("app"), Some(&alice)).await;
    assert_eq!(sent.get("error"), Some("access_denied"));
}

#[tokio::test]
async fn a_code_is_for_one_client_one_address_one_verifier_and_a_minute() {
    let (place, alice, secret) = place().await;
    place.service.put_sso_client(None, Some(&client("other", Type::Confidential))).await.unwrap();
    let others = secret_of(&place, "other").await;
    let code = code(&place, &alice, "app").await;
    let ask = async |fields: &[(&str, &str)], basic| {
        place.service.redeem_code(&form(fields), basic, None).await.unwrap().map(|_| ()).unwrap_err().kind
    };
    let with = |key: &str, value: &'static str| -> Vec<(&str, &str)> {
        redeeming(&code)
            .into_iter()
            .map(|(known, had)| (known, if known == key { value } else { had }))
            .collect()
    };
    let mine = Some(("app", secret.as_str()));
    assert_eq!(ask(&redeeming(&code), Some(("other", &others))).await, Wrong::InvalidGrant);
    for (fields, wrong) in [
        (with("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXx"), Wrong::InvalidGrant),
        (with("code_verifier", CHALLENGE), Wrong::InvalidGrant),
        (with("code_verifier", ""), Wrong::InvalidRequest),
        (with("code_verifier", "short"), Wrong::InvalidRequest),
        (with("redirect_uri", "https%3A%2F%2Fmcq.example%2Fcallback%2F"), Wrong::InvalidGrant),
        (with("redirect_uri", ""), Wrong::InvalidRequest),
        (with("code", "another"), Wrong::InvalidGrant),
        (with("code", "..%2F..%2Fx"), Wrong::InvalidGrant),
        (with("grant_type", "password"), Wrong::UnsupportedGrantType),
        (with("grant_type", "refresh_token"), Wrong::UnsupportedGrantType),
        (with("grant_type", ""), Wrong::InvalidRequest),
    ] {
        assert_eq!(ask(&fields, mine).await, wrong, "{fields:?}");
    }
    for basic in [None, Some(("app", "wrong")), Some(("app", "")), Some(("nobody", secret.as_str()))] {
        assert_eq!(ask(&redeeming(&code), basic).await, Wrong::InvalidClient, "{basic:?}");
    }
    let mut both = redeeming(&code);
    both.push(("client_secret", &secret));
    assert_eq!(ask(&both, mine).await, Wrong::InvalidRequest);
    // None of it has used the code up.
    redeem(&place.service, &code, &secret).await.unwrap();
    let late = self::code(&place, &alice, "app").await;
    place.pass(Duration::from_secs(60));
    assert_eq!(ask(&redeeming(&late), mine).await, Wrong::InvalidGrant);
}

#[tokio::test]
async fn a_code_that_comes_again_takes_back_what_it_gave() {
    let (place, alice, secret) = place().await;
    let code = code(&place, &alice, "app").await;
    let granted = redeem(&place.service, &code, &secret).await.unwrap();
    assert!(place.service.userinfo(&granted.access_token).await.unwrap().is_ok());
    place.pass(Duration::from_secs(300));
    let again = redeem(&place.elsewhere(), &code, &secret).await.unwrap_err();
    assert_eq!(again.kind, Wrong::InvalidGrant);
    let told = place.elsewhere().userinfo(&granted.access_token).await.unwrap();
    assert_eq!(told.unwrap_err().kind, Wrong::InvalidToken);
    assert!(place.notes.taken().iter().any(|event| matches!(event, Event::SsoReplayed { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_with_the_same_code_one_gets_tokens() {
    let (place, alice, secret) = place().await;
    let code = code(&place, &alice, "app").await;
    let services = [place.elsewhere(), place.elsewhere()];
    let tries = (0_usize..8).map(|number| redeem(&services[number % 2], &code, &secret));
    let outcomes = futures_util::future::join_all(tries).await;
    let granted: Vec<&Granted> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(granted.len(), 1, "{outcomes:?}");
    // Nobody can tell which of them it was meant for.
    let told = place.elsewhere().userinfo(&granted[0].access_token).await.unwrap();
    assert_eq!(told.unwrap_err().kind, Wrong::InvalidToken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_signs_out_while_a_code_is_redeemed_leaves_no_token_behind() {
    let (place, _, secret) = place().await;
    let services = [place.elsewhere(), place.elsewhere()];
    for _ in 0..8 {
        let alice = session(&place, "alice").await;
        let code = code(&place, &alice, "app").await;
        let leaving = services[0].end_session(&alice.account, &alice.token);
        let (left, granted) = tokio::join!(leaving, redeem(&services[1], &code, &secret));
        left.unwrap();
        if let Ok(granted) = granted {
            let told = place.elsewhere().userinfo(&granted.access_token).await.unwrap();
            assert_eq!(told.unwrap_err().kind, Wrong::InvalidToken);
        }
    }
}

#[tokio::test]
async fn a_public_client_has_pkce_and_no_secret() {
    let (place, alice, secret) = place().await;
    let made = place.service.put_sso_client(None, Some(&client("cli", Type::Public))).await.unwrap();
    assert_eq!(made.unwrap().secret, None);
    assert_eq!(place.service.client_secret(&name("cli")).await.unwrap_err().code, Code::SsoClient);
    let code = code(&place, &alice, "cli").await;
    let mut fields = redeeming(&code);
    fields.push(("client_id", "cli"));
    let refused = place.service.redeem_code(&form(&fields), Some(("cli", &secret)), None).await.unwrap();
    assert_eq!(refused.unwrap_err().kind, Wrong::InvalidClient);
    place.service.redeem_code(&form(&fields), None, None).await.unwrap().unwrap();
    // One with a secret does not get through without it.
    let other = self::code(&place, &alice, "app").await;
    let mut fields = redeeming(&other);
    fields.push(("client_id", "app"));
    let refused = place.service.redeem_code(&form(&fields), None, None).await.unwrap();
    assert_eq!(refused.unwrap_err().kind, Wrong::InvalidClient);
}

#[tokio::test]
async fn leaving_ends_the_session_and_what_it_gave() {
    let (place, alice, secret) = place().await;
    let granted = redeem(&place.service, &code(&place, &alice, "app").await, &secret).await.unwrap();
    let waiting = code(&place, &alice, "app").await;
    let hint = granted.id_token.as_str();
    let leave = async |fields: &[(&str, &str)], session: Option<&Holder>| {
        place.service.leave(&form(fields), session).await.unwrap()
    };
    let bye = ("post_logout_redirect_uri", "https%3A%2F%2Fmcq.example%2Fbye");
    let leaving = leave(&[("id_token_hint", hint), bye, ("state", "s")], Some(&alice)).await.unwrap();
    assert_eq!(
        (leaving.is_certain, leaving.back.as_deref()),
        (true, Some("https://mcq.example/bye?state=s"))
    );
    // Any site could ask for it without showing that it knows who is signed in.
    assert!(!leave(&[("client_id", "app"), bye], Some(&alice)).await.unwrap().is_certain);
    let bob = session(&place, "bob").await;
    assert!(!leave(&[("id_token_hint", hint)], Some(&bob)).await.unwrap().is_certain);
    let evil = ("post_logout_redirect_uri", "https%3A%2F%2Fevil.test%2F");
    let forged = format!("{}.AAAA", hint.rsplit_once('.').unwrap().0);
    for fields in [
        vec![("id_token_hint", hint), evil],
        vec![("client_id", "app"), evil],
        vec![bye],
        vec![("id_token_hint", forged.as_str()), bye],
        vec![("id_token_hint", hint), ("client_id", "other"), bye],
        vec![("id_token_hint", granted.access_token.as_str()), bye],
    ] {
        assert_eq!(leave(&fields, Some(&alice)).await.unwrap_err().kind, Wrong::InvalidRequest, "{fields:?}");
    }
    place.service.end_session(&alice.account, &alice.token).await.unwrap();
    let told = place.service.userinfo(&granted.access_token).await.unwrap();
    assert_eq!(told.unwrap_err().kind, Wrong::InvalidToken);
    assert_eq!(redeem(&place.service, &waiting, &secret).await.unwrap_err().kind, Wrong::InvalidGrant);
}

#[tokio::test]
async fn a_client_gives_back_its_own_tokens_only() {
    let (place, alice, secret) = place().await;
    place.service.put_sso_client(None, Some(&client("cli", Type::Public))).await.unwrap();
    let granted = redeem(&place.service, &code(&place, &alice, "app").await, &secret).await.unwrap();
    let token = [("token", granted.access_token.as_str())];
    let own = place.token("alice").await;
    let give =
        async |fields: &[(&str, &str)], basic| place.service.give_back(&form(fields), basic).await.unwrap();
    assert_eq!(give(&token, None).await.unwrap_err().kind, Wrong::InvalidClient);
    give(&[token[0], ("client_id", "cli")], None).await.unwrap();
    give(&[("token", own.text.as_str())], Some(("app", &secret))).await.unwrap();
    give(&[("token", "none")], Some(("app", &secret))).await.unwrap();
    assert!(place.service.userinfo(&granted.access_token).await.unwrap().is_ok());
    assert!(place.service.validate(&own.text, &name("mcq")).await.unwrap().is_ok());
    give(&token, Some(("app", &secret))).await.unwrap();
    assert!(place.service.userinfo(&granted.access_token).await.unwrap().is_err());
}

#[tokio::test]
async fn a_new_secret_ends_the_one_before_and_codes_of_a_client_go_with_it() {
    let (place, alice, secret) = place().await;
    let before = place.service.sso_client(&name("app")).await.unwrap().unwrap();
    let waiting = code(&place, &alice, "app").await;
    let next = Client { secret_version: 2, ..before.clone() };
    let after = place.service.put_sso_client(Some(&before), Some(&next)).await.unwrap().unwrap();
    assert_ne!(after.secret, before.secret);
    let other = secret_of(&place, "app").await;
    assert_ne!(other, secret);
    assert_eq!(redeem(&place.service, &waiting, &secret).await.unwrap_err().kind, Wrong::InvalidClient);
    assert_eq!(redeem(&place.service, &waiting, &other).await.unwrap_err().kind, Wrong::InvalidGrant);
    let stale = place.service.put_sso_client(Some(&before), Some(&next)).await.unwrap_err();
    assert_eq!(stale.code, Code::AccountChanged);
    for record in place.journal.records("mcias-sso-client", None).await.unwrap() {
        assert!(!record.value.contains(&other), "a secret lies open");
    }
}

#[tokio::test]
async fn codes_that_wait_are_bounded_and_swept() {
    let (place, alice, _) = place().await;
    for _ in 0..32 {
        code(&place, &alice, "app").await;
    }
    let sent = back(&place, &asking("app"), Some(&alice)).await;
    assert_eq!(sent.get("error"), Some("temporarily_unavailable"));
    let bob = session(&place, "bob").await;
    code(&place, &bob, "app").await;
    place.pass(Duration::from_secs(61));
    place.service.sweep().await.unwrap();
    assert_eq!(place.journal.records("mcias-sso-code", None).await.unwrap().len(), 0);
}

#[tokio::test]
async fn nobody_who_was_disabled_or_renamed_redeems() {
    let (place, alice, secret) = place().await;
    let waiting = code(&place, &alice, "app").await;
    let account = place.service.account(&name("alice")).await.unwrap().unwrap();
    place.change(&account, |alice| alice.status = Status::Disabled).await;
    assert_eq!(redeem(&place.service, &waiting, &secret).await.unwrap_err().kind, Wrong::InvalidGrant);
}
