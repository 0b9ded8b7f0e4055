//! How much one client gets before the others have their turn.

use std::time::Duration;

use serde_json::json;

use crate::client::{Client, Signing};
use crate::stage::{HELD, Stage, URL};

#[tokio::test]
async fn one_address_makes_only_so_many_accounts_in_an_hour() {
    let stage = Stage::quick_with(|settings| settings.limits.accounts_per_address = 2).await;
    let mut client = Client::new(&stage.server);
    for _ in 0..2 {
        client.key = Signing::p256();
        client.register(json!({})).await.ends(201);
    }
    // Finding the account again makes none.
    client.register(json!({})).await.ends(200);
    client.key = Signing::p256();
    let refused = client.register(json!({})).await;
    refused.refused(429, "rateLimited");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    client.peer = "198.51.100.1:1".parse().unwrap();
    client.register(json!({})).await.ends(201);
    client.peer = crate::client::PEER.parse().unwrap();
    client.key = Signing::p256();
    stage.clock.forward(Duration::from_secs(wait + 1));
    client.register(json!({})).await.ends(201);
}

#[tokio::test]
async fn there_are_only_so_many_accounts() {
    let stage = Stage::quick_with(|settings| settings.limits.accounts = 2).await;
    Client::registered(&stage).await;
    Client::registered(&stage).await;
    let mut third = Client::new(&stage.server);
    third.register(json!({})).await.refused(429, "rateLimited");
    // A restart does not forget them.
    third.server = stage.restarted();
    third.register(json!({})).await.refused(429, "rateLimited");
}

#[tokio::test]
async fn an_account_has_only_so_many_orders_at_once() {
    let stage = Stage::quick_with(|settings| settings.limits.orders = 3).await;
    let client = Client::registered(&stage).await;
    for _ in 0..3 {
        client.order(&["a.mcrun.test"]).await.ends(201);
    }
    let refused = client.order(&["a.mcrun.test"]).await;
    refused.refused(429, "rateLimited");
    assert!(!refused.header("retry-after").is_empty());
    Client::registered(&stage).await.order(&["a.mcrun.test"]).await.ends(201);
    stage.clock.forward(Duration::from_secs(86_401));
    client.order(&["a.mcrun.test"]).await.ends(201);
    let left = stage.journal.records("acme-order", None).await.unwrap();
    assert_eq!(left.len(), 2, "what had expired made room");
}

#[tokio::test]
async fn whoever_fails_too_often_waits() {
    let stage = Stage::quick_with(|settings| settings.limits.failures = 2).await;
    let client = Client::registered(&stage).await;
    for _ in 0..2 {
        let order = client.order(&["liar.mcrun.test"]).await.ends(201).header("location").to_owned();
        assert_eq!(client.prove(&order).await["status"], "invalid");
    }
    client.order(&["a.mcrun.test"]).await.refused(429, "rateLimited");
    Client::registered(&stage).await.issue(&["a.mcrun.test"]).await;
    stage.clock.forward(Duration::from_secs(3601));
    client.issue(&["a.mcrun.test"]).await;
}

#[tokio::test]
async fn only_so_many_nonces_wait() {
    let stage = Stage::quick_with(|settings| settings.limits.nonces = 4).await;
    let client = Client::registered(&stage).await;
    let header = client.header(&client.kid).await;
    for _ in 0..4 {
        client.nonce().await;
    }
    client.send(&client.kid, &client.key.jws(&header, "")).await.refused(400, "badNonce");
    assert_eq!(client.read(&format!("{URL}/new-order")).await.status, 400);
}

#[tokio::test]
async fn names_beyond_the_failures_are_not_looked_at() {
    let stage = Stage::quick_with(|settings| {
        settings.limits.failures = 2;
        settings.limits.attempts = 1;
        settings.limits.proofs = 1;
    })
    .await;
    let client = Client::registered(&stage).await;
    let mut authorizations = Vec::new();
    for number in 0..6 {
        let order = client.order(&[&format!("liar-held{number}.mcrun.test")]).await.ends(201).json();
        let authorization = order["authorizations"][0].as_str().unwrap().to_owned();
        let challenges = client.read(&authorization).await.json();
        client.post(challenges["challenges"][0]["url"].as_str().unwrap(), &json!({})).await.ends(200);
        authorizations.push(authorization);
    }
    HELD.add_permits(6);
    let mut kinds = Vec::new();
    for authorization in &authorizations {
        let shown = client.until(authorization, |shown| shown["status"] == "invalid").await;
        let failed = shown["challenges"].as_array().unwrap().iter().find(|one| one["status"] == "invalid");
        kinds.push(failed.unwrap()["error"]["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned());
    }
    kinds.sort();
    let (wrong, limited) = ("incorrectResponse", "rateLimited");
    assert_eq!(kinds, [wrong, wrong, limited, limited, limited, limited]);
    assert_eq!(HELD.available_permits(), 4, "four were never looked at");
}
