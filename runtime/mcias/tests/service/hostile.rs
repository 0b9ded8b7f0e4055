//! What others try by HTTP on pages and calls: each is refused, and nobody learns anything from how.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, HeaderMap, LOCATION, SET_COOKIE};
use http::{Request, Response};
use mcias::Web;
use mcias::sso::{Client, Type};
use serde_json::Value;

use super::browser::{Browser, location, proof, text};
use super::sign_in::{code, enrolled};
use super::*;

const SITE: &str = "https://mcias.example";

/// A site on which `alice` and `bob` may sign in, `off` is disabled, `mcr` is a service, and `nobody` does not exist.
async fn site() -> (Place, Web) {
    let place = Place::new();
    let web = Web::new(Arc::new(place.with(|settings| settings.url = Some(SITE.into())))).unwrap();
    for who in ["alice", "bob", "off"] {
        place.person(who).await;
    }
    place.account("mcr", Kind::System, &[]).await;
    let off = place.service.account(&name("off")).await.unwrap().unwrap();
    place.change(&off, |off| off.status = Status::Disabled).await;
    let rules = vec![Rule { services: Vec::new(), roles: [Role::User].into(), ..rule("everywhere", true) }];
    place.service.put_rules(None, Some(&RuleSet { name: name("site"), rules })).await.unwrap();
    (place, web)
}

/// One call, from an address of its own.
async fn call(web: &Web, from: u8, request: http::request::Builder, body: &str) -> Response<bytes::Bytes> {
    let request = request.header("host", "mcias.example").body(bytes::Bytes::from(body.to_owned())).unwrap();
    web.answer(request, ([203, 0, 113, from], 1).into()).await
}

fn posting(path: &str, kind: &str) -> http::request::Builder {
    Request::builder().method("POST").uri(path).header("content-type", kind)
}

fn login(who: &str, password: &str) -> String {
    serde_json::json!({ "name": who, "password": password, "service": "mcias" }).to_string()
}

/// Whatever tells one answer from another, beside what is random in each.
fn told(answer: &Response<bytes::Bytes>) -> (u16, Vec<(String, String)>, String) {
    let kept = |headers: &HeaderMap| {
        let mut all: Vec<(String, String)> = headers
            .iter()
            .filter(|(name, _)| *name != SET_COOKIE)
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        all.sort();
        all
    };
    let body = text(answer);
    let body = match body.split_once("name=\"csrf\" value=\"") {
        Some((before, rest)) => format!("{before}{}", rest.split_once('"').unwrap().1),
        None => body,
    };
    (answer.status().as_u16(), kept(answer.headers()), body)
}

#[tokio::test]
async fn nobody_learns_by_text_header_or_work_who_there_is() {
    let (place, web) = site().await;
    let mut answers = Vec::new();
    for (at, who) in ["alice", "nobody", "off", "mcr", "al ice", "../alice"].into_iter().enumerate() {
        let before = place.live.hashed();
        let from = u8::try_from(at).unwrap() + 1;
        let asked = posting("/v1/login", "application/json");
        answers.push((who, told(&call(&web, from, asked, &login(who, "wrong horse battery")).await)));
        assert_eq!(place.live.hashed() - before, 1, "another time for {who}");
    }
    let (_, first) = &answers[0];
    assert_eq!(first.0, 401);
    for (who, answer) in &answers {
        assert_eq!(answer, first, "{who}");
    }
    // The page as well, whose field keeps what was typed.
    let mut pages = Vec::new();
    for (at, who) in ["alice", "nobody", "off", "mcr"].into_iter().enumerate() {
        let mut browser = Browser::at(100 + u8::try_from(at).unwrap());
        let (status, headers, body) = told(&browser.sign_in(&web, who, "wrong horse battery").await);
        pages.push((status, headers, body.replace(&format!("value=\"{who}\""), "value=\"\"")));
    }
    assert!(pages.iter().all(|page| page == &pages[0]), "{pages:#?}");
    // Also whoever has the right password of what may not sign in.
    for (from, who) in [(20, "off"), (21, "mcr"), (22, "nobody")] {
        let asked = posting("/v1/login", "application/json");
        assert_eq!(&told(&call(&web, from, asked, &login(who, PASSWORD)).await), first, "{who}");
    }
}

#[tokio::test]
async fn a_body_is_read_in_one_way_or_not_at_all() {
    let (place, web) = site().await;
    let good = login("alice", PASSWORD);
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let before = place.live.hashed();
    for (kind, body) in [
        ("text/plain", good.clone()),
        ("application/x-www-form-urlencoded", good.clone()),
        ("multipart/form-data", good.clone()),
        ("", good.clone()),
        ("application/json", good.replacen('{', "{\"name\":\"bob\",", 1)),
        ("application/json", good.replacen('{', "{\"admin\":true,", 1)),
        ("application/json", good.replacen('{', "{\"__proto__\":{},", 1)),
        ("application/json", format!("{good}{good}")),
        ("application/json", format!("\u{feff}{good}")),
        ("application/json", deep),
        ("application/json", good.replace("\"alice\"", "[\"alice\"]")),
        ("application/json", good.replace("\"alice\"", "null")),
        ("application/json", "name=alice&password=x".into()),
        ("application/json", String::new()),
    ] {
        let answer = call(&web, 1, posting("/v1/login", kind), &body).await;
        assert_eq!(answer.status(), 400, "{kind} {body:.80}");
        assert!(!text(&answer).contains(PASSWORD), "what was sent comes back");
    }
    let large = login("alice", &"x".repeat(mcias::web::LARGEST_BODY));
    assert_eq!(call(&web, 1, posting("/v1/login", "application/json"), &large).await.status(), 413);
    assert_eq!(place.live.hashed(), before, "what cannot be read costs no hash");
    assert_eq!(call(&web, 1, posting("/v1/login", "application/json"), &good).await.status(), 200);
}

#[tokio::test]
async fn what_proves_something_is_kept_by_nobody_on_the_way() {
    let (_place, web) = site().await;
    let answer = call(&web, 1, posting("/v1/login", "application/json"), &login("alice", PASSWORD)).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[CACHE_CONTROL]),
        (200, &"no-store".parse().unwrap())
    );
    let mut browser = Browser::at(2);
    let entered = browser.sign_in(&web, "alice", PASSWORD).await;
    let cookies: Vec<&str> =
        entered.headers().get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect();
    assert!(!cookies.is_empty());
    for cookie in cookies {
        let parts: Vec<&str> = cookie.split("; ").collect();
        assert!(cookie.starts_with("__Host-mcias"), "{cookie}");
        for needed in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(parts.contains(&needed), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
    // No page of somebody else shows these within itself, reads them, or asks by a script.
    for path in ["/login", "/account", "/passkeys", "/v1/whoami", "/v1/health", "/nowhere", "/sso/authorize"]
    {
        for method in ["GET", "OPTIONS", "POST", "TRACE", "PROPFIND"] {
            let asked = Request::builder().method(method).uri(path).header("origin", "https://evil.example");
            let asked = asked.header("access-control-request-method", "POST");
            let answer = call(&web, 3, asked, "").await;
            let header =
                |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header("x-frame-options").as_deref(), Some("DENY"), "{method} {path}");
            assert!(header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
            assert!(header("strict-transport-security").is_some() && header("cache-control").is_some());
            let shared = answer.headers().keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(shared, None, "{method} {path}");
            let asks = method == "GET";
            assert!(asks || answer.status() == 403, "{method} {path}: {}", answer.status());
        }
    }
}

#[tokio::test]
async fn a_session_that_was_planted_is_not_the_one_that_begins() {
    let (place, web) = site().await;
    let mut mallory = Browser::at(1);
    mallory.sign_in(&web, "bob", PASSWORD).await;
    let planted = mallory.cookies["__Host-mcias"].clone();
    let mut victim = Browser::at(2);
    victim.cookies = mallory.cookies.clone();
    let entered = victim.sign_in(&web, "alice", PASSWORD).await;
    assert_eq!(entered.status(), 303);
    assert_ne!(victim.cookies["__Host-mcias"], planted);
    assert!(text(&victim.get(&web, "/account").await).contains("<strong>alice</strong>"));
    // Nor does whoever planted it find a way back in.
    assert_eq!(location(&mallory.get(&web, "/account").await), "/login?next=%2Faccount");
    let tokens = place.service.tokens(&name("bob")).await.unwrap();
    assert!(tokens.iter().all(|token| token.revoked), "{tokens:?}");
    // A form of before the sign-in is no good after it.
    let mut other = Browser::at(3);
    let before = proof(&other.get(&web, "/login").await);
    other.sign_in(&web, "alice", PASSWORD).await;
    assert_eq!(other.post(&web, "/logout", &[("csrf", &before)]).await.status(), 403);
    // And two cookies of one name are none.
    let twice = format!("__Host-mcias={}; __Host-mcias={planted}", victim.cookies["__Host-mcias"]);
    let asked = Request::builder().uri("/account").header("cookie", twice);
    assert_eq!(location(&call(&web, 4, asked, "").await), "/login?next=%2Faccount");
}

#[tokio::test]
async fn a_sign_in_leads_nowhere_else() {
    let (_place, web) = site().await;
    for (at, next) in [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%2fevil.example",
        "/%5cevil.example",
        "/%252fevil.example",
        "/\t/evil.example",
        "/\r\nLocation: https://evil.example",
        "https://evil.example",
        "https:evil.example",
        "https://mcias.example@evil.example",
        "javascript:alert(1)",
        "/.//evil.example",
        "/%2e%2e//evil.example",
        "/／evil.example",
        "/account#@evil.example",
        "evil.example",
        "?x",
        "",
    ]
    .into_iter()
    .enumerate()
    {
        let mut browser = Browser::at(u8::try_from(at).unwrap() + 1);
        let page = browser.get(&web, &format!("/login?{}", query("next", next))).await;
        assert!(!text(&page).contains("evil.example"), "{next:?}");
        let fields = [("csrf", &*proof(&page)), ("next", next), ("name", "alice"), ("password", PASSWORD)];
        let entered = browser.post(&web, "/login", &fields).await;
        assert_eq!((entered.status().as_u16(), &*location(&entered)), (303, "/account"), "{next:?}");
        assert_eq!(entered.headers().get_all(LOCATION).iter().count(), 1);
    }
}

fn query(key: &str, value: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair(key, value).finish()
}

#[tokio::test]
async fn how_somebody_signs_in_is_changed_only_shortly_after_they_did() {
    let (place, web) = site().await;
    let mut browser = Browser::at(1);
    browser.sign_in(&web, "alice", PASSWORD).await;
    let page = browser.get(&web, "/passkeys").await;
    assert_eq!(page.status(), 200);
    let proof = proof(&page);
    let cookies: Vec<String> =
        browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let begin = || {
        let asked = posting("/passkeys/new/options", "application/json").header("origin", SITE);
        asked.header("cookie", cookies.join("; ")).header("x-csrf", &proof)
    };
    assert_eq!(call(&web, 1, begin(), "{}").await.status(), 200);
    place.pass(Duration::from_secs(10 * 60));
    // The session lasts, and is not enough: it may be somebody else's by now.
    assert_eq!(browser.get(&web, "/account").await.status(), 200);
    assert_eq!(call(&web, 1, begin(), "{}").await.status(), 403);
    let made = begin().uri("/passkeys/new");
    assert_eq!(call(&web, 1, made, "{}").await.status(), 403);
    let removed = browser.post(&web, "/passkeys/remove", &[("csrf", &proof), ("id", "x")]).await;
    assert_eq!(removed.status(), 403);
    assert_eq!(location(&browser.get(&web, "/passkeys").await), "/login?next=%2Fpasskeys");
    browser.sign_in(&web, "alice", PASSWORD).await;
    assert_eq!(browser.get(&web, "/passkeys").await.status(), 200);
}

#[tokio::test]
async fn a_session_that_ends_takes_along_what_clients_were_given_in_it() {
    let (place, web) = site().await;
    let client = Client {
        id: name("app"),
        kind: Type::Public,
        service: name("mcq"),
        redirect_uris: ["https://mcq.example/callback".to_owned()].into(),
        logout_uris: BTreeSet::new(),
        secret_version: 1,
        secret: None,
    };
    place.service.put_sso_client(None, Some(&client)).await.unwrap();
    let mut browser = Browser::at(1);
    let mut given = Vec::new();
    for _ in 0..2 {
        browser.cookies.clear();
        browser.sign_in(&web, "alice", PASSWORD).await;
        let asked = "/sso/authorize?client_id=app&redirect_uri=https%3A%2F%2Fmcq.example%2Fcallback&response_type=code\
             &scope=openid&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
        let back = location(&browser.get(&web, asked).await);
        let code = browser::parameter(&back, "code").unwrap();
        let body = format!(
            "grant_type=authorization_code&client_id=app&code={code}&redirect_uri=https%3A%2F%2Fmcq.example%2Fcallback\
             &code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
        let asked = posting("/sso/token", "application/x-www-form-urlencoded");
        let told: Value = serde_json::from_slice(call(&web, 2, asked, &body).await.body()).unwrap();
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        let session = browser.cookies["__Host-mcias"].clone();
        given.push((session, text("access_token"), text("id_token")));
    }
    let service = place.with(|settings| settings.url = Some(SITE.into()));
    let valid = async |token: &str, of: &str| service.validate(token, &name(of)).await.unwrap().is_ok();
    let [(one, by_one, id_token), (other, by_other, _)] = &given[..] else { panic!("two sessions") };
    assert!(valid(by_one, "mcq").await && valid(by_other, "mcq").await);
    // What is for one service is nothing at another, and what says who signed in is no access at all.
    for (token, service) in
        [(by_one, "mcias"), (by_one, "mcrun"), (one, "mcq"), (id_token, "app"), (id_token, "mcq")]
    {
        assert!(!valid(token, service).await, "{service}");
    }
    for token in [by_one, id_token] {
        let asked = Request::builder().uri("/v1/whoami").header("authorization", format!("Bearer {token}"));
        assert_eq!(call(&web, 3, asked, "").await.status(), 401);
        let asked = Request::builder().uri("/account").header("cookie", format!("__Host-mcias={token}"));
        assert_eq!(location(&call(&web, 3, asked, "").await), "/login?next=%2Faccount");
    }
    // By REST as by any other way.
    let ids = place.service.tokens(&name("alice")).await.unwrap();
    let holder = service.validate(one, &name("mcias")).await.unwrap().unwrap();
    assert!(ids.iter().any(|token| token.id == holder.token));
    let path = format!("/v1/sessions/{}", holder.token);
    let asked =
        Request::builder().method("DELETE").uri(path).header("authorization", format!("Bearer {other}"));
    assert_eq!(call(&web, 3, asked, "").await.status(), 204);
    assert!(!valid(one, "mcias").await && !valid(by_one, "mcq").await, "it outlives its session");
    assert!(valid(by_other, "mcq").await, "another session's");
}

#[tokio::test]
async fn no_client_is_given_a_session_of_the_service_itself() {
    let (place, _web) = site().await;
    let client = Client {
        id: name("app"),
        kind: Type::Public,
        service: name("mcias"),
        redirect_uris: ["https://mcq.example/callback".to_owned()].into(),
        logout_uris: BTreeSet::new(),
        secret_version: 1,
        secret: None,
    };
    let refused = place.service.put_sso_client(None, Some(&client)).await.unwrap_err();
    assert_eq!(refused.code, Code::SsoClient);
}

#[tokio::test]
async fn whoever_has_the_password_guesses_codes_slowly_from_wherever_they_come() {
    let (place, _web) = site().await;
    let alice = place.service.account(&name("alice")).await.unwrap().unwrap();
    place.token("alice").await;
    let (key, recovery) = enrolled(&place, &alice).await;
    let (mut looked_at, mut at) = (0, 0_u32);
    // An hour, each try from another network, as often as the name may be tried.
    for _ in 0..600 {
        at += 1;
        let address = Some(std::net::IpAddr::from(u32::to_be_bytes(0xc633_0000 + at)));
        let second = Some(Second::Totp("000000"));
        let wish =
            SignIn { name: "alice", first: First::Password(PASSWORD), second, service: "mcq", address };
        if matches!(place.service.sign_in(&wish).await.unwrap(), Outcome::Refused) {
            looked_at += 1;
        }
        place.pass(Duration::from_secs(6));
    }
    assert!((10..=16).contains(&looked_at), "{looked_at} of 600");
    // The owner is let in where she has been before, and elsewhere by what nobody can guess.
    let now = code(&key, place.clock.now());
    assert!(matches!(place.sign_in("alice", PASSWORD, Some(Second::Totp(&now))).await, Outcome::Token(_)));
    let wish = SignIn {
        name: "alice",
        first: First::Password(PASSWORD),
        second: Some(Second::Recovery(&recovery[0])),
        service: "mcq",
        address: Some([192, 0, 2, 77].into()),
    };
    assert!(matches!(place.service.sign_in(&wish).await.unwrap(), Outcome::Token(_)));
}

#[tokio::test]
async fn an_admin_comes_back_whatever_the_policy_says() {
    let place = Place::new();
    let admin = place.service.init(&name("root"), PASSWORD).await.unwrap();
    let to = async |service: &'static str| {
        let address = Some([192, 0, 2, 1].into());
        let wish = SignIn { name: "root", first: First::Password(PASSWORD), second: None, service, address };
        place.service.sign_in(&wish).await.unwrap()
    };
    assert!(matches!(to("mcrun").await, Outcome::Token(_)));
    // While the policy lets admins in, nothing is added to it.
    place.service.recover_admin(&admin.name, PASSWORD).await.unwrap();
    assert_eq!(place.service.rules(&name("recovered-admins")).await.unwrap(), None);
    let lock = |how: Rule| RuleSet {
        name: name("lock"),
        rules: vec![Rule { services: Vec::new(), priority: 0, ..how }],
    };
    let everywhere = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let mut before = None;
    for locked in [
        rule("nobody", false),
        Rule { addresses: everywhere, ..rule("from-nowhere", false) },
        Rule { second_factor: true, ..rule("with-a-second-factor", true) },
    ] {
        let locked = lock(locked);
        place.service.put_rules(before.as_ref(), Some(&locked)).await.unwrap();
        assert!(matches!(to("mcrun").await, Outcome::Refused), "{locked:?}");
        place.service.recover_admin(&admin.name, PASSWORD).await.unwrap();
        for service in ["mcrun", "mcias"] {
            assert!(matches!(to(service).await, Outcome::Token(_)), "{service} {locked:?}");
        }
        assert!(matches!(to("mcq").await, Outcome::Refused), "to what is needed, and no more");
        let recovered = place.service.rules(&name("recovered-admins")).await.unwrap().unwrap();
        // Nobody else puts anything before all rules, and anybody may take it away.
        let forged = RuleSet { rules: vec![rule("all", true)], ..recovered.clone() };
        let refused = place.service.put_rules(Some(&recovered), Some(&forged)).await.unwrap_err();
        assert_eq!(refused.code, Code::LoginPolicy);
        place.service.put_rules(Some(&recovered), None).await.unwrap();
        assert!(matches!(to("mcrun").await, Outcome::Refused));
        before = Some(locked);
    }
}
