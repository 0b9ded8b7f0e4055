//! The conformance suite of the drivers: one list of cases by feature, run for each driver against its real peer. What a
//! driver does not declare it has to refuse. Beside it: cuts in the middle of orders, and peers that are broken.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod bench;
mod broken;
mod cases;
mod cuts;
mod embedded;
mod fake;
mod openbao;
mod pebble;
mod program;
mod proofs;

use certs::{Feature, KeyType};

#[tokio::test]
async fn the_embedded_authority_has_everything() {
    cases::run(&embedded::Embedded::start().await, &Feature::ALL).await;
}

#[tokio::test]
async fn an_acme_authority_has_what_its_driver_declares() {
    let minimum = [
        Feature::Key(KeyType::P256),
        Feature::Key(KeyType::P384),
        Feature::Key(KeyType::Rsa2048),
        Feature::Key(KeyType::Rsa3072),
        Feature::Wildcards,
        Feature::Addresses,
        Feature::Revocation,
    ];
    let pebble = pebble::Pebble::start(&[("PEBBLE_WFE_NONCEREJECT", "90")]).await;
    cases::run(&pebble, &minimum).await;
}

#[tokio::test]
async fn openbao_has_what_its_driver_declares() {
    let minimum = [
        Feature::Key(KeyType::P256),
        Feature::Key(KeyType::P384),
        Feature::Key(KeyType::Ed25519),
        Feature::Key(KeyType::Rsa2048),
        Feature::Key(KeyType::Rsa3072),
        Feature::Clients,
        Feature::Wildcards,
        Feature::Addresses,
        Feature::Lifetimes,
        Feature::Revocation,
    ];
    cases::run(&openbao::OpenBao::start().await, &minimum).await;
}
