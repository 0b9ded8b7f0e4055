//! What is known while an engine that is there does not answer.

use containers::effects::{Get, List, Remove, Stop};
use effect::{Code, Ensure as _, Read as _};
use serde_json::json;

use crate::bench::{Bench, NAME, effect};

#[tokio::test]
async fn an_engine_that_is_down_is_not_a_missing_container() {
    let bench = Bench::with_dead_engine();
    let context = bench.run(&["*"]);
    let other = json!({ "name": "other" });
    let got = effect::<Get>(other.clone()).read(&bench.world, &context).await;
    assert_eq!(got.unwrap_err().code, Code::EngineUnavailable);
    let stopped = effect::<Stop>(other.clone()).observe(&bench.world, &context).await;
    assert_eq!(stopped.unwrap_err().code, Code::EngineUnavailable);
    let removed = effect::<Remove>(other).observe(&bench.world, &context).await;
    assert_eq!(removed.unwrap_err().code, Code::EngineUnavailable);
}

#[tokio::test]
async fn native_programs_do_not_wait_for_an_engine_that_is_down() {
    let bench = Bench::with_dead_engine();
    bench.started(json!({})).await;
    let context = bench.run(&["*"]);
    let got = effect::<Get>(json!({ "name": NAME })).read(&bench.world, &context).await.unwrap();
    assert_eq!(got.unwrap().name, NAME);
    let listed = effect::<List>(json!({})).read(&bench.world, &context).await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn a_machine_without_any_engine_has_no_containers() {
    let bench = Bench::new();
    let context = bench.run(&["*"]);
    let got = effect::<Get>(json!({ "name": "other" })).read(&bench.world, &context).await.unwrap();
    assert!(got.is_none());
    let stopped = effect::<Stop>(json!({ "name": "other" })).observe(&bench.world, &context).await.unwrap();
    assert!(stopped.is_none());
}
