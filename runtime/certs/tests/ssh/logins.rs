//! Who gets in, and whose host is trusted.

use std::time::Duration;

use certs::ssh::{Kind, Settings, authority};
use effect::Mode;
use effect::units::Span;
use serde_json::{Value, json};

use crate::bench::{Bench, Script, public_key};
use crate::server::{HOST, Server, errors};

async fn signed(script: &Script, key: &std::path::Path, more: Value) -> String {
    let mut wish = json!({ "kind": "user", "public_key": public_key(key), "principals": ["deploy"] });
    wish.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    script.done("certs.ssh.sign", wish).await["certificate"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_user_gets_in_and_trusts_the_host() {
    let bench = Bench::new();
    let script = bench.run().await;
    let server = Server::start(&bench, &script).await;
    for (name, kind) in [
        ("ed25519", &["-t", "ed25519"][..]),
        ("ecdsa", &["-t", "ecdsa", "-b", "384"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
    ] {
        let key = bench.key(name, kind);
        let certificate = signed(&script, &key, json!({})).await;
        server.lets_in(&key, &certificate);
    }
}

#[tokio::test]
async fn a_host_of_another_name_is_not_trusted() {
    let bench = Bench::new();
    let script = bench.run().await;
    let server = Server::start(&bench, &script).await;
    let key = bench.key("user", &["-t", "ed25519"]);
    let output = server.sign_in(&key, &signed(&script, &key, json!({})).await, "other.mcrun.test");
    assert!(output.stdout.is_empty());
    assert!(errors(&output).contains("name is not a listed principal"), "{}", errors(&output));
}

#[tokio::test]
async fn another_principal_is_kept_out() {
    let bench = Bench::new();
    let script = bench.run().await;
    let server = Server::start(&bench, &script).await;
    let key = bench.key("user", &["-t", "ed25519"]);
    server.keeps_out(&key, &signed(&script, &key, json!({ "principals": ["guest", "deploy2"] })).await);
    server.lets_in(&key, &signed(&script, &key, json!({ "principals": ["guest", "deploy"] })).await);
}

#[tokio::test]
async fn an_expired_certificate_is_kept_out() {
    let bench = Bench::new();
    let earlier = bench.script(Mode::Run, &["*"], -7200).await;
    let server = Server::start(&bench, &earlier).await;
    let key = bench.key("user", &["-t", "ed25519"]);
    server.keeps_out(&key, &signed(&earlier, &key, json!({ "lifetime": "1h" })).await);
    server.lets_in(&key, &signed(&earlier, &key, json!({ "lifetime": "3h" })).await);
}

#[tokio::test]
async fn options_bind_the_session() {
    let bench = Bench::new();
    let script = bench.run().await;
    let server = Server::start(&bench, &script).await;
    let key = bench.key("user", &["-t", "ed25519"]);
    let forced = signed(&script, &key, json!({ "force_command": "echo forced" })).await;
    let output = server.sign_in(&key, &forced, HOST);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "forced\n", "{}", errors(&output));
    server.lets_in(&key, &signed(&script, &key, json!({ "source_address": ["127.0.0.0/8", "::1"] })).await);
    server.keeps_out(&key, &signed(&script, &key, json!({ "source_address": ["192.0.2.0/24"] })).await);
}

#[tokio::test]
async fn old_and_new_authority_are_trusted_while_one_replaces_the_other() {
    let bench = Bench::new();
    let script = bench.run().await;
    let key = bench.key("user", &["-t", "ed25519"]);
    let before = signed(&script, &key, json!({})).await;
    let hour = Duration::from_secs(3600);
    let settings = Settings { user_longest: Span(24 * hour), ..Settings::default() };
    authority::rotate(&bench.store(0), &settings, Kind::User, hour).await.unwrap();
    let again = authority::rotate(&bench.store(60), &settings, Kind::User, hour).await.unwrap_err();
    assert_eq!(again.code.as_str(), "MC-E005");
    // Announced, so servers learn of it, and not used yet.
    let server = Server::start(&bench, &script).await;
    let announced = signed(&script, &key, json!({})).await;
    let later = bench.script(Mode::Run, &["*"], 3600).await;
    let wish = json!({ "kind": "user", "public_key": public_key(&key), "principals": ["deploy"] });
    let old = script.done("certs.ssh.sign", wish.clone()).await;
    let new = later.done("certs.ssh.sign", wish).await;
    assert_ne!(old["authority"], new["authority"]);
    let trusted = std::fs::read_to_string(bench.path("trusted")).unwrap();
    for authority in [&old, &new] {
        assert!(trusted.contains(authority["authority"].as_str().unwrap()));
    }
    server.lets_in(&key, &before);
    server.lets_in(&key, &announced);
    let then = 3600 + 86_400;
    assert_eq!(authority::trusted(&bench.store(then - 60), Kind::User).await.unwrap().len(), 2);
    let left = authority::trusted(&bench.store(then + 60), Kind::User).await.unwrap();
    assert_eq!(left.iter().map(|key| &key.public).collect::<Vec<_>>(), [new["authority"].as_str().unwrap()]);
}

#[tokio::test]
async fn an_old_authority_is_trusted_until_its_last_certificate_has_expired() {
    let bench = Bench::new();
    let script = bench.run().await;
    signed(&script, &bench.key("user", &["-t", "ed25519"]), json!({ "lifetime": "20d" })).await;
    let hour = Duration::from_secs(3600);
    // Since then certificates live for an hour only.
    let settings = Settings { user_longest: Span(hour), ..Settings::default() };
    authority::rotate(&bench.store(0), &settings, Kind::User, hour).await.unwrap();
    for (days, count) in [(19, 2), (21, 1)] {
        assert_eq!(authority::trusted(&bench.store(days * 86_400), Kind::User).await.unwrap().len(), count);
    }
}
