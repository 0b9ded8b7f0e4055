//! `docs.*` through the corridor.

use effect::{Code, Principal};
use serde_json::{Value, json};
use system::documents::Shelf;

use crate::bench::Bench;

fn story(body: &str) -> Value {
    json!({ "slug": "story", "title": "The story", "body": body })
}

#[tokio::test]
async fn a_push_replaces_and_is_read_by_nobody() {
    let bench = Bench::new();
    let (script, shelf) = (bench.run().await, Shelf::new(bench.journal().clone(), "rift"));
    let bob: Principal = "account:bob".parse().unwrap();
    let first = script.done("docs.push", story("one")).await;
    assert_eq!((&first["changed"], &first["after"]["version"]), (&json!(true), &json!(1)));
    shelf.mark("story", None, &bob, true).await.unwrap();
    // The same again is nothing new to read.
    assert_eq!(script.done("docs.push", story("one")).await["changed"], false);
    assert!(shelf.has_read(&shelf.get("story").await.unwrap(), &bob).await.unwrap());
    let second = script.done("docs.push", story("two")).await;
    assert_eq!(second["after"]["version"], 2);
    let document = shelf.get("story").await.unwrap();
    assert!(
        !shelf.has_read(&document, &bob).await.unwrap() && shelf.readers(&document).await.unwrap().is_empty()
    );
    // Nor does what was there before come back as read.
    assert_eq!(script.done("docs.push", story("one")).await["after"]["version"], 3);
    assert!(!shelf.has_read(&shelf.get("story").await.unwrap(), &bob).await.unwrap());
    let listed = script.done("docs.list", json!({})).await;
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["title"]), (1, &json!("The story")));
    assert_eq!(script.done("docs.read", json!({ "slug": "story" })).await["body"], "one");
    assert_eq!(script.done("docs.delete", json!({ "slug": "story" })).await["changed"], true);
    assert_eq!(script.fails("docs.read", json!({ "slug": "story" })).await.code, Code::DocumentUnknown);
    assert_eq!(shelf.mark("story", None, &bob, true).await.unwrap_err().code, Code::DocumentUnknown);
}

#[tokio::test]
async fn a_plan_knows_what_it_will_have_pushed_and_changes_nothing() {
    let bench = Bench::new();
    let plan = bench.plan().await;
    plan.done("docs.push", story("one")).await;
    assert_eq!(plan.done("docs.read", json!({ "slug": "story" })).await["body"], "one");
    assert_eq!(plan.done("docs.list", json!({})).await.as_array().unwrap().len(), 1);
    assert!(bench.run().await.done("docs.list", json!({})).await.as_array().unwrap().is_empty());
}

#[tokio::test]
async fn slugs_titles_and_sizes_are_bounded() {
    let bench = Bench::new();
    let script = bench.run().await;
    for (field, value) in [
        ("slug", json!("")),
        ("slug", json!("A")),
        ("slug", json!("a/b")),
        ("slug", json!("-a")),
        ("slug", json!("x".repeat(129))),
        ("title", json!("")),
        ("title", json!("a\nb")),
        ("title", json!("\u{202e}a")),
        ("body", json!("x".repeat((256 << 10) + 1))),
    ] {
        let mut arguments = story("one");
        arguments[field] = value;
        let error = script.fails("docs.push", arguments).await;
        assert!(error.code == Code::Argument && error.message.contains(field), "{field}: {error}");
    }
    let reader = bench.script(effect::Mode::Run, &["docs:read"]).await;
    assert_eq!(reader.fails("docs.push", story("one")).await.code, Code::Denied);
}
