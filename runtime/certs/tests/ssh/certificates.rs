//! What is signed is what was asked for, is recorded, and is signed once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::effects::ssh::Sign;
use certs::ssh::{Kind, Order, Wish, issue};
use effect::{Act as _, Code, Doubt, Mode};
use serde_json::json;

use crate::bench::{Bench, keygen, public_key, world};

fn shown(bench: &Bench, certificate: &str) -> String {
    let file = bench.write("shown.pub", certificate);
    let output = keygen(&["-L", "-f", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn ssh_keygen_shows_what_was_asked_for() {
    let bench = Bench::new();
    let script = bench.run().await;
    let key = bench.key("key", &["-t", "ed25519"]);
    let signed = script
        .done(
            "certs.ssh.sign",
            json!({
                "kind": "user", "public_key": public_key(&key), "principals": ["deploy", "root", "deploy"],
                "lifetime": "1h", "key_id": "Ada's laptop", "force_command": "/usr/bin/uptime -p",
                "source_address": ["192.0.2.0/24", "2001:DB8::/32", "198.51.100.7"], "verify_required": true,
                "extensions": ["permit-pty", "permit-agent-forwarding"],
            }),
        )
        .await;
    let text = shown(&bench, signed["certificate"].as_str().unwrap());
    for line in [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate",
        "Key ID: \"Ada's laptop\"",
        &format!("Serial: {}", signed["serial"].as_str().unwrap()),
        "Principals:\ndeploy\nroot\nCritical Options:",
        "force-command /usr/bin/uptime -p",
        "source-address 192.0.2.0/24,2001:db8::/32,198.51.100.7",
        "verify-required",
        "Extensions:\npermit-agent-forwarding\npermit-pty",
        &format!("Public key: ED25519-CERT {}", signed["fingerprint"].as_str().unwrap()),
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let life = signed["valid_before"].as_i64().unwrap() - signed["valid_after"].as_i64().unwrap();
    assert_eq!(life, (3600 + 60) * 1000, "it begins a minute earlier");
}

#[tokio::test]
async fn users_and_hosts_have_their_own_lifetimes_options_and_authorities() {
    let bench = Bench::new();
    let script = bench.run().await;
    let key = bench.key("key", &["-t", "ecdsa"]);
    let public = public_key(&key);
    let user = script
        .done("certs.ssh.sign", json!({ "kind": "user", "public_key": public, "principals": ["a"] }))
        .await;
    let names = ["Host.mcrun.TEST", "bücher.test", "127.0.0.1"];
    let host = script
        .done("certs.ssh.sign", json!({ "kind": "host", "public_key": public, "principals": names }))
        .await;
    assert_ne!(user["authority"], host["authority"]);
    assert_eq!(host["principals"], json!(["host.mcrun.test", "xn--bcher-kva.test", "127.0.0.1"]));
    let text = shown(&bench, user["certificate"].as_str().unwrap());
    assert!(text.contains("Critical Options: (none)\nExtensions:\npermit-X11-forwarding\npermit-agent-forwarding\npermit-port-forwarding\npermit-pty\npermit-user-rc"), "{text}");
    let text = shown(&bench, host["certificate"].as_str().unwrap());
    assert!(
        text.contains("host certificate") && text.contains("Critical Options: (none)\nExtensions: (none)"),
        "{text}"
    );
    for (signed, hours) in [(&user, 16), (&host, 90 * 24)] {
        let life = signed["valid_before"].as_i64().unwrap() - signed["valid_after"].as_i64().unwrap();
        assert_eq!(life / 3_600_000, hours);
    }
}

#[tokio::test]
async fn a_certificate_is_recorded_before_it_is_handed_out_and_the_authority_is_sealed() {
    let bench = Bench::new();
    let script = bench.run().await;
    let key = bench.key("key", &["-t", "ed25519"]);
    let wish = json!({ "kind": "user", "public_key": public_key(&key), "principals": ["a"] });
    let signed = script.done("certs.ssh.sign", wish).await;
    let serial = signed["serial"].as_str().unwrap();
    let record = issue::of_serial(&bench.store(0), serial).await.unwrap().unwrap();
    assert_eq!(serde_json::to_value(&record).unwrap(), signed);
    assert!(record.run.is_some());
    assert_eq!(issue::all(&bench.store(0)).await.unwrap(), [record]);
    let authorities = bench.journal().records("ssh-authority", None).await.unwrap();
    assert_eq!(authorities.len(), 1, "the one that signs hosts was not needed");
    assert!(!authorities[0].value.contains("PRIVATE KEY"));
}

#[tokio::test]
async fn one_token_has_one_certificate_even_when_it_is_asked_for_at_once() {
    let bench = Bench::new();
    let (world, public) = (world(), public_key(&bench.key("key", &["-t", "ed25519"])));
    let principals = ["a".to_owned()];
    let wish = Wish {
        kind: Kind::User,
        public_key: &public,
        principals: &principals,
        lifetime: None,
        key_id: None,
        service: None,
        force_command: None,
        source_address: &[],
        verify_required: false,
        extensions: None,
    };
    let order = Order::new(&world, &wish).unwrap();
    let store = bench.store(0);
    assert_eq!(issue::of_token(&store, "one").await.unwrap(), None);
    let (a, b, c) = tokio::join!(
        issue::sign(&store, &order, "one"),
        issue::sign(&store, &order, "one"),
        issue::sign(&store, &order, "two")
    );
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!(a, b);
    assert_ne!(a.serial, c.serial);
    assert_eq!(a.authority, c.authority, "one authority, though three asked for the first");
    assert_eq!(issue::of_token(&store, "one").await.unwrap(), Some(a));
    assert_eq!(issue::all(&store).await.unwrap().len(), 2);
}

#[tokio::test]
async fn each_principal_needs_its_own_grant() {
    let bench = Bench::new();
    let public = public_key(&bench.key("key", &["-t", "ed25519"]));
    let wish = |kind: &str, principals: &[&str]| json!({ "kind": kind, "public_key": public, "principals": principals });
    let script = bench
        .script(Mode::Run, &["certs:write", "certs:ssh:user/deploy", "certs:ssh:host/*.mcrun.test"], 0)
        .await;
    script.done("certs.ssh.sign", wish("user", &["deploy"])).await;
    script.done("certs.ssh.sign", wish("host", &["A.mcrun.test"])).await;
    for denied in [wish("user", &["deploy", "root"]), wish("host", &["deploy.test"]), wish("user", &["root"])]
    {
        assert_eq!(script.fails("certs.ssh.sign", denied).await.code, Code::Denied);
    }
    let other = bench.script(Mode::Run, &["certs:read:mcq.*"], 0).await;
    for read in ["certs.ssh.authorities", "certs.ssh.revoked"] {
        assert_eq!(other.fails(read, json!({})).await.code, Code::Denied);
    }
}

#[tokio::test]
async fn a_clock_before_the_authority_was_made_signs_nothing() {
    let bench = Bench::new();
    let public = public_key(&bench.key("key", &["-t", "ed25519"]));
    bench.run().await.done("certs.ssh.authorities", json!({})).await;
    let early = bench.script(Mode::Run, &["*"], -86_400).await;
    let wish = json!({ "kind": "user", "public_key": public, "principals": ["a"] });
    assert_eq!(early.fails("certs.ssh.sign", wish).await.code, Code::ClockBehind);
}

#[tokio::test]
async fn a_plan_signs_nothing() {
    let bench = Bench::new();
    let public = public_key(&bench.key("key", &["-t", "ed25519"]));
    let plan = bench.script(Mode::Plan, &["*"], 0).await;
    let wish =
        json!({ "kind": "user", "public_key": public, "principals": ["a"], "assume": { "serial": "1" } });
    plan.done("certs.ssh.sign", wish).await;
    assert!(bench.journal().records("ssh-certificate", None).await.unwrap().is_empty());
    let weak = json!({ "kind": "user", "public_key": "garbage", "principals": ["a"] });
    assert_eq!(plan.fails("certs.ssh.sign", weak).await.code, Code::CertificateKey);
}

#[tokio::test]
async fn keys_in_hardware_are_signed_as_such() {
    let bench = Bench::new();
    let script = bench.run().await;
    let text = std::fs::read_to_string(bench.key("key", &["-t", "ed25519"]).with_extension("pub")).unwrap();
    let plain = STANDARD.decode(text.split(' ').nth(1).unwrap()).unwrap();
    // PROTOCOL.u2f: the kind, the key itself, and the application that it is for.
    let kind = "sk-ssh-ed25519@openssh.com";
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let string = |bytes: &[u8]| [&length(bytes), bytes].concat();
    let key = [string(kind.as_bytes()), string(&plain[plain.len() - 32..]), string(b"ssh:")].concat();
    let public = format!("{kind} {}", STANDARD.encode(key));
    let wish = json!({ "kind": "user", "public_key": public, "principals": ["a"], "extensions": ["no-touch-required"] });
    let signed = script.done("certs.ssh.sign", wish).await;
    let text = shown(&bench, signed["certificate"].as_str().unwrap());
    assert!(text.contains("Type: sk-ssh-ed25519-cert-v01@openssh.com user certificate"), "{text}");
    assert!(text.contains("Extensions:\nno-touch-required"), "{text}");
}

#[tokio::test]
async fn a_cut_order_is_answered_from_the_record() {
    let bench = Bench::new();
    let (context, world) = (bench.context().await, world());
    let wish = json!({ "kind": "user", "public_key": public_key(&bench.key("key", &["-t", "ed25519"])), "principals": ["a"] });
    let sign: Sign = serde_json::from_value(wish).unwrap();
    const { assert!(Sign::ASKABLE) };
    assert!(matches!(sign.ask(&world, &context, "one").await.unwrap(), Doubt::NotDone));
    let signed = sign.act(&world, &context, "one").await.unwrap();
    match sign.ask(&world, &context, "one").await.unwrap() {
        Doubt::Done(found) => assert_eq!(found, signed),
        other => panic!("{other:?}"),
    }
    assert_eq!(sign.act(&world, &context, "one").await.unwrap(), signed);
    assert!(matches!(sign.ask(&world, &context, "two").await.unwrap(), Doubt::NotDone));
}
