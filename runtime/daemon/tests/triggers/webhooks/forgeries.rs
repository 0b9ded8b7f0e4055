//! Calls that are not what they claim to be, in every format: none of them starts anything, or says more than that.

use daemon::playbooks::Forge;
use daemon::triggers::Outcome;
use effect::Code;

use super::stage::{Hooks, SECRET, json_type, ours, sign_one, webhook};
use crate::stage::MINUTE;

type Headers = Vec<(&'static str, String)>;

struct Case {
    what: &'static str,
    method: &'static str,
    path: &'static str,
    headers: Headers,
    body: Vec<u8>,
    status: u16,
}

fn case(what: &'static str, path: &'static str, headers: Headers, body: &[u8], status: u16) -> Case {
    Case { what, method: "POST", path, headers, body: body.to_vec(), status }
}

const BODY: &[u8] = br#"{"ref":"refs/heads/main"}"#;

fn of_ours(now: i64) -> Vec<Case> {
    let to = |what, headers: Headers, status| case(what, "/hooks/ours", headers, BODY, status);
    let signed = |text: String| vec![json_type(), ("mcrun-signature", text)];
    let good = sign_one(SECRET, &[format!("{now}.").as_bytes(), BODY].concat());
    let other = sign_one("another secret", &[format!("{now}.").as_bytes(), BODY].concat());
    let time_alone = sign_one(SECRET, BODY);
    let (late, early) = (now - 301, now + 301);
    vec![
        to("no signature", vec![json_type()], 401),
        to("an empty one", signed(String::new()), 401),
        to("another secret", signed(format!("t={now},v1={other}")), 401),
        to("the body alone signed", signed(format!("t={now},v1={time_alone}")), 401),
        to("another time than the signed one", signed(format!("t={},v1={good}", now + 1)), 401),
        to("no time", signed(format!("v1={good}")), 401),
        to("two times", signed(format!("t={now},t={now},v1={good}")), 401),
        to("no signature beside the time", signed(format!("t={now}")), 401),
        to("half a signature", signed(format!("t={now},v1={}", &good[..32])), 401),
        to("a signature and more", signed(format!("t={now},v1={good}00")), 401),
        to("no hex", signed(format!("t={now},v1={}", "z".repeat(64))), 401),
        to("nothing but zeros", signed(format!("t={now},v1={}", "0".repeat(64))), 401),
        to("a time with a sign", signed(format!("t=+{now},v1={good}")), 401),
        to("a time beyond all times", signed(format!("t=99999999999999999999,v1={good}")), 401),
        to("a version that nobody knows", signed(format!("t={now},v0={good}")), 401),
        to(
            "more signatures than anybody has keys",
            signed(format!("t={now},{}", format!("v1={other},").repeat(9))),
            401,
        ),
        to("too old", vec![json_type(), ours(late, BODY)], 401),
        to("from the future", vec![json_type(), ours(early, BODY)], 401),
        to("the header twice", vec![json_type(), ours(now, BODY), ours(now, BODY)], 401),
        case("another body", "/hooks/ours", vec![json_type(), ours(now, BODY)], b"{}", 401),
        to(
            "GitHub's header",
            vec![json_type(), ("x-hub-signature-256", format!("sha256={time_alone}"))],
            401,
        ),
        to(
            "a kind of body that nobody reads",
            vec![("content-type", "application/xml".into()), ours(now, BODY)],
            415,
        ),
        case("what is no JSON", "/hooks/ours", vec![json_type(), ours(now, b"{")], b"{", 400),
        case("another address", "/hooks/nobody", vec![json_type(), ours(now, BODY)], BODY, 404),
        case("an address above it", "/hooks/ours/../ours", vec![json_type(), ours(now, BODY)], BODY, 404),
        case("no address", "/", vec![json_type(), ours(now, BODY)], BODY, 404),
        case(
            "a secret that may not go there",
            "/hooks/closed",
            vec![json_type(), ours(now, BODY)],
            BODY,
            503,
        ),
        Case { method: "GET", ..case("another method", "/hooks/ours", vec![ours(now, b"")], b"", 405) },
        Case {
            method: "PUT",
            ..case("and another", "/hooks/ours", vec![json_type(), ours(now, BODY)], BODY, 405)
        },
        case("too much", "/hooks/ours", vec![json_type(), ours(now, BODY)], &vec![b' '; (1 << 20) + 1], 413),
        case(
            "more than is said",
            "/hooks/ours",
            vec![json_type(), ("content-length", "99999999".into())],
            BODY,
            413,
        ),
    ]
}

fn of_forges() -> Vec<Case> {
    let good = sign_one(SECRET, BODY);
    let other = sign_one("another secret", BODY);
    let github = |signature: String, rest: &[&'static str]| {
        let mut headers = vec![json_type(), ("x-hub-signature-256", signature)];
        headers.extend(rest.iter().map(|name| (*name, "x".to_owned())));
        headers
    };
    let both = ["x-github-event", "x-github-delivery"];
    let to = |what, path, headers, status| case(what, path, headers, BODY, status);
    let gitea = |signature: &String| {
        vec![json_type(), ("x-gitea-signature", signature.clone()), ("x-gitea-event", "push".into())]
    };
    let gitlab = |token: &str| {
        vec![json_type(), ("x-gitlab-token", token.into()), ("x-gitlab-event", "Push Hook".into())]
    };
    vec![
        to("GitHub, another secret", "/hooks/github", github(format!("sha256={other}"), &both), 401),
        to("GitHub, without its prefix", "/hooks/github", github(good.clone(), &both), 401),
        to(
            "GitHub, the weak signature",
            "/hooks/github",
            vec![json_type(), ("x-hub-signature", format!("sha1={good}"))],
            401,
        ),
        to("GitHub, no delivery", "/hooks/github", github(format!("sha256={good}"), &both[..1]), 400),
        to("GitHub, no event", "/hooks/github", github(format!("sha256={good}"), &both[1..]), 400),
        to("Gitea, another secret", "/hooks/gitea", gitea(&other), 401),
        to("Gitea, no delivery", "/hooks/gitea", gitea(&good), 400),
        to(
            "Forgejo's wrong beside Gitea's right",
            "/hooks/gitea",
            {
                let mut headers = gitea(&good);
                headers.push(("x-forgejo-signature", other));
                headers
            },
            401,
        ),
        to("GitLab, another token", "/hooks/gitlab", gitlab("another secret"), 401),
        to("GitLab, the beginning of the token", "/hooks/gitlab", gitlab(&SECRET[..10]), 401),
        to("GitLab, no token", "/hooks/gitlab", vec![json_type()], 401),
        to("GitLab, no delivery", "/hooks/gitlab", gitlab(SECRET), 400),
    ]
}

#[tokio::test]
async fn no_forgery_starts_anything() {
    let formats = [
        ("ours", Forge::Generic),
        ("closed", Forge::Generic),
        ("github", Forge::Github),
        ("gitea", Forge::Gitea),
        ("gitlab", Forge::Gitlab),
    ];
    let hooks = Hooks::of(formats.into_iter().map(|(path, format)| webhook(path, format)).collect()).await;
    let cases = of_ours(hooks.now()).into_iter().chain(of_forges());
    for Case { what, method, path, headers, body, status } in cases {
        let (found, answer) = hooks.call(method, path, &headers, &body).await;
        assert_eq!(found, status, "{what}: {answer}");
        assert!(!answer.contains("horse") && answer.len() < 300, "{what}: {answer}");
        let code = if status == 503 { Code::WebhookSecret } else { Code::WebhookRefused };
        // What is too large is refused before anybody looks at it.
        assert!(status == 413 || answer.contains(code.as_str()), "{what}: {answer}");
    }
    for (path, _) in formats {
        assert!(hooks.stage.occurrences(path).await.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_call_counts_once_also_over_restarts() {
    let mut hooks = Hooks::of(vec![webhook("ours", Forge::Generic)]).await;
    let headers = [json_type(), ours(hooks.now(), BODY)];
    let upper = (
        headers[1].0,
        headers[1].1.replace("v1=", "V1=").to_uppercase().replace("T=", "t=").replace("V1=", "v1="),
    );
    let (status, answer) = hooks.call("POST", "/hooks/ours", &headers, BODY).await;
    assert_eq!(status, 202, "{answer}");
    for _ in 0..2 {
        assert_eq!(hooks.call("POST", "/hooks/ours", &headers, BODY).await.0, 409);
        // The same signature in other letters.
        assert_eq!(hooks.call("POST", "/hooks/ours", &[json_type(), upper.clone()], BODY).await.0, 409);
        hooks = Hooks::over(hooks.stop().await).await;
    }
    // Until it is too old anyway, though what was remembered is taken out.
    hooks.stage.clock.forward(MINUTE * 4);
    assert_eq!(hooks.call("POST", "/hooks/ours", &headers, BODY).await.0, 409);
    hooks.stage.clock.forward(MINUTE * 120);
    hooks = Hooks::over(hooks.stop().await).await;
    assert!(hooks.stage.journal.records("delivery", None).await.unwrap().is_empty());
    assert_eq!(hooks.call("POST", "/hooks/ours", &headers, BODY).await.0, 401);
    assert_eq!(hooks.count("ours").await, 1);
}

/// A call of GitHub.
fn github(body: &[u8], event: &str, delivery: &str) -> Headers {
    vec![
        json_type(),
        ("x-hub-signature-256", format!("sha256={}", sign_one(SECRET, body))),
        ("x-github-event", event.to_owned()),
        ("x-github-delivery", delivery.to_owned()),
    ]
}

const OTHER: &[u8] = br#"{"ref":"other"}"#;

#[tokio::test]
async fn a_call_of_a_forge_counts_once_under_whatever_name_it_comes_again() {
    let hooks = Hooks::of(vec![webhook("github", Forge::Github)]).await;
    let status = async |body: &[u8], delivery| {
        hooks.call("POST", "/hooks/github", &github(body, "push", delivery), body).await.0
    };
    assert_eq!(status(BODY, "one").await, 202);
    assert_eq!(status(BODY, "one").await, 409);
    // The name is not signed: whoever has seen the call may change it.
    assert_eq!(status(BODY, "two").await, 409);
    assert_eq!(status(OTHER, "one").await, 409);
    assert_eq!(status(OTHER, "three").await, 202);
    assert_eq!(hooks.count("github").await, 2);
}

#[tokio::test]
async fn a_call_that_was_ignored_cannot_come_again_as_another_event() {
    let mut on = webhook("github", Forge::Github);
    on.events = vec!["push".into()];
    let mut hooks = Hooks::of(vec![on]).await;
    for _ in 0..2 {
        for (event, delivery) in [("issues", "one"), ("push", "one"), ("push", "two")] {
            let (status, answer) =
                hooks.call("POST", "/hooks/github", &github(BODY, event, delivery), BODY).await;
            let is_first = event == "issues" && hooks.stage.occurrences("github").await.is_empty();
            assert_eq!(status, if is_first { 200 } else { 409 }, "{event} {delivery}: {answer}");
        }
        hooks = Hooks::over(hooks.stop().await).await;
    }
    assert_eq!(hooks.count("github").await, 0);
    let (status, answer) = hooks.call("POST", "/hooks/github", &github(OTHER, "push", "three"), OTHER).await;
    assert_eq!(status, 202, "{answer}");
}

#[tokio::test]
async fn a_second_call_with_the_same_body_is_listed_with_why_it_was_refused() {
    let hooks = Hooks::of(vec![webhook("github", Forge::Github)]).await;
    let status =
        async |delivery| hooks.call("POST", "/hooks/github", &github(BODY, "push", delivery), BODY).await.0;
    assert_eq!([status("one").await, status("one").await, status("two").await], [202, 409, 409]);
    // Whoever has seen one call cannot crowd out what is remembered with more of the same.
    assert_eq!([status("three").await, status("four").await], [409, 409]);
    let occurrences = hooks.stage.occurrences("github").await;
    let skipped: Vec<_> = occurrences.iter().filter(|one| one.outcome == Outcome::Skipped).collect();
    assert_eq!(skipped.len(), 1, "{occurrences:?}");
    let why = skipped[0].reason.as_deref().unwrap();
    assert!(why.contains("same body") && why.contains("window"), "{why}");
    assert_eq!(hooks.count("github").await, 1);
}

#[tokio::test]
async fn a_body_counts_again_once_the_window_of_its_signature_is_over() {
    let mut on = webhook("github", Forge::Github);
    on.window = MINUTE;
    let hooks = Hooks::of(vec![on]).await;
    let status =
        async |delivery| hooks.call("POST", "/hooks/github", &github(BODY, "push", delivery), BODY).await.0;
    assert_eq!([status("one").await, status("two").await], [202, 409]);
    hooks.stage.clock.forward(MINUTE * 2);
    // The name of a delivery stands for one call all the same.
    assert_eq!(status("one").await, 409);
    assert_eq!([status("three").await, status("four").await], [202, 409]);
    assert_eq!(hooks.count("github").await, 2);
}
