use std::os::unix::fs::PermissionsExt as _;

use certs::Reason;
use certs::embedded::{Passphrase, Settings};
use effect::Code;
use zeroize::Zeroizing;

use super::support::{DAY, open, scene};

fn given(text: &str) -> Passphrase {
    Passphrase::Given(Zeroizing::new(text.to_owned()))
}

#[tokio::test]
async fn a_new_intermediate_goes_on_where_the_old_one_stood() {
    let scene = scene();
    let old = scene.sign("old", &["a.test"]).await.unwrap();
    let before = scene.authority.standing().await.unwrap().active;
    scene.clock.forward(DAY);
    let after = scene.authority.rotate_intermediate(&Passphrase::Kept).await.unwrap();
    assert_ne!(before.id, after.id);
    let new = scene.sign("new", &["a.test"]).await.unwrap();
    assert_ne!(old.chain[1], new.chain[1]);
    scene.assert_good(&old, &[]).await;
    scene.assert_good(&new, &[]).await;
    let serial = certs::certificate::Facts::of(&old.chain[0]).unwrap().serial;
    scene.authority.revoke_serial(&serial, Reason::Superseded).await.unwrap();
    assert_eq!(scene.authority.list_of_revoked(&before.id).await.unwrap().count, 1);
    assert_eq!(scene.authority.list_of_revoked(&after.id).await.unwrap().count, 0);
}

#[tokio::test]
async fn peers_that_trust_only_the_old_root_accept_what_the_new_one_signs() {
    let scene = scene();
    let old = scene.sign("old", &["a.test"]).await.unwrap();
    let old_roots = scene.authority.trusted().await.unwrap();
    scene.clock.forward(DAY);
    scene.authority.rotate_root(&Passphrase::Kept, &given("correct horse")).await.unwrap();
    let new = scene.sign("new", &["a.test"]).await.unwrap();
    let roots = scene.authority.trusted().await.unwrap();
    assert_eq!(roots.len(), 2);
    for trusted in [&old_roots[..], &roots[..1], &roots[..]] {
        let output = scene.verify(trusted, &new, &[]).await;
        assert!(output.status.success(), "{}", super::support::said(&output));
    }
    let output = scene.verify(&roots, &old, &[]).await;
    assert!(output.status.success(), "{}", super::support::said(&output));
}

#[tokio::test]
async fn a_sealed_root_opens_only_with_its_passphrase() {
    let scene = scene();
    scene.authority.create(given("correct horse")).await.unwrap();
    for wrong in [given("battery staple"), Passphrase::Kept] {
        let error = scene.authority.rotate_intermediate(&wrong).await.unwrap_err();
        assert_eq!(error.code, Code::AuthoritySealed);
    }
    scene.clock.forward(DAY);
    scene.authority.rotate_intermediate(&given("correct horse")).await.unwrap();
}

#[tokio::test]
async fn a_passphrase_made_by_chance_is_private_and_can_be_taken_away() {
    let scene = scene();
    scene.sign("a", &["a.test"]).await.unwrap();
    let standing = scene.authority.standing().await.unwrap();
    let kept = &standing.kept[&standing.roots[0].id];
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    scene.authority.take_passphrase(&standing.roots[0].id).unwrap();
    assert!(scene.authority.standing().await.unwrap().kept.is_empty());
    let error = scene.authority.rotate_intermediate(&Passphrase::Kept).await.unwrap_err();
    assert_eq!(error.code, Code::AuthoritySealed);
    scene.sign("b", &["a.test"]).await.unwrap();
}

#[tokio::test]
async fn an_authority_moves_to_another_machine_whole() {
    let here = scene();
    let issued = here.sign("a", &["a.test"]).await.unwrap();
    let serial = certs::certificate::Facts::of(&issued.chain[0]).unwrap().serial;
    here.authority.revoke_serial(&serial, Reason::KeyCompromise).await.unwrap();
    let secret = Zeroizing::new("correct horse".to_owned());
    let file = here.authority.export(secret.clone()).await.unwrap();
    assert!(file.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"));
    let there = scene();
    let wrong = there.authority.import(file.clone(), Zeroizing::new("wrong".into())).await.unwrap_err();
    assert_eq!(wrong.code, Code::AuthoritySealed);
    let garbage = there.authority.import("garbage".into(), secret.clone()).await.unwrap_err();
    assert_eq!(garbage.code, Code::AuthorityTransfer);
    let imported = there.authority.import(file.clone(), secret.clone()).await.unwrap();
    assert_eq!((imported.roots, imported.intermediates, imported.issued), (1, 1, 1));
    assert_eq!(there.authority.trusted().await.unwrap(), here.authority.trusted().await.unwrap());
    let id = there.authority.standing().await.unwrap().active.id;
    assert_eq!(there.authority.list_of_revoked(&id).await.unwrap().count, 1);
    there.assert_good(&there.sign("b", &["a.test"]).await.unwrap(), &[]).await;
    let again = there.authority.import(file, secret).await.unwrap_err();
    assert_eq!(again.code, Code::AuthorityTransfer);
}

#[tokio::test]
async fn two_processes_that_begin_at_once_have_one_authority() {
    let scene = scene();
    let other = open(scene.folder.path(), &scene.clock, &scene.sealer, Settings::default());
    let (one, two) = tokio::join!(scene.authority.create(Passphrase::Kept), other.create(Passphrase::Kept));
    assert_eq!(one.unwrap(), two.unwrap());
    let standing = scene.authority.standing().await.unwrap();
    assert_eq!((standing.roots.len(), standing.kept.len()), (1, 1));
    scene.clock.forward(DAY);
    scene.authority.rotate_intermediate(&Passphrase::Kept).await.unwrap();
    let signed = scene.sign("a", &["a.test"]).await.unwrap();
    scene.clock.forward(DAY);
    let key = certs::Key::generate(certs::KeyType::P256).unwrap();
    let (names, public) = (certs::Names::parse(&["a.test"]).unwrap(), key.public());
    let profile = super::support::profile("server");
    let request = certs::embedded::Request {
        token: "b",
        names: &names,
        profile: &profile,
        public: &public,
        lifetime: None,
        service: None,
    };
    let by_the_other = other.sign(&request).await.unwrap();
    assert_eq!(signed.chain[1], by_the_other.chain[1], "the other process sees the rotation");
}
