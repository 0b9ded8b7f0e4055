//! The conformance suite of the drivers: one list of cases by feature, run for each driver against its real peer. What a
//! driver does not declare it has to refuse. Beside it: peers that are broken, and that lie.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod bench;
mod broken;
mod calls;
mod cases;
mod cuts;
mod embedded;
mod fake;
mod memory;
#[path = "../support/program.rs"]
#[allow(dead_code, reason = "what only other suites use of it")]
mod program;
mod servers;
mod web;
mod zones;

use std::sync::Arc;

use dns::Feature;
use memory::{InMemory, Memory};
use servers::{Kind, Server};
use web::Calls;

const UPDATES: [Feature; 3] = [Feature::Listing, Feature::Transactions, Feature::EveryType];

#[tokio::test]
async fn the_embedded_driver_has_everything() {
    cases::run(&embedded::Here::start().await, &Feature::ALL).await;
}

#[tokio::test]
async fn one_mcrun_drives_another() {
    let here = embedded::Here::start().await;
    let minimum = [Feature::Zones, Feature::ZoneList, Feature::Listing];
    cases::run(&Calls::start(bench::Peer::driver(&here)).await, &minimum).await;
}

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

#[tokio::test]
async fn the_calls_of_mcns_have_what_their_driver_declares() {
    let minimum = [Feature::Zones, Feature::ZoneList, Feature::Listing];
    cases::run(&Calls::start(Arc::new(Memory::new())).await, &minimum).await;
}

#[tokio::test]
async fn the_cases_can_be_met_whole() {
    cases::run(&InMemory(Arc::new(Memory::new())), &Feature::ALL).await;
}
