//! A key makes a call safe to repeat: the same call gives the same run, whatever happens in between.

use api::v1;
use daemon::api::client::Client;
use effect::{Code, Timestamp};
use futures_util::future::join_all;
use serde_json::json;

use crate::stage::Stage;

fn script(key: Option<&str>) -> v1::SubmitRunRequest {
    v1::SubmitRunRequest {
        name: "deploy.lua".into(),
        source: "print(1)".into(),
        modules: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
        key: key.map(str::to_owned),
        ..Default::default()
    }
}

async fn runs(stage: &Stage) -> usize {
    stage.journal.runs(journal::Filter::default()).await.unwrap().len()
}

#[tokio::test]
async fn the_same_call_under_the_same_key_gives_the_same_run() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let first = client.submit(script(Some("k1"))).await.unwrap();
    assert_eq!(client.submit(script(Some("k1"))).await.unwrap(), first);
    assert_ne!(client.submit(script(Some("k2"))).await.unwrap(), first);
    assert_ne!(client.submit(script(None)).await.unwrap(), first);
    assert_eq!(runs(&stage).await, 3);
    let started = client.start("nightly", &json!({}), Some("k3".into())).await.unwrap();
    assert_eq!(client.start("nightly", &json!({}), Some("k3".into())).await.unwrap(), started);
    // Also when the playbook has gone meanwhile.
    stage.forget_playbooks();
    assert_eq!(client.start("nightly", &json!({}), Some("k3".into())).await.unwrap(), started);
    assert_eq!(client.start("nightly", &json!({}), None).await.unwrap_err().code, Code::PlaybookUnknown);
}

#[tokio::test]
async fn another_call_under_the_same_key_is_refused() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let run = client.submit(script(Some("k1"))).await.unwrap();
    let other = v1::SubmitRunRequest { source: "print(2)".into(), ..script(Some("k1")) };
    let error = client.submit(other).await.unwrap_err();
    assert_eq!(error.code, Code::ApiKeyTaken);
    assert!(error.message.contains("`k1`") && error.details[0].contains(run.as_str()), "{error:?}");
    let error = client.start("nightly", &json!({}), Some("k1".into())).await.unwrap_err();
    assert_eq!(error.code, Code::ApiKeyTaken);
    assert_eq!(runs(&stage).await, 1);
}

#[tokio::test]
async fn the_same_call_many_times_at_once_begins_one_run() {
    let stage = Stage::open().await;
    let clients: Vec<Client> = join_all((0..20).map(|_| stage.client())).await;
    let begun = join_all(clients.iter().map(|client| client.submit(script(Some("k1"))))).await;
    let first = begun[0].clone().unwrap();
    assert!(begun.into_iter().all(|run| run.unwrap() == first));
    assert_eq!(runs(&stage).await, 1);
}

#[tokio::test]
async fn a_refused_call_leaves_its_key_free_and_old_keys_go_away() {
    let stage = Stage::open().await;
    let client = stage.client().await;
    let bad = v1::SubmitRunRequest { source: "syntax error".into(), ..script(Some("k1")) };
    assert_eq!(client.submit(bad).await.unwrap_err().code, Code::Syntax);
    client.submit(script(Some("k1"))).await.unwrap();
    let keys = stage.journal.records("api-key", None).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].at > Timestamp(0) && keys[0].run.is_some());
}
