//! Name servers that are down, slow, lying, or do not take the key: each has its code and its cause.

use std::sync::Arc;

use dns::rfc2136::{Algorithm, Client, Parts, Settings};
use dns::{Change, Driver as _};
use effect::{Code, Error};

use crate::bench::{KEY, Off, Peer as _, assert_failed, name, rtype, secrets, set, update_parts, zone};
use crate::fake::{Fake, answer};
use crate::program::port;
use crate::servers::{Kind, Server, settings};

const ALL: [Kind; 3] = [Kind::Bind, Kind::Knot, Kind::PowerDns];
const OTHER_KEY: &str = "b3RoZXItdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZg==";

fn change() -> Change {
    Change::putting(set("broken", "A", 60, &["192.0.2.1"]))
}

/// What reading, listing and changing say, which is the same.
async fn all(client: &Client, code: Code, words: &str) -> Error {
    assert_failed(client.zone(&zone()).await, code, words);
    assert_failed(client.get(&zone(), &name("a"), rtype("A")).await, code, words);
    assert_failed(client.list(&zone()).await, code, words);
    assert_failed(client.change(&zone(), &change()).await, code, words)
}

fn impatient(address: std::net::SocketAddr) -> Client {
    let timeout = "300ms".parse().unwrap();
    Client::new(Settings { timeout, ..settings(address) }, update_parts()).unwrap()
}

#[tokio::test]
async fn a_server_that_is_down_is_told_apart_from_one_that_is_silent() {
    let error = all(&impatient(port()), Code::DnsUnavailable, "refused").await;
    assert!(error.retryable);
    let silent = Fake::start(|_| None).await;
    let error = all(&impatient(silent.address), Code::DnsUnavailable, "no answer within 300ms").await;
    assert!(error.retryable);
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again_later() {
    let failing = Fake::start(|request| Some(answer(request, 2))).await;
    let error = all(&impatient(failing.address), Code::DnsUnavailable, "SERVFAIL").await;
    assert!(error.retryable);
}

#[tokio::test]
async fn an_answer_that_is_not_signed_is_not_believed() {
    let forged = Fake::start(|request| Some(answer(request, 0))).await;
    all(&impatient(forged.address), Code::DnsAnswer, "not signed").await;
    let nothing = Fake::start(|request| Some(answer(request, 3))).await;
    all(&impatient(nothing.address), Code::DnsAnswer, "not signed").await;
}

#[tokio::test]
async fn what_is_no_answer_is_told_as_such() {
    let other = Fake::start(|request| {
        let mut other = answer(request, 0);
        other[0] ^= 1;
        Some(other)
    })
    .await;
    all(&impatient(other.address), Code::DnsAnswer, "does not belong to the request").await;
    let echo = Fake::start(|request| Some(request.to_vec())).await;
    all(&impatient(echo.address), Code::DnsAnswer, "does not belong to the request").await;
    let short = Fake::start(|_| Some(vec![0; 5])).await;
    all(&impatient(short.address), Code::DnsAnswer, "shorter than a head").await;
    // Counts that lie: the signature would be one of a thousand records.
    let lying = Fake::start(|request| {
        let mut lying = answer(request, 0);
        lying[10..12].copy_from_slice(&1000_u16.to_be_bytes());
        Some(lying)
    })
    .await;
    all(&impatient(lying.address), Code::DnsAnswer, "cannot be read").await;
    // The request's own signature, sent back.
    let mirror = Fake::start(|request| {
        let mut mirror = request.to_vec();
        mirror[2] |= 0x84;
        Some(mirror)
    })
    .await;
    all(&impatient(mirror.address), Code::DnsAnswer, "its signature is not that of the key").await;
}

#[tokio::test]
async fn forged_datagrams_change_nothing() {
    let bind = Server::start(Kind::Bind).await;
    let forger = Fake::before(bind.address, |request| Some(answer(request, 3))).await;
    let client = Client::new(settings(forger.address), update_parts()).unwrap();
    let found = client.get(&zone(), &name("ns1"), rtype("A")).await.unwrap().unwrap();
    assert_eq!(found.texts(), ["192.0.2.53"]);
    let lost = Fake::before(bind.address, |_| None).await;
    let client = impatient(lost.address);
    assert!(client.get(&zone(), &name("ns1"), rtype("A")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_key_that_is_not_taken_is_told_with_the_reason() {
    for kind in ALL {
        let server = Server::start(kind).await;
        let unknown = Settings { key: "nobody".into(), ..settings(server.address) };
        let unknown = server.client(unknown, update_parts());
        let error = assert_failed(unknown.change(&zone(), &change()).await, Code::DnsRefused, "nobody");
        assert!(!error.retryable, "{kind:?}");

        let other = Parts { secrets: secrets(OTHER_KEY, "dns:rfc2136"), ..update_parts() };
        let other = server.client(settings(server.address), other);
        let error = assert_failed(other.change(&zone(), &change()).await, Code::DnsRefused, "secret");
        assert!(!format!("{error:?}").contains("b3RoZXI"), "{error:?}");

        let algorithm = Settings { algorithm: Algorithm::Sha512, ..settings(server.address) };
        let algorithm = server.client(algorithm, update_parts());
        let error = assert_failed(algorithm.change(&zone(), &change()).await, Code::DnsRefused, "");
        // Some look for a key of this name alone, and then find another hash.
        let hint = error.hint.unwrap_or_default();
        assert!(hint.contains("hmac-sha512") || hint.contains("secret"), "{kind:?} {hint}");

        let found = server.driver().get(&zone(), &name("broken"), rtype("A")).await.unwrap();
        assert_eq!(found, None, "{kind:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_told() {
    for kind in ALL {
        let server = Server::start(kind).await;
        for seconds in [600, -600] {
            let parts = Parts { clock: Arc::new(Off(seconds)), ..update_parts() };
            let client = server.client(settings(server.address), parts);
            // PowerDNS only says that it does not take the signature.
            let code = if kind == Kind::PowerDns { Code::DnsRefused } else { Code::DnsAnswer };
            let error = all(&client, code, "clock").await;
            assert!(!error.retryable, "{kind:?} {error:?}");
        }
        let parts = Parts { clock: Arc::new(Off(-120)), ..update_parts() };
        let client = server.client(settings(server.address), parts);
        client.change(&zone(), &change()).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_that_may_only_read_is_refused_with_what_to_allow() {
    for kind in ALL {
        let server = Server::start(kind).await;
        let reader = Settings { key: "reader".into(), ..settings(server.address) };
        let reader = server.client(reader, update_parts());
        let found = reader.get(&zone(), &name("ns1"), rtype("A")).await.unwrap().unwrap();
        assert_eq!(found.texts(), ["192.0.2.53"], "{kind:?}");
        let error = assert_failed(reader.change(&zone(), &change()).await, Code::DnsRefused, "");
        assert!(error.hint.is_some_and(|hint| hint.contains("update")), "{kind:?}");
        let error = assert_failed(reader.list(&zone()).await, Code::DnsRefused, "transfer of the zone");
        assert!(error.hint.is_some_and(|hint| hint.contains("transfer")), "{kind:?}");
    }
}

#[tokio::test]
async fn a_change_that_the_server_finds_unsound_is_refused_whole() {
    let bind = Server::start(Kind::Bind).await;
    let driver = bind.driver();
    let change =
        Change { put: vec![set("other", "A", 60, &["192.0.2.1"])], remove: vec![(name("ns2"), rtype("A"))] };
    let error = assert_failed(driver.change(&zone(), &change).await, Code::DnsRefused, "REFUSED");
    assert!(error.hint.unwrap().contains("without an address"));
    assert_eq!(driver.get(&zone(), &name("other"), rtype("A")).await.unwrap(), None);
}

/// Servers carry out the rest and say nothing of what they left out (RFC 2136, section 3.4.2.2).
#[tokio::test]
async fn what_a_server_leaves_out_is_noticed() {
    for kind in [Kind::Bind, Kind::Knot] {
        let server = Server::start(kind).await;
        let driver = server.driver();
        let put = vec![set("odd", "TYPE65280", 60, &["\\# 1 00"]), set("odd", "A", 60, &["192.0.2.1"])];
        driver.change(&zone(), &Change { put, remove: Vec::new() }).await.unwrap();
        let alias = set("odd", "CNAME", 60, &["a.example."]);
        let change = Change { put: vec![alias], remove: vec![(name("odd"), rtype("A"))] };
        let failed = driver.change(&zone(), &change).await;
        assert_failed(failed, Code::DnsExclusive, "left out");
    }
}

#[tokio::test]
async fn only_zones_that_are_named_are_asked_for() {
    let zones = vec!["other.test".to_owned()];
    let client = Client::new(Settings { zones, ..settings(port()) }, update_parts()).unwrap();
    assert_eq!(client.zone(&zone()).await.unwrap(), None);
    let failed = client.get(&zone(), &name("a"), rtype("A")).await;
    assert_failed(failed, Code::DnsZone, "[drivers.rfc2136]");
}

#[tokio::test]
async fn a_secret_that_may_go_elsewhere_does_not_come_here() {
    struct Elsewhere;
    #[async_trait::async_trait]
    impl effect::Secrets for Elsewhere {
        async fn reveal(&self, name: &str) -> effect::Result<zeroize::Zeroizing<Vec<u8>>> {
            panic!("`{name}` was read")
        }

        fn may_go(&self, _: &str, destination: &str) -> effect::Result<bool> {
            Ok(destination == "dns:rest")
        }
    }
    let secrets = dns::Secrets::new(Arc::new(Elsewhere), "dns:rfc2136");
    let client = Client::new(settings(port()), Parts { secrets, ..update_parts() }).unwrap();
    assert_failed(client.zone(&zone()).await, Code::SecretPlace, "dns:rfc2136");
}

#[tokio::test]
async fn a_secret_that_is_no_key_is_not_shown() {
    let parts = Parts { secrets: secrets("not base64: hunter2", "dns:rfc2136"), ..update_parts() };
    let client = Client::new(settings(port()), parts).unwrap();
    let error = assert_failed(client.zone(&zone()).await, Code::Config, "tsig-keygen");
    assert!(!format!("{error:?}").contains("hunter2"));
    assert!(KEY.len() > 40, "as long as the hash, or longer");
}
