use std::collections::BTreeMap;

use certs::certificate::Facts;
use certs::embedded::{Request, Settings};
use certs::{Key, KeyType, Names, Profiles};
use effect::Code;

use super::support::{DAY, openssl, profile, said, scene, scene_with};

#[tokio::test]
async fn every_profile_and_kind_of_key_gives_a_chain_that_openssl_accepts() {
    let scene = scene();
    let purposes =
        [("server", "sslserver"), ("client", "sslclient"), ("both", "sslserver"), ("both", "sslclient")];
    for kind in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        for (name, purpose) in purposes {
            let key = Key::generate(kind).unwrap();
            let token = format!("{name} {purpose} {}", kind.as_str());
            let names = ["hello.mcrun.test", "*.mcrun.test", "127.0.0.1", "::1"];
            let issued = scene.sign_for(&token, &names, &profile(name), &key).await.unwrap();
            scene.assert_good(&issued, &["-purpose", purpose, "-verify_hostname", "hello.mcrun.test"]).await;
            scene.assert_good(&issued, &["-verify_ip", "::1"]).await;
        }
    }
    let client =
        scene.sign_for("c", &["a.test"], &profile("client"), &Key::generate(KeyType::P256).unwrap()).await;
    let roots = scene.authority.trusted().await.unwrap();
    let refused = scene.verify(&roots, &client.unwrap(), &["-purpose", "sslserver"]).await;
    assert!(said(&refused).contains("unsuitable certificate purpose"), "{}", said(&refused));
}

#[tokio::test]
async fn the_same_order_gives_the_same_certificate() {
    let scene = scene();
    let key = Key::generate(KeyType::P256).unwrap();
    let first = scene.sign_for("order", &["a.test"], &profile("server"), &key).await.unwrap();
    scene.clock.forward(DAY);
    let again = scene.sign_for("order", &["a.test"], &profile("server"), &key).await.unwrap();
    assert_eq!(first, again);
    let stranger = scene.sign("order", &["a.test"]).await.unwrap_err();
    assert_eq!(stranger.code, Code::CertificateKey);
}

#[tokio::test]
async fn no_serial_number_is_given_twice() {
    let scene = scene();
    let mut serials = std::collections::BTreeSet::new();
    for number in 0..200 {
        let issued = scene.sign(&number.to_string(), &["a.test"]).await.unwrap();
        let facts = Facts::of(&issued.chain[0]).unwrap();
        assert_eq!(facts.serial.len(), 32);
        assert!(scene.authority.issuance(&facts.serial).await.unwrap().is_some());
        assert!(serials.insert(facts.serial));
    }
}

#[tokio::test]
async fn a_certificate_never_outlives_its_authority() {
    let scene = scene();
    scene.sign("first", &["a.test"]).await.unwrap();
    let end = scene.authority.standing().await.unwrap().active.not_after;
    scene.clock.forward(end.since(scene.authority.standing().await.unwrap().active.created) - DAY * 10);
    let issued = scene.sign("late", &["a.test"]).await.unwrap();
    assert_eq!(Facts::of(&issued.chain[0]).unwrap().not_after, end);
    scene.assert_good(&issued, &[]).await;
    scene.clock.forward(DAY * 11);
    assert_eq!(scene.sign("too late", &["a.test"]).await.unwrap_err().code, Code::AuthorityInvalid);
}

#[tokio::test]
async fn nothing_is_signed_while_the_clock_is_behind() {
    let scene = scene();
    scene.sign("first", &["a.test"]).await.unwrap();
    scene.clock.back(DAY * 10);
    let error = scene.sign("second", &["a.test"]).await.unwrap_err();
    assert_eq!(error.code, Code::ClockBehind);
    scene.clock.forward(DAY * 10);
    scene.sign("second", &["a.test"]).await.unwrap();
}

#[tokio::test]
async fn a_lifetime_is_bound_by_the_profile() {
    let scene = scene();
    let (names, key) = (Names::parse(&["a.test"]).unwrap(), Key::generate(KeyType::P256).unwrap());
    let (profile, public) = (profile("server"), key.public());
    let request = |days: u32| Request {
        token: "t",
        names: &names,
        profile: &profile,
        public: &public,
        lifetime: Some(DAY * days),
        service: None,
    };
    let error = scene.authority.sign(&request(826)).await.unwrap_err();
    assert_eq!(error.code, Code::CertificatePolicy);
    let issued = scene.authority.sign(&request(7)).await.unwrap();
    let facts = Facts::of(&issued.chain[0]).unwrap();
    assert_eq!(facts.not_after.since(facts.not_before).as_secs(), 7 * 86_400 + 300);
}

#[tokio::test]
async fn a_profile_of_the_operators_brings_its_own_extension() {
    let settings = toml(
        r#"
        [edge]
        usage = ["server"]
        public = true
        longest = "47d"
        lifetime = "30d"
        # TLS feature: status_request (RFC 7633)
        extensions = [{ oid = "1.3.6.1.5.5.7.1.24", value = "MAMCAQU=" }]
    "#,
    );
    let profiles = Profiles::new(&settings).unwrap();
    let scene = scene();
    let key = Key::generate(KeyType::P256).unwrap();
    let issued = scene.sign_for("t", &["www.example"], profiles.get("edge").unwrap(), &key).await.unwrap();
    let leaf = scene.file("leaf.pem", certs::certificate::to_pem(&issued.chain[..1]));
    let shown = said(&openssl(&["x509", "-noout", "-ext", "tlsfeature", "-in", leaf.to_str().unwrap()]));
    assert!(shown.contains("status_request"), "{shown}");
    for wrong in [
        r#"[a]
           usage = []"#,
        r#"[a]
           usage = ["server"]
           lifetime = "60d"
           longest = "30d""#,
        r#"[a]
           usage = ["server"]
           extensions = [{ oid = "2.5.29.19", value = "MAMBAf8=" }]"#,
        r#"[a]
           usage = ["server"]
           extensions = [{ oid = "1.99.3", value = "MAMBAf8=" }]"#,
    ] {
        assert_eq!(Profiles::new(&toml(wrong)).unwrap_err().code, Code::Config, "{wrong}");
    }
}

#[tokio::test]
async fn constraints_bind_what_is_signed_and_what_others_accept() {
    let settings =
        Settings { constraints: vec!["mcrun.test".into(), "10.0.0.0/8".into()], ..Settings::default() };
    let scene = scene_with(settings);
    let good = scene.sign("good", &["a.mcrun.test", "10.1.2.3"]).await.unwrap();
    scene.assert_good(&good, &[]).await;
    for beyond in ["a.example", "192.168.1.1", "::1"] {
        let error = scene.sign(beyond, &[beyond]).await.unwrap_err();
        assert_eq!(error.code, Code::CertificatePolicy, "{beyond}");
    }
}

#[tokio::test]
async fn an_authority_says_where_its_lists_are_found() {
    let settings = Settings { url: Some("http://ca.mcrun.test:8880".into()), ..Settings::default() };
    let scene = scene_with(settings);
    let issued = scene.sign("a", &["a.mcrun.test"]).await.unwrap();
    let leaf = scene.file("leaf.pem", certs::certificate::to_pem(&issued.chain[..1]));
    let text = said(&openssl(&["x509", "-noout", "-text", "-in", leaf.to_str().unwrap()]));
    let id = scene.authority.standing().await.unwrap().active.id;
    assert!(text.contains(&format!("URI:http://ca.mcrun.test:8880/crl/{id}.crl")), "{text}");
    assert!(text.contains(&format!("CA Issuers - URI:http://ca.mcrun.test:8880/ca/{id}.cer")), "{text}");
    assert!(text.contains("CA:FALSE"), "{text}");
}

fn toml(text: &str) -> BTreeMap<String, certs::profile::ProfileSettings> {
    toml::from_str(text).unwrap()
}
