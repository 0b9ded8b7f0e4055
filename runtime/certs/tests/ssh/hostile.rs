//! What is asked with bad intent, or by mistake, is refused before anything is signed or recorded.

use effect::Mode;
use serde_json::{Value, json};

use crate::bench::{Bench, public_key};

async fn refused(bench: &Bench, fields: Value) -> String {
    let script = bench.run().await;
    let error = script.fails("certs.ssh.sign", fields).await;
    assert!(bench.journal().records("ssh-certificate", None).await.unwrap().is_empty());
    error.code.as_str().to_owned()
}

fn wish(public: &str, more: Value) -> Value {
    let mut wish = json!({ "kind": "user", "public_key": public, "principals": ["deploy"] });
    wish.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    wish
}

#[tokio::test]
async fn principals_that_mean_something_else_are_refused() {
    let bench = Bench::new();
    let public = public_key(&bench.key("key", &["-t", "ed25519"]));
    let long = "a".repeat(129);
    for principal in
        ["", "a,b", "a\nb", "a b", "*", "a?", "!a", "-a", "a/b", "a\0b", "ä", "a\"b", "#a", &long]
    {
        assert_eq!(
            refused(&bench, wish(&public, json!({ "principals": [principal] }))).await,
            "MC-E030",
            "{principal:?}"
        );
    }
    let many: Vec<String> = (0..65).map(|number| format!("user{number}")).collect();
    for principals in [json!([]), json!(many)] {
        assert_eq!(refused(&bench, wish(&public, json!({ "principals": principals }))).await, "MC-E030");
    }
}

#[tokio::test]
async fn hosts_have_names_that_policy_allows() {
    let bench = Bench::new();
    let public = public_key(&bench.key("key", &["-t", "ed25519"]));
    for (name, code) in [
        ("a b", "MC-E001"),
        ("a,b.mcrun.test", "MC-E001"),
        ("a.mcrun.test\n", "MC-E001"),
        ("a.mcrun.test.", "MC-E001"),
        ("*.mcrun.test", "MC-E002"),
        ("example.com", "MC-E002"),
        ("192.0.2.1", "MC-E002"),
    ] {
        let host = json!({ "kind": "host", "principals": [name] });
        assert_eq!(refused(&bench, wish(&public, host)).await, code, "{name:?}");
    }
}

#[tokio::test]
async fn a_certificate_a_private_key_or_a_weak_one_is_not_signed() {
    let bench = Bench::new();
    let key = bench.key("key", &["-t", "ed25519"]);
    let script = bench.script(Mode::Run, &["*"], 0).await;
    let other = Bench::new();
    let certificate = other.run().await.done("certs.ssh.sign", wish(&public_key(&key), json!({}))).await;
    let certificate = certificate["certificate"].as_str().unwrap();
    let error = script.fails("certs.ssh.sign", wish(certificate, json!({}))).await;
    assert_eq!(error.code.as_str(), "MC-E003");
    assert!(error.message.contains("is a certificate"), "{}", error.message);
    // A certificate that calls itself a plain key.
    let disguised = certificate.replacen("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519", 1);
    assert_eq!(refused(&bench, wish(&disguised, json!({}))).await, "MC-E003");
    let private = std::fs::read_to_string(&key).unwrap();
    assert_eq!(refused(&bench, wish(&private, json!({}))).await, "MC-E003");
    let weak = public_key(&bench.key("weak", &["-t", "rsa", "-b", "1024"]));
    assert_eq!(refused(&bench, wish(&weak, json!({}))).await, "MC-E003");
    let dsa = public_key(&bench.key("dsa", &["-t", "dsa"]));
    assert_eq!(refused(&bench, wish(&dsa, json!({}))).await, "MC-E003");
}

#[tokio::test]
async fn options_that_servers_would_misread_are_refused() {
    let bench = Bench::new();
    let public = public_key(&bench.key("key", &["-t", "ed25519"]));
    let many: Vec<String> = (0..65).map(|number| format!("10.0.0.{number}")).collect();
    for more in [
        json!({ "lifetime": "59s" }),
        json!({ "lifetime": "31d" }),
        json!({ "key_id": "" }),
        json!({ "key_id": "a\nb" }),
        json!({ "key_id": "a".repeat(257) }),
        json!({ "force_command": "" }),
        json!({ "force_command": "a\nb" }),
        json!({ "force_command": "a".repeat(4097) }),
        json!({ "source_address": ["everywhere"] }),
        json!({ "source_address": ["10.0.0.0/33"] }),
        json!({ "source_address": ["10.0.0.1/8"] }),
        json!({ "source_address": ["::1/64"] }),
        json!({ "source_address": ["10.0.0.0/8,0.0.0.0/0"] }),
        json!({ "source_address": many }),
        json!({ "kind": "host", "principals": ["a.mcrun.test"], "force_command": "true" }),
        json!({ "kind": "host", "principals": ["a.mcrun.test"], "extensions": ["permit-pty"] }),
        json!({ "kind": "host", "principals": ["a.mcrun.test"], "lifetime": "367d" }),
    ] {
        assert_eq!(refused(&bench, wish(&public, more.clone())).await, "MC-E031", "{more}");
    }
    for more in
        [json!({ "extensions": ["permit-everything"] }), json!({ "kind": "root" }), json!({ "critical": {} })]
    {
        assert!(refused(&bench, wish(&public, more)).await.starts_with("MC-A00"));
    }
}
