//! Orders: their names, their way to a certificate, what replaces what, revocation.

use std::sync::atomic::Ordering;
use std::time::Duration;

use certs::certificate::{Facts, chain_from_pem};
use certs::{Key, KeyType, Names, Reason};
use serde_json::json;

use crate::client::{Client, Signing, encode, identifiers, location};
use crate::stage::{Stage, URL};

fn request(names: &[&str]) -> Vec<u8> {
    Key::generate(KeyType::P256).unwrap().request(&Names::parse(names).unwrap()).unwrap()
}

/// The name of a certificate in ARI (RFC 9773, section 4.1).
fn ari(chain: &str) -> String {
    use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};
    let chain = chain_from_pem(chain).unwrap();
    let (_, certificate) = X509Certificate::from_der(&chain[0]).unwrap();
    let authority =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref(),
            _ => None,
        });
    format!("{}.{}", encode(authority.unwrap().0), encode(certificate.raw_serial()))
}

#[tokio::test]
async fn an_order_goes_from_pending_to_valid() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let made = client.order(&["a.mcrun.test", "192.0.2.7"]).await.ends(201);
    let shown = made.json();
    assert_eq!(shown["status"], "pending");
    assert_eq!(shown["identifiers"], identifiers(&["a.mcrun.test", "192.0.2.7"]));
    let order = location(&made);
    client.finalize(&order, &request(&["a.mcrun.test", "192.0.2.7"])).await.refused(403, "orderNotReady");
    let authorization = client.read(shown["authorizations"][1].as_str().unwrap()).await.json();
    let kinds: Vec<_> =
        authorization["challenges"].as_array().unwrap().iter().map(|one| one["type"].clone()).collect();
    assert_eq!(kinds, ["http-01", "tls-alpn-01"], "an address has no zone");
    assert_eq!(client.prove(&order).await["status"], "ready");
    let valid = client.finalize(&order, &request(&["192.0.2.7", "a.mcrun.test"])).await.ends(200).json();
    assert_eq!(valid["status"], "valid");
    let chain = client.read(valid["certificate"].as_str().unwrap()).await.ends(200).text;
    let chain = chain_from_pem(&chain).unwrap();
    assert_eq!(Facts::of(&chain[0]).unwrap().names.len(), 2);
    assert_eq!(chain.len(), 2);
}

#[tokio::test]
async fn a_wildcard_is_proven_by_dns_alone() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let order = client.order(&["*.mcrun.test"]).await.ends(201).json();
    let authorization = client.read(order["authorizations"][0].as_str().unwrap()).await.json();
    assert_eq!(authorization["wildcard"], true);
    assert_eq!(authorization["identifier"], json!({ "type": "dns", "value": "mcrun.test" }));
    let challenges = authorization["challenges"].as_array().unwrap();
    assert_eq!((challenges.len(), &challenges[0]["type"]), (1, &json!("dns-01")));
    client.issue(&["*.mcrun.test", "mcrun.test"]).await;
}

#[tokio::test]
async fn names_that_nobody_may_have_are_refused_at_once() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    client.order(&["a.forbidden.test"]).await.refused(403, "rejectedIdentifier");
    client.order(&["a_b.mcrun.test"]).await.refused(400, "rejectedIdentifier");
    client.order(&[]).await.refused(400, "malformed");
    let url = format!("{URL}/new-order");
    for (kind, value, refusal) in [
        ("email", "a@mcrun.test", "unsupportedIdentifier"),
        ("dns", "192.0.2.1", "malformed"),
        ("ip", "a.mcrun.test", "malformed"),
    ] {
        let wanted = json!({ "identifiers": [{ "type": kind, "value": value }] });
        client.post(&url, &wanted).await.refused(400, refusal);
    }
    let many: Vec<String> = (0..101).map(|number| format!("n{number}.mcrun.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    client.order(&many).await.refused(400, "malformed");
}

#[tokio::test]
async fn a_name_that_is_not_proven_ends_the_order() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let order = location(&client.order(&["liar.mcrun.test"]).await.ends(201));
    let shown = client.prove(&order).await;
    assert_eq!(shown["status"], "invalid");
    assert_eq!(shown["error"]["type"], "urn:ietf:params:acme:error:incorrectResponse");
    let authorization = client.read(shown["authorizations"][0].as_str().unwrap()).await.json();
    assert_eq!(authorization["status"], "invalid");
    assert_eq!(authorization["challenges"][0]["error"]["status"], 403);
    client.finalize(&order, &request(&["liar.mcrun.test"])).await.refused(403, "orderNotReady");
    assert_eq!(stage.authority.count(), 0);
}

#[tokio::test]
async fn a_deactivated_authorization_ends_the_order() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let order = client.ready(&["a.mcrun.test"]).await;
    let shown = client.read(&order).await.json();
    let authorization = shown["authorizations"][0].as_str().unwrap();
    client.post(authorization, &json!({ "status": "valid" })).await.refused(400, "malformed");
    let gone = client.post(authorization, &json!({ "status": "deactivated" })).await.ends(200).json();
    assert_eq!(gone["status"], "deactivated");
    assert_eq!(client.read(&order).await.json()["status"], "invalid");
    client.finalize(&order, &request(&["a.mcrun.test"])).await.refused(403, "orderNotReady");
}

#[tokio::test]
async fn an_order_expires_and_is_forgotten() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let order = client.ready(&["a.mcrun.test"]).await;
    stage.clock.forward(Duration::from_secs(86_401));
    let shown = client.read(&order).await.json();
    assert_eq!(
        (&shown["status"], &shown["error"]["detail"]),
        (&json!("invalid"), &json!("the order has expired"))
    );
    assert_eq!(stage.server.prune().await.unwrap(), 1);
    assert_eq!(stage.server.prune().await.unwrap(), 0);
    client.read(&order).await.refused(404, "malformed");
    assert_eq!(stage.journal.records("acme-order", None).await.unwrap(), []);
}

#[tokio::test]
async fn an_order_goes_on_after_a_restart_and_is_signed_once() {
    let stage = Stage::quick().await;
    let mut client = Client::registered(&stage).await;
    let order = client.ready(&["a.mcrun.test"]).await;
    stage.authority.failing.store(1, Ordering::SeqCst);
    stage.authority.losing.store(1, Ordering::SeqCst);
    let key = request(&["a.mcrun.test"]);
    let waiting = client.finalize(&order, &key).await.ends(200);
    assert_eq!(waiting.json()["status"], "processing");
    assert!(!waiting.header("retry-after").is_empty());
    client.server = stage.restarted();
    let shown = client.until(&order, |shown| shown["status"] != "processing").await;
    assert_eq!(shown["status"], "valid");
    // The same request once more is answered alike; another is not.
    assert_eq!(client.finalize(&order, &key).await.ends(200).json()["status"], "valid");
    client.finalize(&order, &request(&["a.mcrun.test"])).await.refused(403, "orderNotReady");
    assert_eq!(stage.authority.count(), 1);
    let tokens: Vec<String> =
        stage.authority.asked.lock().unwrap().iter().map(|(token, _)| token.clone()).collect();
    assert!(tokens.len() == 3 && tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
}

#[tokio::test]
async fn the_end_may_be_chosen_and_the_beginning_is_now() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let url = format!("{URL}/new-order");
    let names = identifiers(&["a.mcrun.test"]);
    for (from, until) in [
        (Some("2099-01-01T00:00:00Z"), None),
        (None, Some("2020-01-01T00:00:00Z")),
        (None, Some("tomorrow")),
        (Some("2020-01-02T00:00:00Z"), Some("2020-01-01T00:00:00Z")),
    ] {
        let wanted = json!({ "identifiers": names, "notBefore": from, "notAfter": until });
        client.post(&url, &wanted).await.refused(400, "malformed");
    }
    let now = journal::Clock::now(stage.clock.as_ref());
    let until = now.after(Duration::from_secs(7 * 86_400)).to_string();
    let wanted = json!({ "identifiers": names, "notBefore": now.to_string(), "notAfter": until });
    let made = client.post(&url, &wanted).await.ends(201);
    assert_eq!(made.json()["notAfter"], until);
    let order = location(&made);
    client.prove(&order).await;
    let valid = client.finalize(&order, &request(&["a.mcrun.test"])).await.ends(200).json();
    let chain = client.read(valid["certificate"].as_str().unwrap()).await.text;
    let facts = Facts::of(&chain_from_pem(&chain).unwrap()[0]).unwrap();
    assert!(facts.not_after.since(now) <= Duration::from_secs(7 * 86_400 + 5), "{}", facts.not_after);
}

#[tokio::test]
async fn a_certificate_is_revoked_by_its_account_and_by_its_key() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let url = format!("{URL}/revoke-cert");
    let (chain, _, _) = client.issue(&["a.mcrun.test"]).await;
    let certificate = chain_from_pem(&chain).unwrap()[0].clone();
    let serial = Facts::of(&certificate).unwrap().serial;
    let wanted = |reason: u8| json!({ "certificate": encode(&certificate), "reason": reason });
    client.post(&url, &wanted(42)).await.refused(400, "badRevocationReason");
    let stranger = Client::registered(&stage).await;
    stranger.post(&url, &wanted(1)).await.refused(403, "unauthorized");
    assert_eq!(stage.authority.revoked(&serial), None);
    assert_eq!(client.post(&url, &wanted(4)).await.ends(200).text, "");
    assert_eq!(stage.authority.revoked(&serial), Some(Reason::Superseded));
    client.post(&url, &wanted(4)).await.refused(400, "alreadyRevoked");

    let (chain, key, _) = client.issue(&["b.mcrun.test"]).await;
    let certificate = chain_from_pem(&chain).unwrap()[0].clone();
    let by_key = |key: &Signing, nonce: String| {
        let header = json!({ "alg": key.algorithm(), "jwk": key.jwk(), "url": url, "nonce": nonce });
        key.jws(&header, &json!({ "certificate": encode(&certificate), "reason": 1 }).to_string())
    };
    let other = Signing::p256();
    client.send(&url, &by_key(&other, client.nonce().await)).await.refused(403, "unauthorized");
    client.send(&url, &by_key(&Signing::of(&key), client.nonce().await)).await.ends(200);
    let serial = Facts::of(&certificate).unwrap().serial;
    assert_eq!(stage.authority.revoked(&serial), Some(Reason::KeyCompromise));
}

#[tokio::test]
async fn whoever_proves_all_names_may_revoke_what_another_got() {
    let stage = Stage::quick().await;
    let first = Client::registered(&stage).await;
    let (chain, _, _) = first.issue(&["a.mcrun.test", "b.mcrun.test"]).await;
    let wanted = json!({ "certificate": encode(&chain_from_pem(&chain).unwrap()[0]) });
    let second = Client::registered(&stage).await;
    let url = format!("{URL}/revoke-cert");
    second.ready(&["a.mcrun.test"]).await;
    second.post(&url, &wanted).await.refused(403, "unauthorized");
    second.ready(&["b.mcrun.test"]).await;
    second.post(&url, &wanted).await.ends(200);
}

#[tokio::test]
async fn only_certificates_of_this_authority_are_revoked() {
    let stage = Stage::quick().await;
    let other = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let (chain, _, _) = Client::registered(&other).await.issue(&["a.mcrun.test"]).await;
    let url = format!("{URL}/revoke-cert");
    let wanted = json!({ "certificate": encode(&chain_from_pem(&chain).unwrap()[0]) });
    client.post(&url, &wanted).await.refused(404, "malformed");
    client.post(&url, &json!({ "certificate": encode(b"garbage") })).await.refused(400, "malformed");
    client.post(&url, &json!({ "certificate": "+/=" })).await.refused(400, "malformed");
}

#[tokio::test]
async fn renewal_is_suggested_and_told_apart_from_first_orders() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let (chain, _, _) = client.issue(&["a.mcrun.test"]).await;
    let name = ari(&chain);
    let info = client.get(&format!("{URL}/renewal-info/{name}")).await.ends(200);
    assert!(!info.header("retry-after").is_empty());
    let window = info.json()["suggestedWindow"].clone();
    let moment =
        |name: &str| window[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let facts = Facts::of(&chain_from_pem(&chain).unwrap()[0]).unwrap();
    assert!(facts.not_before.0 < moment("start") && moment("start") < moment("end"));
    assert!(moment("end") < facts.not_after.0);

    let url = format!("{URL}/new-order");
    let wanted = |names: &[&str]| json!({ "identifiers": identifiers(names), "replaces": name });
    client.post(&url, &wanted(&["b.mcrun.test"])).await.refused(400, "malformed");
    let stranger = Client::registered(&stage).await;
    stranger.post(&url, &wanted(&["a.mcrun.test"])).await.refused(403, "unauthorized");
    let made = client.post(&url, &wanted(&["a.mcrun.test"])).await.ends(201);
    assert_eq!(made.json()["replaces"], name);
    let order = location(&made);
    client.prove(&order).await;
    client.finalize(&order, &request(&["a.mcrun.test"])).await.ends(200);
    client.post(&url, &wanted(&["a.mcrun.test"])).await.refused(409, "alreadyReplaced");
}

#[tokio::test]
async fn what_was_revoked_is_to_be_renewed_at_once() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let (chain, _, _) = client.issue(&["a.mcrun.test"]).await;
    let wanted = json!({ "certificate": encode(&chain_from_pem(&chain).unwrap()[0]) });
    client.post(&format!("{URL}/revoke-cert"), &wanted).await.ends(200);
    stage.clock.forward(Duration::from_secs(4 * 86_400));
    let info = client.get(&format!("{URL}/renewal-info/{}", ari(&chain))).await.ends(200).json();
    let end: jiff::Timestamp = info["suggestedWindow"]["end"].as_str().unwrap().parse().unwrap();
    assert!(end.as_millisecond() < journal::Clock::now(stage.clock.as_ref()).0);
}

#[tokio::test]
async fn renewal_of_what_is_unknown_is_not_told() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let (chain, _, _) = client.issue(&["a.mcrun.test"]).await;
    let (authority, serial) = ari(&chain).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    for (name, status) in [
        ("nothing".to_owned(), 400),
        ("+.+".to_owned(), 400),
        (format!("{}.{}", encode(&[0; 65]), serial), 400),
        (format!("{}.{serial}", encode(&[1; 20])), 404),
        (format!("{authority}.{}", encode(&[1; 16])), 404),
    ] {
        client.get(&format!("{URL}/renewal-info/{name}")).await.refused(status, "malformed");
    }
}
