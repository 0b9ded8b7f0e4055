//! Who may come in: what is wrong with a certificate is told to both sides in words.

use std::sync::Arc;

use daemon::routes::Issuers;
use effect::{Code, Error};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use routes::Driver as _;
use routes::remote::Client;

use crate::stage::{HOST, NoRecords, Pki, Side, over_socket};

async fn refused(side: &Side, files: (std::path::PathBuf, std::path::PathBuf)) -> Error {
    let address = side.listen().await;
    let settings = side.settings(address, files).await;
    Client::new(&settings, Arc::new(NoRecords)).unwrap().list().await.unwrap_err()
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let side = Side::new();
    let stranger = Pki::new();
    let error = refused(&side, stranger.client("rift.mcrun.test", |_| {})).await;
    assert_eq!(error.code, Code::ProxyRefused, "{error:?}");
    assert!(error.hint.unwrap().contains("client_ca"));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_as_one() {
    let side = Side::new();
    let expired = side.pki.client("rift.mcrun.test", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
    });
    let error = refused(&side, expired).await;
    assert_eq!(error.code, Code::ProxyRefused, "{error:?}");
    assert!(error.cause.unwrap().contains("not valid now"));
}

#[tokio::test]
async fn a_certificate_that_is_not_for_clients_is_refused() {
    let side = Side::new();
    let server = side.pki.client("rift.mcrun.test", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let error = refused(&side, server).await;
    assert_eq!(error.code, Code::ProxyRefused, "{error:?}");
}

#[tokio::test]
async fn a_name_that_is_not_listed_is_refused_with_the_name() {
    let side = Side::new();
    let error = refused(&side, side.pki.client("stranger.mcrun.test", |_| {})).await;
    assert_eq!(error.code, Code::ProxyRefused, "{error:?}");
    assert!(error.message.contains("`stranger.mcrun.test`"), "{error}");
    assert!(error.hint.unwrap().contains("[routes.api.clients]"));
}

#[tokio::test]
async fn a_key_of_another_certificate_is_a_mistake_of_the_configuration() {
    let side = Side::new();
    let (chain, _) = side.pki.client("rift.mcrun.test", |_| {});
    let other = side.folder.path().join("other.key");
    std::fs::write(&other, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert_eq!(refused(&side, (chain, other)).await.code, Code::Config);
    let missing = side.folder.path().join("missing");
    assert_eq!(refused(&side, (missing.clone(), missing)).await.code, Code::Config);
}

#[tokio::test]
async fn whoever_comes_without_a_certificate_is_refused() {
    let side = Side::new();
    let address = side.listen().await;
    let mut roots = rustls::RootCertStore::empty();
    for root in side.authority().trusted().await.unwrap() {
        roots.add(root).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut tls = connector.connect(HOST.try_into().unwrap(), tcp).await.unwrap();
    let error = tokio::io::AsyncReadExt::read_u8(&mut tls).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn a_server_under_another_name_or_authority_is_not_trusted() {
    let side = Side::new();
    let address = side.listen().await;
    let good = side.settings(address, side.pki.client("rift.mcrun.test", |_| {})).await;
    let mut other = good.clone();
    other.name = Some("other.mcrun.test".into());
    let error = Client::new(&other, Arc::new(NoRecords)).unwrap().list().await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Code::ProxyUnavailable, false));
    assert!(error.cause.unwrap().contains("for other names only"));
    let mut other = good.clone();
    other.ca = Some(side.pki.ca());
    let error = Client::new(&other, Arc::new(NoRecords)).unwrap().list().await.unwrap_err();
    assert!(error.cause.unwrap().contains("not trusted"));
    Client::new(&good, Arc::new(NoRecords)).unwrap().list().await.unwrap();
}

#[tokio::test]
async fn the_socket_is_not_there_before_it_is_served() {
    let side = Side::new();
    let client = over_socket(&side.socket());
    let error = client.list().await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Code::ProxyUnavailable, true));
    assert!(error.hint.unwrap().contains("[routes.api]"));
    side.listen_here().await;
    client.list().await.unwrap();
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let side = Side::new();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["rift.mcrun.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let place = |name: &str| side.folder.path().join(name);
    std::fs::write(place("own.pem"), own.pem()).unwrap();
    std::fs::write(place("own.key"), key.serialize_pem()).unwrap();
    let error = refused(&side, (place("own.pem"), place("own.key"))).await;
    assert_eq!(error.code, Code::ProxyRefused, "{error:?}");
}

#[tokio::test]
async fn a_certificate_that_the_embedded_authority_revoked_opens_the_door_no_more() {
    let side = Side::new();
    let (address, door) = side.listen_to(Issuers::Authority(side.authority())).await;
    let key = certs::Key::generate(certs::KeyType::P256).unwrap();
    let issued = side
        .authority()
        .sign(&certs::embedded::Request {
            token: &certs::driver::new_token().unwrap(),
            names: &certs::Names::parse(&["rift.mcrun.test".to_owned()]).unwrap(),
            profile: certs::Profiles::new(&Default::default()).unwrap().get("client").unwrap(),
            public: &key.public(),
            lifetime: None,
            service: None,
        })
        .await
        .unwrap();
    let place = |name: &str| side.folder.path().join(name);
    std::fs::write(place("rift.pem"), certs::certificate::to_pem(&issued.chain)).unwrap();
    std::fs::write(place("rift.key"), key.pair().serialize_pem()).unwrap();
    let settings = side.settings(address, (place("rift.pem"), place("rift.key"))).await;
    Client::new(&settings, Arc::new(NoRecords)).unwrap().list().await.unwrap();
    let serial = certs::certificate::Facts::of(&issued.chain[0]).unwrap().serial;
    side.authority().revoke_serial(&serial, certs::Reason::KeyCompromise).await.unwrap();
    door.refresh().await.unwrap();
    let error = Client::new(&settings, Arc::new(NoRecords)).unwrap().list().await.unwrap_err();
    assert_eq!(error.code, Code::ProxyRefused, "{error:?}");
}
