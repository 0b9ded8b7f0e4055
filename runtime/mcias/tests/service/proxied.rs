//! The service behind a proxy: rates, lock-outs and the witness go by the address that a trusted one says, and by no other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use mcias::{Event, Web};
use serde_json::json;

use super::{PASSWORD, Place};

const PROXY: &str = "192.0.2.1";

/// A service that believes [`PROXY`], with a person who may sign in to `mcq`.
async fn behind() -> (Place, Web) {
    let place = Place::new();
    place.person("alice").await;
    let service = place.with(|settings| {
        settings.url = Some("https://mcias.example".into());
        settings.proxies = vec![PROXY.into()];
    });
    let web = Web::new(Arc::new(service)).unwrap();
    (place, web)
}

async fn ask(web: &Web, peer: &str, forwarded: &str, path: &str, body: &str) -> (u16, String) {
    let request = Request::builder().method(if body.is_empty() { "GET" } else { "POST" }).uri(path);
    let request = request.header("host", "mcias.example").header("content-type", "application/json");
    let request = request.header("x-forwarded-for", forwarded).body(Bytes::from(body.to_owned())).unwrap();
    let answer = web.answer(request, SocketAddr::new(peer.parse().unwrap(), 40_000)).await;
    (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap())
}

async fn sign_in(web: &Web, peer: &str, forwarded: &str, password: &str) -> String {
    let wish = json!({ "name": "alice", "password": password, "service": "mcq" }).to_string();
    let (_, answer) = ask(web, peer, forwarded, "/v1/login", &wish).await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["outcome"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// From where the last sign-in was refused.
fn refused_from(place: &Place) -> Option<IpAddr> {
    place.notes.taken().into_iter().rev().find_map(|event| match event {
        Event::Refused { address, .. } => address,
        _ => None,
    })
}

#[tokio::test]
async fn a_lock_out_is_of_the_address_behind_the_proxy() {
    let (place, web) = behind().await;
    for _ in 0..5 {
        assert_eq!(sign_in(&web, PROXY, "198.51.100.1", "not it").await, "refused");
    }
    assert_eq!(refused_from(&place), Some([198, 51, 100, 1].into()));
    assert_eq!(sign_in(&web, PROXY, "198.51.100.1", PASSWORD).await, "wait");
    // What they write themselves comes before what the proxy adds, and is another's word.
    assert_eq!(sign_in(&web, PROXY, "203.0.113.5, 198.51.100.1", PASSWORD).await, "wait");
    assert_eq!(sign_in(&web, PROXY, "198.51.100.2", PASSWORD).await, "token");
}

#[tokio::test]
async fn whoever_is_no_proxy_of_ours_is_not_believed() {
    let (place, web) = behind().await;
    for number in 0..5 {
        let forged = format!("198.51.100.{number}");
        assert_eq!(sign_in(&web, "203.0.113.9", &forged, "not it").await, "refused");
    }
    assert_eq!(refused_from(&place), Some([203, 0, 113, 9].into()));
    assert_eq!(sign_in(&web, "203.0.113.9", "198.51.100.77", PASSWORD).await, "wait");
}

#[tokio::test]
async fn a_rate_is_of_the_address_behind_the_proxy() {
    let (_place, web) = behind().await;
    let health = "/v1/health";
    let mut last = 0;
    for _ in 0..=400 {
        last = ask(&web, PROXY, "198.51.100.1", health, "").await.0;
    }
    assert_eq!(last, 429);
    assert_eq!(ask(&web, PROXY, "198.51.100.2", health, "").await.0, 200);
    // What cannot be read is the proxy's own, with a rate of its own.
    assert_eq!(ask(&web, PROXY, "unknown", health, "").await.0, 200);
    assert_eq!(ask(&web, "203.0.113.9", "198.51.100.1", health, "").await.0, 200);
}
