//! Calls that are what they claim to be, and what playbooks are told of them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use daemon::playbooks::{CatchUp, Forge, Overlap, Trigger};
use daemon::triggers::webhook::{Settings, doubled};
use effect::Code;
use serde_json::{Value, json};

use super::stage::{Hooks, SECRET, json_type, ours, run, sign_one, webhook};
use crate::stage::{MINUTE, playbook, table};

const BODY: &[u8] = br#"{"ref":"refs/heads/main","forced":false}"#;

#[tokio::test]
async fn our_own_format_is_signed_by_anything_that_knows_hmac() {
    let hooks = Hooks::of(vec![webhook("ours", Forge::Generic)]).await;
    let now = hooks.now();
    let signed = [format!("{now}.").as_bytes(), BODY].concat();
    let said = run("openssl", &["dgst", "-sha256", "-hmac", SECRET, "-r"], &signed);
    let signature = said.split(' ').next().unwrap();
    // The first of two keys was changed.
    let header = format!("t={now}, v1={},v1={signature},v9=later", "0".repeat(64));
    let headers = [json_type(), ("mcrun-signature", header), ("user-agent", "curl/8".into())];
    let (status, answer) = hooks.call("POST", "/hooks/ours?from=ci", &headers, BODY).await;
    assert_eq!(status, 202, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let run = &hooks.stage.runs_of("ours").await[0];
    assert_eq!(answer["run"], run.id.to_string());
    assert_eq!(answer["outcome"], "started");
    let told = hooks.stage.told("ours").await.remove(0);
    let expected = json!({
        "kind": "webhook", "path": "ours", "format": "generic", "event": null, "delivery": null,
        "at": "2027-01-15T08:00:00Z",
        "headers": { "content-type": "application/json", "user-agent": "curl/8" },
        "body": { "ref": "refs/heads/main", "forced": false },
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_body_may_be_text_or_nothing_in_our_own_format() {
    let hooks = Hooks::of(vec![webhook("ours", Forge::Generic)]).await;
    let now = hooks.now();
    for (count, (body, kind)) in [(&b"done"[..], Some("text/plain")), (b"", None)].into_iter().enumerate() {
        let mut headers = vec![ours(now, body)];
        headers.extend(kind.map(|kind| ("content-type", kind.to_owned())));
        let (status, answer) = hooks.call("POST", "/hooks/ours", &headers, body).await;
        assert_eq!(status, 202, "{answer}");
        hooks.stage.finish("ours").await;
        crate::stage::until("it started", || async { hooks.stage.runs_of("ours").await.len() > count }).await;
    }
    let bodies: Vec<Value> = hooks.stage.told("ours").await.iter().map(|told| told["body"].clone()).collect();
    assert_eq!(bodies, ["done", ""]);
}

#[tokio::test]
async fn forges_sign_in_their_own_ways() {
    let formats = [
        ("github", Forge::Github),
        ("gitea", Forge::Gitea),
        ("forgejo", Forge::Gitea),
        ("gitlab", Forge::Gitlab),
    ];
    let hooks = Hooks::of(formats.into_iter().map(|(path, format)| webhook(path, format)).collect()).await;
    let signature = sign_one(SECRET, BODY);
    let calls = [
        (
            "github",
            vec![
                ("x-hub-signature-256", format!("sha256={signature}")),
                ("x-github-event", "push".into()),
                ("x-github-delivery", "d-1".into()),
            ],
        ),
        (
            "gitea",
            vec![
                ("x-gitea-signature", signature.clone()),
                ("x-gitea-event", "push".into()),
                ("x-gitea-delivery", "d-2".into()),
            ],
        ),
        (
            "forgejo",
            vec![
                ("x-forgejo-signature", signature.clone()),
                ("x-forgejo-event", "push".into()),
                ("x-forgejo-delivery", "d-3".into()),
                ("x-gitea-signature", signature.clone()),
                ("x-gitea-event", "push".into()),
                ("x-gitea-delivery", "d-3".into()),
            ],
        ),
        (
            "gitlab",
            vec![
                ("x-gitlab-token", SECRET.into()),
                ("x-gitlab-event", "Push Hook".into()),
                ("x-gitlab-event-uuid", "d-4".into()),
            ],
        ),
    ];
    for (path, mut headers) in calls {
        headers.push(json_type());
        let (status, answer) = hooks.call("POST", &format!("/hooks/{path}"), &headers, BODY).await;
        assert_eq!(status, 202, "{path}: {answer}");
        assert_eq!(hooks.call("POST", &format!("/hooks/{path}"), &headers, BODY).await.0, 409);
        let told = hooks.stage.told(path).await.remove(0);
        assert_eq!(told["event"], "push", "{told}");
        assert!(told["delivery"].as_str().unwrap().starts_with("d-"));
        assert_eq!(told["body"]["ref"], "refs/heads/main");
        let text = told.to_string();
        assert!(!text.contains("horse") && !text.contains(&signature), "{text}");
    }
}

#[tokio::test]
async fn events_that_are_not_asked_for_start_nothing() {
    let mut on = webhook("github", Forge::Github);
    on.events = vec!["push".into()];
    let hooks = Hooks::of(vec![on]).await;
    let headers = |event: &str, body: &[u8]| {
        vec![
            json_type(),
            ("x-hub-signature-256", format!("sha256={}", sign_one(SECRET, body))),
            ("x-github-event", event.to_owned()),
            ("x-github-delivery", event.to_owned()),
        ]
    };
    let (status, answer) = hooks.call("POST", "/hooks/github", &headers("ping", b"{}"), b"{}").await;
    assert_eq!((status, answer.trim()), (200, r#"{"ignored":"ping"}"#));
    assert_eq!(hooks.count("github").await, 0);
    assert_eq!(hooks.call("POST", "/hooks/github", &headers("push", BODY), BODY).await.0, 202);
}

#[tokio::test]
async fn a_webhook_is_answered_no_more_often_than_it_may_be() {
    let mut on = webhook("ours", Forge::Generic);
    on.at_most = Some((2, Duration::from_secs(600)));
    let hooks = Hooks::of(vec![on]).await;
    let call = async |body: &[u8]| {
        hooks.call("POST", "/hooks/ours", &[json_type(), ours(hooks.now(), body)], body).await.0
    };
    assert_eq!([call(b"1").await, call(b"2").await, call(b"3").await], [202, 202, 429]);
    hooks.stage.clock.forward(MINUTE * 11);
    // What was refused was not remembered: it may be made again, with a signature of now.
    assert_eq!(call(b"3").await, 202);
}

#[tokio::test]
async fn a_call_is_accepted_when_it_is_recorded_and_not_before() {
    let hooks = Hooks::of(vec![webhook("ours", Forge::Generic)]).await;
    let headers = [json_type(), ours(hooks.now(), BODY)];
    hooks.stage.runs.is_full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(hooks.call("POST", "/hooks/ours", &headers, BODY).await.0, 503);
    }
    hooks.stage.runs.is_full.store(false, Ordering::SeqCst);
    assert_eq!(hooks.call("POST", "/hooks/ours", &headers, BODY).await.0, 202);
    assert_eq!(hooks.count("ours").await, 1);
}

#[test]
fn the_first_playbook_has_the_address_and_the_other_is_told_of() {
    let one = |name: &str| {
        playbook(name, vec![Trigger::Webhook(webhook("deploy", Forge::Github))], Overlap::Skip, CatchUp::Once)
    };
    assert!(doubled(&table(vec![one("a")])).is_empty());
    let errors = doubled(&table(vec![one("a"), one("b")]));
    assert_eq!(errors[0].code, Code::WebhookTwice);
    assert_eq!(errors[0].message, "`a` and `b` both answer `/hooks/deploy`; calls start `a`");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let check = |settings: Value| serde_json::from_value::<Settings>(settings).unwrap().check();
    assert!(
        check(json!({ "listen": "127.0.0.1:80", "host": "hooks.test", "url": "https://x.test/a" })).is_ok()
    );
    for wrong in [json!({ "host": "no host" }), json!({ "url": "hooks.test" }), json!({ "connections": 0 })] {
        let mut settings = json!({ "listen": "127.0.0.1:80" });
        settings.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert_eq!(check(settings.clone()).unwrap_err().code, Code::Config, "{settings}");
    }
    assert!(serde_json::from_value::<Settings>(json!({ "listen": "127.0.0.1:80", "port": 1 })).is_err());
    let settings: Settings =
        serde_json::from_value(json!({ "listen": "127.0.0.1:80", "host": "hooks.test" })).unwrap();
    assert_eq!(settings.address("deploy"), "https://hooks.test:80/hooks/deploy");
}
