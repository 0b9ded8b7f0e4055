//! Requests that mean harm, each refused for the right reason.

use bytes::Bytes;
use certs::acme::server::LONGEST_BODY;
use certs::{Key, KeyType, Names};
use http::Request;
use http::header::CONTENT_TYPE;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, KeyPair, SanType,
};
use serde_json::{Value, json};

use crate::client::{Client, JOSE, Signing, encode, identifiers, sealed};
use crate::stage::{Stage, URL};

#[tokio::test]
async fn a_nonce_counts_once_and_only_if_it_was_given() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let header = client.header(&client.kid).await;
    let body = client.key.jws(&header, "");
    client.send(&client.kid, &body).await.ends(200);
    let refused = client.send(&client.kid, &body).await;
    refused.refused(400, "badNonce");
    assert!(!refused.header("replay-nonce").is_empty(), "a fresh one comes with the refusal");
    for nonce in [json!("AAAAAAAAAAAAAAAAAAAAAA"), json!(""), json!(null)] {
        let mut header = client.header(&client.kid).await;
        header["nonce"] = nonce;
        client.send(&client.kid, &client.key.jws(&header, "")).await.refused(400, "badNonce");
    }
}

#[tokio::test]
async fn a_request_for_another_address_is_refused() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let order = client.order(&["a.mcrun.test"]).await.header("location").to_owned();
    for url in [
        client.kid.clone(),
        format!("{order}/"),
        format!("{order}?a"),
        order.replace("https", "http"),
        order.replace("ca.mcrun.test", "other.test"),
    ] {
        let header = client.header(&url).await;
        client.send(&order, &client.key.jws(&header, "")).await.refused(403, "unauthorized");
    }
}

#[tokio::test]
async fn what_is_not_signed_by_the_account_is_refused() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let header = client.header(&client.kid).await;
    client.send(&client.kid, &Signing::p256().jws(&header, "")).await.refused(403, "unauthorized");

    // A signature that was right for something else.
    let header = client.header(&client.kid).await;
    let mut body = client.key.jws(&header, "");
    body["payload"] = json!(encode(br#"{"status":"deactivated"}"#));
    client.send(&client.kid, &body).await.refused(403, "unauthorized");

    for (algorithm, sign) in [
        ("none", (|_: &[u8]| Vec::new()) as fn(&[u8]) -> Vec<u8>),
        ("HS256", |message| {
            // By what everybody knows, as if it were a shared key.
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"");
            aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
        }),
        ("ES384", |_| vec![1; 96]),
        ("RS256", |_| vec![1; 256]),
    ] {
        let mut header = client.header(&client.kid).await;
        header["alg"] = json!(algorithm);
        client.send(&client.kid, &sealed(&header, "", sign)).await.refused(400, "badSignatureAlgorithm");
    }
}

#[tokio::test]
async fn a_public_key_does_not_serve_as_a_shared_one() {
    let stage = Stage::quick().await;
    let client = Client::new(&stage.server);
    let url = format!("{URL}/new-account");
    let jwk = client.key.jwk();
    let header = json!({ "alg": "HS256", "jwk": jwk, "url": url, "nonce": client.nonce().await });
    let by_public = sealed(&header, "{}", |message| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, jwk.to_string().as_bytes());
        aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
    });
    client.send(&url, &by_public).await.refused(400, "badSignatureAlgorithm");
    let header = json!({ "alg": "none", "jwk": jwk, "url": url, "nonce": client.nonce().await });
    client.send(&url, &sealed(&header, "{}", |_| Vec::new())).await.refused(400, "badSignatureAlgorithm");
    let private = json!({ "kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["y"], "d": jwk["x"] });
    let header = json!({ "alg": "ES256", "jwk": private, "url": url, "nonce": client.nonce().await });
    client.send(&url, &client.key.jws(&header, "{}")).await.refused(400, "badPublicKey");
    // A point that is on no curve.
    let off = json!({ "kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["x"] });
    let header = json!({ "alg": "ES256", "jwk": off, "url": url, "nonce": client.nonce().await });
    client.send(&url, &client.key.jws(&header, "{}")).await.refused(403, "unauthorized");
    assert_eq!(stage.journal.records("acme-account", None).await.unwrap(), []);
}

#[tokio::test]
async fn keys_and_accounts_are_not_mixed_up() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let url = format!("{URL}/new-order");
    let wanted = json!({ "identifiers": identifiers(&["a.mcrun.test"]) }).to_string();
    let by_key =
        json!({ "alg": "ES256", "jwk": client.key.jwk(), "url": url, "nonce": client.nonce().await });
    client.send(&url, &client.key.jws(&by_key, &wanted)).await.refused(400, "malformed");
    let url = format!("{URL}/new-account");
    let by_account = client.header(&url).await;
    client.send(&url, &client.key.jws(&by_account, "{}")).await.refused(400, "malformed");
    for kid in ["nobody", &format!("{URL}/account/nobody"), &format!("{URL}/account/AAAAAAAAAAAAAAAAAAAAAA")]
    {
        let header = json!({ "alg": "ES256", "kid": kid, "url": kid, "nonce": client.nonce().await });
        let target = format!("{URL}/account/nobody");
        let header = Value::Object(
            header
                .as_object()
                .unwrap()
                .clone()
                .into_iter()
                .map(|(name, value)| if name == "url" { (name, json!(target)) } else { (name, value) })
                .collect(),
        );
        client.send(&target, &client.key.jws(&header, "")).await.refused(400, "accountDoesNotExist");
    }
}

#[tokio::test]
async fn nobody_touches_what_is_anothers() {
    let stage = Stage::quick().await;
    let owner = Client::registered(&stage).await;
    let (_, _, issued) = owner.issue(&["b.mcrun.test"]).await;
    let order = owner.order(&["a.mcrun.test"]).await.header("location").to_owned();
    let shown = owner.read(&order).await.json();
    let authorization = shown["authorizations"][0].as_str().unwrap();
    let challenge =
        owner.read(authorization).await.json()["challenges"][0]["url"].as_str().unwrap().to_owned();
    let stranger = Client::registered(&stage).await;
    for url in [&order, authorization, &challenge, &format!("{issued}/certificate"), &owner.kid] {
        stranger.read(url).await.refused(403, "unauthorized");
    }
    stranger.post(&challenge, &json!({})).await.refused(403, "unauthorized");
    stranger.post(authorization, &json!({ "status": "deactivated" })).await.refused(403, "unauthorized");
    stranger.post(&owner.kid, &json!({ "status": "deactivated" })).await.refused(403, "unauthorized");
    let request =
        Key::generate(KeyType::P256).unwrap().request(&Names::parse(&["a.mcrun.test"]).unwrap()).unwrap();
    stranger.finalize(&order, &request).await.refused(403, "unauthorized");
    assert_eq!(owner.read(&order).await.json()["status"], "pending");
}

#[tokio::test]
async fn paths_method_and_content_type_are_what_they_must_be() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    for path in [
        "",
        "directory/",
        "nothing",
        "order",
        "order/../directory",
        "authz/x/-1",
        "authz/x/99999",
        "challenge/x/0/http-02",
    ] {
        client.get(&format!("{URL}/{path}")).await.refused(404, "malformed");
    }
    client.get("https://ca.mcrun.test/other/directory").await.refused(404, "malformed");
    let refused = client.get(&format!("{URL}/new-order")).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "POST"));
    let posted = client.call(Request::post(format!("{URL}/directory")).body(Bytes::new()).unwrap()).await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));
    let empty = client.get(&format!("{URL}/new-nonce")).await.ends(204);
    assert_eq!((empty.header("cache-control"), empty.header("replay-nonce").len()), ("no-store", 22));

    for content in ["application/json", "application/jose+json; charset=utf-8", ""] {
        let body = client.key.jws(&client.header(&client.kid).await, "").to_string();
        let request = Request::post(&client.kid).header(CONTENT_TYPE, content).body(body.into()).unwrap();
        client.call(request).await.refused(415, "malformed");
    }
    let huge =
        Request::post(&client.kid).header(CONTENT_TYPE, JOSE).body(vec![b' '; LONGEST_BODY + 1].into());
    client.call(huge.unwrap()).await.refused(413, "malformed");
    client.post(&format!("{URL}/order/AAAAAAAAAAAAAAAAAAAAAA"), &json!({})).await.refused(400, "malformed");
    client.read(&format!("{URL}/order/AAAAAAAAAAAAAAAAAAAAAA")).await.refused(404, "malformed");
    client.post(&format!("{URL}/new-order"), &json!([["a"]])).await.refused(400, "malformed");
}

/// A signing request by rcgen, of which `change` makes a hostile one.
fn smuggling(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.mcrun.test".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.serialize_request(&key).unwrap().der().to_vec()
}

#[tokio::test]
async fn a_signing_request_smuggles_nothing() {
    let stage = Stage::quick().await;
    let client = Client::registered(&stage).await;
    let order = client.ready(&["a.mcrun.test"]).await;
    let more = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let authority = {
        let mut value = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]);
        value.set_criticality(true);
        value
    };
    let mut requests = vec![
        smuggling(|params| params.subject_alt_names.push(more("admin.mcrun.test"))),
        smuggling(|params| params.subject_alt_names.push(more("*.mcrun.test"))),
        smuggling(|params| params.subject_alt_names = vec![more("b.mcrun.test")]),
        smuggling(|params| params.subject_alt_names.clear()),
        smuggling(|params| {
            params.subject_alt_names.push(SanType::Rfc822Name("root@mcrun.test".try_into().unwrap()));
        }),
        smuggling(|params| params.distinguished_name.push(DnType::CommonName, "admin.mcrun.test")),
        smuggling(|params| params.custom_extensions = vec![authority]),
        smuggling(|params| {
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
        }),
        smuggling(|_| ()).into_iter().chain([0]).collect(),
        Vec::new(),
        b"garbage".to_vec(),
    ];
    // The signature of another request.
    let mut forged = smuggling(|_| ());
    let last = forged.len() - 1;
    forged[last] ^= 1;
    requests.push(forged);
    for request in &requests {
        client.finalize(&order, request).await.refused(400, "badCSR");
    }
    // The key of the account itself.
    let own = Key::generate(KeyType::P256).unwrap();
    let mut same = Client { key: Signing::of(&own), ..Client::new(&stage.server) };
    same.register(json!({})).await.ends(201);
    let its_order = same.ready(&["a.mcrun.test"]).await;
    let request = own.request(&Names::parse(&["a.mcrun.test"]).unwrap()).unwrap();
    same.finalize(&its_order, &request).await.refused(400, "badCSR");

    assert_eq!(stage.authority.count(), 0);
    assert_eq!(client.read(&order).await.json()["status"], "ready", "a wrong request does not end the order");
    let plain = smuggling(|params| {
        params.distinguished_name.push(DnType::CommonName, "a.mcrun.test");
        params.is_ca = IsCa::ExplicitNoCa;
    });
    assert_eq!(client.finalize(&order, &plain).await.ends(200).json()["status"], "valid");
    let ca = smuggling(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let order = client.ready(&["a.mcrun.test"]).await;
    client.finalize(&order, &ca).await.refused(400, "badCSR");
}
