//! What the effects change, what a plan of them knows, and what undo brings back.

use std::time::Duration;

use effect::{Action, Code, Ensure as _, Error, Mode};
use routes::effects::{Ensure, Pause, Remove};
use serde_json::json;

use crate::bench::{Bench, HOST, effect, key, route};

#[tokio::test]
async fn a_route_is_made_once_and_then_stands() {
    let bench = Bench::new().await;
    let script = bench.run();
    let made = script.call("routes.ensure", route(json!({ "cert": "there" }))).await.unwrap();
    assert_eq!((&made["changed"], &made["after"]["hostname"]), (&json!(true), &json!(HOST)));
    assert_eq!(made["after"]["limits"]["head"], "32KiB");
    let again = script.call("routes.ensure", route(json!({ "cert": "there" }))).await.unwrap();
    assert_eq!(again["changed"], false);
    let changed =
        script.call("routes.ensure", route(json!({ "cert": "there", "retries": 0 }))).await.unwrap();
    assert_eq!((&changed["changed"], &changed["before"]["retries"]), (&json!(true), &json!(2)));
    assert_eq!(bench.only().route.retries, 0);
}

#[tokio::test]
async fn the_order_of_back_ends_changes_nothing() {
    let bench = Bench::new().await;
    let script = bench.run();
    for (backends, changed) in
        [(["127.0.0.1:4", "127.0.0.1:2"], true), (["127.0.0.1:2", "127.0.0.1:4"], false)]
    {
        let answer = script.call("routes.ensure", route(json!({ "backends": backends }))).await.unwrap();
        assert_eq!(answer["changed"], changed);
    }
}

#[tokio::test]
async fn plan_and_apply_are_the_same() {
    let bench = Bench::new().await;
    let calls = [
        ("routes.ensure", route(json!({ "service": "mcq" }))),
        ("routes.ensure", route(json!({ "service": "mcq", "path": "/api", "limits": { "rate": 5 } }))),
        ("routes.pause", key()),
        ("routes.ensure", route(json!({ "service": "mcq", "retries": 0 }))),
        ("routes.drain", key()),
        ("routes.resume", key()),
        ("routes.remove", json!({ "listen": 443, "hostname": HOST, "path": "/api" })),
        ("routes.list", json!({ "service": "mcq" })),
        ("routes.get", key()),
    ];
    let (plan, run) = (bench.plan(), bench.run());
    let mut promised = Vec::new();
    for (name, arguments) in calls.clone() {
        promised.push((name, plan.call(name, arguments).await.unwrap()));
    }
    assert!(bench.standing().is_empty());
    let steps = plan.planned().steps;
    assert!(steps.iter().all(|step| step.error.is_none() && step.cannot_undo.is_empty()));
    let actions: Vec<Action> = steps.iter().map(|step| step.action).collect();
    let expected = [
        Action::Create,
        Action::Create,
        Action::Update,
        Action::Update,
        Action::Wait,
        Action::Update,
        Action::Remove,
        Action::Read,
        Action::Read,
    ];
    assert_eq!(actions, expected);
    let fields: Vec<&str> = steps[1].fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(fields, ["backends", "limits.rate", "service"]);
    for ((name, arguments), (_, promise)) in calls.into_iter().zip(promised) {
        let answer = run.call(name, arguments).await.unwrap();
        if name != "routes.drain" {
            assert_eq!(answer, promise, "{name}");
        }
    }
    assert_eq!(bench.only().route.path.as_str(), "/");
}

#[tokio::test]
async fn what_is_paused_stays_so_when_its_route_changes() {
    let bench = Bench::new().await;
    let script = bench.run();
    script.call("routes.ensure", route(json!({}))).await.unwrap();
    assert_eq!(script.call("routes.pause", key()).await.unwrap()["changed"], true);
    assert_eq!(script.call("routes.pause", key()).await.unwrap()["changed"], false);
    script.call("routes.ensure", route(json!({ "retries": 1 }))).await.unwrap();
    assert!(bench.only().paused);
    script.call("routes.resume", key()).await.unwrap();
    assert!(!bench.only().paused);
}

#[tokio::test]
async fn draining_waits_as_long_as_the_route_or_the_call_says() {
    let bench = Bench::new().await;
    let script = bench.run();
    script.call("routes.ensure", route(json!({ "drain": "12s" }))).await.unwrap();
    let drained = script.call("routes.drain", key()).await.unwrap();
    assert_eq!(drained, json!({ "ended": 3, "cut": 1 }));
    let one = json!({ "listen": 443, "hostname": HOST, "backend": "127.0.0.1:8080", "within": "5m" });
    script.call("routes.drain", one).await.unwrap();
    let seen = bench.memory.drained.lock().unwrap().clone();
    assert_eq!((seen[0].1, seen[0].2), (None, Duration::from_secs(12)));
    assert_eq!(seen[1].1.unwrap().to_string(), "127.0.0.1:8080");
    assert!(seen[1].2 <= Duration::from_secs(300) && seen[1].2 > Duration::from_secs(200));
}

#[tokio::test]
async fn reads_show_what_may_be_seen() {
    let bench = Bench::new().await;
    let script = bench.run();
    script.call("routes.ensure", route(json!({}))).await.unwrap();
    script.call("routes.ensure", route(json!({ "hostname": "mcr.example.net" }))).await.unwrap();
    let all = script.call("routes.list", json!({})).await.unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(script.call("routes.list", json!({ "listen": 80 })).await.unwrap(), json!([]));
    let narrow = bench.run_with(&["routes:read:mcr.*"]);
    let seen = narrow.call("routes.list", json!({})).await.unwrap();
    assert_eq!(seen[0]["hostname"], "mcr.example.net");
    assert_eq!(seen.as_array().unwrap().len(), 1);
    let figures = narrow.call("routes.metrics", json!({})).await.unwrap();
    assert_eq!(figures.as_array().unwrap().len(), 1);
    narrow.refused("routes.get", key(), Code::Denied).await;
    let has = narrow.call("routes.features", json!({})).await.unwrap();
    assert!(has["features"].as_array().unwrap().contains(&json!("pause")), "{has}");
}

#[tokio::test]
async fn undo_brings_back_what_was_there() {
    let bench = Bench::new().await;
    let script = bench.run();
    script.call("routes.ensure", route(json!({ "retries": 1 }))).await.unwrap();
    let first = bench.only();
    let context = bench.context(Mode::Run);
    // The route as it was comes back over a change, and after it was taken away; one that was not there goes.
    let ensure: Ensure = effect(route(json!({ "retries": 3 })));
    script.call("routes.ensure", route(json!({ "retries": 3 }))).await.unwrap();
    let now = bench.only();
    let change = ensure.rewind(&bench.world, &context, Some(&now), Some(&first)).await.unwrap();
    assert_eq!(change.action, Action::Update);
    ensure.apply_rewind(&bench.world, &context, Some(&now), Some(&first), &change).await.unwrap();
    assert_eq!(bench.only(), first);
    let remove: Remove = effect(key());
    script.call("routes.remove", key()).await.unwrap();
    assert!(bench.standing().is_empty());
    let change = remove.rewind(&bench.world, &context, None, Some(&first)).await.unwrap();
    assert_eq!(change.action, Action::Create);
    remove.apply_rewind(&bench.world, &context, None, Some(&first), &change).await.unwrap();
    assert_eq!(bench.only(), first);
    let pause: Pause = effect(key());
    script.call("routes.pause", key()).await.unwrap();
    let paused = bench.only();
    let change = pause.rewind(&bench.world, &context, Some(&paused), Some(&first)).await.unwrap();
    pause.apply_rewind(&bench.world, &context, Some(&paused), Some(&first), &change).await.unwrap();
    assert!(!bench.only().paused);
    let change = ensure.rewind(&bench.world, &context, Some(&first), None).await.unwrap();
    assert_eq!(change.action, Action::Remove);
    ensure.apply_rewind(&bench.world, &context, Some(&first), None, &change).await.unwrap();
    assert!(bench.standing().is_empty());
}

#[tokio::test]
async fn a_change_that_the_proxy_refuses_leaves_what_was_there() {
    let bench = Bench::new().await;
    let script = bench.run();
    script.call("routes.ensure", route(json!({}))).await.unwrap();
    let before = bench.only();
    *bench.memory.refusal.lock().unwrap() = Some(Error::new(Code::ProxyUnavailable, "the edge is gone"));
    script.refused("routes.ensure", route(json!({ "retries": 0 })), Code::ProxyUnavailable).await;
    script.refused("routes.remove", key(), Code::ProxyUnavailable).await;
    assert_eq!(bench.only(), before);
}
