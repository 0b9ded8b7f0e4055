//! Authorities that are down, slow, limiting, lying or not trusted: each has its code and its cause.

use std::path::Path;

use certs::acme::driver::{Client, Settings};
use certs::vault;
use effect::Code;
use tokio::net::TcpListener;

use crate::bench::{Authority, Wanted, acme_parts, assert_failed, little_patience, vault_parts};
use crate::fake::{self, Server, answer, json, with};
use crate::openbao::{OpenBao, TOKEN};
use crate::pebble::Pebble;
use crate::program::ports;

/// A driver for the directory at `url` with little patience and no authority to trust but those of the system.
pub(crate) fn acme(url: &str, folder: &Path) -> Client {
    let settings = serde_json::json!({ "directory": url, "agree_tos": true });
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let state = folder.join("broken");
    std::fs::create_dir_all(&state).unwrap();
    Client::new(settings, certs::acme::driver::Parts { patience: little_patience(), ..acme_parts(&state) })
        .unwrap()
}

fn vault(url: &str) -> vault::Client {
    let settings = serde_json::json!({ "address": url, "role": "web", "token": "vault/token" });
    let parts = vault::Parts { patience: little_patience(), ..vault_parts(TOKEN) };
    vault::Client::new(serde_json::from_value(settings).unwrap(), parts).unwrap()
}

/// What both drivers say of an address.
async fn both(address: &str, code: Code, words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted::new(&["broken.mcrun.test"]);
    let acme = acme(&format!("{address}/dir"), folder.path());
    let first = assert_failed(wanted.issue(&acme).await, code, words);
    let second = assert_failed(wanted.issue(&vault(address)).await, code, words);
    assert_eq!(first.retryable, second.retryable, "{first:?} {second:?}");
}

#[tokio::test]
async fn an_authority_that_is_down_is_told_apart_from_one_that_is_slow() {
    let [nobody] = ports();
    both(&format!("http://{nobody}"), Code::AuthorityUnavailable, "refused").await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    both(&format!("http://{address}"), Code::AuthorityUnavailable, "no answer within 1.5s").await;
    both(&format!("https://{address}"), Code::AuthorityUnavailable, "no connection within 500ms").await;
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_told_with_the_reason() {
    let pebble = Pebble::start(&[]).await;
    let directory = pebble.settings().directory;
    let base = directory.trim_end_matches("/dir");
    both(base, Code::AuthorityUnavailable, "not trusted").await;
    let folder = tempfile::tempdir().unwrap();
    let long_ago = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    let always = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2099, 1, 1));
    let faults =
        [("elsewhere.test", always, "for other names only"), ("127.0.0.1", long_ago, "not valid now")];
    for (name, life, words) in faults {
        let (address, certificate) = fake::tls(name, life).await;
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, certificate).unwrap();
        let settings =
            Settings { directory: format!("https://{address}/dir"), ca: Some(ca), ..pebble.settings() };
        let driver = Client::new(settings, pebble.parts(name)).unwrap();
        let failed = Wanted::new(&["broken.mcrun.test"]).issue(&driver).await;
        assert!(!assert_failed(failed, Code::AuthorityUnavailable, words).retryable);
    }
    let plain = Server::start(|_, _, _| answer(200, "hello")).await;
    both(&format!("https://{}", plain.address), Code::AuthorityUnavailable, "TLS").await;
}

#[tokio::test]
async fn garbage_is_told_as_such() {
    for body in ["<html>welcome</html>", "", "{}", "{\"data\": 7}", "[", "null"] {
        let server = Server::start(move |_, _, _| answer(200, body)).await;
        both(&format!("http://{}", server.address), Code::CertificateAnswer, "").await;
    }
    let server = Server::start(|_, _, _| answer(404, "<html>who?</html>")).await;
    both(&format!("http://{}", server.address), Code::CertificateAnswer, "404").await;
    let endless = Server::start(|_, _, _| answer(200, vec![b' '; 3 << 20])).await;
    both(&format!("http://{}", endless.address), Code::CertificateAnswer, "larger than").await;
    let other = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = other.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = other.accept().await {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut question = [0; 1024];
            let _ = stream.read(&mut question).await;
            let _ = stream.write_all(b"220 mail.mcrun.test ESMTP\r\n").await;
        }
    });
    both(&format!("http://{address}"), Code::CertificateAnswer, "does not speak HTTP").await;
}

#[tokio::test]
async fn a_server_error_is_tried_again_and_told_as_passing() {
    let server = Server::start(|_, _, _| answer(502, "bad gateway")).await;
    both(&format!("http://{}", server.address), Code::AuthorityUnavailable, "502").await;
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|path| *path == "dir").count(), 2, "{asked:?}");
    // A signature may have been given behind the gateway: that question is not asked again.
    assert_eq!(asked.iter().filter(|path| *path == "v1/pki/sign/web").count(), 1, "{asked:?}");
}

#[tokio::test]
async fn a_limit_is_waited_for_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted::new(&["broken.mcrun.test"]);
    let limited = |wait: &'static str| {
        move |fake: &fake::Fake, path: &str, _: &[u8]| {
            if path == "order" && fake.count("order") == 1 {
                let problem = serde_json::json!({ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many" });
                return with(json(429, &problem), "Retry-After", wait);
            }
            fake::acme(fake, path, "none")
        }
    };
    let short = Server::start(limited("1")).await;
    // It went on after a second, to a chain that is none.
    let failed = wanted.issue(&acme(&short.url("dir"), folder.path())).await;
    assert_failed(failed, Code::CertificateAnswer, "");
    let long = Server::start(limited("3600")).await;
    let error = assert_failed(
        wanted.issue(&acme(&long.url("dir"), folder.path())).await,
        Code::AuthorityRefused,
        "too many",
    );
    assert!(
        error.retryable && error.hint.clone().unwrap().starts_with("it may be asked again at 20"),
        "{error:?}"
    );

    let vaulted = Server::start(|_, _, _| {
        with(json(429, &serde_json::json!({ "errors": ["quota exceeded"] })), "Retry-After", "3600")
    })
    .await;
    let error =
        assert_failed(wanted.issue(&vault(&vaulted.url(""))).await, Code::AuthorityRefused, "quota exceeded");
    assert!(error.retryable && error.hint.unwrap().starts_with("it may be asked again at 20"));
}

#[tokio::test]
async fn another_certificate_than_the_one_asked_for_is_refused() {
    let pebble = Pebble::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let other = Wanted::new(&["other.mcrun.test"]);
    let pem = certs::certificate::to_pem(&other.issue(pebble.driver()).await.unwrap().chain);
    let chain = pem.clone();
    let lying = Server::start(move |fake, path, _| match path {
        "v1/pki/sign/web" => {
            json(200, &serde_json::json!({ "data": { "certificate": chain, "ca_chain": [chain] } }))
        }
        path => fake::acme(fake, path, &chain),
    })
    .await;
    let wanted = Wanted::new(&["broken.mcrun.test"]);
    assert_failed(
        wanted.issue(&acme(&lying.url("dir"), folder.path())).await,
        Code::CertificateAnswer,
        "another key",
    );
    assert_failed(wanted.issue(&vault(&lying.url(""))).await, Code::CertificateAnswer, "another key");
    let renamed = Wanted { key: other.key, ..wanted };
    assert_failed(
        renamed.issue(&acme(&lying.url("dir"), folder.path())).await,
        Code::CertificateAnswer,
        "does not name `broken.mcrun.test`",
    );
}

#[tokio::test]
async fn an_acme_authority_leads_nowhere_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|fake, path, _| match path {
        "dir" => json(200, &serde_json::json!({ "newNonce": "http://127.0.0.1:1/x", "newAccount": "http://127.0.0.1:1/x", "newOrder": "http://127.0.0.1:1/x" })),
        path => fake::acme(fake, path, ""),
    })
    .await;
    let failed = Wanted::new(&["broken.mcrun.test"]).issue(&acme(&server.url("dir"), folder.path())).await;
    assert_failed(failed, Code::CertificateAnswer, "without TLS");
}

#[tokio::test]
async fn refused_nonces_are_not_asked_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|fake, path, _| match path {
        "dir" | "nonce" => fake::acme(fake, path, ""),
        _ => json(400, &serde_json::json!({ "type": "urn:ietf:params:acme:error:badNonce", "detail": "no" })),
    })
    .await;
    let failed = Wanted::new(&["broken.mcrun.test"]).issue(&acme(&server.url("dir"), folder.path())).await;
    assert_failed(failed, Code::AuthorityRefused, "badNonce");
}

#[tokio::test]
async fn an_order_that_is_never_carried_out_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|fake, path, _| match path {
        "order" | "order/1" => with(json(201, &serde_json::json!({ "status": "processing", "authorizations": [], "finalize": fake.url("f") })), "Location", &fake.url("order/1")),
        path => fake::acme(fake, path, ""),
    })
    .await;
    let settings =
        serde_json::from_value(serde_json::json!({ "directory": server.url("dir"), "agree_tos": true }))
            .unwrap();
    let patience = certs::peer::Patience { order: std::time::Duration::from_secs(2), ..little_patience() };
    let driver =
        Client::new(settings, certs::acme::driver::Parts { patience, ..acme_parts(folder.path()) }).unwrap();
    let error = assert_failed(
        Wanted::new(&["broken.mcrun.test"]).issue(&driver).await,
        Code::AuthorityUnavailable,
        "within 2s",
    );
    assert!(error.retryable);
}

#[tokio::test]
async fn vault_says_what_it_is_in_the_way() {
    let bao = OpenBao::start().await;
    let wanted = Wanted::new(&["broken.mcrun.test"]);
    let with_token =
        |token: &'static str, role: &str| vault::Client::new(bao.settings(role), vault_parts(token)).unwrap();
    let error = assert_failed(
        wanted.issue(&with_token("wrong", "web")).await,
        Code::AuthorityRefused,
        "permission denied",
    );
    assert!(error.hint.unwrap().contains("vault/token"));
    assert_failed(wanted.issue(&with_token(TOKEN, "nobody")).await, Code::AuthorityRefused, "unknown role");
    bao.role("narrow", &["allowed_domains=elsewhere.test", "allow_subdomains=true"]);
    assert_failed(
        wanted.issue(&with_token(TOKEN, "narrow")).await,
        Code::AuthorityRefused,
        "not allowed by this role",
    );
    bao.role("servers", &["allow_any_name=true", "client_flag=false"]);
    let both = Wanted { profile: crate::bench::profile("both"), ..Wanted::new(&["broken.mcrun.test"]) };
    let error =
        assert_failed(both.issue(&with_token(TOKEN, "servers")).await, Code::CertificateAnswer, "`servers`");
    assert!(error.hint.unwrap().contains("client_flag"));
    let settings = vault::Settings { namespace: Some("nowhere".into()), ..bao.settings("web") };
    let elsewhere = vault::Client::new(settings, vault_parts(TOKEN)).unwrap();
    assert_failed(wanted.issue(&elsewhere).await, Code::AuthorityRefused, "");
    let settings = vault::Settings { mount: "nothing".into(), ..bao.settings("web") };
    let elsewhere = vault::Client::new(settings, vault_parts(TOKEN)).unwrap();
    assert_failed(wanted.issue(&elsewhere).await, Code::AuthorityRefused, "nothing");

    let standby = Server::start(|_, _, _| with(answer(307, ""), "Location", "https://10.0.0.1/")).await;
    let error =
        assert_failed(wanted.issue(&vault(&standby.url(""))).await, Code::AuthorityUnavailable, "standby");
    assert!(error.retryable);

    let roots = bao.driver().roots().await.unwrap();
    assert_eq!(certs::certificate::to_pem(&roots).trim(), bao.roots().trim());
    bao.run(&["operator", "seal"]);
    let error = assert_failed(wanted.issue(bao.driver()).await, Code::AuthorityUnavailable, "sealed");
    assert!(error.hint.unwrap().contains("unseal"));
}
