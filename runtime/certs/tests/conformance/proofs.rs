//! What is particular to ACME: accounts, ways of proving names, chains, renewal windows.

use std::sync::Arc;

use certs::Secrets;
use certs::acme::driver::{ChallengeKind, Client, Settings};
use certs::driver::check_features;
use certs::{Driver, Feature, Reason};
use effect::Code;
use tokio::net::{TcpListener, TcpStream};

use crate::bench::{Authority, Secret, Wanted, assert_failed, now, verify};
use crate::fake::{self, Server, json};
use crate::pebble::{BINDING, Pebble};

fn by(pebble: &Pebble, kind: ChallengeKind) -> Client {
    let settings = Settings { challenges: vec![kind], ..pebble.settings() };
    Client::new(settings, pebble.parts("state")).unwrap()
}

#[tokio::test]
async fn every_way_of_proving_a_name_works_and_leaves_nothing_listening() {
    let pebble = Pebble::start(&[]).await;
    for kind in [ChallengeKind::Http, ChallengeKind::Dns, ChallengeKind::TlsAlpn] {
        let wanted = Wanted::new(&[&format!("{kind}.mcrun.test"), &format!("www.{kind}.mcrun.test")]);
        let issued = wanted.issue(&by(&pebble, kind)).await.unwrap();
        verify(&pebble, &wanted, &issued, "sslserver");
    }
    for address in [pebble.http, pebble.tls] {
        assert!(TcpStream::connect(address).await.is_err(), "{address} is still listened on");
    }
    let addressed = Wanted::new(&["127.0.0.1"]);
    let issued = addressed.issue(&by(&pebble, ChallengeKind::TlsAlpn)).await.unwrap();
    verify(&pebble, &addressed, &issued, "sslserver");
}

#[tokio::test]
async fn orders_at_once_share_port_account_and_proofs() {
    let pebble = Pebble::start(&[("PEBBLE_AUTHZREUSE", "100")]).await;
    let driver = by(&pebble, ChallengeKind::Http);
    let wanted: Vec<Wanted> = (0..6).map(|_| Wanted::new(&["same.mcrun.test"])).collect();
    let issued = futures_util::future::join_all(wanted.iter().map(|wanted| wanted.issue(&driver))).await;
    for (wanted, issued) in wanted.iter().zip(issued) {
        verify(&pebble, wanted, &issued.unwrap(), "sslserver");
    }
    // What was proven once is used as it is: nobody can listen now, and nobody has to.
    let _held = TcpListener::bind(pebble.http).await.unwrap();
    wanted[0].issue(&driver).await.unwrap();
    assert!(pebble.log().contains("There are now 1 account"), "{}", pebble.log());
    assert!(!pebble.log().contains("There are now 2 account"), "{}", pebble.log());
}

#[tokio::test]
async fn a_held_port_is_told_with_its_holder() {
    let pebble = Pebble::start(&[]).await;
    let _held = TcpListener::bind(pebble.http).await.unwrap();
    let failed = Wanted::new(&["held.mcrun.test"]).issue(&by(&pebble, ChallengeKind::Http)).await;
    assert_failed(failed, Code::ProofNotOffered, &format!("(process {})", std::process::id()));
    assert_eq!(pebble.certificates(), 0);
}

#[tokio::test]
async fn wildcards_without_dns_are_refused_with_the_reason() {
    let pebble = Pebble::start(&[]).await;
    let driver = by(&pebble, ChallengeKind::Http);
    let error = check_features(&driver, &[Feature::Wildcards]).unwrap_err();
    assert_eq!(error.code, Code::Unsupported);
    assert!(error.hint.unwrap().contains("dns-01"));
    let failed = Wanted::new(&["*.mcrun.test"]).issue(&driver).await;
    assert_failed(failed, Code::ProofNotOffered, "dns-01 alone");
    assert!(
        Client::new(
            Settings { challenges: vec![ChallengeKind::Dns], ..pebble.settings() },
            crate::bench::acme_parts(pebble.folder.path())
        )
        .is_err_and(|error| error.code == Code::Config)
    );
}

#[tokio::test]
async fn a_proof_that_the_authority_does_not_find_is_told_in_its_words() {
    let pebble = Pebble::start(&[]).await;
    // Listens where pebble does not look.
    let settings = Settings { http: pebble.tls, challenges: vec![ChallengeKind::Http], ..pebble.settings() };
    let driver = Client::new(settings, pebble.parts("state")).unwrap();
    let error = assert_failed(
        Wanted::new(&["lost.mcrun.test"]).issue(&driver).await,
        Code::AuthorityRefused,
        "acme:error:",
    );
    assert!(error.message.contains("the proof of `lost.mcrun.test`"), "{error:?}");
    assert!(TcpStream::connect(pebble.tls).await.is_err(), "the proof was taken back");
}

#[tokio::test]
async fn the_account_is_made_once_and_found_again() {
    let pebble = Pebble::start(&[]).await;
    let wanted = Wanted::new(&["account.mcrun.test"]);
    wanted.issue(&by(&pebble, ChallengeKind::Http)).await.unwrap();
    let issued = wanted.issue(&by(&pebble, ChallengeKind::Http)).await.unwrap();
    assert!(!pebble.log().contains("There are now 2 account"), "{}", pebble.log());
    let record =
        pebble.parts("state").journal.records("acme-client-account", None).await.unwrap().swap_remove(0);
    assert!(record.value.contains("$hidden"), "{}", record.value);

    // An authority that lost its accounts gets the same key again.
    let pebble = pebble.restart().await;
    let again = wanted.issue(&by(&pebble, ChallengeKind::Http)).await.unwrap();
    verify(&pebble, &wanted, &again, "sslserver");
    assert_ne!(issued, again);
}

#[tokio::test]
async fn nobody_agrees_to_terms_by_accident() {
    let pebble = Pebble::start(&[]).await;
    let driver =
        Client::new(Settings { agree_tos: false, ..pebble.settings() }, pebble.parts("state")).unwrap();
    let error = Wanted::new(&["terms.mcrun.test"]).issue(&driver).await.unwrap_err();
    assert_eq!(error.code, Code::Config);
    assert!(error.hint.unwrap().contains("agree_tos"));
}

#[tokio::test]
async fn an_external_account_is_bound_with_its_secret() {
    let pebble = Pebble::with(&[], true).await;
    let wanted = Wanted::new(&["bound.mcrun.test"]);
    let error =
        assert_failed(wanted.issue(pebble.driver()).await, Code::AuthorityRefused, "externalAccountRequired");
    assert!(error.hint.unwrap().contains("eab"));

    let settings = |key: &str| {
        let eab = serde_json::from_value(serde_json::json!({ "kid": "kid-1", "key": key })).unwrap();
        Settings { eab: Some(eab), ..pebble.settings() }
    };
    let parts = |to: &'static str| certs::acme::driver::Parts {
        secrets: Secrets::new(Arc::new(Secret(BINDING, to)), "certs:acme"),
        ..pebble.parts("bound")
    };
    let elsewhere = Client::new(settings("acme/eab"), parts("certs:vault")).unwrap();
    assert_eq!(wanted.issue(&elsewhere).await.unwrap_err().code, Code::SecretPlace);
    let bound = Client::new(settings("acme/eab"), parts("certs:acme")).unwrap();
    let issued = wanted.issue(&bound).await.unwrap();
    verify(&pebble, &wanted, &issued, "sslserver");
    bound.revoke(&issued.chain, &wanted.key, Reason::Unspecified).await.unwrap();
    assert!(pebble.is_revoked(&issued.chain[0]).await);
}

#[tokio::test]
async fn the_preferred_chain_is_taken() {
    let pebble = Pebble::start(&[("PEBBLE_ALTERNATE_ROOTS", "2"), ("PEBBLE_CHAIN_LENGTH", "3")]).await;
    let wanted = Wanted::new(&["chain.mcrun.test"]);
    for number in [0, 1, 2] {
        let root = pebble.root(number);
        let der = certs::certificate::chain_from_pem(&root).unwrap().swap_remove(0);
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let name = parsed.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
        let settings = Settings { preferred_chain: Some(name.clone()), ..pebble.settings() };
        let driver = Client::new(settings, pebble.parts("state")).unwrap();
        let issued = wanted.issue(&driver).await.unwrap();
        // The certificate, and three between it and the root.
        assert_eq!(issued.chain.len(), 4);
        let (_, last) = x509_parser::parse_x509_certificate(&issued.chain[3]).unwrap();
        assert_eq!(last.issuer().iter_common_name().next().unwrap().as_str().unwrap(), name);
    }
}

#[tokio::test]
async fn the_renewal_window_is_what_the_authority_says() {
    let pebble = Pebble::start(&[]).await;
    let wanted = Wanted::new(&["window.mcrun.test"]);
    let issued = wanted.issue(pebble.driver()).await.unwrap();
    // pebble 2.4 knows no RFC 9773.
    assert_eq!(pebble.driver().renewal_window(&issued.chain).await.unwrap(), None);

    let replaced = issued.chain[0].clone();
    let pem = certs::certificate::to_pem(&issued.chain);
    let server = Server::start(move |fake, path, _| match path {
        // Without `Retry-After`, as RFC 9773 lets it be.
        path if path.starts_with("renewal/") => {
            let window =
                serde_json::json!({ "start": "2030-01-02T04:00:00Z", "end": "2030-01-03T04:00:00Z" });
            json(200, &serde_json::json!({ "suggestedWindow": window }))
        }
        // This one refuses to hear what is replaced, once.
        "order" if fake.count("order") == 1 => json(
            409,
            &serde_json::json!({ "type": "urn:ietf:params:acme:error:alreadyReplaced", "detail": "again?" }),
        ),
        path => fake::acme(fake, path, &pem),
    })
    .await;
    let driver = crate::broken::acme(&server.url("dir"), pebble.folder.path());
    let window = driver.renewal_window(&issued.chain).await.unwrap().unwrap();
    assert_eq!(
        (window.0.to_string(), window.1.to_string()),
        ("2030-01-02T04:00:00Z".into(), "2030-01-03T04:00:00Z".into())
    );
    assert!(window.0 > now());
    let renewed = Wanted { replaces: Some(replaced), ..wanted };
    assert_eq!(renewed.issue(&driver).await.unwrap(), issued);
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|path| *path == "order").count(), 2, "{asked:?}");
}
