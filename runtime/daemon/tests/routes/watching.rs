//! Following: what is there, then what changes, whoever changes it.

use routes::Driver as _;
use routes::remote::Change;
use serde_json::json;

use crate::stage::{Side, route};

#[tokio::test]
async fn whoever_follows_is_told_what_is_there_and_what_changes() {
    let side = Side::new();
    let remote = side.afar("rift.mcrun.test").await;
    let first = route("mcq.metacircular.net", json!({}));
    remote.put(&first).await.unwrap();
    side.driver.put(&route("a.lab.example", json!({}))).await.unwrap();
    let mut watch = remote.watch().await.unwrap();
    assert_eq!(watch.next().await.unwrap(), Change::Put(Box::new(first.clone())));
    assert_eq!(watch.next().await.unwrap(), Change::Synced);
    let second = route("mcr.metacircular.net", json!({ "service": "mcr" }));
    remote.put(&second).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), Change::Put(Box::new(second)));
    // By somebody who does not come this way.
    side.driver.remove(&first.route.key()).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), Change::Removed(first.route.key()));
    side.end();
    watch.next().await.unwrap_err();
}

#[tokio::test]
async fn there_is_an_end_to_those_who_follow() {
    let side = Side::new();
    let client = side.here().await;
    let mut watches = Vec::new();
    let error = loop {
        match client.watch().await {
            Ok(watch) => watches.push(watch),
            Err(error) => break error,
        }
        assert!(watches.len() <= 64);
    };
    assert!(error.message.contains("follow already") && error.retryable, "{error}");
    watches.clear();
    client.list().await.unwrap();
}
