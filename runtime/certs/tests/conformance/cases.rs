//! The cases by feature.

use std::time::Duration;

use certs::driver::{check_features, needed};
use certs::{Driver, Feature, Reason};
use effect::Code;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::bench::{Authority, Wanted, profile, verify};

/// Every feature that the driver declares works, every other one is refused, and at least `minimum` is declared.
pub(crate) async fn run(authority: &dyn Authority, minimum: &[Feature]) {
    let driver = authority.driver();
    for feature in Feature::REQUIRED.iter().chain(minimum) {
        assert!(driver.features().contains(feature), "{} needs {}", driver.name(), feature.describe());
    }
    let mut seen = Vec::new();
    for feature in Feature::ALL {
        if driver.features().contains(&feature) {
            works(authority, feature).await;
        } else {
            is_refused(driver, feature);
        }
        seen.push(feature);
    }
    assert_eq!(seen, Feature::ALL, "a case that is skipped fails");
}

fn is_refused(driver: &dyn Driver, feature: Feature) {
    let wanted = wanted(feature);
    let needs = needed(&wanted.names, &wanted.profile, wanted.key_type, wanted.lifetime.is_some());
    assert!(needs.contains(&feature), "an order with {} says that it needs it", feature.describe());
    let error = check_features(driver, &needs).unwrap_err();
    assert_eq!(error.code, Code::Unsupported);
    assert!(error.message.contains(&feature.describe()), "{error:?}");
}

/// An order that takes the feature.
fn wanted(feature: Feature) -> Wanted {
    match feature {
        Feature::Key(kind) => {
            let first = format!("{}.mcrun.test", kind.as_str());
            let second = format!("www.{first}");
            Wanted::new(&[&first, &second]).of_key(kind)
        }
        Feature::Clients => Wanted { profile: profile("both"), ..Wanted::new(&["client.mcrun.test"]) },
        Feature::Wildcards => Wanted::new(&["wild.mcrun.test", "*.wild.mcrun.test"]),
        Feature::Addresses => Wanted::new(&["address.mcrun.test", "127.0.0.1"]),
        Feature::Lifetimes => {
            Wanted { lifetime: Some(Duration::from_secs(7200)), ..Wanted::new(&["short.mcrun.test"]) }
        }
        Feature::Revocation => Wanted::new(&["revoked.mcrun.test"]),
        Feature::Extensions => {
            let mut wanted = Wanted::new(&["extended.mcrun.test"]);
            // 1.3.6.1.5.5.7.1.24 is the TLS feature of RFC 7633; the value asks for `status_request`.
            wanted.profile.extensions = vec![certs::profile::Extension {
                oid: vec![1, 3, 6, 1, 5, 5, 7, 1, 24],
                critical: false,
                value: vec![0x30, 3, 2, 1, 5],
            }];
            wanted
        }
    }
}

async fn works(authority: &dyn Authority, feature: Feature) {
    let driver = authority.driver();
    let wanted = wanted(feature);
    let needs = needed(&wanted.names, &wanted.profile, wanted.key_type, wanted.lifetime.is_some());
    check_features(driver, &needs).unwrap();
    let issued = match wanted.issue(driver).await {
        Ok(issued) => issued,
        Err(error) => panic!("{}: {}: {error:?}", driver.name(), feature.describe()),
    };
    verify(authority, &wanted, &issued, "sslserver");
    let (_, first) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    match feature {
        Feature::Clients => verify(authority, &wanted, &issued, "sslclient"),
        Feature::Lifetimes => {
            let life = first.validity().not_after.timestamp() - first.validity().not_before.timestamp();
            // Authorities begin a little earlier, for clocks that are behind.
            assert!((7200..=7200 + 300).contains(&life), "{life}");
        }
        Feature::Extensions => {
            let extension = &wanted.profile.extensions[0];
            let found = first.extensions().iter().find(|found| found.value == extension.value.as_slice());
            assert_eq!(found.map(|found| found.oid.to_id_string()).as_deref(), Some("1.3.6.1.5.5.7.1.24"));
        }
        Feature::Revocation => {
            assert!(!authority.is_revoked(&issued.chain[0]).await);
            driver.revoke(&issued.chain, &wanted.key, Reason::Superseded).await.unwrap();
            assert!(authority.is_revoked(&issued.chain[0]).await);
            driver.revoke(&issued.chain, &wanted.key, Reason::Superseded).await.unwrap();
        }
        Feature::Key(_) | Feature::Wildcards | Feature::Addresses => {}
    }
}
