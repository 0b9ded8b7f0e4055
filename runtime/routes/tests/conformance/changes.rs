//! Owns the cases on changes: what is put is what is found, once is as good as twice, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use routes::Standing;
use serde_json::json;

use crate::backend::Backend;
use crate::bench::{Peer, plain, put, remove, route};
use crate::client::get;

pub(crate) async fn of_routes(peer: &dyn Peer) {
    what_is_so_already_changes_nothing(peer).await;
    routes_are_listed_in_order(peer).await;
    no_request_is_lost_while_back_ends_change(peer).await;
}

async fn what_is_so_already_changes_nothing(peer: &dyn Peer) {
    let backend = Backend::start("one").await;
    let more = json!({ "service": "mcq", "public": true, "retries": 1, "drain": "7s" });
    let standing = route(peer.plain(), "twice.test", &[backend.address], more);
    let before = peer.version().await;
    put(peer, &standing).await;
    let after = peer.version().await;
    assert_ne!(before, after);
    put(peer, &standing).await;
    assert_eq!(peer.version().await, after);
    let other = route(peer.plain(), "twice.test", &[backend.address], json!({ "service": "mcq" }));
    put(peer, &other).await;
    remove(peer, &standing).await;
    let gone = peer.version().await;
    remove(peer, &standing).await;
    assert_eq!(peer.version().await, gone);
}

async fn routes_are_listed_in_order(peer: &dyn Peer) {
    let backend = "127.0.0.1:9".parse().unwrap();
    let mut wanted: Vec<Standing> = ["c", "a", "b"]
        .map(|name| route(peer.plain(), &format!("{name}.test"), &[backend], json!({})))
        .into();
    for standing in &wanted {
        put(peer, standing).await;
    }
    wanted.sort_by_key(|standing| standing.route.key());
    assert_eq!(peer.driver().list().await.unwrap(), wanted);
    for standing in &wanted {
        remove(peer, standing).await;
    }
    assert_eq!(peer.driver().list().await.unwrap(), []);
}

async fn no_request_is_lost_while_back_ends_change(peer: &dyn Peer) {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let versions = [one.address, two.address].map(|address| {
        let more = json!({ "drain": "30s" });
        [
            route(peer.plain(), "load.test", &[address], more.clone()),
            route(peer.plain(), "still.test", &[address], more),
        ]
    });
    put(peer, &versions[0][0]).await;
    put(peer, &versions[0][1]).await;
    let over = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let may_break = peer.breaks_connections();
    let clients = ["load.test", "still.test"].map(|host| {
        let (way, over, asked) = (plain(peer), over.clone(), asked.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let answer = match get(&way, host, "/").await {
                    Err(_) if may_break => continue,
                    answer => answer.unwrap(),
                };
                assert_eq!(answer.status, 200, "{host} {answer:?}");
                asked.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    for turn in 0..10 {
        let before = asked.load(Ordering::SeqCst);
        put(peer, &versions[(turn + 1) % 2][0]).await;
        let by = get(&plain(peer), "load.test", "/").await.unwrap().by();
        assert_eq!(by, ["two", "one"][turn % 2], "a change is live when it is told so");
        crate::bench::until("more is asked", async || {
            asked.load(Ordering::SeqCst) > before + 20 || clients.iter().any(|client| client.is_finished())
        })
        .await;
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    for standing in &versions[0] {
        remove(peer, standing).await;
    }
}
