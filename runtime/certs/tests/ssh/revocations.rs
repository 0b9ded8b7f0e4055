//! What is revoked stays outside, for servers, for `ssh-keygen`, and for the authority itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::plan::Action;
use effect::{Code, Mode};
use serde_json::{Value, json};

use crate::bench::{Bench, Script, keygen, public_key};
use crate::server::Server;

/// Asks `ssh-keygen` whether the list has what is in a file.
fn is_revoked(bench: &Bench, list: &[u8], what: &str) -> bool {
    let (krl, file) = (bench.write("krl", list), bench.write("asked.pub", what));
    let output = keygen(&["-Q", "-f", krl.to_str().unwrap(), file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.contains("REVOKED"), !output.status.success(), "{output:?}");
    assert!(said.contains("REVOKED") || said.contains(": ok"), "{output:?}");
    !output.status.success()
}

async fn krl(script: &Script) -> Vec<u8> {
    STANDARD.decode(script.done("certs.ssh.revoked", json!({})).await["krl"].as_str().unwrap()).unwrap()
}

async fn signed(script: &Script, key: &std::path::Path, key_id: &str) -> Value {
    let wish =
        json!({ "kind": "user", "public_key": public_key(key), "principals": ["deploy"], "key_id": key_id });
    script.done("certs.ssh.sign", wish).await
}

fn line(signed: &Value) -> &str {
    signed["certificate"].as_str().unwrap()
}

#[tokio::test]
async fn what_is_revoked_is_kept_out_and_the_rest_gets_in() {
    let bench = Bench::new();
    let script = bench.run().await;
    let server = Server::start(&bench, &script).await;
    let (one, other) = (bench.key("one", &["-t", "ed25519"]), bench.key("other", &["-t", "ed25519"]));
    let by_serial = signed(&script, &one, "first").await;
    let by_key_id = signed(&script, &one, "laptop").await;
    let by_key = signed(&script, &other, "third").await;
    let kept = signed(&script, &one, "kept").await;
    std::fs::write(&server.revoked, krl(&script).await).unwrap();
    for (key, certificate) in [(&one, &by_serial), (&one, &by_key_id), (&other, &by_key)] {
        server.lets_in(key, line(certificate));
    }
    for (revoke, key, certificate) in [
        (json!({ "serial": by_serial["serial"] }), &one, &by_serial),
        (json!({ "key_id": "laptop" }), &one, &by_key_id),
        (json!({ "public_key": public_key(&other) }), &other, &by_key),
    ] {
        let first = script.done("certs.ssh.revoke", revoke.clone()).await;
        assert_eq!(first["changed"], true);
        assert_eq!(script.done("certs.ssh.revoke", revoke).await["changed"], false);
        let list = krl(&script).await;
        std::fs::write(&server.revoked, &list).unwrap();
        assert!(is_revoked(&bench, &list, line(certificate)));
        server.keeps_out(key, line(certificate));
        assert!(!is_revoked(&bench, &list, line(&kept)));
        server.lets_in(&one, line(&kept));
    }
    assert!(is_revoked(&bench, &krl(&script).await, &public_key(&other)));
    assert_eq!(script.done("certs.ssh.revoked", json!({})).await["count"], 3);
}

#[tokio::test]
async fn the_plain_list_keeps_the_keys_of_revoked_certificates_out() {
    let bench = Bench::new();
    let script = bench.run().await;
    let server = Server::start(&bench, &script).await;
    let (one, other) = (bench.key("one", &["-t", "ed25519"]), bench.key("other", &["-t", "ed25519"]));
    let (revoked, kept) = (signed(&script, &one, "one").await, signed(&script, &other, "other").await);
    script.done("certs.ssh.revoke", json!({ "serial": revoked["serial"] })).await;
    let list = script.done("certs.ssh.revoked", json!({})).await;
    std::fs::write(&server.revoked, list["keys"].as_str().unwrap()).unwrap();
    server.keeps_out(&one, line(&revoked));
    server.lets_in(&other, line(&kept));
}

#[tokio::test]
async fn many_revocations_are_read_by_openssh() {
    let bench = Bench::new();
    let script = bench.run().await;
    let key = bench.key("key", &["-t", "ed25519"]);
    let mut certificates = Vec::new();
    for number in 0..40 {
        certificates.push(signed(&script, &key, &format!("id {number}")).await);
    }
    for (number, certificate) in certificates.iter().enumerate().take(30) {
        let revoke = match number % 2 {
            0 => json!({ "serial": certificate["serial"] }),
            _ => json!({ "key_id": certificate["key_id"] }),
        };
        script.done("certs.ssh.revoke", revoke).await;
    }
    for number in 0..10 {
        let key = bench.key(&format!("revoked{number}"), &["-t", "ed25519"]);
        script.done("certs.ssh.revoke", json!({ "public_key": public_key(&key) })).await;
    }
    let list = krl(&script).await;
    for (number, certificate) in certificates.iter().enumerate() {
        assert_eq!(is_revoked(&bench, &list, line(certificate)), number < 30, "{number}");
    }
    for number in 0..10 {
        assert!(is_revoked(&bench, &list, &public_key(&bench.path(&format!("revoked{number}")))));
    }
}

#[tokio::test]
async fn an_empty_list_is_one_that_openssh_reads() {
    let bench = Bench::new();
    let script = bench.run().await;
    let key = bench.key("key", &["-t", "ed25519"]);
    assert!(!is_revoked(&bench, &krl(&script).await, &public_key(&key)));
}

#[tokio::test]
async fn nothing_is_signed_for_what_is_revoked() {
    let bench = Bench::new();
    let script = bench.run().await;
    let key = bench.key("key", &["-t", "ed25519"]);
    let wish = |key_id: &str| json!({ "kind": "user", "public_key": public_key(&key), "principals": ["a"], "key_id": key_id });
    script.done("certs.ssh.revoke", json!({ "key_id": "gone" })).await;
    assert_eq!(script.fails("certs.ssh.sign", wish("gone")).await.code.as_str(), "MC-E032");
    script.done("certs.ssh.sign", wish("here")).await;
    script.done("certs.ssh.revoke", json!({ "public_key": public_key(&key) })).await;
    assert_eq!(script.fails("certs.ssh.sign", wish("here")).await.code.as_str(), "MC-E032");
}

#[tokio::test]
async fn a_plan_revokes_nothing_and_says_that_it_cannot_be_undone() {
    let bench = Bench::new();
    let plan = bench.script(Mode::Plan, &["*"], 0).await;
    plan.done("certs.ssh.revoke", json!({ "key_id": "laptop" })).await;
    let steps = plan.steps();
    assert_eq!(steps[0].action, Action::Create);
    let told = &steps[0].cannot_undo;
    assert!(told.iter().any(|line| line.contains("stays revoked")), "{told:?}");
    assert!(bench.journal().records("ssh-revocation", None).await.unwrap().is_empty());
}

#[tokio::test]
async fn revoking_takes_one_thing_that_exists_and_a_grant() {
    let bench = Bench::new();
    let script = bench.run().await;
    for wrong in [
        json!({}),
        json!({ "serial": "1", "key_id": "a" }),
        json!({ "serial": "0" }),
        json!({ "serial": "-1" }),
        json!({ "serial": "x" }),
        json!({ "key_id": "" }),
        json!({ "key_id": "a\nb" }),
    ] {
        assert_eq!(script.fails("certs.ssh.revoke", wrong).await.code.as_str(), "MC-E031");
    }
    assert_eq!(
        script.fails("certs.ssh.revoke", json!({ "serial": "7" })).await.code,
        Code::CertificateUnknown
    );
    assert_eq!(
        script.fails("certs.ssh.revoke", json!({ "public_key": "x" })).await.code,
        Code::CertificateKey
    );
    let narrow = bench.script(Mode::Run, &["certs:write", "certs:ssh:revoke/key-id/a"], 0).await;
    narrow.done("certs.ssh.revoke", json!({ "key_id": "a" })).await;
    assert_eq!(narrow.fails("certs.ssh.revoke", json!({ "key_id": "b" })).await.code, Code::Denied);
}

#[tokio::test]
async fn what_expired_long_ago_leaves_the_list() {
    let bench = Bench::new();
    let script = bench.run().await;
    let key = bench.key("key", &["-t", "ed25519"]);
    let certificate = signed(&script, &key, "short").await;
    script.done("certs.ssh.revoke", json!({ "serial": certificate["serial"] })).await;
    for (days, count) in [(1, 1), (3, 0)] {
        let later = bench.script(Mode::Run, &["*"], days * 86_400).await;
        assert_eq!(later.done("certs.ssh.revoked", json!({})).await["count"], count);
    }
}
