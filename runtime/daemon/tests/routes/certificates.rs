//! Certificates of a proxy's side stay there: a route names one, or has one got for its name.

use effect::Code;
use routes::Driver as _;
use serde_json::json;

use crate::stage::{Side, route};

#[tokio::test]
async fn auto_has_the_other_side_get_a_certificate_once() {
    let side = Side::new();
    let remote = side.afar("rift.mcrun.test").await;
    let standing = route("mcq.metacircular.net", json!({ "cert": "auto" }));
    remote.admit(&standing).await.unwrap();
    assert!(side.got.names.lock().unwrap().is_empty(), "admitting gets nothing");
    remote.put(&standing).await.unwrap();
    remote.put(&standing).await.unwrap();
    assert_eq!(side.got.names.lock().unwrap().len(), 1);
    let there = side.driver.list().await.unwrap();
    assert_eq!(there[0].route.cert.as_deref(), Some("auto.mcq.metacircular.net"));
    assert_eq!(remote.list().await.unwrap(), [standing], "seen from afar it is what was asked for");
}

#[tokio::test]
async fn a_certificate_with_internal_or_foreign_names_is_not_shown_in_public() {
    let side = Side::new();
    let remote = side.afar("rift.mcrun.test").await;
    for (id, name) in [
        ("good", "mcq.metacircular.net"),
        ("internal", "mcq.svc.mcp.metacircular.net"),
        ("bank", "bank.example"),
    ] {
        side.got.names.lock().unwrap().push((id.into(), vec![name.into()]));
    }
    let with = |id: &str| route("mcq.metacircular.net", json!({ "cert": id }));
    remote.put(&with("good")).await.unwrap();
    for refused in ["internal", "bank"] {
        let error = remote.put(&with(refused)).await.unwrap_err();
        assert_eq!(error.code, Code::ProxyRefused, "{error}");
    }
    assert_eq!(remote.put(&with("missing")).await.unwrap_err().code, Code::CertificateUnknown);
    assert_eq!(remote.list().await.unwrap(), [with("good")]);
}
