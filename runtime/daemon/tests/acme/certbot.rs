//! Certbot (Debian) as a client.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use certs::certificate::{Facts, chain_from_pem};

use crate::authority::serial_of;
use crate::stage::{Stage, program, run};

fn certbot(stage: &Stage, words: &[&str]) -> Command {
    let mut command = program("certbot");
    command.args(words).args(["--server", &stage.server.directory(), "--non-interactive"]);
    for (option, folder) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        command.arg(option).arg(stage.folder.path().join(folder));
    }
    command.env("REQUESTS_CA_BUNDLE", stage.root());
    command
}

fn live(stage: &Stage, name: &str, file: &str) -> PathBuf {
    stage.folder.path().join("config/live").join(name).join(file)
}

/// Checks that openssl accepts a chain by the root alone, for `host`.
async fn verify(stage: &Stage, chain: &PathBuf, host: &str) {
    let mut command = program("openssl");
    command
        .args(["verify", "-verify_hostname", host, "-CAfile"])
        .arg(stage.root())
        .arg("-untrusted")
        .arg(chain);
    run({
        command.arg(chain);
        command
    })
    .await;
}

#[tokio::test]
async fn certbot_registers_gets_renews_and_revokes_by_http() {
    let stage = Stage::listening(|settings| settings.eab = true).await;
    let (id, shared) = stage.eab("mcq").await;
    let port = stage.settings.http_port.to_string();
    let get = [
        "certonly",
        "--standalone",
        "--http-01-address",
        "127.0.0.1",
        "--http-01-port",
        &port,
        "--agree-tos",
        "-m",
        "ops@mcrun.test",
        "--no-eff-email",
        "--eab-kid",
        &id,
        "--eab-hmac-key",
        &shared,
        "-d",
        "a.mcrun.test",
        "-d",
        "b.mcrun.test",
    ];
    run(certbot(&stage, &get)).await;
    let path = live(&stage, "a.mcrun.test", "fullchain.pem");
    let first = chain_from_pem(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(Facts::of(&first[0]).unwrap().names.len(), 2);
    verify(&stage, &path, "b.mcrun.test").await;

    run(certbot(&stage, &["renew", "--force-renewal", "--no-random-sleep-on-renew"])).await;
    let second = chain_from_pem(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_ne!(serial_of(&first), serial_of(&second));
    let services = stage.authority.asked.lock().unwrap().clone();
    assert!(services.len() == 2 && services.iter().all(|(_, service)| service.as_deref() == Some("mcq")));

    let chain = path.display().to_string();
    run(certbot(
        &stage,
        &["revoke", "--cert-path", &chain, "--reason", "keycompromise", "--no-delete-after-revoke"],
    ))
    .await;
    assert_eq!(stage.authority.revoked(&serial_of(&second)), Some(certs::Reason::KeyCompromise));
    assert_eq!(stage.authority.revoked(&serial_of(&first)), None);
    run(certbot(&stage, &["update_account", "-m", "other@mcrun.test", "--no-eff-email"])).await;
    run(certbot(&stage, &["unregister"])).await;
}

#[tokio::test]
async fn certbot_gets_a_wildcard_by_dns_for_an_rsa_key() {
    let stage = Stage::listening(|_| ()).await;
    let hook = stage.hook("NAME=_acme-challenge.$CERTBOT_DOMAIN\nTEXT=$CERTBOT_VALIDATION");
    let hook = hook.display().to_string();
    let get = [
        "certonly",
        "--manual",
        "--preferred-challenges",
        "dns",
        "--manual-auth-hook",
        &hook,
        "--agree-tos",
        "--register-unsafely-without-email",
        "--key-type",
        "rsa",
        "-d",
        "*.c.mcrun.test",
        "-d",
        "c.mcrun.test",
    ];
    run(certbot(&stage, &get)).await;
    verify(&stage, &live(&stage, "c.mcrun.test", "fullchain.pem"), "x.c.mcrun.test").await;
}

#[tokio::test]
async fn certbot_says_why_it_gets_nothing() {
    let stage = Stage::listening(|settings| settings.limits.attempts = 1).await;
    let port = stage.settings.http_port.to_string();
    let get = |name: &'static str| {
        let words = [
            "certonly",
            "--standalone",
            "--http-01-address",
            "127.0.0.1",
            "--http-01-port",
            &port,
            "--agree-tos",
            "--register-unsafely-without-email",
            "-d",
            name,
        ];
        certbot(&stage, &words)
    };
    let output = crate::stage::try_to_run(get("a.elsewhere.test")).await;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && text.contains("there is no such name"), "{text}");
    assert_eq!(stage.authority.count(), 0);
}
