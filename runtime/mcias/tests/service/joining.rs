//! Accounts of people whom other issuers vouch for: made at the first sign-in where the settings say so, linked and unlinked by
//! their owners and by nobody else.

use std::collections::BTreeMap;

use mcias::Web;
use mcias::external::{Facts, Provider, Sort, Wrong};

use super::browser::{Browser, location, parameter, proof, text};
use super::external::{behind, github, provider, started};
use super::*;

/// Where a browser ends that signs in by that provider.
async fn comes_back(browser: &mut Browser, web: &Web, by: &str) -> http::Response<bytes::Bytes> {
    let sent = location(&browser.get(web, &format!("/external/{by}")).await);
    let state = parameter(&sent, "state").unwrap();
    browser.get(web, &format!("/external/{by}/callback?code=good&state={state}")).await
}

fn creating(number: u64) -> Provider {
    Provider { create: true, groups: [name("outside")].into(), ..provider(&github(number), false) }
}

async fn names(place: &Place) -> Vec<String> {
    place.service.accounts().await.unwrap().iter().map(|account| account.name.to_string()).collect()
}

fn facts(subject: &str, email: Option<&str>) -> Facts {
    let verified_email = email.map(|email| email.parse().unwrap());
    Facts { provider: name("idp"), subject: subject.into(), verified_email }
}

#[tokio::test]
async fn an_account_is_made_once_for_whom_nobody_knows_where_the_settings_say_so() {
    let providers = [(name("github"), creating(7)), (name("other"), provider(&github(8), false))];
    let (place, web, alice) = behind(providers.into()).await;
    // Her address is verified, and that is not enough: neither to be her nor to be a second one with it.
    let back = comes_back(&mut Browser::at(1), &web, "github").await;
    assert!(back.status() == 403 && text(&back).contains(Wrong::Address.words()), "{}", text(&back));
    assert_eq!(names(&place).await, ["alice"]);
    let alice = place.change(&alice, |alice| alice.email = Some("ALICE@example.org".parse().unwrap())).await;
    assert_eq!(comes_back(&mut Browser::at(1), &web, "github").await.status(), 403, "nor in capital letters");
    place.change(&alice, |alice| alice.email = None).await;
    for _ in 0..2 {
        let mut browser = Browser::at(2);
        let back = comes_back(&mut browser, &web, "github").await;
        assert!(browser.is_signed_in(), "{}", text(&back));
        assert_eq!(names(&place).await.len(), 2);
    }
    let made =
        place.service.accounts().await.unwrap().into_iter().find(|made| made.name != alice.name).unwrap();
    assert!(
        made.name.as_str().starts_with("github.alice-") && made.name.as_str().len() == 19,
        "{}",
        made.name
    );
    assert_eq!((made.kind, made.roles.clone()), (Kind::Human, [Role::Guest].into()));
    assert_eq!(made.groups, [name("outside")].into());
    assert_eq!(made.email.as_ref().unwrap().as_str(), "alice@example.org");
    let by = |event: &Event| {
        let acted = place.notes.acted();
        acted.into_iter().find(|(told, _)| told == event).unwrap().1.unwrap().principal
    };
    let account = made.name.clone();
    assert_eq!(by(&Event::AccountChanged { account: account.clone(), what: "created" }), "external:github");
    let linked = Event::External { account, provider: name("github"), what: "linked" };
    assert_eq!(by(&linked), "external:github");
    // A provider without `create` makes none; its address is not hers any more, so it is the one that is told to link.
    let back = comes_back(&mut Browser::at(3), &web, "other").await;
    assert!(back.status() == 403 && text(&back).contains(Wrong::Nobody.words()), "{}", text(&back));
    assert_eq!(names(&place).await.len(), 2);
}

#[tokio::test]
async fn who_was_made_is_let_in_by_a_rule_alone() {
    let (place, web, alice) = behind([(name("github"), creating(7))].into()).await;
    place.change(&alice, |alice| alice.email = None).await;
    let set = place.service.rules(&name("outside")).await.unwrap().unwrap();
    let mut users = set.clone();
    users.rules[0].roles = [Role::User].into();
    place.service.put_rules(Some(&set), Some(&users)).await.unwrap();
    let mut browser = Browser::at(1);
    let back = comes_back(&mut browser, &web, "github").await;
    assert!(back.status() == 403 && !browser.is_signed_in(), "{}", text(&back));
    assert!(text(&back).contains("not let in this way"), "{}", text(&back));
    assert_eq!(names(&place).await.len(), 2, "whoever runs it can find them, and let them in");
}

#[tokio::test]
async fn what_an_account_is_called_is_a_name_that_nobody_chose() {
    let place = Place::new();
    place.account("root", Kind::Human, &[Role::Admin]).await;
    let (roles, groups) = ([Role::Guest].into(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for (subject, email, begins) in [
        ("1", Some("root@evil.example"), "idp.root-"),
        ("2", Some("root@other.example"), "idp.root-"),
        ("3", Some("Ann.Lee+x@example.org"), "idp.ann-lee-"),
        ("4", Some("../../x@example.org"), "idp.x-"),
        ("5", Some("--@example.org"), "idp-"),
        ("a|b/..//\u{e9}", None, "idp.a-b-"),
        ("583231", None, "idp.583231-"),
        (&"x".repeat(255), None, "idp.xxxxx"),
    ] {
        let made = place.service.join(&facts(subject, email), &roles, &groups).await.unwrap().unwrap();
        assert!(made.name.as_str().starts_with(begins), "{}", made.name);
        assert!(seen.insert(made.name.clone()), "{}", made.name);
        let again = place.service.join(&facts(subject, email), &roles, &groups).await.unwrap().unwrap();
        assert_eq!(again.id, made.id, "once");
        // Whoever was removed comes back as themselves, and nobody else does under their name.
        place.service.put(Some(&made), None).await.unwrap();
        let anew = place.service.join(&facts(subject, email), &roles, &groups).await.unwrap().unwrap();
        assert_eq!((&anew.name, anew.id == made.id), (&made.name, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_come_at_once_each_gets_one_account_and_an_address_is_of_one() {
    let place = Place::new();
    let (roles, groups) = ([Role::Guest].into(), BTreeSet::new());
    let one = facts("1", Some("a@example.org"));
    // Two processes, and several at once in each.
    let services = [place.elsewhere(), place.elsewhere()];
    let tries = (0..6).map(|number| services[number % 2].join(&one, &roles, &groups));
    let outcomes = futures_util::future::join_all(tries).await;
    let ids: BTreeSet<String> = outcomes.into_iter().map(|made| made.unwrap().unwrap().id).collect();
    assert_eq!((ids.len(), names(&place).await.len()), (1, 1));
    let others: Vec<Facts> = (2..8).map(|number| facts(&number.to_string(), Some("b@example.org"))).collect();
    let tries = others.iter().map(|facts| place.service.join(facts, &roles, &groups));
    let outcomes = futures_util::future::join_all(tries).await;
    let made = outcomes.iter().filter(|made| made.as_ref().unwrap().is_ok()).count();
    assert_eq!((made, names(&place).await.len()), (1, 2));
    let refused = outcomes.into_iter().filter_map(|made| made.unwrap().err());
    assert!(refused.into_iter().all(|wrong| wrong == Wrong::Address));
}

#[test]
fn settings_make_no_admins_and_nothing_by_accident() {
    let read = |more: serde_json::Value| {
        let mut settings = serde_json::json!({ "kind": "github", "client_id": "us", "client_secret": "s" });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Provider>(settings).unwrap()
    };
    let plain = read(serde_json::json!({}));
    assert!(!plain.create && plain.wrong().is_none());
    let made = read(serde_json::json!({ "create": true }));
    assert!(made.roles() == [Role::Guest].into() && made.wrong().is_none());
    let user = read(serde_json::json!({ "create": true, "roles": ["user"], "groups": ["outside"] }));
    assert!(user.roles() == [Role::User].into() && user.wrong().is_none());
    assert!(read(serde_json::json!({ "create": true, "roles": [] })).roles().is_empty());
    for (wrong, word) in [
        (serde_json::json!({ "create": true, "roles": ["admin"] }), "admin"),
        (serde_json::json!({ "roles": ["user"] }), "create"),
        (serde_json::json!({ "groups": ["outside"] }), "create"),
    ] {
        assert!(read(wrong.clone()).wrong().unwrap().contains(word), "{wrong}");
    }
}

#[tokio::test]
async fn only_who_is_signed_in_links_and_unlinks_and_only_what_is_theirs() {
    let (place, web, alice) = behind([(name("github"), provider(&github(7), false))].into()).await;
    let bob = place.person("bob").await;
    let (mut hers, mut his, mut strangers) = (Browser::at(1), Browser::at(2), Browser::at(3));
    assert_eq!(hers.sign_in(&web, "alice", PASSWORD).await.status(), 303);
    assert_eq!(his.sign_in(&web, "bob", PASSWORD).await.status(), 303);
    let (her_proof, his_proof) =
        (proof(&hers.get(&web, "/account").await), proof(&his.get(&web, "/account").await));
    let strange = proof(&strangers.get(&web, "/login").await);
    let linked = async |account: &Account| place.service.linked(account).await.unwrap();
    for path in ["/external/github/link", "/external/github/unlink"] {
        assert_eq!(hers.get(&web, path).await.status(), 405);
        assert_eq!(
            strangers.post(&web, path, &[("csrf", &strange)]).await.status(),
            403,
            "nobody is signed in"
        );
        for wrong in
            [&[][..], &[("csrf", "")], &[("csrf", "x")], &[("csrf", &his_proof)], &[("csrf", &strange)]]
        {
            assert_eq!(hers.post(&web, path, wrong).await.status(), 403, "{path} {wrong:?}");
        }
        hers.headers = vec![("sec-fetch-site", "cross-site".into())];
        assert_eq!(hers.post(&web, path, &[("csrf", &her_proof)]).await.status(), 403, "another site's page");
        hers.headers.clear();
    }
    let away = async |browser: &mut Browser, proof: &str| {
        let page = browser.post(&web, "/external/github/link", &[("csrf", proof)]).await;
        let page = text(&page).replace("&amp;", "&");
        let address =
            page.split("class=\"button\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        format!("/external/github/callback?code=good&state={}", parameter(&address, "state").unwrap())
    };
    // The way back of one is no good in the browser of another, also with the cookie that binds it.
    let back = away(&mut hers, &her_proof).await;
    assert_eq!(his.get(&web, &back).await.status(), 403);
    let bound = hers.cookies["__Host-mcias-external"].clone();
    his.cookies.insert("__Host-mcias-external".into(), bound);
    let page = his.get(&web, &back).await;
    assert!(page.status() == 403 && text(&page).contains(Wrong::State.words()), "{}", text(&page));
    assert!(linked(&alice).await.is_empty() && linked(&bob).await.is_empty());
    let back = away(&mut hers, &her_proof).await;
    assert_eq!(location(&hers.get(&web, &back).await), "/account");
    assert_eq!(linked(&alice).await, [name("github")]);
    // Bob has the same person over there.
    let back = away(&mut his, &his_proof).await;
    let page = his.get(&web, &back).await;
    assert!(page.status() == 403 && text(&page).contains(Wrong::Taken.words()), "{}", text(&page));
    assert_eq!(
        location(&his.post(&web, "/external/github/unlink", &[("csrf", &his_proof)]).await),
        "/account"
    );
    assert_eq!((linked(&alice).await, linked(&bob).await), (vec![name("github")], vec![]), "hers stays");
    // By it she signs in, and not once it is unlinked.
    let mut elsewhere = Browser::at(4);
    comes_back(&mut elsewhere, &web, "github").await;
    assert!(elsewhere.is_signed_in());
    assert_eq!(
        location(&hers.post(&web, "/external/github/unlink", &[("csrf", &her_proof)]).await),
        "/account"
    );
    assert!(linked(&alice).await.is_empty());
    assert_eq!(comes_back(&mut Browser::at(5), &web, "github").await.status(), 403);
    let back = away(&mut his, &his_proof).await;
    assert_eq!(location(&his.get(&web, &back).await), "/account");
    assert_eq!(linked(&bob).await, [name("github")]);
    // Who was signed out on the way links nothing.
    let back = away(&mut hers, &her_proof).await;
    hers.post(&web, "/logout", &[("csrf", &her_proof)]).await;
    assert_eq!(hers.get(&web, &back).await.status(), 403);
    assert!(linked(&alice).await.is_empty());
}

#[tokio::test]
async fn a_language_goes_along_to_who_speaks_several() {
    let idp = remote::listening(|address| {
        Arc::new(move |_| {
            let at = format!("http://{address}");
            let about = serde_json::json!({ "issuer": at, "authorization_endpoint": format!("{at}/a"),
                "token_endpoint": format!("{at}/t"), "jwks_uri": format!("{at}/k") });
            Box::pin(async move { http::Response::new(bytes::Bytes::from(about.to_string())) })
        })
    })
    .await;
    let oidc = Provider {
        kind: Sort::Oidc,
        issuer: Some(format!("http://{idp}")),
        url: None,
        api: None,
        ..provider("", false)
    };
    let providers = [(name("idp"), oidc), (name("github"), provider(&github(7), false))];
    let (_place, web, _) = behind(providers.into()).await;
    let mut browser = Browser::at(1);
    let asked = async |browser: &mut Browser, path: &str| {
        parameter(&location(&browser.get(&web, path).await), "ui_locales")
    };
    assert_eq!(asked(&mut browser, "/external/idp").await, None);
    browser.headers = vec![("accept-language", "fr-CA, en;q=0.5".into())];
    assert_eq!(asked(&mut browser, "/external/idp").await.as_deref(), Some("fr-CA"));
    assert_eq!(asked(&mut browser, "/external/github").await, None, "it has no such parameter");
    let by_client = "/external/idp?next=%2Fsso%2Fauthorize%3Fui_locales%3Dit";
    assert_eq!(asked(&mut browser, by_client).await.as_deref(), Some("it"));
    assert_eq!(asked(&mut browser, "/external/idp?locale=de%26x%3Dy").await.as_deref(), Some("fr-CA"));
    // What was chosen is kept on the way, and on the way to begin again.
    let page = text(&browser.get(&web, "/login?locale=de-AT").await).replace("&amp;", "&");
    assert!(page.contains("href=\"/external/idp?next=%2Faccount&locale=de-AT\""), "{page}");
    let sent = location(&browser.get(&web, "/external/idp?locale=de-AT").await);
    assert_eq!(parameter(&sent, "ui_locales").as_deref(), Some("de-AT"));
    let state = parameter(&sent, "state").unwrap();
    let back = browser.get(&web, &format!("/external/idp/callback?error=access_denied&state={state}")).await;
    let page = text(&back).replace("&amp;", "&");
    assert!(page.contains("href=\"/login?next=%2Faccount&locale=de-AT\""), "{page}");
}

#[tokio::test]
async fn a_restart_on_the_way_is_said_and_leads_back_to_the_beginning() {
    let providers: BTreeMap<Name, Provider> = [(name("github"), provider(&github(7), true))].into();
    let (place, web, alice) = behind(providers.clone()).await;
    let mut browser = Browser::at(1);
    let sent = location(&browser.get(&web, "/external/github").await);
    let state = parameter(&sent, "state").unwrap();
    let anew = started(&place, &providers);
    let back = browser.get(&anew, &format!("/external/github/callback?code=good&state={state}")).await;
    assert!(back.status() == 403 && text(&back).contains("Begin again"), "{}", text(&back));
    assert!(comes_back(&mut browser, &anew, "github").await.status() == 303 && browser.is_signed_in());
    // Between the factors as well.
    let (key, _) = sign_in::enrolled(&place, &alice).await;
    let mut browser = Browser::at(2);
    let page = browser.sign_in(&anew, "alice", PASSWORD).await;
    assert!(text(&page).contains("One-time code"), "{}", text(&page));
    let (proof, code) = (proof(&page), sign_in::code(&key, place.clock.now()));
    let again = started(&place, &providers);
    let page = browser.post(&again, "/login", &[("csrf", &proof), ("step", "second"), ("code", &code)]).await;
    assert!(page.status() == 403 && text(&page).contains("Sign in again"), "{}", text(&page));
    let page = browser.sign_in(&again, "alice", PASSWORD).await;
    let proof = browser::proof(&page);
    let fields = [("csrf", proof.as_str()), ("step", "second"), ("code", &code)];
    assert!(
        browser.post(&again, "/login", &fields).await.status() == 303 && browser.is_signed_in(),
        "it was not used"
    );
}
