use certs::certificate::{Facts, armoured};
use certs::{Issued, Reason};
use effect::Code;

use super::support::{DAY, Scene, openssl, said, scene};

async fn list(scene: &Scene) -> (certs::embedded::List, String) {
    let id = scene.authority.standing().await.unwrap().active.id;
    let list = scene.authority.list_of_revoked(&id).await.unwrap();
    let path = scene.file("list.pem", armoured("X509 CRL", &list.der));
    (list, path.to_str().unwrap().to_owned())
}

async fn serial(issued: &Issued) -> String {
    Facts::of(&issued.chain[0]).unwrap().serial
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_by_whoever_looks_at_the_list() {
    let scene = scene();
    let (good, bad) =
        (scene.sign("1", &["a.test"]).await.unwrap(), scene.sign("2", &["b.test"]).await.unwrap());
    let (_, path) = list(&scene).await;
    for issued in [&good, &bad] {
        scene.assert_good(issued, &["-crl_check", "-CRLfile", &path]).await;
    }
    scene.authority.revoke_serial(&serial(&bad).await, Reason::KeyCompromise).await.unwrap();
    let (revoked, path) = list(&scene).await;
    assert_eq!(revoked.count, 1);
    scene.assert_good(&good, &["-crl_check", "-CRLfile", &path]).await;
    let roots = scene.authority.trusted().await.unwrap();
    let output = scene.verify(&roots, &bad, &["-crl_check", "-CRLfile", &path]).await;
    assert!(said(&output).contains("certificate revoked"), "{}", said(&output));
    let text = said(&openssl(&["crl", "-noout", "-text", "-in", &path]));
    assert!(text.contains("Key Compromise"), "{text}");
}

#[tokio::test]
async fn the_first_reason_of_a_revocation_stays() {
    let scene = scene();
    let serial = serial(&scene.sign("1", &["a.test"]).await.unwrap()).await;
    scene.authority.revoke_serial(&serial, Reason::Superseded).await.unwrap();
    let first = scene.authority.issuance(&serial).await.unwrap().unwrap().revoked.unwrap();
    scene.clock.forward(DAY);
    scene.authority.revoke_serial(&serial, Reason::KeyCompromise).await.unwrap();
    assert_eq!(scene.authority.issuance(&serial).await.unwrap().unwrap().revoked, Some(first));
    let unknown = scene.authority.revoke_serial("4711", Reason::Unspecified).await.unwrap_err();
    assert_eq!(unknown.code, Code::CertificateUnknown);
}

#[tokio::test]
async fn lists_are_numbered_upwards_even_when_the_clock_is_set_back() {
    let scene = scene();
    let first = scene.sign("1", &["a.test"]).await.unwrap();
    let second = scene.sign("2", &["a.test"]).await.unwrap();
    let (one, _) = list(&scene).await;
    assert_eq!(list(&scene).await.0.number, one.number, "nothing was revoked meanwhile");
    scene.authority.revoke_serial(&serial(&first).await, Reason::Unspecified).await.unwrap();
    let (two, _) = list(&scene).await;
    scene.clock.back(DAY);
    scene.authority.revoke_serial(&serial(&second).await, Reason::Unspecified).await.unwrap();
    let (three, _) = list(&scene).await;
    assert!(one.number < two.number && two.number < three.number);
    scene.clock.forward(DAY * 6);
    assert!(list(&scene).await.0.number > three.number, "a list is made anew at half of its time");
}

#[tokio::test]
async fn what_has_expired_leaves_the_list() {
    let scene = scene();
    let issued = scene.sign("1", &["a.test"]).await.unwrap();
    scene.authority.revoke_serial(&serial(&issued).await, Reason::Unspecified).await.unwrap();
    assert_eq!(list(&scene).await.0.count, 1);
    scene.clock.forward(DAY * 92);
    assert_eq!(list(&scene).await.0.count, 0);
}
