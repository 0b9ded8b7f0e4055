//! Signing in with the word of another issuer: a GitHub that stands on this machine, and what others try with it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use bytes::Bytes;
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{Request, Response};
use mcias::external::{External, Facts, Provider, Sort, Wrong};
use mcias::{FirstFactor, Web};

use super::*;

/// Secrets of which each may go anywhere.
struct Known;

#[async_trait]
impl effect::Secrets for Known {
    async fn reveal(&self, _: &str) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        Ok(zeroize::Zeroizing::new(b"a client's secret".to_vec()))
    }

    fn may_go(&self, _: &str, destination: &str) -> Result<bool> {
        Ok(destination == "mcias:external")
    }
}

/// A GitHub that answers for the user with this number; codes that are not `good` are none.
pub(super) fn github(number: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = vec![0; 8192];
            let mut length = 0;
            // The head, and the body that it announces.
            loop {
                length += stream.read(&mut asked[length..]).unwrap_or(0);
                let text = String::from_utf8_lossy(&asked[..length]).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let announced = head.to_ascii_lowercase();
                let announced = announced
                    .split_once("content-length: ")
                    .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse::<usize>().unwrap());
                if body.len() >= announced {
                    break;
                }
            }
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let answer = match asked.split(' ').nth(1).unwrap() {
                "/login/oauth/access_token"
                    if asked.contains("code=good") && asked.contains("code_verifier=") =>
                {
                    r#"{"access_token":"t","token_type":"bearer"}"#.to_owned()
                }
                "/login/oauth/access_token" => r#"{"error":"bad_verification_code"}"#.to_owned(),
                "/user" => format!(r#"{{"id":{number},"login":"alice"}}"#),
                "/user/emails" => {
                    r#"[{"email":"alice@example.org","primary":true,"verified":true}]"#.to_owned()
                }
                _ => "{}".to_owned(),
            };
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
            let _ = write!(stream, "{head} {}\r\n\r\n{answer}", answer.len());
        }
    });
    url
}

pub(super) fn provider(url: &str, match_email: bool) -> Provider {
    Provider {
        kind: Sort::Github,
        title: Some("GitHub".into()),
        client_id: "us".into(),
        client_secret: "github".into(),
        issuer: None,
        url: Some(url.into()),
        api: Some(url.into()),
        ca: None,
        match_email,
        create: false,
        roles: None,
        groups: BTreeSet::new(),
    }
}

/// The service behind its pages, with that GitHub, and alice, whom a rule lets in by it.
async fn web(match_email: bool) -> (Place, Web, Account) {
    let providers = [("github", 7), ("other", 8)]
        .map(|(text, number)| (name(text), provider(&github(number), match_email)));
    behind(providers.into()).await
}

/// The same with other providers.
pub(super) async fn behind(providers: BTreeMap<Name, Provider>) -> (Place, Web, Account) {
    let place = Place::new();
    let alice = place.person("alice").await;
    let email = Some("alice@example.org".parse().unwrap());
    let alice = place.change(&alice, |alice| alice.email = email).await;
    let outside = Rule {
        services: vec!["mcias".into()],
        first_factors: [FirstFactor::External, FirstFactor::Password].into(),
        ..rule("outside", true)
    };
    let set = RuleSet { name: name("outside"), rules: vec![outside] };
    place.service.put_rules(None, Some(&set)).await.unwrap();
    let web = started(&place, &providers);
    (place, web, alice)
}

/// What a daemon begins with: the records, and nothing that another one had in memory.
pub(super) fn started(place: &Place, providers: &BTreeMap<Name, Provider>) -> Web {
    let service = place.with(|settings| settings.url = Some("https://mcias.example".into()));
    let external = External::new(providers, Arc::new(Known));
    Web::new(Arc::new(service)).unwrap().with_external(external)
}

async fn ask(web: &Web, path: &str, cookie: &str) -> Response<Bytes> {
    let request = Request::builder().uri(path).header(HOST, "mcias.example");
    let request = if cookie.is_empty() { request } else { request.header(COOKIE, cookie) };
    web.answer(request.body(Bytes::new()).unwrap(), ([192, 0, 2, 1], 1).into()).await
}

/// The state that the browser is sent away with, and its cookie.
async fn away(web: &Web, provider: &str) -> (String, String) {
    let answer = ask(web, &format!("/external/{provider}?next=%2Faccount"), "").await;
    assert_eq!(answer.status(), 303, "{answer:?}");
    let address = answer.headers()[LOCATION].to_str().unwrap();
    assert!(
        address.contains("code_challenge_method=S256")
            && address.contains("&redirect_uri=https%3A%2F%2Fmcias.example%2F"),
        "{address}"
    );
    let state = address.split_once("state=").unwrap().1.split('&').next().unwrap().to_owned();
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    (state, cookie)
}

fn body(answer: &Response<Bytes>) -> String {
    String::from_utf8(answer.body().to_vec()).unwrap()
}

fn session(answer: &Response<Bytes>) -> bool {
    let cookies = answer.headers().get_all(SET_COOKIE);
    cookies.iter().any(|cookie| cookie.to_str().unwrap().starts_with("__Host-mcias=e"))
}

#[tokio::test]
async fn somebody_is_known_by_a_verified_address_once_and_by_their_number_from_then_on() {
    let (place, web, alice) = web(true).await;
    for _ in 0..2 {
        let (state, cookie) = away(&web, "github").await;
        let back = ask(&web, &format!("/external/github/callback?code=good&state={state}"), &cookie).await;
        assert!(back.status() == 303 && session(&back), "{back:?}");
        let again = ask(&web, &format!("/external/github/callback?code=good&state={state}"), &cookie).await;
        assert!(again.status() == 403 && body(&again).contains("used before"), "{again:?}");
    }
    // The same address with another number is somebody else.
    let facts = |number: &str, email: Option<&str>| Facts {
        provider: name("github"),
        subject: number.into(),
        verified_email: email.map(|email| email.parse().unwrap()),
    };
    let known = async |facts: &Facts| place.service.known_by(facts, true).await.unwrap();
    assert_eq!(known(&facts("9", Some("alice@example.org"))).await.unwrap_err(), Wrong::Nobody);
    assert_eq!(known(&facts("7", None)).await.unwrap().id, alice.id, "whatever the address is now");
    // Whom another holds is not linked to a second account.
    let bob = place.person("bob").await;
    assert_eq!(place.service.link(&facts("7", None), &bob).await.unwrap(), Err(Wrong::Taken));
    place.service.unlink(&alice.name, &name("github")).await.unwrap();
    assert_eq!(place.service.link(&facts("7", None), &bob).await.unwrap(), Ok(()));
    // Another account under the same name inherits nothing.
    let before = place.service.account(&bob.name).await.unwrap().unwrap();
    place.service.put(Some(&before), None).await.unwrap();
    place.person("bob").await;
    assert_eq!(known(&facts("7", None)).await.unwrap_err(), Wrong::Nobody);
}

#[tokio::test]
async fn an_address_counts_only_where_it_is_verified_and_the_settings_say_so() {
    let (place, web, _) = web(false).await;
    let (state, cookie) = away(&web, "github").await;
    let back = ask(&web, &format!("/external/github/callback?code=good&state={state}"), &cookie).await;
    assert!(back.status() == 403 && !session(&back) && body(&back).contains("No account here"), "{back:?}");
    let unverified = Facts { provider: name("github"), subject: "7".into(), verified_email: None };
    assert_eq!(place.service.known_by(&unverified, true).await.unwrap().unwrap_err(), Wrong::Nobody);
    // An address of two accounts is nobody's.
    let bob = place.person("bob").await;
    place.change(&bob, |bob| bob.email = Some("alice@example.org".parse().unwrap())).await;
    let verified = Facts { verified_email: Some("alice@example.org".parse().unwrap()), ..unverified };
    assert_eq!(place.service.known_by(&verified, true).await.unwrap().unwrap_err(), Wrong::Nobody);
}

#[tokio::test]
async fn each_way_to_go_wrong_has_its_answer() {
    let (_place, web, _) = web(true).await;
    for (query, words) in [
        ("code=good", Wrong::State),
        ("code=good&state=forged", Wrong::State),
        ("code=good&state=STATE&state=STATE", Wrong::State),
        ("error=access_denied&state=STATE", Wrong::Denied),
        ("state=STATE", Wrong::NoCode),
        ("code=bad&state=STATE", Wrong::Exchange),
    ] {
        let (state, cookie) = away(&web, "github").await;
        let query = query.replace("STATE", &state);
        let back = ask(&web, &format!("/external/github/callback?{query}"), &cookie).await;
        assert!(
            back.status() == 403 && !session(&back) && body(&back).contains(words.words()),
            "{query}: {back:?}"
        );
        assert!(body(&back).contains("<a href=\"/login?next=%2Faccount\">"), "the way to begin again");
    }
    // From another browser, or from another provider than was asked.
    let (state, cookie) = away(&web, "github").await;
    for cookie in ["", "__Host-mcias-external=another"] {
        let back = ask(&web, &format!("/external/github/callback?code=good&state={state}"), cookie).await;
        assert_eq!(back.status(), 403);
    }
    let mixed = ask(&web, &format!("/external/other/callback?code=good&state={state}"), &cookie).await;
    assert!(mixed.status() == 403 && body(&mixed).contains(Wrong::State.words()));
    assert_eq!(ask(&web, "/external/nobody", "").await.status(), 404);
    let page = ask(&web, "/login", "").await;
    assert!(body(&page).contains("Sign in with GitHub"));
}

#[tokio::test]
async fn a_second_factor_is_asked_for_after_another_issuer_too() {
    let (place, web, alice) = web(true).await;
    let key = place.service.enrol_totp(&alice.name).await.unwrap().key.to_string();
    place.service.confirm_totp(&alice.name, &sign_in::code(&key, place.clock.now())).await.unwrap();
    let (state, cookie) = away(&web, "github").await;
    let back = ask(&web, &format!("/external/github/callback?code=good&state={state}"), &cookie).await;
    assert!(back.status() == 200 && !session(&back) && body(&back).contains("One-time code"), "{back:?}");
}

#[tokio::test]
async fn a_provider_that_is_not_there_signs_nobody_in() {
    let place = Place::new();
    let gone = Provider {
        kind: Sort::Oidc,
        issuer: Some("http://127.0.0.1:9".into()),
        url: None,
        api: None,
        ..provider("", false)
    };
    let web = started(&place, &[(name("gone"), gone)].into());
    let answer = ask(&web, "/external/gone", "").await;
    assert!(answer.status() == 502 && answer.headers().get(LOCATION).is_none(), "{answer:?}");
    assert_eq!(Code::ExternalProvider.as_str(), "MC-W021");
}
