use serde_json::{Value, json};

use crate::bench::Bench;

#[tokio::test]
async fn now_is_in_seconds() {
    let script = Bench::new().run().await;
    let now = script.done("now", json!({})).await.as_f64().unwrap();
    assert!(now > 1.7e9 && now < 1e11, "{now}");
}

#[tokio::test]
async fn sleep_takes_a_span_or_seconds_and_is_only_listed_in_a_plan() {
    let bench = Bench::new();
    let script = bench.run().await;
    assert_eq!(script.done("sleep", json!("20ms")).await, Value::Null);
    assert_eq!(script.done("sleep", json!(0.02)).await, Value::Null);
    assert!(script.fails("sleep", json!("soon")).await.message.contains("a duration such as"));
    let plan = bench.plan().await;
    plan.done("sleep", json!("3d")).await;
    assert_eq!(plan.steps()[0].subject, "3d");
}
