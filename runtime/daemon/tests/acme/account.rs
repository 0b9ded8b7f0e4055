//! Accounts: registering, binding, changing, the change of keys.

use certs::acme::server::eab;
use effect::Code;
use serde_json::json;

use crate::client::{Client, PEER, Signing, binding, encode, sealed};
use crate::stage::{Stage, URL};

#[tokio::test]
async fn an_account_is_made_once_for_a_key() {
    let stage = Stage::quick().await;
    let mut client = Client::new(&stage.server);
    client.register(json!({ "onlyReturnExisting": true })).await.refused(400, "accountDoesNotExist");
    let made = client.register(json!({ "contact": ["mailto:ops@mcrun.test"] })).await.ends(201);
    assert_eq!(made.json()["status"], "valid");
    assert!(!made.header("replay-nonce").is_empty());
    assert!(made.links().contains(&format!("<{URL}/directory>;rel=\"index\"").as_str()), "{made:?}");
    let first = client.kid.clone();
    let again = client.register(json!({ "onlyReturnExisting": true })).await.ends(200);
    assert_eq!(client.kid, first);
    assert_eq!(again.json()["contact"], json!(["mailto:ops@mcrun.test"]));
}

#[tokio::test]
async fn every_kind_of_key_may_have_an_account() {
    let stage = Stage::quick().await;
    for key in [Signing::p256(), Signing::p384(), Signing::ed25519()] {
        let mut client = Client { key, ..Client::new(&stage.server) };
        client.register(json!({})).await.ends(201);
        client.issue(&["a.mcrun.test"]).await;
    }
}

#[tokio::test]
async fn accounts_survive_a_restart_and_nonces_do_not() {
    let stage = Stage::quick().await;
    let mut client = Client::registered(&stage).await;
    let stale = client.nonce().await;
    client.server = stage.restarted();
    let header = json!({ "alg": "ES256", "kid": client.kid, "url": client.kid, "nonce": stale });
    let refused = client.send(&client.kid, &client.key.jws(&header, "")).await;
    refused.refused(400, "badNonce");
    let header = json!({
        "alg": "ES256", "kid": client.kid, "url": client.kid, "nonce": refused.header("replay-nonce"),
    });
    client.send(&client.kid, &client.key.jws(&header, "")).await.ends(200);
}

#[tokio::test]
async fn registering_takes_a_binding_where_the_operator_says_so() {
    let stage = Stage::quick_with(|settings| settings.eab = true).await;
    let mut client = Client::new(&stage.server);
    let directory = client.get(&format!("{URL}/directory")).await.ends(200).json();
    assert_eq!(directory["meta"]["externalAccountRequired"], true);
    client.register(json!({})).await.refused(403, "externalAccountRequired");

    let (id, shared) = stage.eab("mcq").await;
    let other = Signing::p256();
    let wrong_key = binding(&id, &shared, &other.jwk());
    client.register(json!({ "externalAccountBinding": wrong_key })).await.refused(400, "malformed");
    let wrong_secret = binding(&id, &encode(&[7; 32]), &client.key.jwk());
    client.register(json!({ "externalAccountBinding": wrong_secret })).await.refused(403, "unauthorized");
    let unknown = binding("AAAAAAAAAAAAAAAAAAAAAA", &shared, &client.key.jwk());
    client.register(json!({ "externalAccountBinding": unknown })).await.refused(403, "unauthorized");
    let header = json!({ "alg": "ES256", "kid": id, "url": format!("{URL}/new-account") });
    let by_own_key = client.key.jws(&header, &client.key.jwk().to_string());
    client
        .register(json!({ "externalAccountBinding": by_own_key }))
        .await
        .refused(400, "badSignatureAlgorithm");
    let elsewhere = json!({ "alg": "HS256", "kid": id, "url": "https://other.test/new-account" });
    let elsewhere = sealed(&elsewhere, &client.key.jwk().to_string(), |_| vec![0; 32]);
    client.register(json!({ "externalAccountBinding": elsewhere })).await.refused(400, "malformed");

    let right = binding(&id, &shared, &client.key.jwk());
    client.register(json!({ "externalAccountBinding": right })).await.ends(201);
    client.issue(&["mcq.mcrun.test"]).await;
    let asked = stage.authority.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|(_, service)| service.as_deref() == Some("mcq")), "{asked:?}");
}

#[tokio::test]
async fn whoever_takes_a_binding_away_stops_its_accounts() {
    let stage = Stage::quick_with(|settings| settings.eab = true).await;
    let (id, shared) = stage.eab("mcq").await;
    let mut client = Client::new(&stage.server);
    let right = binding(&id, &shared, &client.key.jwk());
    client.register(json!({ "externalAccountBinding": right })).await.ends(201);
    let order = client.ready(&["mcq.mcrun.test"]).await;

    let listed = eab::list(&stage.journal, "here").await.unwrap();
    assert_eq!((listed.len(), listed[0].id.as_str(), listed[0].service.as_str()), (1, id.as_str(), "mcq"));
    eab::remove(&stage.journal, "here", &id).await.unwrap();
    assert_eq!(eab::remove(&stage.journal, "here", &id).await.unwrap_err().code, Code::AcmeKeyUnknown);
    assert_eq!(eab::list(&stage.journal, "here").await.unwrap(), []);

    client.order(&["mcq.mcrun.test"]).await.refused(403, "unauthorized");
    let key = certs::Key::generate(certs::KeyType::P256).unwrap();
    let request = key.request(&certs::Names::parse(&["mcq.mcrun.test"]).unwrap()).unwrap();
    client.finalize(&order, &request).await.refused(403, "unauthorized");
    assert_eq!(stage.authority.count(), 0);
}

#[tokio::test]
async fn keys_of_bindings_are_recorded_sealed() {
    let stage = Stage::quick().await;
    let (id, shared) = stage.eab("mcq").await;
    let record = stage.journal.record("acme-eab", "here", &id).await.unwrap().unwrap();
    assert!(!record.value.contains(&shared) && record.value.contains("$hidden"), "{}", record.value);
    for name in ["", "a\nb", &"a".repeat(300)] {
        let error = eab::add(&stage.journal, &stage.sealer, "here", name).await.unwrap_err();
        assert_eq!(error.code, Code::CertificateName);
    }
}

#[tokio::test]
async fn contacts_are_mail_addresses() {
    let stage = Stage::quick().await;
    let mut client = Client::new(&stage.server);
    for (contact, kind) in [
        (json!(["tel:+12025551212"]), "unsupportedContact"),
        (json!(["mailto:nobody"]), "invalidContact"),
        (json!(["mailto:a@b.test,c@d.test"]), "invalidContact"),
        (json!(["mailto:a@b.test?subject=x"]), "invalidContact"),
        (json!(vec!["mailto:a@b.test"; 6]), "invalidContact"),
    ] {
        client.register(json!({ "contact": contact })).await.refused(400, kind);
    }
    client.register(json!({})).await.ends(201);
    let changed = client.post(&client.kid, &json!({ "contact": ["mailto:a@b.test"] })).await.ends(200);
    assert_eq!(changed.json()["contact"], json!(["mailto:a@b.test"]));
    assert_eq!(client.read(&client.kid).await.json()["contact"], json!(["mailto:a@b.test"]));
}

#[tokio::test]
async fn terms_are_agreed_to_first() {
    let terms = "https://ca.mcrun.test/terms";
    let stage = Stage::quick_with(|settings| settings.terms_of_service = Some(terms.into())).await;
    let mut client = Client::new(&stage.server);
    let refused = client.register(json!({})).await;
    refused.refused(403, "userActionRequired");
    assert!(refused.links().contains(&format!("<{terms}>;rel=\"terms-of-service\"").as_str()));
    let made = client.register(json!({ "termsOfServiceAgreed": true })).await.ends(201);
    assert_eq!(made.json()["termsOfServiceAgreed"], true);
}

#[tokio::test]
async fn a_deactivated_account_can_do_nothing_more() {
    let stage = Stage::quick().await;
    let mut client = Client::registered(&stage).await;
    client.post(&client.kid, &json!({ "status": "revoked" })).await.refused(400, "malformed");
    let gone = client.post(&client.kid, &json!({ "status": "deactivated" })).await.ends(200);
    assert_eq!(gone.json()["status"], "deactivated");
    client.read(&client.kid).await.refused(401, "unauthorized");
    client.order(&["a.mcrun.test"]).await.refused(401, "unauthorized");
    client.register(json!({})).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn an_account_gets_another_key_only_with_both() {
    let stage = Stage::quick().await;
    let mut client = Client::registered(&stage).await;
    let other = Client::registered(&stage).await;
    let url = format!("{URL}/key-change");
    let new = Signing::p384();
    let wanted = json!({ "account": client.kid, "oldKey": client.key.jwk() });
    let inner = |key: &Signing, wanted: &serde_json::Value| {
        key.jws(&json!({ "alg": key.algorithm(), "jwk": key.jwk(), "url": url }), &wanted.to_string())
    };
    let foreign = json!({ "account": other.kid, "oldKey": client.key.jwk() });
    client.post(&url, &inner(&new, &foreign)).await.refused(400, "malformed");
    let wrong_old = json!({ "account": client.kid, "oldKey": other.key.jwk() });
    client.post(&url, &inner(&new, &wrong_old)).await.refused(400, "malformed");
    // Signed by the old key in the name of the new one.
    let header = json!({ "alg": "ES256", "jwk": Signing::p256().jwk(), "url": url });
    client.post(&url, &client.key.jws(&header, &wanted.to_string())).await.refused(403, "unauthorized");
    let elsewhere = json!({ "alg": "ES384", "jwk": new.jwk(), "url": client.kid });
    client.post(&url, &new.jws(&elsewhere, &wanted.to_string())).await.refused(400, "malformed");
    // The key of another account.
    let taken = client.post(&url, &inner(&other.key, &wanted)).await;
    assert_eq!((taken.status, taken.header("location")), (409, other.kid.as_str()));

    client.post(&url, &inner(&new, &wanted)).await.ends(200);
    client.read(&client.kid).await.refused(400, "badSignatureAlgorithm");
    client.key = new;
    client.read(&client.kid).await.ends(200);
    let (kid, peer) = (client.kid.clone(), PEER.parse().unwrap());
    assert_eq!(client.register(json!({})).await.ends(200).header("location"), kid);
    assert_eq!(client.peer, peer);
}

#[tokio::test]
async fn orders_are_listed_page_by_page() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    for _ in 0..120 {
        client.order(&["a.mcrun.test"]).await.ends(201);
    }
    let failed = client.order(&["liar.mcrun.test"]).await.header("location").to_owned();
    assert_eq!(client.prove(&failed).await["status"], "invalid");
    let url = client.read(&client.kid).await.json()["orders"].as_str().unwrap().to_owned();
    let first = client.read(&url).await.ends(200);
    assert_eq!(first.json()["orders"].as_array().unwrap().len(), 100);
    let next = format!("{url}?cursor=100");
    assert!(first.links().contains(&format!("<{next}>;rel=\"next\"").as_str()), "{first:?}");
    let second = client.read(&next).await.ends(200);
    assert_eq!(second.json()["orders"].as_array().unwrap().len(), 20, "{failed} is left out");
    let other = Client::registered(&stage).await;
    other.read(&url).await.refused(403, "unauthorized");
    client.post(&url, &json!({})).await.refused(400, "malformed");
}
