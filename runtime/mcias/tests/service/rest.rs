//! The REST calls: what they answer, to whom, and what others try on them.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use journal::Clock as _;
use mcias::driver::{Driver as _, Order};
use mcias::policy::{Rule, RuleSet};
use mcias::{Kind, Name, Role, Web};
use serde_json::{Value, json};

use super::sign_in::code;
use super::{PASSWORD, Place, name, rule};

const URL: &str = "https://mcias.example";

pub(super) struct Door {
    pub(super) place: Place,
    web: Web,
}

impl Door {
    /// A service with an admin, a user, a guest and the system accounts `mcq` and `other`.
    pub(super) async fn open() -> Self {
        let place = Place::new();
        let web = Web::new(Arc::new(place.with(|settings| settings.url = Some(URL.into())))).unwrap();
        for (who, role) in
            [("root", Role::Admin), ("alice", Role::User), ("bob", Role::User), ("gast", Role::Guest)]
        {
            let account = place.account(who, Kind::Human, &[role]).await;
            place.service.set_password(&account, PASSWORD).await.unwrap();
        }
        for who in ["mcq", "other"] {
            place.account(who, Kind::System, &[]).await;
        }
        let rules = RuleSet {
            name: name("all"),
            rules: vec![Rule { services: Vec::new(), ..rule("everybody", true) }],
        };
        place.service.put_rules(None, Some(&rules)).await.unwrap();
        Self { place, web }
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.web.answer(request, SocketAddr::from(([192, 0, 2, 1], 40_000))).await
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path).header("host", "mcias.example");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = self.send(request.body(Bytes::from(body)).unwrap()).await;
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
    }

    /// A token of somebody who signed in to the service itself.
    pub(super) async fn token(&self, who: &str) -> String {
        let wish = json!({ "name": who, "password": PASSWORD, "service": "mcias" });
        let (status, told) = self.ask("POST", "/v1/login", None, Some(wish)).await;
        assert_eq!(status, 200, "{told}");
        told["token"].as_str().unwrap().to_owned()
    }

    fn code(&self, key: &str) -> String {
        code(key, self.place.clock.now())
    }

    /// A token of a system account for a service.
    async fn issued(&self, who: &str, service: &str) -> String {
        let account = self.place.service.account(&name(who)).await.unwrap().unwrap();
        let (service, id) = (name(service), format!("{who}-{service}-0123456789"));
        let order = Order { account: &account, service: &service, lifetime: None, id: &id };
        self.web.service().issue(&order).await.unwrap().text.to_string()
    }
}

#[tokio::test]
async fn signing_in_has_one_shape_whatever_comes_of_it() {
    let door = Door::open().await;
    let login = |who: &str, password: &str| json!({ "name": who, "password": password, "service": "mcq" });
    let (status, told) = door.ask("POST", "/v1/login", None, Some(login("alice", PASSWORD))).await;
    assert_eq!((status, &told["outcome"], &told["account"]), (200, &"token".into(), &"alice".into()));
    let refused = (401, json!({ "outcome": "refused" }));
    for (who, password) in [("alice", "wrong"), ("nobody", PASSWORD), ("mcq", PASSWORD), ("a'; --", PASSWORD)]
    {
        assert_eq!(door.ask("POST", "/v1/login", None, Some(login(who, password))).await, refused, "{who}");
    }
    for _ in 0..4 {
        door.ask("POST", "/v1/login", None, Some(login("bob", "wrong"))).await;
    }
    door.ask("POST", "/v1/login", None, Some(login("bob", "wrong"))).await;
    let (status, told) = door.ask("POST", "/v1/login", None, Some(login("bob", PASSWORD))).await;
    assert_eq!((status, &told["outcome"]), (429, &"wait".into()), "{told}");
    assert!(told["seconds"].as_u64().unwrap() >= 1);
    for wrong in
        [json!({}), json!({ "name": "alice", "password": PASSWORD, "service": "mcq", "admin": true })]
    {
        let (status, told) = door.ask("POST", "/v1/login", None, Some(wrong)).await;
        assert_eq!((status, &told["error"]["code"]), (400, &"malformed".into()));
        assert!(!told.to_string().contains(PASSWORD));
    }
}

#[tokio::test]
async fn a_second_factor_is_enrolled_asked_for_and_removed_by_its_owner() {
    let door = Door::open().await;
    let token = door.token("alice").await;
    let wrong = json!({ "password": "wrong password" });
    assert_eq!(door.ask("POST", "/v1/totp", Some(&token), Some(wrong)).await.0, 403);
    let (status, shown) =
        door.ask("POST", "/v1/totp", Some(&token), Some(json!({ "password": PASSWORD }))).await;
    assert_eq!(status, 201, "{shown}");
    let key = shown["key"].as_str().unwrap().to_owned();
    let (status, codes) =
        door.ask("POST", "/v1/totp/confirm", Some(&token), Some(json!({ "code": door.code(&key) }))).await;
    assert_eq!(status, 200, "{codes}");
    let recovery = codes["recovery"][0].as_str().unwrap().to_owned();
    let login = |second: Value| {
        let mut wish = json!({ "name": "alice", "password": PASSWORD, "service": "mcias" });
        wish.as_object_mut().unwrap().extend(second.as_object().unwrap().clone());
        wish
    };
    let (status, told) = door.ask("POST", "/v1/login", None, Some(login(json!({})))).await;
    assert_eq!((status, told), (200, json!({ "outcome": "challenge", "factors": ["totp", "recovery"] })));
    let by_code = login(json!({ "recovery": recovery }));
    assert_eq!(door.ask("POST", "/v1/login", None, Some(by_code.clone())).await.0, 200);
    assert_eq!(door.ask("POST", "/v1/login", None, Some(by_code)).await.0, 401, "a code is good once");
    let remove = json!({ "password": PASSWORD });
    assert_eq!(door.ask("DELETE", "/v1/totp", Some(&token), Some(remove)).await.0, 400);
    door.place.pass(std::time::Duration::from_secs(60));
    let remove = json!({ "password": PASSWORD, "totp": door.code(&key) });
    assert_eq!(door.ask("DELETE", "/v1/totp", Some(&token), Some(remove)).await.0, 204);
    assert_eq!(door.ask("GET", "/v1/factors", Some(&token), None).await.1, json!({ "factors": [] }));
}

#[tokio::test]
async fn a_service_validates_what_it_was_given_and_nothing_else() {
    let door = Door::open().await;
    let (own, other) = (door.issued("mcq", "mcias").await, door.issued("other", "mcias").await);
    let given = door.issued("other", "mcq").await;
    let wish = json!({ "token": given, "service": "mcq" });
    let (status, said) = door.ask("POST", "/v1/validate", Some(&own), Some(wish.clone())).await;
    assert_eq!((status, &said["valid"], &said["holder"]["account"]), (200, &true.into(), &"other".into()));
    assert_eq!(door.ask("POST", "/v1/validate", Some(&other), Some(wish.clone())).await.0, 403);
    assert_eq!(
        door.ask("POST", "/v1/validate", Some(&given), Some(wish.clone())).await.0,
        401,
        "its audience"
    );
    let alice = door.token("alice").await;
    assert_eq!(door.ask("POST", "/v1/validate", Some(&alice), Some(wish.clone())).await.0, 403);
    assert_eq!(door.ask("POST", "/v1/validate", None, Some(wish.clone())).await.0, 401);
    let root = door.token("root").await;
    assert_eq!(door.ask("DELETE", "/v1/accounts/other/tokens", Some(&root), None).await.0, 204);
    let (_, said) = door.ask("POST", "/v1/validate", Some(&own), Some(wish)).await;
    assert_eq!(said, json!({ "valid": false, "refusal": "revoked" }));
}

#[tokio::test]
async fn what_is_anothers_is_not_there() {
    let door = Door::open().await;
    let (alice, guest) = (door.token("alice").await, door.token("gast").await);
    let bob = door.token("bob").await;
    let (_, sessions) = door.ask("GET", "/v1/sessions", Some(&bob), None).await;
    let id = sessions["sessions"][0]["id"].as_str().unwrap();
    let missing = json!({ "error": { "code": "not_found", "message": "there is nothing here" } });
    for (method, path) in [
        ("GET", "/v1/accounts/bob".to_owned()),
        ("GET", "/v1/accounts/nobody".to_owned()),
        ("DELETE", "/v1/accounts/bob".to_owned()),
        ("PUT", "/v1/accounts/bob/roles/admin".to_owned()),
        ("GET", "/v1/accounts/bob/tokens".to_owned()),
        ("DELETE", format!("/v1/accounts/bob/tokens/{id}")),
        ("DELETE", format!("/v1/accounts/alice/tokens/{id}")),
        ("DELETE", format!("/v1/sessions/{id}")),
        ("GET", "/v1/accounts/..%2Froot".to_owned()),
        ("GET", "/v1/nothing".to_owned()),
    ] {
        for token in [&alice, &guest] {
            let (status, said) = door.ask(method, &path, Some(token), None).await;
            let is_malformed = path.contains("%2F") && status == 400;
            assert!((status == 404 && said == missing) || is_malformed, "{method} {path}: {status} {said}");
        }
    }
    assert_eq!(door.ask("GET", "/v1/sessions", Some(&bob), None).await.0, 200, "bob's session goes on");
    for (method, path) in
        [("GET", "/v1/accounts"), ("GET", "/v1/policy"), ("PUT", "/v1/accounts/alice/roles/admin")]
    {
        assert_eq!(door.ask(method, path, Some(&alice), None).await.0, 403, "{method} {path}");
    }
    let own = json!({ "current": PASSWORD, "new": "another good password" });
    assert_eq!(door.ask("PUT", "/v1/password", Some(&guest), Some(own)).await.0, 403, "guests look");
    assert_eq!(door.ask("GET", "/v1/whoami", Some(&guest), None).await.0, 200);
}

#[tokio::test]
async fn a_role_that_is_taken_while_signed_in_counts_no_more() {
    let door = Door::open().await;
    let (root, alice) = (door.token("root").await, door.token("alice").await);
    let new = json!({ "roles": ["user"], "groups": ["ops"], "password": PASSWORD });
    assert_eq!(door.ask("PUT", "/v1/accounts/carol", Some(&root), Some(new.clone())).await.0, 201);
    assert_eq!(door.ask("PUT", "/v1/accounts/carol", Some(&root), Some(new)).await.0, 200, "once more");
    assert_eq!(door.ask("PUT", "/v1/accounts/alice/roles/admin", Some(&root), None).await.0, 200);
    assert_eq!(door.ask("GET", "/v1/accounts", Some(&alice), None).await.0, 200);
    // By another process: what this one has kept of alice is not asked.
    let elsewhere = door.place.elsewhere();
    let before = elsewhere.account(&name("alice")).await.unwrap().unwrap();
    let mut after = before.clone();
    after.roles.remove(&Role::Admin);
    elsewhere.put(Some(&before), Some(&after)).await.unwrap();
    assert_eq!(door.ask("GET", "/v1/accounts", Some(&alice), None).await.0, 403);
    assert_eq!(door.ask("POST", "/v1/accounts/alice/disable", Some(&root), None).await.0, 200);
    assert_eq!(door.ask("GET", "/v1/whoami", Some(&alice), None).await.0, 401);
    let last = door.ask("DELETE", "/v1/accounts/root/roles/admin", Some(&root), None).await;
    assert_eq!((last.0, &last.1["error"]["code"]), (409, &"MC-W005".into()));
    let weak = json!({ "password": "short" });
    assert_eq!(door.ask("PUT", "/v1/accounts/dave", Some(&root), Some(weak)).await.0, 400);
    assert_eq!(door.ask("GET", "/v1/accounts/dave", Some(&root), None).await.0, 404, "nothing is left");
}

#[tokio::test]
async fn a_new_password_ends_other_sessions_and_signing_out_ends_this_one() {
    let door = Door::open().await;
    let (one, other) = (door.token("alice").await, door.token("alice").await);
    let wish = json!({ "current": PASSWORD, "new": "another good password" });
    assert_eq!(door.ask("PUT", "/v1/password", Some(&one), Some(wish)).await.0, 204);
    assert_eq!(door.ask("GET", "/v1/whoami", Some(&other), None).await.0, 401);
    assert_eq!(door.ask("GET", "/v1/whoami", Some(&one), None).await.0, 200);
    assert_eq!(door.ask("POST", "/v1/logout", Some(&one), None).await.0, 204);
    assert_eq!(door.ask("GET", "/v1/whoami", Some(&one), None).await.0, 401);
}

#[tokio::test]
async fn whoever_changes_something_says_what_it_was() {
    let door = Door::open().await;
    let root = door.token("root").await;
    let request = |method: &str, path: &str, header: (&str, &str), body: Value| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "mcias.example")
            .header("authorization", format!("Bearer {root}"))
            .header("content-type", "application/json")
            .header(header.0, header.1)
            .body(Bytes::from(body.to_string()))
            .unwrap()
    };
    let shown = door.send(request("GET", "/v1/accounts/alice", ("accept", "*/*"), json!({}))).await;
    let tag = shown.headers()["etag"].to_str().unwrap().to_owned();
    let change = |tag: &str, tags: &str| {
        request("PUT", "/v1/accounts/alice", ("if-match", tag), json!({ "tags": [tags] }))
    };
    assert_eq!(door.send(change(&tag, "one")).await.status(), StatusCode::OK);
    assert_eq!(door.send(change(&tag, "two")).await.status(), StatusCode::CONFLICT);
    let new = request("PUT", "/v1/accounts/alice", ("if-none-match", "*"), json!({}));
    assert_eq!(door.send(new).await.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_a_browser_is_made_to_send_changes_nothing() {
    let door = Door::open().await;
    let token = door.token("root").await;
    let ask = |host: &str, origin: Option<&str>| {
        let request =
            Request::builder().method("POST").uri("/v1/accounts/alice/disable").header("host", host);
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
        request.body(Bytes::new()).unwrap()
    };
    assert_eq!(door.send(ask("evil.test", None)).await.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(
        door.send(ask("mcias.example", Some("https://evil.test"))).await.status(),
        StatusCode::FORBIDDEN
    );
    let alice: Name = name("alice");
    assert!(door.place.service.account(&alice).await.unwrap().unwrap().is_active());
    assert_eq!(door.send(ask("mcias.example", Some(URL))).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_happens_is_told_with_who_did_it() {
    let door = Door::open().await;
    let root = door.token("root").await;
    door.ask("PUT", "/v1/accounts/alice/roles/guest", Some(&root), None).await;
    let acted = door.place.notes.acted();
    let by = acted.iter().find(|(event, _)| matches!(event, mcias::Event::RoleGranted { role: Role::Guest, account } if account.as_str() == "alice"));
    let actor = by.and_then(|(_, actor)| actor.clone()).unwrap();
    assert_eq!((actor.principal.as_str(), actor.address), ("account:root", Some([192, 0, 2, 1].into())));
}

/// `proto/mcias/v1.json` has the methods that each path takes, and no others.
#[tokio::test]
async fn the_description_has_the_methods_that_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/mcias/v1.json");
    let described: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let door = Door::open().await;
    let (root, alice) = (door.token("root").await, door.token("alice").await);
    let paths = described["paths"].as_object().unwrap();
    assert!(paths.len() > 20);
    for (path, operations) in paths {
        let asked = path
            .replace("{name}", "alice")
            .replace("{id}", "0123456789abcdef")
            .replace("{role}", "guest")
            .replace("{set}", "all");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let token = if path == "/v1/logout" { &alice } else { &root };
            let (status, said) = door.ask(method, &asked, Some(token), None).await;
            let is_described = operations.get(method.to_lowercase()).is_some();
            assert_eq!(status != 405, is_described, "{method} {path}: {status} {said}");
            assert_ne!(status, 500, "{method} {path}");
            let documented = &operations[method.to_lowercase()]["responses"];
            assert!(
                !is_described || documented.get(status.to_string()).is_some(),
                "{method} {path}: {status}"
            );
        }
    }
}
