//! What pkilint (PyPI) says of every kind of certificate and list: nothing from warnings on.

use std::fs::File;
use std::path::{Path, PathBuf};

use certs::certificate::{Facts, armoured, to_pem};
use certs::embedded::{Passphrase, Settings};
use certs::{Key, KeyType, Reason};

use super::support::{DAY, profile, said, scene_with};

#[expect(clippy::disallowed_methods, reason = "the linter judges from outside")]
fn program(path: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
    std::process::Command::new(path)
}

/// The folder with the linter's programs, made once for the tests of this target folder.
fn linters() -> PathBuf {
    // Beneath what cargo builds into, so that `cargo clean` takes it along.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pkilint");
    let lock = File::create(home.with_extension("lock")).unwrap();
    // Tests of other processes wait for the one that installs.
    lock.lock().unwrap();
    if !home.join("installed").exists() {
        assert!(program("/usr/bin/python3").args(["-m", "venv"]).arg(&home).status().unwrap().success());
        let mut install = program(home.join("bin/pip"));
        assert!(install.args(["install", "--quiet", "pkilint==0.13.3"]).status().unwrap().success());
        File::create(home.join("installed")).unwrap();
    }
    home.join("bin")
}

fn assert_clean(linter: &str, files: &[&Path]) {
    let kind: &[&str] = if linter == "lint_crl" { &["-t", "CRL", "-p", "PKIX"] } else { &[] };
    let output = program(linters().join(linter))
        .args(["lint", "-s", "WARNING"])
        .args(kind)
        .args(files)
        .output()
        .unwrap();
    assert!(
        output.status.success() && said(&output).trim().is_empty(),
        "{linter} {files:?}: {}",
        said(&output)
    );
}

#[tokio::test]
async fn linters_have_nothing_to_say() {
    let settings = Settings {
        url: Some("http://ca.mcrun.test:8880".into()),
        constraints: vec!["mcrun.test".into(), "127.0.0.0/8".into()],
        name: Some("Example".into()),
    };
    let scene = scene_with(settings);
    for kind in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        for name in ["server", "client", "both", "public"] {
            let token = format!("{name} {}", kind.as_str());
            // Wildcards are RFC 6125's, and no names for a linter of RFC 5280.
            let names = ["hello.mcrun.test", "127.0.0.1"];
            let names = if name == "public" { &names[..1] } else { &names[..] };
            let key = Key::generate(kind).unwrap();
            let issued = scene.sign_for(&token, names, &profile(name), &key).await.unwrap();
            let leaf = scene.file("lint-leaf.pem", to_pem(&issued.chain[..1]));
            assert_clean("lint_pkix_cert", &[&leaf]);
            let above = scene.file("lint-above.pem", to_pem(&issued.chain[1..2]));
            assert_clean("lint_pkix_signer_signee_cert_chain", &[&above, &leaf]);
        }
    }
    let first = scene.sign("first", &["a.mcrun.test"]).await.unwrap();
    let serial = Facts::of(&first.chain[0]).unwrap().serial;
    scene.authority.revoke_serial(&serial, Reason::KeyCompromise).await.unwrap();
    let active = scene.authority.standing().await.unwrap().active.id;
    let list = scene.authority.list_of_revoked(&active).await.unwrap();
    assert_clean("lint_crl", &[&scene.file("lint.crl", armoured("X509 CRL", &list.der))]);
    scene.clock.forward(DAY);
    scene.authority.rotate_root(&Passphrase::Kept, &Passphrase::Kept).await.unwrap();
    let crossed = scene.sign("crossed", &["a.mcrun.test"]).await.unwrap();
    for certificate in crossed.chain.iter().chain(&scene.authority.trusted().await.unwrap()) {
        let file = scene.file("lint-authority.pem", to_pem(std::slice::from_ref(certificate)));
        assert_clean("lint_pkix_cert", &[&file]);
    }
}
