use effect::Action;
use serde_json::{Value, json};

use crate::bench::Bench;

fn put(version: &str, image: &str) -> Value {
    json!({ "service": "mcq", "spec": { "image": image, "env": { "A": "1" } }, "release": { "version": version } })
}

#[tokio::test]
async fn a_release_is_recorded_when_something_changed() {
    let bench = Bench::new();
    let script = bench.run().await;
    assert_eq!(script.done("registry.get", json!({ "service": "mcq" })).await, Value::Null);
    let first = script.done("registry.put", put("v1", "mcq:1")).await;
    assert_eq!((first["changed"].clone(), first["after"]["release"].clone()), (json!(true), json!(1)));
    assert_eq!(script.done("registry.put", put("v1", "mcq:1")).await["changed"], false);
    let second = script.done("registry.put", put("v2", "mcq:2")).await;
    assert_eq!(second["before"]["spec"]["image"], "mcq:1");
    let found = script.done("registry.get", json!({ "service": "mcq" })).await;
    assert_eq!((found["version"].clone(), found["spec"]["image"].clone()), (json!("v2"), json!("mcq:2")));
    let releases = script.done("registry.releases", json!({ "service": "mcq" })).await;
    let versions: Vec<_> =
        releases.as_array().unwrap().iter().map(|release| release["version"].clone()).collect();
    assert_eq!(versions, ["v2", "v1"]);
    let limited = script.done("registry.releases", json!({ "service": "mcq", "limit": 1 })).await;
    assert_eq!(limited.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_spec_without_release_changes_the_state_alone() {
    let bench = Bench::new();
    let script = bench.run().await;
    script.done("registry.put", put("v1", "mcq:1")).await;
    let changed =
        script.done("registry.put", json!({ "service": "mcq", "spec": { "image": "mcq:1b" } })).await;
    assert_eq!(
        (changed["after"]["version"].clone(), changed["after"]["release"].clone()),
        (json!("v1"), json!(1))
    );
    assert_eq!(
        script.done("registry.releases", json!({ "service": "mcq" })).await.as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn the_list_and_a_plan_see_what_will_be() {
    let bench = Bench::new();
    let script = bench.run().await;
    script.done("registry.put", put("v1", "mcq:1")).await;
    let plan = bench.plan().await;
    plan.done("registry.put", put("v2", "mcq:2")).await;
    plan.done("registry.put", json!({ "service": "new", "spec": {} })).await;
    assert_eq!(plan.done("registry.get", json!({ "service": "mcq" })).await["version"], "v2");
    let releases = plan.done("registry.releases", json!({ "service": "mcq" })).await;
    assert_eq!(releases.as_array().unwrap().len(), 2);
    let names = |list: Value| {
        list.as_array()
            .unwrap()
            .iter()
            .map(|one| one["service"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(plan.done("registry.list", json!({})).await), ["mcq", "new"]);
    plan.done("registry.remove", json!({ "service": "mcq" })).await;
    assert_eq!(names(plan.done("registry.list", json!({})).await), ["new"]);
    let steps = plan.steps();
    let paths: Vec<&str> = steps[0].fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!((steps[0].action, paths), (Action::Update, vec!["spec.image", "version"]));
    assert_eq!(names(script.done("registry.list", json!({})).await), ["mcq"]);
}

#[tokio::test]
async fn a_removed_service_keeps_its_history() {
    let bench = Bench::new();
    let script = bench.run().await;
    script.done("registry.put", put("v1", "mcq:1")).await;
    assert_eq!(script.done("registry.remove", json!({ "service": "mcq" })).await["changed"], true);
    assert_eq!(script.done("registry.remove", json!({ "service": "mcq" })).await["changed"], false);
    let back = script.done("registry.put", put("v1", "mcq:1")).await;
    assert_eq!(back["after"]["release"], 2);
}
