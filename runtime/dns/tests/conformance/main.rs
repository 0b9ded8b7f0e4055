//! The conformance suite of the drivers: one list of cases by feature, run for each driver against its real peer. What a
//! driver does not declare it has to refuse. Beside it: peers that are broken, and that lie.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod bench;
mod cases;
mod program;
mod servers;

use dns::Feature;
use servers::{Kind, Server};

const UPDATES: [Feature; 3] = [Feature::Listing, Feature::Transactions, Feature::EveryType];

#[tokio::test]
async fn bind_has_what_its_driver_declares() {
    cases::run(&Server::start(Kind::Bind).await, &UPDATES).await;
}

#[tokio::test]
async fn knot_has_what_its_driver_declares() {
    cases::run(&Server::start(Kind::Knot).await, &UPDATES).await;
}

#[tokio::test]
async fn powerdns_has_what_its_driver_declares() {
    cases::run(&Server::start(Kind::PowerDns).await, &UPDATES[..2]).await;
}
