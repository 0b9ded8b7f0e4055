//! The conformance suite of the drivers: one list of cases by feature, run for each driver against its real peer. What a
//! driver does not declare it has to refuse. Beside it: what is Caddy's alone, and peers that are broken.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod afar;
mod backend;
mod bench;
mod broken;
mod caddy;
mod cases;
mod changes;
mod client;
mod countries;
mod embedded;
mod pki;
mod program;
mod terms;

use routes::Feature;

#[tokio::test]
async fn the_embedded_driver_has_everything() {
    cases::run(&embedded::Here::start().await, &Feature::ALL).await;
}

#[tokio::test]
async fn caddy_has_what_its_driver_declares() {
    let minimum = [
        Feature::Tls,
        Feature::Plain,
        Feature::Wildcards,
        Feature::Paths,
        Feature::Http2,
        Feature::BackendTls,
        Feature::SendProxy,
        Feature::Health,
        Feature::Bodies,
        Feature::Networks,
        Feature::Headers,
        Feature::Redirects,
        Feature::Maintenance,
    ];
    cases::run(&caddy::Caddy::start().await, &minimum).await;
}

#[tokio::test]
async fn an_embedded_proxy_has_everything_from_afar_too() {
    cases::run(&afar::Afar::from(embedded::Here::start().await).await, &Feature::ALL).await;
}

#[tokio::test]
async fn what_a_proxy_lacks_is_refused_from_afar_as_from_near() {
    let minimum = [Feature::Tls, Feature::Plain, Feature::Paths, Feature::BackendTls, Feature::Maintenance];
    cases::run(&afar::Afar::from(caddy::Caddy::start().await).await, &minimum).await;
}
